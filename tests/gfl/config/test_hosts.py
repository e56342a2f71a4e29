"""The other hosts' configurations: mmdet's own on COCO, theirs in proportion elsewhere."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmengine.config import Config

import gfl.register  # noqa: F401  before mmdet's registries are asked

# isort: split
from mmdet.models.task_modules.prior_generators import SSDAnchorGenerator
from mmdet.registry import MODELS
from mmdet_models import build

from experiments.profiles import COCO, GPU, LAPTOP, PROFILES, get
from gfl import config
from gfl.config import schedule_of, ssd
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.hosts import HOSTS, HostName

PUBLISHED = {
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "foveabox": "foveabox/fovea_r50_fpn_4xb4-1x_coco.py",
    "ssd512": "ssd/ssd512_coco.py",
}
MACHINES = ("data_root", "backend_args", "num_workers", "persistent_workers", "drop_last")


def published(host: str) -> dict[str, Any]:
    """mmdet's own configuration, without what is a machine's."""
    file = Path(mmdet.__file__).parent / ".mim/configs" / PUBLISHED[host]
    return plain(Config.fromfile(file).to_dict())


def plain(value: Any) -> Any:
    """Return lists for tuples, and leave out what may differ between machines."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in MACHINES}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def resolved(host: HostName) -> dict[str, Any]:
    return plain(config.build(Experiment(host=host, quality="none"), COCO, 0))


def test_the_plain_model_is_mmdets_configuration(host):
    ours, stock = resolved(host)["model"], published(host)["model"]
    backbone = MODELS.get(f"mmdet.{stock['backbone']['type']}")
    assert backbone is not None
    defaults = {
        name: plain(parameter.default)
        for name, parameter in inspect.signature(backbone.__init__).parameters.items()
    }
    # Of ours, what the embedded scales vary is spelled out: on COCO it is mmdet's default.
    ours["backbone"] = {
        key: value
        for key, value in ours["backbone"].items()
        if key in stock["backbone"] or not is_default(key, value, defaults)
    }
    if host == "ssd512":  # mmdet's own cannot predict
        assert ours["bbox_head"].pop("type") == "PlainSSDHead"
        assert stock["bbox_head"].pop("type") == "SSDHead"
    assert ours == stock


def is_default(key: str, value: Any, defaults: dict[str, Any]) -> bool:
    if key == "stem_channels":  # by default as many as the first stage has
        return value == defaults["base_channels"]
    return value == defaults[key]


def test_the_plain_schedule_is_mmdets_configuration(host):
    """But for the class of the wrapper, which computes in float32 here as there."""
    ours, stock = resolved(host), published(host)
    assert ours["optim_wrapper"].pop("precision") == "float32"
    assert ours["optim_wrapper"]["optimizer"] == stock["optim_wrapper"]["optimizer"]
    assert ours["optim_wrapper"].keys() == stock["optim_wrapper"].keys()
    repeated = 1
    if host == "ssd512":  # five passes over COCO are one epoch there and five here
        repeated = stock["train_dataloader"]["dataset"]["times"]
        steps = stock["param_scheduler"][1]
        steps["milestones"] = [repeated * epoch for epoch in steps["milestones"]]
        steps["end"] *= repeated
        for key in ("max_epochs", "val_interval"):
            stock["train_cfg"][key] *= repeated
    assert ours["param_scheduler"] == stock["param_scheduler"]
    assert ours["train_cfg"] == stock["train_cfg"]
    devices = {"retinanet": 8, "foveabox": 4, "ssd512": 8}[host]  # 4xb4; others by default
    batch = ours["train_dataloader"]["batch_size"] * COCO.gpus
    assert batch == stock["train_dataloader"]["batch_size"] * devices


def test_the_plain_images_are_mmdets_configuration(host):
    ours, stock = resolved(host), published(host)
    for split in ("train", "val"):
        mine, theirs = ours[f"{split}_dataloader"], stock[f"{split}_dataloader"]
        if host == "ssd512" and split == "train":
            theirs["dataset"] = theirs["dataset"]["dataset"]
        # What draws the same whatever process loads it is ours.
        steps = [s for s in mine["dataset"]["pipeline"] if s["type"] != "SeedAugmentation"]
        assert mine["dataset"] | {"pipeline": steps} == theirs["dataset"]
        assert mine["batch_sampler"] == theirs.get("batch_sampler")


def test_joint_changes_the_head_and_its_loss_alone(host):
    for profile in PROFILES.values():
        plainly, joint = (
            config.build(Experiment(host=host, quality=quality, beta=1.5), profile, 0)
            for quality in ("none", "joint")
        )
        head = joint["model"]["bbox_head"]
        loss = {"type": "JointLoss", "use_sigmoid": True, "beta": 1.5}
        assert head["type"].startswith("Joint")
        assert head["loss_cls"] == loss
        same = plainly["model"]["bbox_head"]
        for key in ("type", "loss_cls"):
            head.pop(key)
            same.pop(key, None)
        assert plainly == joint


