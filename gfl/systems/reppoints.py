"""RepPoints' head as mmdet has it, but for bfloat16 in its points and losses under autocast."""

from __future__ import annotations

from jaxtyping import Float
from mmdet.models.dense_heads import RepPointsHead
from mmdet.registry import MODELS
from torch import Tensor

from gfl.losses import at_least_float32


@MODELS.register_module()
class Float32RepPointsHead(RepPointsHead):
    """mmdet's RepPointsHead with its losses and boxes in float32."""

    def forward_single(self, x: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B _ H W"], ...]:
        """Return one level's class logits and both point sets, at test the boxes for the sets."""
        return tuple(at_least_float32(level) for level in super().forward_single(x))
