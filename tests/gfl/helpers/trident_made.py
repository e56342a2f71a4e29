"""TridentNet at full size, small, and plain Faster R-CNN of the same parts, for its tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from experiments.profiles import LAPTOP
from gfl.config import network
from gfl.config.systems.method import REMOVED, Config, Small, assign, bundled, changed
from gfl.config.systems.trident import METHOD
from gfl.experiment import Experiment

SIZE = 128  # px
CLASSES = 8
# Objects of 20, 60 and 110 px.
BOXES = ((10.0, 10.0, 30.0, 30.0), (50.0, 20.0, 110.0, 80.0), (5.0, 15.0, 115.0, 125.0))


def full_size(row: str) -> Config:
    """Return the settings of a row's model; random weights."""
    published = METHOD.rows[row]
    model = changed(bundled(published.bundled), published.differences)["model"]
    model["backbone"]["init_cfg"] = model["roi_head"]["shared_head"]["init_cfg"] = None
    return model


def small_network(depth: int, deformable: bool = False) -> Small:
    """Return the laptop's network: ResNet-18 of 32 channels, or bottlenecks of 16."""
    backbone = network.backbone(Experiment(), LAPTOP)
    channels = (32, 64, 128)
    if depth != 18:
        backbone |= {"depth": depth, "base_channels": 16, "stem_channels": 16}
        channels = (64, 128, 256)
    if deformable:
        backbone |= {"dcn": {"type": "DCNv2"}, "stage_with_dcn": (False, True, True)}
    return Small(backbone, {"type": "FPN"}, 32, 2, (4, 8, 16), CLASSES, SIZE, channels)


def small(
    depth: int = 18, deformable: bool = False, values: Mapping[str, Any] | None = None
) -> Config:
    """Return the settings of the laptop's version, with changed values below ``model``."""
    model = full_size("r101-dcn" if deformable else "r101")
    scale = small_network(depth, deformable)
    model |= {
        "backbone": scale.backbone,
        "neck": scale.neck,
        "data_preprocessor": network.preprocessor(Experiment(), LAPTOP),
    }
    for path, value in {**METHOD.small(scale), **(values or {})}.items():
        assign(model, path, value)
    return model


def plain(config: Config) -> Config:
    """Return mmdet's Faster R-CNN of a TridentNet's parts, with the plain ResNet."""
    config = copy.deepcopy(config)
    backbone = config["backbone"]
    for key in ("trident_dilations", "deform_units", "deform_groups", "branch_norm"):
        backbone.pop(key, None)
    stages = backbone["num_stages"]
    backbone |= {"type": "ResNet", "dilations": (1,) * stages, "out_indices": (stages - 1,)}
    for path, value in {
        "type": "FasterRCNN",
        "ranges": REMOVED,
        "range_unit": REMOVED,
        "rpn_head.type": "RPNHead",
        "roi_head.type": "StandardRoIHead",
        "roi_head.bbox_roi_extractor.type": "SingleRoIExtractor",
        "train_cfg.rpn.assigner.type": "MaxIoUAssigner",
    }.items():
        assign(config, path, value)
    return config


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Draw weights, so that boxes and scores differ; normalisations stay near the identity."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            drawn = torch.randn(weight.shape, generator=random)
            if weight.dim() == 1:
                weight.add_(0.1 * drawn)
            else:
                weight.copy_(drawn / weight[0].numel() ** 0.5)


def images(count: int, size: int = SIZE, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=random)


def samples(
    objects: Sequence[Sequence[Sequence[float]]],
    size: int = SIZE,
    scale_factor: tuple[float, float] = (1.0, 1.0),
) -> list[DetDataSample]:
    """Return samples of images of a size with boxes, labelled 0, 1, 2, ..."""
    found = []
    for i, boxes in enumerate(objects):
        sample = DetDataSample(
            metainfo={
                "img_id": i, "scale_factor": scale_factor,
                "img_shape": (size, size), "pad_shape": (size, size),
                "ori_shape": tuple(round(size / factor) for factor in scale_factor),
            }
        )  # fmt: skip
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.arange(len(boxes)) % CLASSES,
        )
        found.append(sample)
    return found


def total(losses: Mapping[str, Any]) -> Tensor:
    """Return the sum of a step's losses, without accuracies."""
    values = [v for k, v in losses.items() if "loss" in k]
    return sum((v if torch.is_tensor(v) else sum(v) for v in values), torch.zeros(()))
