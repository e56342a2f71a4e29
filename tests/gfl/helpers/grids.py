"""What the tests of the losses are drawn over."""

from __future__ import annotations

import torch
from torch import Tensor

BETAS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 4.0]


def grid(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Every logit with every target."""
    z, y = torch.meshgrid(logits, targets, indexing="ij")
    return z.flatten(), y.flatten()


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), x)[0]
