"""The configuration of a run: mmdet's own where it should be, and what has an effect, alone."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmdet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.backbones import ResNet
from mmdet.models.dense_heads import FCOSHead
from mmdet_models import build
from mmengine.config import Config

from experiments.profiles import COCO, PROFILES, SMOKE
from experiments.tables.table3 import TABLE
from gfl import config
from gfl.boxes import ANCHOR_SIDE, AnchorDelta
from gfl.experiment import Experiment
from gfl.hosts import HOSTS, Focal, dense

STOCK = Path(mmdet.__file__).parent / ".mim/configs"
FCOS = "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py"
MISSING = "missing"
ROWS = {row.name: row.experiment for row in TABLE.rows}

# Where a stock configuration and ours are meant to differ: (mmdet's value, ours).
INTENDED: dict[str, tuple[Any, Any]] = {
    "model.train_cfg.topk": (MISSING, 9),
    "model.train_cfg.assigner.type": ("ATSSAssigner", MISSING),  # the head's own
    "model.train_cfg.assigner.topk": (9, MISSING),
    "model.train_cfg.allowed_border": (-1, MISSING),
    "model.train_cfg.pos_weight": (-1, MISSING),
    "model.train_cfg.debug": (False, MISSING),
    # Autocast, where a profile asks for it; coco does not.
    "optim_wrapper.type": ("OptimWrapper", "AutocastOptimWrapper"),
    "optim_wrapper.precision": (MISSING, "float32"),
    # What is drawn for an image follows from seed, epoch and image.
    "train_dataloader.sampler.type": ("DefaultSampler", "SeededSampler"),
    # The same metrics, unrounded.
    "val_evaluator.type": ("CocoMetric", "ExactCocoMetric"),
    "val_evaluator.metric": ("bbox", MISSING),
    "val_evaluator.format_only": (False, MISSING),
    "val_dataloader.batch_sampler": (MISSING, None),
    "val_dataloader.drop_last": (False, MISSING),  # the default
    # Of the machine and not of the run.
    "train_dataloader.num_workers": (2, MISSING),
    "val_dataloader.num_workers": (2, MISSING),
    "train_dataloader.persistent_workers": (True, MISSING),
    "val_dataloader.persistent_workers": (True, MISSING),
    "train_dataloader.dataset.data_root": ("data/coco/", MISSING),
    "val_dataloader.dataset.data_root": ("data/coco/", MISSING),
    "val_evaluator.ann_file": ("data/coco/annotations/instances_val2017.json", MISSING),
}
COMPARED = (
    "model",
    "train_dataloader",
    "val_dataloader",
    "val_evaluator",
    "train_cfg",
    "val_cfg",
    "optim_wrapper",
    "param_scheduler",
    "default_scope",
)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value of a configuration with its dotted path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{index}")
    else:
        yield path, value


def stock(name: str) -> Config:
    return Config.fromfile(STOCK / name)


def comparable(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the values by path, the backbone's defaults spelled out, without the head's."""
    parts = copy.deepcopy({part: whole[part] for part in COMPARED})
    defaults = {p.name: p.default for p in inspect.signature(ResNet.__init__).parameters.values()}
    backbone = defaults | parts["model"]["backbone"]
    backbone["stem_channels"] = backbone["stem_channels"] or backbone["base_channels"]
    parts["model"]["backbone"] = backbone
    del parts["model"]["bbox_head"]  # compared below
    dataset = parts["train_dataloader"]["dataset"]  # what seeds, leaves the image as it is
    dataset["pipeline"] = [s for s in dataset["pipeline"] if s["type"] != "SeedAugmentation"]
    return {k: v for k, v in leaves(parts) if not k.endswith("backend_args")}


@pytest.mark.parametrize(
    ("name", "row", "detector"),
    [
        ("atss/atss_r50_fpn_1x_coco.py", "none", "ATSS"),
        ("gfl/gfl_r50_fpn_1x_coco.py", "both", "GFL"),
    ],
)
def test_coco_is_mmdets_own_configuration_key_by_key(name, row, detector):
    # One detector class for all rows.
    intended = INTENDED | {"model.type": (detector, "SingleStageDetector")}
    assert differences(stock(name), ROWS[row]) == intended


def test_fcos_on_coco_is_mmdets_own_configuration_key_by_key():
    intended = {key: pair for key, pair in INTENDED.items() if "model.train_cfg" not in key}
    assert differences(stock(FCOS), Experiment(host="fcos")) == intended | {
        "model.type": ("FCOS", "SingleStageDetector"),
        "model.train_cfg.radius": (MISSING, 1.5),  # the head's own; compared below
        "optim_wrapper.clip_grad": (None, MISSING),
    }


