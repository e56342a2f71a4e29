"""What FCOS and ATSS are where they differ: one entry each, read by the head that serves both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gfl.boxes import AnchorDelta, Distance


@dataclass(frozen=True)
class Dense:
    """A detector with one prediction a location, as published and as mmdet has it."""

    assigner: Literal["atss", "fcos"]  # which function of ``gfl.assign`` finds the positives
    offset: float  # of a location from its cell's upper left corner, strides
    dirac: type[AnchorDelta] | type[Distance]  # how it represents a box
    giou_weight: float  # of L_B
    least_weight: float  # what the sum of the box loss's weights is at least, to divide by it
    tower_bias: bool  # have the towers' convolutions a bias before GroupNorm
    padding_counts: bool  # locations beyond an image's own padding are negatives, or nothing
    one_an_image: bool  # N_pos counts at least one positive in every image, or in all of them

    def count(self, positive: Bool[Tensor, "B N"], dtype: torch.dtype) -> Float[Tensor, ""]:
        """Return this device's N_pos."""
        counts = positive.sum(1)
        return (counts.clamp(min=1) if self.one_an_image else counts).sum().to(dtype)


DENSE = {
    # lambda_0 = 2, Eq. 11, is ATSS's weight of GIoU; FCOS's is 1.
    "atss": Dense("atss", 0.0, AnchorDelta, 2.0, 1.0, False, False, True),
    # fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco in mmdet: its FCOSHead
    # with center sampling, targets in strides, and centerness on the regression tower.
    "fcos": Dense("fcos", 0.5, Distance, 1.0, 1e-6, True, True, False),
}
