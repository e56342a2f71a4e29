"""Localization quality: what it is and how a detector uses it (section 3, Fig. 6, Table 1a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Usage:
    """One of the ways of using quality that Fig. 6 compares, as the head reads it."""

    label: Literal["centerness", "iou"]  # what the quality of a positive is
    use: Literal["branch", "joint"]  # a branch of its own, or the classification score itself


USAGES = {
    "centerness-branch": Usage("centerness", "branch"),  # FCOS and ATSS as published
    "joint": Usage("iou", "joint"),  # the classification-IoU joint representation
}


def centerness(points: Float[Tensor, "*P 2"], boxes: Float[Tensor, "*P 4"]) -> Float[Tensor, "*P"]:
    """Return FCOS's centerness of points inside boxes (xyxy): 1 at the centre, 0 on a side.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)), FCOS Eq. 3.
    """
    lower, upper = points - boxes[..., :2], boxes[..., 2:] - points
    ratios = torch.minimum(lower, upper) / torch.maximum(lower, upper)
    return (ratios[..., 0] * ratios[..., 1]).sqrt()