def differences(theirs: Config, experiment: Experiment) -> dict[str, tuple[Any, Any]]:
    """What differs, by path: mmdet's value and ours."""
    stock, ours = comparable(theirs.to_dict()), comparable(config.build(experiment, COCO, seed=0))
    return {
        key: (stock.get(key, MISSING), ours.get(key, MISSING))
        for key in stock.keys() | ours.keys()
        if stock.get(key, MISSING) != ours.get(key, MISSING)
    }


def test_the_heads_constants_are_the_stock_heads():
    atss = stock("atss/atss_r50_fpn_1x_coco.py").model
    gfl_head = stock("gfl/gfl_r50_fpn_1x_coco.py").model.bbox_head
    ours = config.build(ROWS["both"], COCO, 0)["model"]["bbox_head"]
    for theirs in (atss.bbox_head, gfl_head):
        for key in ("num_classes", "in_channels", "feat_channels", "stacked_convs"):
            assert ours[key] == theirs[key]
        assert ours["strides"] == theirs.anchor_generator.strides
        assert theirs.anchor_generator.octave_base_scale == ANCHOR_SIDE
        assert theirs.loss_bbox.loss_weight == dense("atss").lambda_0
    assert (ours["n"], ours["beta"]) == (gfl_head.reg_max, gfl_head.loss_cls.beta)
    assert gfl_head.loss_dfl.loss_weight == dense("atss").lambda_1
    of_centre, of_size = AnchorDelta.deviations
    deviations = (of_centre, of_centre, of_size, of_size)
    assert tuple(atss.bbox_head.bbox_coder.target_stds) == deviations
    focal = atss.bbox_head.loss_cls
    assert Focal(gamma=focal.gamma, alpha=focal.alpha) == dense("atss").focal


def test_fcos_constants_are_the_stock_heads():
    theirs = stock(FCOS).model.bbox_head
    ours = config.build(Experiment(host="fcos"), COCO, 0)["model"]["bbox_head"]
    for key in ("num_classes", "in_channels", "feat_channels", "stacked_convs", "strides"):
        assert ours[key] == theirs[key]
    assert theirs.loss_bbox == {"type": "GIoULoss", "loss_weight": dense("fcos").lambda_0}
    focal = theirs.loss_cls
    assert Focal(gamma=focal.gamma, alpha=focal.alpha) == dense("fcos").focal
    assert theirs.conv_bias == dense("fcos").tower_bias
    assert all((theirs.center_sampling, theirs.norm_on_bbox, theirs.centerness_on_reg))
    assert inspect.signature(FCOSHead.__init__).parameters["center_sample_radius"].default == 1.5


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("experiment", ROWS.values(), ids=ROWS)
def test_a_configuration_is_plain_and_knows_no_machine(experiment, profile):
    built = config.build(experiment, profile, seed=3)
    assert json.loads(json.dumps(built, allow_nan=False)) == json.loads(json.dumps(built))
    assert built == config.build(experiment, profile, seed=3)
    assert built["randomness"] == {"seed": 3}
    for path, value in leaves(built):
        assert isinstance(value, (str, int, float, type(None), tuple, list, dict)), path
        if isinstance(value, str):
            assert not Path(value).is_absolute(), path
            assert str(Path.home()) not in value, path


