"""Overlap of boxes, pair by pair, xyxy; with mmdet's values, so that its heads can be oracles."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gfl.losses import at_least_float32


def iou(
    boxes: Float[Tensor, "*S 4"], others: Float[Tensor, "*S 4"], eps: float = 1e-6
) -> Float[Tensor, "*S"]:
    """Return each pair's intersection over union, in [0, 1].

    A union under ``eps`` counts as ``eps``, as in mmdet's ``bbox_overlaps``: two boxes without
    area have an IoU of 0.
    """
    overlap, union = _overlap_and_union(at_least_float32(boxes), at_least_float32(others))
    return overlap / union.clamp(min=eps)


def giou_loss(
    boxes: Float[Tensor, "*S 4"], targets: Float[Tensor, "*S 4"], eps: float = 1e-6
) -> Float[Tensor, "*S"]:
    """Return 1 - GIoU of each pair, in [0, 2] (Rezatofighi et al. 2019, "Generalized IoU").

    Both denominators are at least ``eps``. 1e-6 is the default of mmdet's ``GIoULoss``, which its
    configs use; the default of mmdet's function ``giou_loss`` is 1e-7.
    """
    boxes, targets = at_least_float32(boxes), at_least_float32(targets)
    overlap, union = _overlap_and_union(boxes, targets)
    union = union.clamp(min=eps)
    top_left = torch.minimum(boxes[..., :2], targets[..., :2])
    bottom_right = torch.maximum(boxes[..., 2:], targets[..., 2:])
    hull = _area(top_left, bottom_right).clamp(min=eps)
    return 1 - (overlap / union - (hull - union) / hull)


def _overlap_and_union(
    a: Float[Tensor, "*S 4"], b: Float[Tensor, "*S 4"]
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    overlap = _area(top_left, bottom_right)
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return overlap, area_a + area_b - overlap


def _area(
    top_left: Float[Tensor, "*S 2"], bottom_right: Float[Tensor, "*S 2"]
) -> Float[Tensor, "*S"]:
    """Return the area, 0 if the corners have crossed."""
    size = (bottom_right - top_left).clamp(min=0)
    return size[..., 0] * size[..., 1]
