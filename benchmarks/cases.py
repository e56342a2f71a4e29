"""Timed steps: from a head's outputs through its losses and back.

The towers' convolutions are the same code in both heads and are excluded: both get the same
output tensors, drawn at random, and the same objects.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmdet
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from gfl.assign import atss, fcos, pad_boxes
from gfl.boxes import PriorGenerator, anchors_at
from gfl.head import AblationHead
from gfl.hosts import dense

CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
STOCK = {
    "GFLHead": "gfl/gfl_r50_fpn_1x_coco.py",
    "ATSSHead": "atss/atss_r50_fpn_1x_coco.py",
    "FCOSHead": "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
}
BASELINE = {"quality": "centerness-branch", "boxes": "dirac", "dfl": False}
OURS: dict[str, dict[str, Any]] = {
    "GFLHead": {
        "quality": "joint", "boxes": "general", "dfl": True, "n": 16, "delta": 1.0, "beta": 2.0,
    },
    "ATSSHead": BASELINE,
    "FCOSHead": BASELINE | {"host": "fcos"},
}  # fmt: skip
CHANNELS = {"GFLHead": 68, "ATSSHead": 4, "FCOSHead": 4}  # of the box predictions
CLASSES = 80
FEATURES = 32  # of the towers, built but never run
STRIDES = (8, 16, 32, 64, 128)
DIVISOR = 32  # images are padded to a multiple of this
AGREEMENT = 1e-4  # allowed relative difference of the losses

Losses = dict[str, Tensor]
Step = Callable[[], tuple[Losses, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Case:
    """One line of the table; an image is (height, width) in px before padding."""

    head: str  # a key of STOCK
    batch: int
    objects: int  # per image
    image: tuple[int, int] = (800, 1333)
    device: str = "cpu"


def steps(case: Case) -> tuple[Step, Step]:
    """Return a forward and backward step for our head and the stock one, on one batch."""
    outputs, objects = _outputs(case), _objects(case)
    metas = [{"img_shape": case.image, "pad_shape": _padded(case)}] * case.batch
    ours = AblationHead(
        CLASSES, FEATURES, FEATURES, 1, STRIDES, **OURS[case.head], train_cfg={}, test_cfg=None
    ).to(case.device)
    stock = _stock(case.head).to(case.device)
    # Our head takes None in place of a missing quality branch; stock has no such argument.
    all_outputs = outputs if len(outputs) == 3 else [*outputs, None]
    leaves = [level for levels in outputs for level in levels]

    def step(head: nn.Module, given: list[Any]) -> tuple[Losses, tuple[Tensor, ...]]:
        by_level = head.loss_by_feat(*given, objects, metas)  # type: ignore[operator]
        losses = summed(by_level)
        total: Any = sum(losses.values())
        gradients = torch.autograd.grad(total, leaves)
        return {k: v.detach() for k, v in losses.items()}, gradients

    return lambda: step(ours, all_outputs), lambda: step(stock, outputs)


def summed(by_level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a head's losses, each over all levels."""
    return {k: sum(v) if isinstance(v, list) else v for k, v in by_level.items()}


def check(ours: Losses, stock: Losses, rtol: float = AGREEMENT, atol: float = 0.0) -> None:
    """Assert that the two heads' losses agree, apart from known differences in names."""
    renamed = {k.replace("centerness", "quality"): v for k, v in stock.items()}
    assert ours.keys() == renamed.keys(), (ours, stock)
    for name, value in ours.items():
        torch.testing.assert_close(value, renamed[name], rtol=rtol, atol=atol)


def assignment(case: Case) -> Callable[[], Tensor]:
    """Return our assignment alone: ATSS, or FCOS for FCOSHead."""
    # No outputs: they would raise peak memory before the assignment begins.
    objects = _objects(case)
    host = dense("fcos" if case.head == "FCOSHead" else "atss")
    levels = PriorGenerator(STRIDES, host.offset).grid_priors(_sizes(case), device=case.device)
    priors, sizes = torch.cat(levels), [len(level) for level in levels]
    boxes, real = pad_boxes([image.bboxes for image in objects])
    if host.assigner == "fcos":
        radius = host.assignment["radius"]
        return lambda: fcos(priors, sizes, boxes, real, radius)
    anchors = anchors_at(priors)
    valid = torch.ones(case.batch, len(priors), dtype=torch.bool, device=case.device)
    topk = host.assignment["topk"]
    return lambda: atss(anchors, sizes, valid, boxes, real, topk)


def quiet() -> None:
    """Suppress warnings of mmdet's own code; they affect no result."""
    warnings.filterwarnings("ignore", "DeprecationWarning: `num_anchors`", UserWarning)
    warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)


def _stock(name: str) -> nn.Module:
    """Return mmdet's head with its own configuration of the published detector."""
    model = Config.fromfile(CONFIGS / STOCK[name]).model
    tower = {"in_channels": FEATURES, "feat_channels": FEATURES, "stacked_convs": 1}
    rest = {"train_cfg": model.get("train_cfg"), "test_cfg": model.test_cfg}
    return MODELS.build(model.bbox_head | tower | rest)


def _padded(case: Case) -> tuple[int, int]:
    height, width = (-(-side // DIVISOR) * DIVISOR for side in case.image)
    return height, width


def _sizes(case: Case) -> list[tuple[int, int]]:
    height, width = _padded(case)
    return [(-(-height // stride), -(-width // stride)) for stride in STRIDES]


def _outputs(case: Case) -> list[list[Tensor]]:
    """Draw outputs of a head at initialisation: scores about 0.01."""
    random = torch.Generator().manual_seed(0)

    def draw(channels: int) -> list[Tensor]:
        shapes = [(case.batch, channels, *size) for size in _sizes(case)]
        return [torch.randn(shape, generator=random) for shape in shapes]

    outputs = [[level.sub_(4.6) for level in draw(CLASSES)]]
    # FCOSHead's forward clips negative distances; ours clips them later, at the positives.
    boxes = draw(CHANNELS[case.head])
    outputs.append([level.abs_() for level in boxes] if case.head == "FCOSHead" else boxes)
    if case.head != "GFLHead":
        outputs.append(draw(1))
    return [[x.to(case.device).requires_grad_() for x in levels] for levels in outputs]


def draw_objects(
    count: int, image: tuple[int, int], classes: int, random: torch.Generator
) -> InstanceData:
    """Draw an image's objects, with sides from 16 px to 0.8 of the image's."""
    height, width = image
    extent = torch.tensor([width, height])
    size = 16 * (0.8 * extent / 16) ** torch.rand(count, 2, generator=random)
    corner = torch.rand(count, 2, generator=random) * (extent - size)
    labels = torch.randint(classes, (count,), generator=random)
    return InstanceData(bboxes=torch.cat([corner, corner + size], -1), labels=labels)


def _objects(case: Case) -> list[Any]:
    random = torch.Generator().manual_seed(1)
    drawn = (draw_objects(case.objects, case.image, CLASSES, random) for _ in range(case.batch))
    return [objects.to(case.device) for objects in drawn]
