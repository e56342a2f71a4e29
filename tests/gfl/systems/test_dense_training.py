"""Table 4's dense detectors train and predict: small ones in every method, SAPD at full width."""

from __future__ import annotations

import contextlib
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet_models import build, untrained
from mmengine.structures import InstanceData
from torch import Tensor, nn

from experiments.profiles import LAPTOP
from gfl.config.systems import detector, method_named, published
from gfl.experiment import System

DENSE = ("retinanet", "freeanchor", "foveabox", "fsaf", "fcos", "sapd", "atss")
ROWS = [System(name, backbone) for name in DENSE for backbone in method_named(name).rows]
SAPD = System("sapd", "r101")
Batch = dict[str, Any]


def built(settings: dict[str, Any]) -> Any:
    settings["backbone"]["init_cfg"] = None
    model = build(settings)
    torch.manual_seed(0)
    model.init_weights()
    return model


def images(model: Any, counts: tuple[int, ...], height: int, width: int, classes: int = 8) -> Batch:
    """Return a batch with that many objects in each image, as a loader hands it over."""
    random = torch.Generator().manual_seed(0)
    samples = []
    for count in counts:
        size = 12 + 40 * torch.rand(count, 2, generator=random)
        corner = torch.rand(count, 2, generator=random) * (torch.tensor([width, height]) - size)
        shape = (height, width)
        sample = DetDataSample(
            metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1),
            labels=torch.randint(classes, (count,), generator=random),
        )
        samples.append(sample)
    pixels = [
        torch.randint(256, (3, height, width), generator=random, dtype=torch.uint8) for _ in counts
    ]
    return model.data_preprocessor({"inputs": pixels, "data_samples": samples}, True)


def step(model: Any, batch: Batch) -> dict[str, Tensor]:
    """Compute the losses, summed over levels, and every parameter's gradient."""
    model.train()
    found = model.loss(batch["inputs"], batch["data_samples"])
    losses = {
        name: torch.stack([part.mean() for part in value]).sum()
        if isinstance(value, list)
        else value
        for name, value in found.items()
        if "loss" in name
    }
    torch.stack([*losses.values()]).sum().backward()
    return losses


@pytest.mark.parametrize("counts", [(3, 2), (0, 0)], ids=["objects", "no objects"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_a_small_detector_trains_and_predicts_in_channels_last(row, counts):
    model = built(detector(row, LAPTOP)).to(memory_format=torch.channels_last)
    batch = images(model, counts, 128, 128)
    batch["inputs"] = batch["inputs"].contiguous(memory_format=torch.channels_last)
    losses = step(model, batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert untrained(model) == []
    with torch.no_grad():
        found = model.eval().predict(batch["inputs"], batch["data_samples"])
    assert len(found) == 2
    assert all(len(one.pred_instances) <= 100 for one in found)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_small_sapd_trains_in_either_precision(half, soft):
    """Losses are float32 under autocast, and near those without it."""
    model = built(detector(SAPD, LAPTOP))
    model.bbox_head.is_soft = soft
    batch = images(model, (3, 0, 2), 128, 128)
    whole = {name: loss.item() for name, loss in step(model, batch).items()}
    assert whole.keys() == {"loss_cls", "loss_bbox", "loss_meta"}
    model.zero_grad()
    context = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    with context:
        losses = step(model, batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert untrained(model) == []
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(whole[name], rel=0.05 if half else 0), name


@pytest.mark.parametrize("soft", [False, True])
def test_a_state_dict_goes_round(soft, tmp_path):
    """The stage is no part of it: the same weights are FSAF's at test."""
    settings = detector(SAPD, LAPTOP)
    model = built(settings)
    model.bbox_head.is_soft = soft
    batch = images(model, (3, 0, 2), 128, 128)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    other = built(settings)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    state = torch.load(tmp_path / "weights.pth", weights_only=True)
    other.load_state_dict(state)
    other.bbox_head.is_soft = soft
    one, two = (step(m, batch) for m in (model, other))
    assert one == two
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert mine.requires_grad == theirs.requires_grad
        assert torch.equal(mine.grad, theirs.grad) if mine.requires_grad else mine.grad is None
    stock = built(detector(System("fsaf", "r101"), LAPTOP))
    bare = {name: value for name, value in state.items() if ".meta." not in name}
    assert stock.state_dict().keys() == bare.keys()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["r101", "x101-32x4d-dcn"])
def test_sapd_trains_at_full_width(backbone):
    model = built(published(System("sapd", backbone))["model"])
    batch = images(model, (2,), 128, 160, classes=80)
    model.bbox_head.is_soft = True
    losses = step(model, batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert untrained(model) == []
    with torch.no_grad():
        (found,) = model.eval().predict(batch["inputs"], batch["data_samples"])
    assert len(found.pred_instances) == 0  # of scores of 0.01