def test_where_there_is_no_qfl_beta_is_not_in_the_configuration(host):
    one, other = (Experiment(host=host, quality="none", beta=beta) for beta in (2.0, 1.0))
    assert config.build(one, LAPTOP, 0) == config.build(other, LAPTOP, 0)


def test_an_embedded_host_has_the_profiles_schedule_and_images(host):
    atss = config.build(Experiment(), LAPTOP, 0)
    theirs = config.build(Experiment(host=host, quality="none"), LAPTOP, 0)
    assert {k for k in atss if atss[k] != theirs[k]} == {"model"}
    assert atss["model"]["data_preprocessor"] == theirs["model"]["data_preprocessor"]
    mine, same = theirs["model"]["backbone"], atss["model"]["backbone"]
    assert mine | {"out_indices": same["out_indices"]} == same


@pytest.mark.parametrize("profile", [LAPTOP, GPU], ids=lambda profile: profile.name)
def test_an_embedded_ssds_anchors_are_ssd512s_in_proportion(profile):
    """From SSD512's second level on, rounded down to pixels as mmdet's are."""
    stock = published("ssd512")["model"]["bbox_head"]["anchor_generator"]
    stock.pop("type")
    stock["basesize_ratio_range"] = tuple(stock["basesize_ratio_range"])
    full = SSDAnchorGenerator(**stock)
    model = config.build(Experiment(host="ssd512", quality="none"), profile, 0)["model"]
    settings = dict(model["bbox_head"]["anchor_generator"])
    assert settings.pop("type") == "SSDAnchorGenerator"
    small = SSDAnchorGenerator(**settings)
    scale = profile.scale[0] / 512
    assert small.num_levels == full.num_levels - 1
    for mine, theirs in zip(small.strides, full.strides[1:], strict=True):
        assert mine[0] == theirs[0] * scale
    for mine, theirs in zip(small.base_anchors, full.base_anchors[1:], strict=True):
        assert mine.shape == theirs.shape
        assert (mine - theirs * scale).abs().max() < 1.5


def test_ssds_anchors_are_mmdets_at_512():
    stock = published("ssd512")["model"]["bbox_head"]["anchor_generator"]
    stock["basesize_ratio_range"] = tuple(stock["basesize_ratio_range"])
    stock.pop("type")
    full = SSDAnchorGenerator(**stock)
    assert ssd.anchors(HOSTS["ssd512"], 512, 16, 6)["min_sizes"] == full.base_sizes[1:]


def test_foveaboxs_levels_are_published_ones_in_proportion():
    """Edges of 2 strides; objects of 1 to 4 edges, the first's from 1 px, the last's to 8."""
    heads = [
        config.build(Experiment(host="foveabox", quality="none"), p, 0)["model"]["bbox_head"]
        for p in (COCO, LAPTOP)
    ]
    assert heads[1]["strides"] == [stride // 2 for stride in heads[0]["strides"][:3]]
    assert heads[1]["base_edge_list"] == [8, 16, 32]
    assert heads[1]["scale_ranges"] == ((1, 32), (16, 64), (32, 256))


@pytest.mark.parametrize("gpus", [1, 4])
def test_ssds_batch_and_rate_on_coco_are_in_proportion_to_the_devices(gpus):
    ssd512 = Experiment(host="ssd512", quality="none")
    schedule = schedule_of(ssd512, get("coco", gpus))
    assert (schedule.batch, schedule.lr) == (8 * gpus, pytest.approx(2e-3 * gpus / 8))
    settings = config.build(ssd512, get("coco", gpus), 0)
    assert settings["train_dataloader"]["batch_size"] == 8
    assert settings["optim_wrapper"]["optimizer"]["lr"] == schedule.lr
    assert schedule_of(ssd512, LAPTOP) == LAPTOP.schedule


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
@pytest.mark.parametrize("quality", ["none", "joint"])
def test_a_detector_trains_and_detects_at_the_profiles_size(
    host, quality, profile, make_host_batch
):
    """Every level has as many locations as its anchors are for; the last of SSD's has one."""
    scale = PROFILES[profile]
    model = config.build(Experiment(host=host, quality=quality), scale, 0)["model"]
    detector = build(model)
    size = scale.scale[0]
    _, samples = make_host_batch(host, (2, 0))
    for sample in samples:
        shape = (size, size)
        sample.set_metainfo({"img_shape": shape, "pad_shape": shape, "scale_factor": (1.0, 1.0)})
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    sides = [size // level.shape[-1] for level in detector.extract_feat(images)]
    strides = [stride[0] for stride in detector.bbox_head.prior_generator.strides]
    assert sides == strides
    assert host != "ssd512" or sides[-1] == size
    loss, _ = detector.parse_losses(detector.loss(images, samples))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)
    with torch.no_grad():
        assert len(detector.eval().predict(images, samples)) == 2


def test_a_host_of_table_1b_has_no_other_backbone_or_schedule(host):
    for other in ({"backbone": "r101"}, {"lasting": "2x-ms"}):
        with pytest.raises(UserError, match="Table 4"):
            replace(Experiment(host=host, quality="none"), **other)
