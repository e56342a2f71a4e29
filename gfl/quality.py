"""Localization quality: its definitions and uses by a detector (section 3, Fig. 6, Table 1a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

# Exponent of the quality by which guided rows weight a positive (Wu and Li 2019, their best).
GUIDE_EXPONENT = 1.5


@dataclass(frozen=True)
class Usage:
    """One of Fig. 6's ways of using quality, as the head reads it."""

    label: Literal["centerness", "iou"] | None  # definition of a positive's quality
    # Destination: nowhere, a branch of its own (which multiplies the class score), the weight of a
    # positive's classification loss, or the classification score itself.
    use: Literal["nowhere", "branch", "guide", "joint"]
    # Weight of a positive's box loss: one, its label, or the predicted score.
    box_weight: Literal["one", "label", "score"]


# The box loss of the four rows that the paper defines by their scores alone is unweighted. That
# is inferred for the first and the guided ones; the public code of an IoU branch on FCOS
# (AdelaiDet) does so, and weighting by the IoU itself made training collapse (GFocal, issue 3).
USAGES = {
    "none": Usage(None, "nowhere", "one"),
    "centerness-branch": Usage("centerness", "branch", "label"),  # FCOS and ATSS as published
    "iou-branch": Usage("iou", "branch", "one"),
    "centerness-guided": Usage("centerness", "guide", "one"),
    "iou-guided": Usage("iou", "guide", "one"),
    "joint": Usage("iou", "joint", "score"),  # the classification-IoU joint representation
}


def centerness(points: Float[Tensor, "*P 2"], boxes: Float[Tensor, "*P 4"]) -> Float[Tensor, "*P"]:
    """Return FCOS's centerness of points inside boxes (xyxy): 1 at the centre, 0 on a side.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)), FCOS Eq. 3.
    """
    lower, upper = points - boxes[..., :2], boxes[..., 2:] - points
    ratios = torch.minimum(lower, upper) / torch.maximum(lower, upper)
    return (ratios[..., 0] * ratios[..., 1]).sqrt()


def guide(
    losses: Float[Tensor, "P"], quality: Float[Tensor, "P"], exponent: float = GUIDE_EXPONENT
) -> Float[Tensor, "P"]:
    """Weight the positives' classification losses by their quality, preserving the sum.

    w_i = q_i^eta * sum(L) / sum(q^eta L), with no gradient through the weight: the classification
    half of IoU-balanced loss (Wu and Li 2019, arXiv:1908.05641) as in its authors' code. If all
    qualities are 0, or there is no positive, the weights are 1.
    """
    plain = losses.detach()
    raised = quality.detach() ** exponent
    total = (raised * plain).sum()
    return losses * (raised * plain.sum() / total).where(total > 0, 1.0)
