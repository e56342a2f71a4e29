"""What was measured before is not measured again, and comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.library import Library
from analysis.measures import cache
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import Measurement, Seen
from analysis.stats.uncertainty import Estimate
from experiments.profiles import LAPTOP
from gfl.errors import UserError
from gfl.records.record import Store
from gfl.training import worker

ESTIMATE = Estimate(1 / 3, (0, 1), 0.1, 0.2, 2.5)
FOUND = Measurement(1 / 3, (0.1, 2 / 3), ESTIMATE, ("a-s0", "a-s1"), (0, 1), "by hand")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path)
    return tmp_path


def evidence(folder: Path) -> Evidence:
    return Evidence(Library(Store(folder / "runs", folder / "results"), "results"), LAPTOP, {}, {})


@pytest.mark.parametrize(
    "found", [FOUND, Measurement(0.9, None, Seen(0.9), (), (), "seen"),
              Measurement(0.0, None, None, (), (), "exact", "one training")],
)  # fmt: skip
def test_a_measurement_comes_back_as_it_was(
    found: Measurement, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(cache, "QUANTITIES", {"it": lambda e: calls.append(e) or found})
    assert cache.measure("it", evidence(folder)) == found
    assert cache.measure("it", evidence(folder)) == found
    assert len(calls) == 1


def test_other_benchmarks_are_measured_anew_and_what_is_missing_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Evidence) -> Measurement:
        raise UserError("not there")

    monkeypatch.setattr(cache, "QUANTITIES", {"it": fails})
    with pytest.raises(UserError, match="not there"):
        cache.measure("it", evidence(folder))
    monkeypatch.setattr(cache, "QUANTITIES", {"it": lambda _: FOUND})
    assert cache.measure("it", evidence(folder)) == FOUND
    (folder / "results" / "benchmarks").mkdir(parents=True)
    (folder / "results" / "benchmarks" / "overhead-new.csv").write_text("what\n")
    monkeypatch.setattr(cache, "QUANTITIES", {"it": fails})
    with pytest.raises(UserError, match="not there"):
        cache.measure("it", evidence(folder))
