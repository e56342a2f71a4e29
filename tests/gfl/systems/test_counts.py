"""Rows of Table 4's dense detectors at full size: parameters, training, declared differences."""

from __future__ import annotations

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet_models import build, parameters

from experiments.profiles import COCO, LAPTOP
from gfl import config
from gfl.config.systems import method_named, published
from gfl.config.systems.method import bundled, changed
from gfl.experiment import System

BLOCKS = {64: 3, 128: 4, 256: 23, 512: 3}  # of depth 101, by planes
META = 4_130_821  # of SAPD's meta-selection network; not there at test time


def bottlenecks(groups: int = 1, width: int = 64) -> int:
    """Count the parameters of R-101's or X-101's blocks, without the shortcuts' projections."""
    total, channels = 0, 64
    for planes, blocks in BLOCKS.items():
        inner = planes * width // 64 * groups
        for _ in range(blocks):
            convolutions = channels * inner + 9 * inner * inner // groups + inner * 4 * planes
            total += convolutions + 2 * (inner + inner + 4 * planes)  # and BatchNorm
            channels = 4 * planes
    return total


def offsets(groups: int = 1, width: int = 64) -> int:
    """Count the parameters of the offsets of version 1 in stages c3 to c5."""
    return sum(
        blocks * (18 * 9 * planes * width // 64 * groups + 18)
        for planes, blocks in BLOCKS.items()
        if planes > 64
    )


SAPD = 55_411_860 + META
SAPD_X101 = SAPD - bottlenecks() + bottlenecks(32, 4)

# By method and backbone: parameters with 80 classes. SAPD's on X-101 and with DCN by hand.
COUNTS = {
    "fsaf": {"r101": 55_411_860, "x101-64x4d": 94_317_972},
    "sapd": {
        "r101": SAPD,
        "x101-32x4d": SAPD_X101,
        "r101-dcn": SAPD + offsets(),
        "x101-32x4d-dcn": SAPD_X101 + offsets(32, 4),
    },
    "retinanet": {"r101": 56_960_820},
    "freeanchor": {"r101": 56_960_820, "x101-32x8d": 101_202_996},
    "foveabox": {"r101": 57_607_604, "x101-64x4d": 96_513_716},
    "fcos": {"r101": 51_287_450, "x101-64x4d": 90_193_562},
    "atss": {
        "r101": 51_287_450,
        "x101-32x8d": 95_529_626,
        "r101-dcn": 53_341_178,
        "x101-32x8d-dcn": 102_870_926,
    },
}
DENSE = ("fsaf", "sapd", "retinanet", "freeanchor", "foveabox", "fcos", "atss")
METHODS = {name: method_named(name) for name in DENSE}
ROWS = [System(method, backbone) for method in METHODS for backbone in METHODS[method].rows]

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)


def test_every_row_has_a_known_count():
    assert {System(method, backbone) for method in COUNTS for backbone in COUNTS[method]} == {*ROWS}


@every_row
def test_a_row_has_its_parameters(row):
    with torch.device("meta"):
        model = build(published(row)["model"])
    assert parameters(model) == COUNTS[row.method][row.backbone]
    if row.method == "sapd":
        assert parameters(model.bbox_head.meta) == META


def test_the_arithmetic_of_the_blocks_gives_the_published_backbones():
    """ResNeXt-101-64x4d's row and RepPoints' DCN row, by FSAF's and RepPoints' other counts."""
    assert bottlenecks(64, 4) - bottlenecks() == 94_317_972 - 55_411_860
    assert offsets() == 57_127_378 - 55_841_206


AMONG, BETWEEN = (640, 672, 704, 736, 768, 800), (640, 800)

# By method: epochs, those after which the rate falls, and the short sides in training, px: one
# among several, or any between two.
TRAINED = {
    "retinanet": (18, [12, 16], BETWEEN),
    "freeanchor": (24, [16, 22], AMONG),
    "foveabox": (18, [12, 16], BETWEEN),
    "fsaf": (18, [12, 16], AMONG),
    "fcos": (24, [16, 22], BETWEEN),
    "sapd": (24, [16, 22], AMONG),
    "atss": (24, [16, 22], BETWEEN),
    "freeanchor-x101-32x8d": (18, [12, 16], AMONG),
}


@every_row
def test_a_row_is_trained_as_its_source_says(row):
    config = published(row)
    _, steps = config["param_scheduler"]
    pipeline = config["train_dataloader"]["dataset"]["pipeline"]
    epochs, falls, sides = TRAINED.get(row.slug, TRAINED[row.method])
    assert (config["train_cfg"]["max_epochs"], steps["end"]) == (epochs, epochs)
    assert (steps["milestones"], steps["gamma"]) == (falls, 0.1)
    resize = {"type": "RandomResize", "scale": [(1333, side) for side in sides]}
    if sides == AMONG:
        resize = {"type": "RandomChoiceResize", "scales": [(1333, side) for side in sides]}
    assert pipeline[2] == resize | {"keep_ratio": True}
    others = [step["type"] for step in (*pipeline[:2], *pipeline[3:])]
    assert others == ["LoadImageFromFile", "LoadAnnotations", "RandomFlip", "PackDetInputs"]
    assert config["train_pipeline"] == pipeline
    assert config["optim_wrapper"]["optimizer"]["lr"] == 0.01
    assert config["auto_scale_lr"]["base_batch_size"] == 16


@every_row
def test_every_difference_is_one_and_has_a_source(row):
    declared = METHODS[row.method].rows[row.backbone]
    paths = [difference.path for difference in declared.differences]
    assert len(set(paths)) == len(paths)
    before = bundled(declared.bundled)
    for difference in declared.differences:
        assert changed(before, [difference]) != before, difference.path
        assert difference.source


def test_the_hook_of_the_stages_is_part_of_a_run_at_either_scale():
    for backbone in METHODS["sapd"].rows:
        for profile in (LAPTOP, COCO):
            settings = config.build(System("sapd", backbone), profile, 0)
            assert settings["custom_hooks"] == [{"type": "SoftSelectionHook", "after": 0.5}]
    assert "custom_hooks" not in config.build(System("fsaf", "r101"), LAPTOP, 0)
