"""Every two-stage row of Table 4 and RepPoints' two build with the parameter count known."""

from __future__ import annotations

import pytest
import torch
from two_stage_made import METHODS, build, full_size

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
