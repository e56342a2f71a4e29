"""Table 4's five GFL rows: mmdet's own networks and schedule, and trainable as they are built."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmdet
import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.structures import DetDataSample
from mmdet_models import build
from mmengine.config import Config
from mmengine.structures import InstanceData

from experiments.named import GFL
from experiments.profiles import COCO, GPU, LAPTOP, PHOTOS
from experiments.tables import catalogue
from gfl import config
from gfl.config import schedule_of, table4
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile, at_scale

STOCK = Path(mmdet.__file__).parent / ".mim/configs/gfl"
ROWS = {
    cell.row.marks[0]: cell.experiment
    for cell in catalogue.find("table-4").cells()
    if isinstance(cell.experiment, Experiment)
}
FILES = {
    "R-50": "gfl_r50_fpn_ms-2x_coco.py",
    "R-101": "gfl_r101_fpn_ms-2x_coco.py",
    "X-101-32x4d": "gfl_x101-32x4d_fpn_ms-2x_coco.py",
    "R-101-DCN": "gfl_r101-dconv-c3-c5_fpn_ms-2x_coco.py",
    "X-101-32x4d-DCN": "gfl_x101-32x4d-dconv-c4-c5_fpn_ms-2x_coco.py",
}
# The authors' code has version 2 in stages c3 to c5 of both; mmdet's configurations do not.
DEFORMABLE = {
    "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False},
    "stage_with_dcn": [False, True, True, True],
}


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("printed", ROWS)
def test_it_is_mmdets_own_configuration(printed: str) -> None:
    theirs = Config.fromfile(STOCK / FILES[printed]).to_dict()
    ours = plain(config.build(ROWS[printed], COCO, 0))
    expected = plain(theirs["model"]["backbone"])
    if printed.endswith("DCN"):
        assert expected.keys() > DEFORMABLE.keys()
        expected |= DEFORMABLE
    found = ours["model"]["backbone"]
    assert {key: found[key] for key in expected} == expected
    # The rest are the published network's.
    assert {k: v for k, v in found.items() if k not in expected} == {
        "base_channels": 64,
        "stem_channels": 64,
        "strides": [1, 2, 2, 2],
        "dilations": [1, 1, 1, 1],
    }
    assert ours["model"]["neck"] == plain(theirs["model"]["neck"])
    assert ours["param_scheduler"] == plain(theirs["param_scheduler"])
    assert ours["train_cfg"]["max_epochs"] == theirs["train_cfg"]["max_epochs"] == 24
    assert ours["optim_wrapper"]["optimizer"] == plain(theirs["optim_wrapper"]["optimizer"])
    steps = plain(theirs["train_dataloader"]["dataset"]["pipeline"])
    steps[0].pop("backend_args")
    first, *others = ours["train_dataloader"]["dataset"]["pipeline"]
    assert first == {"type": "SeedAugmentation"}  # ours, so that runs go on as they were
    assert others == steps
    testing = config.build(Experiment(), COCO, 0)["val_dataloader"]
    assert ours["val_dataloader"] == plain(testing)  # a single scale


def test_it_is_as_long_as_its_schedule_says() -> None:
    twice = schedule_of(ROWS["R-50"], COCO)
    assert (twice.epochs, twice.milestones) == (24, (16, 22))
    assert schedule_of(Experiment(), COCO) == COCO.schedule


@pytest.mark.parametrize("factor", [{"backbone": "r101"}, {"lasting": "2x-ms"}])
@pytest.mark.parametrize("profile", [PHOTOS, GPU])
def test_a_profile_without_a_network_for_it_is_refused(
    factor: dict[str, Any], profile: Profile
) -> None:
    with pytest.raises(UserError, match=f"the {profile.name} profile has none for it"):
        config.build(Experiment(**factor), profile, 0)


def test_a_doubled_schedule_is_refused_where_all_systems_see_the_same_images() -> None:
    with pytest.raises(UserError, match="all systems see the same images"):
        config.build(Experiment(lasting="2x-ms"), LAPTOP, 0)


def test_at_a_small_scale_a_row_is_the_run_of_the_profiles_own_schedule() -> None:
    assert at_scale(ROWS["R-50"], LAPTOP) == GFL
    assert at_scale(ROWS["R-50"], COCO) == ROWS["R-50"]


@pytest.mark.parametrize("name", ["r101", "x101-32x4d", "x101-64x4d", "x101-32x8d"])
def test_a_small_backbone_has_the_published_proportions(name: str) -> None:
    """Width of the 3 x 3 convolutions over the planes: 1 for R-101, 2, 4 and 4 for X-101."""
    small = table4.small_backbone(name, LAPTOP.model, 3)
    planes = small["base_channels"]
    groups, width = small.get("groups", 1), small.get("base_width", planes)
    widths = groups * math.floor(planes * width / planes)
    expected = {"r101": 1, "x101-32x4d": 2, "x101-64x4d": 4, "x101-32x8d": 4}
    assert widths == expected[name] * planes


@pytest.mark.parametrize("printed", ROWS)
def test_it_trains_at_its_full_size(printed: str) -> None:
    """Forward and backward of one small image with one object."""
    settings = copy.deepcopy(config.build(ROWS[printed], COCO, 0)["model"])
    settings["backbone"]["init_cfg"] = None  # no download
    torch.manual_seed(0)
    model = build(settings)
    model.train()
    size = (64, 64)
    sample = DetDataSample(
        metainfo={"img_shape": size, "pad_shape": size, "batch_input_shape": size}
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 12.0, 50.0, 58.0]]), labels=torch.tensor([3])
    )
    losses = model.loss(torch.randn(1, 3, *size), [sample])
    assert losses.keys() == {"loss_cls", "loss_bbox", "loss_dfl"}
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    # mmdet freezes the stem and the first stage of a network that knows ImageNet.
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    for name, parameter in model.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    deformable = [n for n, m in model.named_modules() if isinstance(m, ModulatedDeformConv2dPack)]
    stages = {2: 4, 3: 23, 4: 3} if printed.endswith("DCN") else {}  # of 4, 23 and 3 blocks
    assert {i: sum(f"layer{i}." in n for n in deformable) for i in stages} == stages
    assert len(deformable) == sum(stages.values())
