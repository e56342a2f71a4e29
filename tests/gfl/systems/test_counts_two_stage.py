"""Every two-stage row of Table 4 and RepPoints' two: parameter counts and printed recipes."""

from __future__ import annotations

import pytest
import torch
from two_stage_made import METHODS, build, full_size

from experiments.tables import table4
from gfl.config.systems.method import bundled, changed

# With 80 classes. TSD's is by the authors' layers (``test_tsd.py``), the others mmdet's.
COUNTS = {
    ("Faster R-CNN w/ FPN", "r101"): 60_745_184,
    ("Cascade R-CNN", "r101"): 88_386_894,
    ("Grid R-CNN", "r101"): 83_540_329,
    ("Libra R-CNN", "r101"): 61_008_352,
    ("Libra R-CNN", "x101-64x4d"): 99_914_464,
    ("RepPoints", "r101"): 55_841_206,
    ("RepPoints", "r101-dcn"): 57_127_378,
    ("TSD", "r101"): 92_316_373,
}


def test_no_row_is_left_out() -> None:
    assert {(title, row) for title in METHODS for row in METHODS[title].rows} == set(COUNTS)


@pytest.mark.parametrize(("title", "row"), COUNTS, ids=str)
def test_parameters_at_full_size(title: str, row: str) -> None:
    with torch.device("meta"):
        model = build(full_size(title, row))
    assert sum(weights.numel() for weights in model.parameters()) == COUNTS[title, row]


@pytest.mark.parametrize(("title", "row"), COUNTS, ids=str)
def test_epochs_and_multi_scale_training_are_table_4s(title: str, row: str) -> None:
    printed = {
        (one.name, one.marks[0].replace("-", "", 1).lower()): one.marks for one in table4.TABLE.rows
    }
    _, epochs, multi_scale, _ = printed[title, row]
    published = METHODS[title].rows[row]
    config = changed(bundled(published.bundled), published.differences)
    warm_up, decay = config["param_scheduler"]
    assert config["train_cfg"]["max_epochs"] == decay["end"] == int(epochs)
    assert max(decay["milestones"]) < int(epochs)
    assert not warm_up["by_epoch"]
    resizing = config["train_dataloader"]["dataset"]["pipeline"][2]
    assert resizing["type"] == ("RandomResize" if multi_scale else "Resize")
    assert config["train_pipeline"][2] == resizing
