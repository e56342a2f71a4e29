"""Small corner detectors, images, and heat maps that say exactly where given boxes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import mmdet_models
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.config.systems import centernet, corners
from gfl.config.systems.method import Config, Method, Small, assign, bundled, changed
from gfl.systems.keypoints import Keypoints

METHODS = {
    "cornernet": corners.CORNERNET,
    "centernet": centernet.METHOD,
    "centripetalnet": corners.CENTRIPETALNET,
}
CLASSES, SIZE = 8, 128
PREPROCESSOR = {
    "type": "DetDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_size_divisor": 32,
}
CERTAIN = 30.0  # a logit; its sigmoid is 1 in float32


def published(method: str, backbone: str) -> Config:
    """Return a row's configuration at full size."""
    row = METHODS[method].rows[backbone]
    return changed(bundled(row.bundled), row.differences)


def small(method: Method, stacks: int, size: int = SIZE, classes: int = CLASSES) -> Config:
    """Return the model of a method's small version."""
    row = next(iter(method.rows.values()))
    model = changed(bundled(row.bundled), row.differences)["model"]
    backbone = corners.hourglass(stacks)
    profile = Small(backbone, {}, 32, 2, (4, 8, 16), classes, size, (32,) * stacks)
    model |= {"backbone": backbone, "neck": {}, "data_preprocessor": PREPROCESSOR}
    for path, value in method.small(profile).items():
        assign(model, path, value)
    return model


def build(model: Config, seed: int = 0) -> Any:
    """Return the model with its weights as constructed."""
    torch.manual_seed(seed)
    return mmdet_models.build(model)


def samples(
    boxes: Sequence[Sequence[Sequence[float]]],
    labels: Sequence[Sequence[int]],
    size: tuple[int, int] = (SIZE, SIZE),
) -> list[DetDataSample]:
    """Return a sample for each image, all of one size, with its objects."""
    result = []
    for some, theirs in zip(boxes, labels, strict=True):
        meta = {"img_shape": size, "batch_input_shape": size, "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(some, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(theirs, dtype=torch.int64),
        )
        result.append(sample)
    return result


def batch(
    counts: Sequence[int], size: int = SIZE, classes: int = CLASSES, seed: int = 0
) -> tuple[Tensor, list[Any]]:
    """Return random images, with the given numbers of random objects."""
    random = torch.Generator().manual_seed(seed)
    boxes, labels = [], []
    for count in counts:
        extent = size * (0.1 + 0.5 * torch.rand(count, 2, generator=random))
        corner = torch.rand(count, 2, generator=random) * (size - 1 - extent)
        boxes.append(torch.cat([corner, corner + extent], -1).tolist())
        labels.append(torch.randint(classes, (count,), generator=random).tolist())
    images = torch.randn(len(counts), 3, size, size, generator=random)
    return images, samples(boxes, labels, (size, size))


# Size of the weights of the last convolutions of corner heads, by a part of their names: scores
# short of 0 and 1, offsets within a cell, tags that agree, and objects' centers 4 cells away.
LAST = {"heat": 0.2, "off": 0.05, "tag": 0.0, "emb": 0.0, "guiding": 0.05, "centripetal": 0.0}
SHIFT = 1.4  # log of cells


def varied(model: Any, seed: int = 1) -> Any:
    """Return the detector with weights with which it finds objects in noise."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=random)
                parameter.copy_(1.5 * noise / parameter[0].numel() ** 0.5)
                if name.endswith((".1.weight", ".1.conv.weight")) and parameter.shape[-1] == 1:
                    parameter *= next((s for part, s in LAST.items() if part in name), 1.0)
            elif "bn" not in name:
                parameter.fill_(SHIFT if "centripetal_shift" in name else 0.0)
    return model


def exact_maps(
    points: Tensor, labels: Tensor, tags: Tensor | None, classes: int = CLASSES, stride: int = 4
) -> Keypoints:
    """Return maps of one image that are certain of points, px, and of nothing else."""
    cells = SIZE // stride
    heat = torch.full((1, classes, cells, cells), -CERTAIN)
    offset = torch.zeros(1, 2, cells, cells)
    tag = None if tags is None else torch.zeros(1, 1, cells, cells)
    for i, (point, label) in enumerate(zip(points / stride, labels.tolist(), strict=True)):
        x, y = (int(value) for value in point)
        heat[0, label, y, x] = CERTAIN
        offset[0, :, y, x] = point - point.floor()
        if tag is not None and tags is not None:
            tag[0, 0, y, x] = tags[i]
    return Keypoints(heat, offset, tag)
