"""Mixed precision without a loss scaler: bfloat16 has float32's range."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 natively; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()  # torch has no public API for it


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """mmengine's wrapper with the forward pass under autocast, on CPU and CUDA.

    mmengine's own ``AmpOptimWrapper`` rejects a machine without an accelerator. ``precision`` is
    a request: a device without bfloat16 trains in float32.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        precision: str,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(optimizer, clip_grad=clip_grad)
        self.wants_bfloat16 = precision == "bfloat16"

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass."""
        device = next(model.parameters()).device
        enabled = self.wants_bfloat16 and computes_bfloat16(device)
        with (
            super().optim_context(model),
            torch.autocast(device.type, torch.bfloat16, enabled=enabled),
        ):
            yield
