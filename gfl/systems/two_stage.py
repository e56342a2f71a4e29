"""What mmdet's two-stage detectors get wrong under autocast: regions and losses in bfloat16.

bfloat16 has 8 binary digits: a region's corner at 300 px is rounded to an even number. Each class
here equals mmdet's bit for bit in float32 and has its parameters' names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

from gfl.losses import at_least_float32


@MODELS.register_module()
class Float32RPNHead(RPNHead):
    """mmdet's RPNHead with its losses and proposals in float32."""

    def forward_single(
        self, x: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B A H W"], Float[Tensor, "B A4 H W"]]:
        """Return one level's objectness logits and box deltas."""
        scores, deltas = super().forward_single(x)
        return at_least_float32(scores), at_least_float32(deltas)


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor with features and regions in float32.

    mmdet gives the regions the features' dtype, with float16 in mind.
    """

    def forward(
        self,
        feats: Sequence[Float[Tensor, "B C _ _"]],
        rois: Float[Tensor, "R 5"],
        roi_scale_factor: float | None = None,
    ) -> Float[Tensor, "R C h w"]:
        """Return the features of regions (index of the image, then xyxy in px)."""
        features: Any = tuple(at_least_float32(level) for level in feats)
        return super().forward(features, at_least_float32(rois), roi_scale_factor)


@MODELS.register_module()
class Float32BBoxHead(Shared2FCBBoxHead):
    """mmdet's Shared2FCBBoxHead with its losses and boxes in float32."""

    def forward(
        self, x: Float[Tensor, "R C h w"]
    ) -> tuple[Float[Tensor, "R classes"], Float[Tensor, "R _"] | None]:
        """Return class logits, the background's last, and box deltas (None without them)."""
        scores, deltas = super().forward(x)  # pyright: ignore[reportArgumentType]
        return at_least_float32(scores), None if deltas is None else at_least_float32(deltas)
