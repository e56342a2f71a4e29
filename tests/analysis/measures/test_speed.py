"""The ratio of inference times, as the benchmark's table has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.library import Library
from analysis.measures.evidence import Evidence
from analysis.measures.speed import time_ratio
from analysis.speed.record import Count, Machine, Overhead, Time, save
from analysis.stats.correction import of_check
from experiments.profiles import GPU, LAPTOP
from gfl.errors import UserError
from gfl.records.record import Store

BOXES = ((100.0, 90.0), (20.0, 20.0))
FOUND = Overhead(
    Machine("cpu", None, "a CPU", 2, 1, "2.11.0", "c0ffee", None),
    1000,
    (Count("parameters", "joint", "laptop", "128x128", 10, 9),),
    (
        Time("joint", "laptop", "trained", "128x128", 0.02, 0.02, 1.01, 0.99, 1.03, 30, *BOXES),
        Time("joint", "laptop", "random", "128x128", 0.02, 0.01, 2.0, 1.9, 2.1, 30, *BOXES),
        Time("joint", "coco", "random", "320x512", 0.02, 0.01, 3.0, 2.9, 3.1, 15, *BOXES),
    ),
)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    (tmp_path / "benchmarks").mkdir()
    save(FOUND, tmp_path / "benchmarks")
    return Evidence(Library(Store(tmp_path / "runs", tmp_path), "reference"), LAPTOP, {}, {})


def test_the_time_is_that_of_the_profiles_network_with_its_runs_weights(evidence: Evidence) -> None:
    found = time_ratio("joint")(evidence)
    assert (found.value, found.interval) == (1.01, (0.99, 1.03))
    assert found.tested is not None
    assert of_check(found.tested, (0.0, 1.05)).holds < 0.001
    assert of_check(found.tested, (0.0, 1.02)).holds == pytest.approx(0.17, abs=0.01)


def test_what_was_not_timed_is_untested(evidence: Evidence) -> None:
    with pytest.raises(UserError, match="make overhead"):
        time_ratio("gfl")(evidence)
    elsewhere = Evidence(evidence.library, GPU, {}, {})
    with pytest.raises(UserError, match="on the gpu network"):
        time_ratio("joint")(elsewhere)
