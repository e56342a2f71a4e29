"""A system's configuration: mmdet's bundled file, the declared differences, the small version."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from experiments.profiles import COCO, LAPTOP, SMOKE
from experiments.tables.table4 import TABLE
from gfl.config import build, pretrained_parts
from gfl.config.systems import METHODS, method_named
from gfl.config.systems.method import REMOVED, Difference, assign, bundled, changed
from gfl.experiment import Profile, at_scale
from gfl.records.record import run_id

FILE = "retinanet/retinanet_r101_fpn_2x_coco.py"


FILES = sorted({row.bundled for name in METHODS for row in method_named(name).rows.values()})


@pytest.mark.parametrize("file", FILES)
def test_a_bundled_file_is_what_mmengine_reads(file: str) -> None:
    stock = Config.fromfile(Path(mmdet.__file__).parent / ".mim/configs" / file)
    assert bundled(file) == stock.to_dict()


def test_a_bundled_file_is_the_callers_to_change() -> None:
    bundled(FILE)["model"]["bbox_head"]["num_classes"] = 3
    assert bundled(FILE)["model"]["bbox_head"]["num_classes"] == 80


def test_differences_apply_in_their_order_and_leave_the_original() -> None:
    config = {"model": {"neck": {"type": "FPN"}, "heads": [{"classes": 80}, {"classes": 80}]}}
    found = changed(
        config,
        [
            Difference("model.heads.1.classes", 8, "of the data"),
            Difference("model.neck", REMOVED, "C4"),
            Difference("model.rpn", {"scales": [2]}, "a new key"),
            Difference("model.rpn.scales", [4], "and a later difference"),
        ],
    )
    assert found == {"model": {"heads": [{"classes": 80}, {"classes": 8}], "rpn": {"scales": [4]}}}
    assert config["model"]["neck"] == {"type": "FPN"}


@pytest.mark.parametrize(
    ("path", "value", "missing"),
    [
        ("model.bbox_haed.type", "X", "model.bbox_haed"),
        ("model.heads.7.type", "X", "model.heads.7"),
        ("model.heads.first.type", "X", "model.heads.first"),
        ("model.neck", REMOVED, "nothing to remove"),
    ],
)
def test_a_path_to_nothing_is_an_error(path: str, value: object, missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        assign({"model": {"heads": []}}, path, value)


@pytest.mark.parametrize("profile", [SMOKE, LAPTOP, COCO], ids=lambda profile: profile.name)
def test_the_order_in_which_rows_are_built_changes_none(profile: Profile) -> None:
    rows = [at_scale(row.experiment, profile) for row in TABLE.rows if row.experiment]
    ids = [run_id(row, profile, 0) for row in rows]
    assert [run_id(row, profile, 0) for row in reversed(rows)] == ids[::-1]
    assert len(set(ids)) == len(rows) == 36


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("faster-rcnn", [{"depth": 101}]),
        ("tridentnet", [{"depth": 101}, {"type": "RoIStage"}]),  # its second part, too
        ("cornernet", []),  # from scratch
    ],
)
def test_every_part_with_weights_to_download_is_found(method: str, parts: list[dict]) -> None:
    row = next(r.experiment for r in TABLE.rows if getattr(r.experiment, "method", "") == method)
    found = pretrained_parts(build(row, COCO, 0)["model"])
    assert [part.items() >= known.items() for part, known in zip(found, parts, strict=True)] == [
        True for _ in parts
    ]
    assert not pretrained_parts(build(at_scale(row, LAPTOP), LAPTOP, 0)["model"])