experiments = st.builds(
    lambda host, quality, boxes, dfl, y_n, delta, beta: Experiment(
        host=host, quality=quality, boxes=boxes, dfl=dfl and boxes == "general",
        y_n=y_n, delta=delta, beta=beta,
    ),
    st.sampled_from(["atss", "fcos"]),
    st.sampled_from(["none", "joint", "centerness-branch", "iou-guided"]),
    st.sampled_from(["dirac", "gaussian", "general"]),
    st.booleans(),
    st.sampled_from([8.0, 16.0]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([1.0, 2.0]),
)  # fmt: skip


@settings(deadline=None)
@given(experiments, experiments)
def test_configurations_differ_exactly_where_effects_do(one, other):
    """y_n and delta have one on General distributions only, beta on the joint representation."""

    def effect(experiment: Experiment) -> tuple[Any, ...]:
        general, joint = experiment.boxes == "general", experiment.quality == "joint"
        return (
            experiment.host, experiment.quality, experiment.boxes, experiment.dfl,
            (experiment.y_n, experiment.delta) if general else None,
            experiment.beta if joint else None,
        )  # fmt: skip

    same = config.build(one, SMOKE, 0) == config.build(other, SMOKE, 0)
    assert same == (effect(one) == effect(other))
    assert same == (one.slug == other.slug)


@pytest.mark.parametrize(
    "changed",
    [
        replace(SMOKE, scale=(96, 96)),
        replace(SMOKE, dataset=replace(SMOKE.dataset, train=33)),
        replace(SMOKE, model=replace(SMOKE.model, stacked_convs=2)),
        replace(SMOKE, schedule=replace(SMOKE.schedule, lr=0.5)),
        replace(SMOKE, schedule=replace(SMOKE.schedule, clip_grad=1.0)),
        replace(SMOKE, schedule=replace(SMOKE.schedule, precision="bfloat16")),
        replace(SMOKE, schedule=replace(SMOKE.schedule, milestones=(1,))),
    ],
    ids=["scale", "data", "model", "rate", "clipping", "precision", "milestones"],
)
def test_what_a_profile_changes_is_in_the_configuration(changed):
    assert config.build(Experiment(), changed, 0) != config.build(Experiment(), SMOKE, 0)


def test_name_and_seed_of_a_profile():
    renamed = replace(SMOKE, name="another")
    assert config.build(Experiment(), renamed, 0) == config.build(Experiment(), SMOKE, 0)
    assert config.build(Experiment(), SMOKE, 1) != config.build(Experiment(), SMOKE, 0)


def model_of(built: config.Config) -> torch.nn.Module:
    return build(built["model"])


def test_every_row_has_as_many_weights_as_its_head_asks_for():
    """QFL drops the branch; General has 17 channels a side; nothing else differs."""
    sizes = {
        name: sum(p.numel() for p in model_of(config.build(row, SMOKE, 0)).parameters())
        for name, row in ROWS.items()
    }
    width = 9 * SMOKE.model.channels  # of a 3x3 convolution, and 1 for its bias
    assert sizes["none"] - sizes["QFL"] == width + 1
    assert sizes["DFL"] - sizes["both"] == width + 1
    assert sizes["DFL"] - sizes["none"] == 4 * 16 * (width + 1)


def test_a_machines_configuration_adds_paths_and_leaves_the_runs_alone(tmp_path):
    built = config.build(Experiment(), COCO, 0)
    before = copy.deepcopy(built)
    here = config.for_machine(built, data_root=tmp_path, work_dir=tmp_path / "run", workers=2)
    assert built == before
    assert here["work_dir"] == str(tmp_path / "run")
    for split in ("train", "val", "test"):
        assert here[f"{split}_dataloader"]["dataset"]["data_root"] == str(tmp_path)
        assert here[f"{split}_dataloader"]["num_workers"] == 2
    annotations = tmp_path / "annotations/instances_val2017.json"
    assert here["val_evaluator"]["ann_file"] == str(annotations)
    assert here["train_cfg"] == built["train_cfg"] | {"type": "ResumableTrainLoop"}
    wrapped = {
        "type": "ResumableBatchSampler",
        "batches": built["train_dataloader"]["batch_sampler"],
    }
    assert here["train_dataloader"]["batch_sampler"] == wrapped
    assert here["model"] == built["model"]


def test_mmdets_own_tools_get_mmdets_own_loop(tmp_path):
    built = config.build(Experiment(), COCO, 0)
    places = {"data_root": tmp_path, "work_dir": tmp_path, "workers": 0}
    stock = config.for_stock_tool(built, **places, gpus=8)
    assert stock["train_cfg"] == built["train_cfg"]
    assert stock["train_dataloader"]["batch_sampler"] == built["train_dataloader"]["batch_sampler"]
    assert stock["launcher"] == "pytorch"


def test_a_cap_is_in_steps_and_shortens_training_and_evaluation(tmp_path):
    built = config.build(Experiment(), COCO, 0)
    capped = config.for_machine(
        built, data_root=tmp_path, work_dir=tmp_path, workers=0, gpus=8, max_iters=3
    )
    assert capped["train_cfg"] == built["train_cfg"] | {"type": "CappedTrainLoop", "cap": 3}
    assert capped["train_dataloader"]["dataset"].keys() == (
        built["train_dataloader"]["dataset"].keys() | {"data_root"}
    )
    for split in ("val", "test"):
        assert capped[f"{split}_dataloader"]["dataset"]["indices"] == 3 * 16  # images


def test_several_devices_are_one_run_of_mmengine(tmp_path):
    built = config.build(Experiment(), COCO, 0)
    places = {"data_root": tmp_path, "work_dir": tmp_path, "workers": 0}
    assert "launcher" not in config.for_machine(built, **places)
    several = config.for_machine(built, **places, gpus=8)
    assert several["launcher"] == "pytorch"
    assert several["train_dataloader"]["batch_size"] == 16 // 8


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("host", HOSTS)
def test_who_changes_a_configuration_changes_no_other(host, profile):
    experiment = Experiment(host=host, quality="joint")
    pristine = copy.deepcopy(config.build(experiment, profile, 0))
    spoil(config.build(experiment, profile, 0))
    assert config.build(experiment, profile, 0) == pristine


def spoil(value: Any) -> None:
    """Empty every dictionary and list, the innermost first."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            spoil(inner)
    if isinstance(value, dict | list):
        value.clear()
