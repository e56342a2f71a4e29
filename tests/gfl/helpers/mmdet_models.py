"""Models of mmdet's registry, ours among them, and what tests ask of any."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn


def build(config: Mapping[str, Any]) -> Any:
    """Build a model of its settings, which stay as they are."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(copy.deepcopy(config)))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def untrained(model: nn.Module) -> list[str]:
    """Name the trainable parameters without a finite gradient."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
