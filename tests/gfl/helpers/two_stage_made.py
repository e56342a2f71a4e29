"""Two-stage systems and RepPoints at full size and small, and images for them, for their tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet.structures import DetDataSample
from mmdet_models import build
from mmengine.structures import InstanceData
from torch import Tensor, nn

from experiments.profiles import LAPTOP
from gfl.config import systems
from gfl.experiment import System

Config = dict[str, Any]

# Backbones of each method's rows.
ROWS: Mapping[str, Sequence[str]] = {
    method: list(systems.method_of(System(method, "r101")).rows)
    for method in ("faster-rcnn", "cascade-rcnn", "grid-rcnn", "libra-rcnn", "reppoints", "tsd")
}
CLASSES, SIZE = 8, 128  # of the laptop profile
# Objects of 20, 60 and 110 px, and one of another class.
BOXES = ((10.0, 10.0, 30.0, 30.0), (50.0, 20.0, 110.0, 80.0), (5.0, 15.0, 115.0, 125.0))


def full_size(method: str, backbone: str = "r101") -> Config:
    """Return the settings of a row's model, with random weights."""
    model = systems.published(System(method, backbone))["model"]
    model["backbone"]["init_cfg"] = None
    return model


def small(method: str, backbone: str = "r101") -> Config:
    """Return the settings of a row's model at the laptop profile."""
    return systems.detector(System(method, backbone), LAPTOP)


def made(config: Config, seed: int = 0) -> Any:
    """Build a model in channels_last, with the weights training would start from."""
    torch.manual_seed(seed)
    model = build(config)
    model.init_weights()
    return model.to(memory_format=torch.channels_last)


def detecting(model: Any, least: float) -> Any:
    """Set the least score of a model's detections; in place."""
    part = model.roi_head if hasattr(model, "roi_head") else model.bbox_head
    part.test_cfg["score_thr"] = least
    return model


def sure(model: Any) -> Any:
    """Give a model class scores far apart, all of them detections; in place."""
    detecting(model, 0.0)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            last = ("fc_cls.weight", "reppoints_cls_out.weight", "rpn_cls.weight")
            if name.endswith(last):
                nn.init.normal_(weights, 0.0, 1.0)
    return model.eval()


def images(
    objects: Sequence[int], classes: int = CLASSES, height: int = SIZE, width: int = SIZE
) -> tuple[list[Tensor], list[DetDataSample]]:
    """Draw an image with noise for each number of objects asked for."""
    random = torch.Generator().manual_seed(0)
    samples, shape = [], (height, width)
    for count in objects:
        sample = DetDataSample(
            metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        )
        boxes = torch.tensor(BOXES[:count]).reshape(-1, 4)
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.randint(classes, (count,), generator=random)
        )
        sample.ignored_instances = InstanceData(bboxes=boxes[:0])
        samples.append(sample)
    pictures = [torch.rand(3, *shape, generator=random) * 255 for _ in objects]
    return pictures, samples


def losses(model: Any, batch: tuple[list[Tensor], list[DetDataSample]]) -> dict[str, Tensor]:
    """Return the losses of a training step, without the accuracies that mmdet reports."""
    inputs, samples = batch
    data = {"inputs": inputs, "data_samples": copy.deepcopy(samples)}
    out = model(**model.data_preprocessor(data, training=True), mode="loss")
    return {
        name: value if isinstance(value, Tensor) else torch.stack(list(value)).sum()
        for name, value in out.items()
        if "loss" in name
    }


def detect(model: Any, batch: tuple[list[Tensor], list[DetDataSample]]) -> list[DetDataSample]:
    """Return the samples with a model's detections."""
    inputs, samples = batch
    with torch.no_grad():
        return model.eval().test_step({"inputs": inputs, "data_samples": copy.deepcopy(samples)})
