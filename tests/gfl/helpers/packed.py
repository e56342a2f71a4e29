"""Detectors of every declared experiment, and batches as a data loader leaves them: on the host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import MODELS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from experiments.tables import catalogue
from gfl import config
from gfl.experiment import AnyExperiment, Experiment, Profile, at_scale

SIZE = (128, 160)  # height and width, px
BOXES = ((10, 10, 60, 60), (30, 40, 100, 110), (5, 5, 20, 30))  # xyxy, px
INITIAL = ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "xavier_uniform_")


def experiments() -> dict[str, Experiment]:
    """The distinct experiments of Tables 1 to 3, by name."""
    tables = [table for table in catalogue.TABLES.values() if table.name != "table-4"]
    found = {cell.experiment for table in tables for cell in table.cells()}
    return {e.slug: e for e in sorted(found, key=lambda e: e.slug) if isinstance(e, Experiment)}


def systems() -> dict[str, AnyExperiment]:
    """Table 4's rows, by name."""
    rows = catalogue.TABLES["table-4"].rows
    return {row.key: row.experiment for row in rows if row.experiment is not None}


def built(experiment: AnyExperiment, profile: Profile) -> nn.Module:
    """Build a detector on the host; its weights are whatever the memory holds."""
    model = ConfigDict(config.build(at_scale(experiment, profile), profile, 0)["model"])
    with _uninitialised(), DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(_without_weights(model))


@contextlib.contextmanager
def _uninitialised() -> Iterator[None]:
    """Leave weights as they are allocated: drawing those of all detectors takes minutes."""
    with contextlib.ExitStack() as stack:
        for name in INITIAL:
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def _without_weights(value: Any) -> Any:
    """Replace pretrained weights by none: nothing is downloaded."""
    if isinstance(value, Mapping):
        kept = {k: _without_weights(v) for k, v in value.items()}
        return None if kept.get("type") == "Pretrained" else ConfigDict(kept)
    return [_without_weights(v) for v in value] if isinstance(value, list) else value


def packed(images: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """Return a batch of images of height and width, px, with three objects, two, ... each."""
    samples = [_sample(i, len(BOXES) - i, size) for i in range(images)]
    return {key: [one[key] for one in samples] for key in ("inputs", "data_samples")}


def _sample(index: int, objects: int, size: tuple[int, int]) -> dict[str, Any]:
    boxes = torch.tensor(BOXES[:objects], dtype=torch.float32)
    return PackDetInputs()({
        "img": np.zeros((*size, 3), np.uint8),
        "img_id": index,
        "img_path": "",
        "ori_shape": size,
        "img_shape": size,
        "scale_factor": (1.0, 1.0),
        "flip": False,
        "flip_direction": None,
        "gt_bboxes": HorizontalBoxes(boxes),
        "gt_bboxes_labels": np.zeros(objects, np.int64),
        "gt_ignore_flags": np.zeros(objects, bool),
    })  # fmt: skip
