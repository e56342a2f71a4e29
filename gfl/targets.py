"""What the locations of a batch are to predict: FCOS's or ATSS's assignment, and N_pos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gfl.assign import atss, fcos, pad_boxes
from gfl.boxes import anchors_at
from gfl.hosts import Dense


class Positives(NamedTuple):
    """The positive locations of a batch, with what each is to predict."""

    image: Int[Tensor, "P"]
    location: Int[Tensor, "P"]
    priors: Float[Tensor, "P 4"]
    boxes: Float[Tensor, "P 4"]  # the matched ground truth, xyxy px
    labels: Int[Tensor, "P"]
    gt: Int[Tensor, "P"]  # its index among the image's objects


class Targets(NamedTuple):
    """A batch, assigned."""

    positives: Positives
    valid: Bool[Tensor, "B N"]  # which locations count at all
    count: Float[Tensor, ""]  # N_pos of this device


def assign_batch(
    dense: Dense,
    levels: Sequence[Float[Tensor, "_ 4"]],
    batch_gt_instances: Sequence[Any],
    batch_img_metas: Sequence[dict[str, Any]],
    settings: dict[str, Any],
) -> Targets:
    """Find the positives among the priors of all levels, as the detector does.

    ``settings`` may name ``topk``, the candidates of a level in ATSS, and ``radius``, how far in
    strides a positive of FCOS is at most from an object's centre.
    """
    priors, sizes = torch.cat(list(levels)), [len(level) for level in levels]
    padded = priors.new_tensor([meta["pad_shape"][1::-1] for meta in batch_img_metas])
    # As mmdet's ATSS, leave out locations beyond an image's own padding to the size divisor.
    valid = (priors[:, :2] < padded[:, None]).all(-1) | dense.padding_counts
    gt_boxes, gt_valid = pad_boxes([gt.bboxes.to(priors.dtype) for gt in batch_gt_instances])
    gt_labels = pad_sequence([gt.labels for gt in batch_gt_instances], batch_first=True)
    if dense.assigner == "fcos":
        matched = fcos(priors, sizes, gt_boxes, gt_valid, settings.get("radius", 1.5))
    else:
        anchors = anchors_at(priors)
        matched = atss(anchors, sizes, valid, gt_boxes, gt_valid, settings.get("topk", 9))
    positive = matched >= 0
    image, location = positive.nonzero(as_tuple=True)
    gt = (image, matched[image, location])
    positives = Positives(image, location, priors[location], gt_boxes[gt], gt_labels[gt], gt[1])
    return Targets(positives, valid, dense.count(positive, priors.dtype))
