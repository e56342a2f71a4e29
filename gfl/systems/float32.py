"""mmdet's dense heads with their losses in float32 where autocast makes the outputs bfloat16.

Without autocast they are mmdet's to the bit. ``gfl.joint`` has RetinaNet's and FoveaBox's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gfl import ops
from gfl.losses import at_least_float32

ops.install()  # before mmdet, which imports mmcv's native operators

from mmdet.models.dense_heads import (  # noqa: E402
    ATSSHead,
    FCOSHead,
    FreeAnchorRetinaHead,
    FSAFHead,
)
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402


class Float32Outputs(BaseDenseHead):
    """Converts a head's outputs to float32; precedes mmdet's class among the bases."""

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], ...]:
        """Return each kind of output, such as logits or distances, of all levels."""
        head: Any = super()  # mmdet's
        return tuple([at_least_float32(level) for level in kind] for kind in head.forward(x))


@MODELS.register_module()
class Float32FSAFHead(Float32Outputs, FSAFHead):
    """mmdet's FSAFHead with its losses in float32."""


@MODELS.register_module()
class Float32FreeAnchorRetinaHead(Float32Outputs, FreeAnchorRetinaHead):
    """mmdet's FreeAnchorRetinaHead with its losses in float32."""


@MODELS.register_module()
class Float32FCOSHead(Float32Outputs, FCOSHead):
    """mmdet's FCOSHead with its losses in float32."""


@MODELS.register_module()
class Float32ATSSHead(Float32Outputs, ATSSHead):
    """mmdet's ATSSHead with its losses in float32."""
