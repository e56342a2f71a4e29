"""Figure 7's panel of Table 4's own systems: AP with its interval, and the front of both."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.figures import fig7
from analysis.measures.evidence import Evidence
from analysis.speed.systems import Ratio
from analysis.stats.resampling import Replicates
from experiments.profiles import LAPTOP
from experiments.tables.table4 import TABLE
from gfl.experiment import at_scale

# By row: speed over the anchor's, AP by seed.
OWN = {
    "GFL R-101": (1.0, (70.0, 72.0)),
    "ATSS R-101": (0.5, (69.0,)),  # slower and worse
    "FSAF R-101": (1.2, (60.0,)),  # faster
    "TSD R-101": (0.4, ()),  # timed, not trained
}


def replicates(ap: float) -> Replicates:
    """Return a run whose AP over resampled images is 1 above or below its own."""
    metrics = np.full(12, ap)
    around = np.where(np.arange(1000) % 2, 1.0, -1.0)
    return Replicates(metrics, metrics + around[:, None], "the same images")


@pytest.fixture
def trained(fill, monkeypatch):
    """Give Table 4 speeds and runs, as ``fill`` and ``gather`` would find them."""
    found = {c.cell.key: c for c in fill(TABLE, {name: aps for name, (_, aps) in OWN.items()})}
    cells = [
        replace(
            found[name],
            speed=Ratio(speed, 0.9 * speed, 1.1 * speed, 5, 10 * speed),
            reference={s: replace(r, id=f"x-{s}") for s, r in found[name].reference.items()},
        )
        for name, (speed, _) in OWN.items()
    ]
    monkeypatch.setattr(fig7.fill, "fill", lambda *_: cells)
    library = SimpleNamespace(source="reference", store=None)

    def gather(library, profile, among):
        runs = {
            at_scale(found[name].cell.experiment, LAPTOP): {
                seed: replicates(ap) for seed, ap in enumerate(aps)
            }
            for name, (_, aps) in OWN.items()
        }
        return Evidence(library, profile, {}, {e: runs[e] for e in among}, {})

    monkeypatch.setattr(fig7, "gather", gather)
    return library


def test_a_systems_ap_has_an_interval_over_seeds_and_images(trained):
    frame = fig7.systems(trained, LAPTOP).set_index(["method", "backbone"])
    assert frame.ratio.tolist() == [1.0, 0.5, 1.2, 0.4]
    assert frame.ap_percent.tolist()[:3] == [71.0, 69.0, 60.0]
    assert frame.ap_percent.isna().tolist() == [False, False, False, True]
    gfl, atss = frame.loc["GFL"].iloc[0], frame.loc["ATSS"].iloc[0]
    # One seed: the images alone, t(0.975, 999) = 1.9623 standard deviations of 1.0005.
    assert atss.ap_high - atss.ap_percent == pytest.approx(1.9623 * np.sqrt(1000 / 999), abs=1e-3)
    assert gfl.ap_high - gfl.ap_low > 2 * (atss.ap_high - atss.ap_low)  # seeds 2 AP apart


def test_the_front_is_what_no_trained_system_beats_in_both(trained):
    frame = fig7.systems(trained, LAPTOP)
    assert dict(zip(frame.method, frame.pareto, strict=True)) == {
        "GFL": True, "ATSS": False, "FSAF": True, "TSD": pytest.approx(np.nan, nan_ok=True),
    }  # fmt: skip


def test_trained_systems_get_a_panel_with_their_runs(trained, defects_of):
    trained.records = lambda profile: []
    drawn = fig7.fig7.drawn(trained, LAPTOP)
    titles = [axes.get_title("left") for axes in drawn.figure.axes]
    assert [title[:3] for title in titles if title.startswith("(")] == ["(a)", "(c)", "(d)"]
    assert defects_of(drawn.figure) == []
    systems = drawn.numbers.loc[drawn.numbers.source == "systems"]
    assert pd.Series(systems.ap_percent).count() == 3
