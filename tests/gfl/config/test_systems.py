"""A system's configuration: mmdet's bundled file, the declared differences, the small version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from experiments.profiles import COCO, LAPTOP, SMOKE
from experiments.tables.table4 import TABLE
from gfl.config import build, pretrained_parts
from gfl.config.systems import METHODS, method_named
from gfl.config.systems.method import REMOVED, Difference, assign, bundled, changed
from gfl.experiment import Profile, System, at_scale
from gfl.records.record import run_id

ROWS = [row.experiment for row in TABLE.rows if isinstance(row.experiment, System)]
# What a run's identity has no part of, or has in another form.
ELSEWHERE = {"test_dataloader", "auto_scale_lr"}
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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_what_is_declared_to_differ_does_in_what_is_built(row: System) -> None:
    """So that the list above a printed configuration says nothing that its body denies."""
    built = build(row, COCO, 0)
    training = built["train_dataloader"]["dataset"]["pipeline"]
    assert training.pop(0) == {"type": "SeedAugmentation"}  # this project's, in every row
    testing = built["val_dataloader"]["dataset"]["pipeline"]
    built |= {"train_pipeline": training, "test_pipeline": testing}
    declared = method_named(row.method).rows[row.backbone].differences
    for number, one in enumerate(declared):
        later = {other.path for other in declared[number + 1 :]}
        if any(path == one.path or path.startswith(f"{one.path}.") for path in later):
            continue
        if one.path.partition(".")[0] in ELSEWHERE:
            continue
        value: Any = built
        for key in one.path.split("."):
            value = value[int(key)] if isinstance(value, list) else value.get(key, REMOVED)
            if value is REMOVED:
                break
        assert value == one.value, one.path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_its_schedule_can_be_stepped(row: System) -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for settings in build(row, COCO, 0)["param_scheduler"]:
        scheduler = PARAM_SCHEDULERS.build(settings, default_args={"optimizer": optimizer})
        optimizer.step()
        for _ in range(3):
            scheduler.step()
    assert 0 < optimizer.param_groups[0]["lr"] <= 1
