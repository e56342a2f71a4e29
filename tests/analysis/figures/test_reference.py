"""The committed numbers of the figures are what the committed records and predictions give."""

from __future__ import annotations

import functools
from io import BytesIO

import pandas as pd
import pytest

from analysis.figures import FIGURES
from analysis.figures.plate import Plate
from analysis.library import Library
from experiments import profiles
from experiments.worker import ROOT
from gfl.record import Store

LIBRARY = Library(Store(ROOT / "runs", ROOT / "results"), "results")
OF_RECORDS = ("2a", "2b", "3", "5c", "7", "8", "9", "ambiguity", "calibration")
OF_PREDICTIONS = ("2b", "3", "ambiguity", "calibration")


@functools.cache
def drawn(name: str) -> Plate:
    return FIGURES[name].plate(LIBRARY, profiles.LAPTOP)


@pytest.mark.parametrize("name", OF_RECORDS)
def test_numbers_drawn_are_those_committed(name):
    numbers = pd.read_csv(BytesIO(drawn(name).files()["csv"]))
    committed = pd.read_csv(ROOT / f"results/figures/laptop/fig{name}.csv")
    # Within the last of six digits: another processor sums in another order.
    pd.testing.assert_frame_equal(numbers, committed, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_the_records_of_a_figures_runs_name_their_predictions(name):
    records = [LIBRARY.store.reference("laptop", id) for id in drawn(name).runs]
    assert records
    for record in records:
        assert record is not None
        assert record.predictions.keys() == {"detections.parquet", "locations.parquet"}
