"""Every row of Table 4 builds at full size with the parameter count known for it."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from gfl.config.systems import dense, fsaf, sapd
from gfl.config.systems.method import bundled, changed

METHODS = {
    method.title: method
    for method in (
        fsaf.METHOD, sapd.METHOD, dense.RETINANET, dense.FREEANCHOR, dense.FOVEABOX, dense.FCOS,
        dense.ATSS,
    )
}  # fmt: skip

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
    "FSAF": {"r101": 55_411_860, "x101-64x4d": 94_317_972},
    "SAPD": {
        "r101": SAPD,
        "x101-32x4d": SAPD_X101,
        "r101-dcn": SAPD + offsets(),
        "x101-32x4d-dcn": SAPD_X101 + offsets(32, 4),
    },
    "RetinaNet": {"r101": 56_960_820},
    "FreeAnchor": {"r101": 56_960_820, "x101-32x8d": 101_202_996},
    "FoveaBox": {"r101": 57_607_604, "x101": 96_513_716},
    "FCOS": {"r101": 51_287_450, "x101-64x4d": 90_193_562},
    "ATSS": {
        "r101": 51_287_450,
        "x101-32x8d": 95_529_626,
        "r101-dcn": 53_341_178,
        "x101-32x8d-dcn": 102_870_926,
    },
}
ROWS = [(title, backbone) for title, method in METHODS.items() for backbone in method.rows]


def config_of(title: str, backbone: str) -> dict[str, Any]:
    row = METHODS[title].rows[backbone]
    return changed(bundled(row.bundled), row.differences)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_row_has_a_known_count():
    assert {(title, backbone) for title in COUNTS for backbone in COUNTS[title]} == set(ROWS)


@pytest.mark.parametrize(("title", "backbone"), ROWS)
def test_a_row_has_its_parameters(title, backbone):
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(config_of(title, backbone)["model"]))
    assert parameters(model) == COUNTS[title][backbone]
    if title == "SAPD":
        assert parameters(model.bbox_head.meta) == META


def test_the_arithmetic_of_the_blocks_gives_the_published_backbones():
    """ResNeXt-101-64x4d's row and RepPoints' DCN row, by FSAF's and RepPoints' other counts."""
    assert bottlenecks(64, 4) - bottlenecks() == 94_317_972 - 55_411_860
    assert offsets() == 57_127_378 - 55_841_206


# By row: epochs, those after which the rate falls, and the short sides in training.
TRAINED = {
    ("RetinaNet", "r101"): (18, [12, 16], "640-800"),
    ("FreeAnchor", "r101"): (24, [16, 22], "640, 672, 704, 736, 768, 800"),
    ("FreeAnchor", "x101-32x8d"): (18, [12, 16], "640, 672, 704, 736, 768, 800"),
    **{("FoveaBox", b): (18, [12, 16], "640-800") for b in ("r101", "x101")},
    **{("FSAF", b): (18, [12, 16], "640, 672, 704, 736, 768, 800") for b in COUNTS["FSAF"]},
    **{("FCOS", b): (24, [16, 22], "640-800") for b in COUNTS["FCOS"]},
    **{("SAPD", b): (24, [16, 22], "640, 672, 704, 736, 768, 800") for b in COUNTS["SAPD"]},
    **{("ATSS", b): (24, [16, 22], "640-800") for b in COUNTS["ATSS"]},
}


@pytest.mark.parametrize(("title", "backbone"), ROWS)
def test_a_row_is_trained_as_its_source_says(title, backbone):
    config = config_of(title, backbone)
    _, steps = config["param_scheduler"]
    pipeline = config["train_dataloader"]["dataset"]["pipeline"]
    types = [step["type"] for step in pipeline]
    sizes = pipeline[2].get("scales") or pipeline[2]["scale"]
    sides = [side for _, side in sizes]
    among = types[2] == "RandomChoiceResize"
    epochs, falls, expected = TRAINED[title, backbone]
    assert (config["train_cfg"]["max_epochs"], steps["end"]) == (epochs, epochs)
    assert (steps["milestones"], steps["gamma"]) == (falls, 0.1)
    assert (", " if among else "-").join(map(str, sides)) == expected
    assert {long for long, _ in sizes} == {1333}
    assert types == [
        "LoadImageFromFile",
        "LoadAnnotations",
        types[2],
        "RandomFlip",
        "PackDetInputs",
    ]
    assert config["train_pipeline"] == pipeline
    assert config["optim_wrapper"]["optimizer"]["lr"] == 0.01
    assert config["auto_scale_lr"]["base_batch_size"] == 16


@pytest.mark.parametrize(("title", "backbone"), ROWS)
def test_every_difference_is_one_and_has_a_source(title, backbone):
    row = METHODS[title].rows[backbone]
    paths = [difference.path for difference in row.differences]
    assert len(set(paths)) == len(paths)
    before = bundled(row.bundled)
    for difference in row.differences:
        assert changed(before, [difference]) != before, difference.path
        assert difference.source
