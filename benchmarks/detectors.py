"""Pictures that detectors are timed on, and a detector's size: parameters, multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
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
    model = _build(experiment, profile).to("meta").eval()
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


def _build(experiment: Experiment, profile: Profile) -> Any:
    wanted = Config(config.build(experiment, profile, SEED)).model
    wanted.backbone.init_cfg = None  # nothing is downloaded
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(wanted)
