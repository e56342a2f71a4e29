"""Two-stage systems and RepPoints at full size and small, and images for them, for their tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from experiments.profiles import LAPTOP
from gfl.config import network
from gfl.config.systems import reppoints, tsd
from gfl.config.systems.method import Config, Method, Small, assign, bundled, changed
from gfl.config.systems.two_stage import CASCADE_RCNN, FASTER_RCNN, GRID_RCNN, LIBRA_RCNN
from gfl.experiment import Experiment

METHODS: Mapping[str, Method] = {
    method.title: method
    for method in (
        FASTER_RCNN, CASCADE_RCNN, GRID_RCNN, LIBRA_RCNN, reppoints.METHOD, tsd.METHOD,
    )
}  # fmt: skip
CLASSES, SIZE = 8, 128
SMALL = Small(
    backbone=network.backbone(Experiment(), LAPTOP),
    neck={"type": "FPN", "in_channels": [32, 64, 128], "out_channels": 32, "num_outs": 3},
    channels=32,
    stacked_convs=2,
    strides=(4, 8, 16),
    classes=CLASSES,
    size=SIZE,
    backbone_channels=(32, 64, 128),
)
# Objects of 20, 60 and 110 px, and one of another class.
BOXES = ((10.0, 10.0, 30.0, 30.0), (50.0, 20.0, 110.0, 80.0), (5.0, 15.0, 115.0, 125.0))


def full_size(title: str, row: str) -> Config:
    """Return the settings of a row's model, with random weights."""
    published = METHODS[title].rows[row]
    model = changed(bundled(published.bundled), published.differences)["model"]
    model["backbone"]["init_cfg"] = None
    return model


def small(title: str, row: str = "r101", values: Mapping[str, Any] | None = None) -> Config:
    """Return the settings of the laptop's version, with changed values below ``model``."""
    model = full_size(title, row) | {
        "backbone": SMALL.backbone,
        "neck": SMALL.neck,
        "data_preprocessor": network.preprocessor(Experiment(), LAPTOP),
    }
    for path, value in {**METHODS[title].small(SMALL), **(values or {})}.items():
        assign(model, path, value)
    return model


def build(config: Config) -> Any:
    """Build a model of mmdet's registry."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(copy.deepcopy(config)))


def made(config: Config, seed: int = 0) -> Any:
    """Build a model in channels_last, with the weights training would start from."""
    torch.manual_seed(seed)
    model = build(config)
    model.init_weights()
    return model.to(memory_format=torch.channels_last)


def sure(model: Any) -> Any:
    """Give a model class scores far apart, so that it detects; in place."""
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
