"""Every two-stage row of Table 4 and RepPoints' two: parameter counts and printed recipes."""

from __future__ import annotations

import pytest
import torch
from mmdet_models import build
from two_stage_made import ROWS, full_size

from experiments.tables import table4
from gfl.config import systems
from gfl.experiment import System

# With 80 classes. TSD's is by the authors' layers (``test_tsd.py``), the others mmdet's.
COUNTS = {
    ("faster-rcnn", "r101"): 60_745_184,
    ("cascade-rcnn", "r101"): 88_386_894,
    ("grid-rcnn", "r101"): 83_540_329,
    ("libra-rcnn", "r101"): 61_008_352,
    ("libra-rcnn", "x101-64x4d"): 99_914_464,
    ("reppoints", "r101"): 55_841_206,
    ("reppoints", "r101-dcn"): 57_127_378,
    ("tsd", "r101"): 92_316_373,
}


def test_no_row_is_left_out() -> None:
    assert {(method, row) for method in ROWS for row in ROWS[method]} == set(COUNTS)


@pytest.mark.parametrize(("method", "row"), COUNTS, ids=str)
def test_parameters_at_full_size(method: str, row: str) -> None:
    with torch.device("meta"):
        model = build(full_size(method, row))
    assert sum(weights.numel() for weights in model.parameters()) == COUNTS[method, row]


@pytest.mark.parametrize(("method", "row"), COUNTS, ids=str)
def test_epochs_and_multi_scale_training_are_table_4s(method: str, row: str) -> None:
    printed = {
        (one.name, one.marks[0].replace("-", "", 1).lower()): one.marks for one in table4.TABLE.rows
    }
    system = System(method, row)
    _, epochs, multi_scale, _ = printed[systems.method_of(system).title, row]
    config = systems.published(system)
    warm_up, decay = config["param_scheduler"]
    assert config["train_cfg"]["max_epochs"] == decay["end"] == int(epochs)
    assert max(decay["milestones"]) < int(epochs)
    assert not warm_up["by_epoch"]
    resizing = config["train_dataloader"]["dataset"]["pipeline"][2]
    assert resizing["type"] == ("RandomResize" if multi_scale else "Resize")
    assert config["train_pipeline"][2] == resizing
