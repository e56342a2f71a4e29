"""Pictures that detectors are timed on, and a detector's size: parameters, multiply-adds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gfl import config
from gfl.experiment import Experiment, Profile
from gfl.shapes import embedded

SEED = 0
CONVOLUTION = torch.ops.aten.convolution

Picture = np.ndarray  # uint8 [height, width, 3], RGB


@dataclass(frozen=True)
class Size:
    """Counts; multiply-adds are those of convolutions, next to which all others are negligible."""

    head_parameters: int
    parameters: int
    head_multiply_adds: int
    multiply_adds: int


def draw_pictures(profile: Profile, count: int, size: tuple[int, int]) -> list[Picture]:
    """Return the first images of the embedded validation set, or noise of height and width."""
    if profile.dataset is not None:
        spec = replace(profile.dataset, val=max(count, profile.dataset.val))
        return [embedded.render(spec, "val", index)[0] for index in range(count)]
    random = np.random.default_rng(SEED)
    return [random.integers(256, size=(*size, 3), dtype=np.uint8) for _ in range(count)]


@torch.no_grad()
def size(experiment: Experiment, profile: Profile, image: tuple[int, int]) -> Size:
    """Count a detector at an image of this height and width, without computing anything."""
    model = build(config.build(experiment, profile, SEED)["model"]).to("meta").eval()
    picture = torch.empty(1, 3, *_padded(model, image), device="meta")
    with FlopCounterMode(display=False) as counter:
        model.bbox_head(model.extract_feat(picture))
    flops, head = counter.get_flop_counts(), model.bbox_head
    in_head, in_all = (flops[name][CONVOLUTION] // 2 for name in (type(head).__name__, "Global"))
    return Size(_parameters(head), _parameters(model), in_head, in_all)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _padded(model: Any, image: tuple[int, int]) -> tuple[int, int]:
    divisor = model.data_preprocessor.pad_size_divisor
    height, width = (-(-side // divisor) * divisor for side in image)
    return height, width


def build(settings: Mapping[str, Any]) -> Any:
    """Build a detector of mmdet's registry, with random weights."""
    wanted = _without_weights(copy.deepcopy(dict(settings)))
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(wanted))


def _without_weights(value: Any) -> Any:
    """Replace pretrained weights by none: nothing is downloaded."""
    if isinstance(value, dict):
        if value.get("type") == "Pretrained":
            return None
        return {key: _without_weights(one) for key, one in value.items()}
    return [_without_weights(one) for one in value] if isinstance(value, list) else value
