"""What was measured before is not measured again, and comes back as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorded import of

from analysis.library import Library
from analysis.measures.evidence import Evidence, Records
from analysis.measures.kept import measure
from analysis.measures.quantity import Measurement, Quantity, Seen
from analysis.stats.uncertainty import Estimate
from experiments.matrix import plan
from experiments.named import DFL, GFL, PLAIN
from experiments.profiles import LAPTOP
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.records.record import Store
from gfl.training import worker

ESTIMATE = Estimate.student(1 / 3, (0, 1), 0.1, 0.2, 2.5)
FOUND = Measurement(1 / 3, (0.1, 2 / 3), ESTIMATE, ("a-s0", "a-s1"), (0, 1), "by hand")
MODULE = "analysis.measures.labels"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path)
    return tmp_path


def evidence(folder: Path, records: Records | None = None) -> Evidence:
    library = Library(Store(folder / "runs", folder / "results"), "reference")
    return Evidence(library, LAPTOP, records or {}, {})


class Counted:
    """A quantity that counts how often it is measured."""

    def __init__(self, found: Measurement, *experiments: Experiment) -> None:
        self.found, self.calls = found, 0
        self.quantity = Quantity("it", experiments, self.measure, MODULE)

    def measure(self, evidence: Evidence) -> Measurement:
        self.calls += 1
        return self.found


@pytest.mark.parametrize(
    "found", [FOUND, Measurement(0.9, None, Seen(0.9), (), (), "seen"),
              Measurement(0.0, None, None, (), (), "exact", "one training")],
)  # fmt: skip
def test_a_measurement_comes_back_as_it_was(found: Measurement, folder: Path) -> None:
    counted = Counted(found)
    assert measure(counted.quantity, evidence(folder)) == found
    assert measure(counted.quantity, evidence(folder)) == found
    assert counted.calls == 1


def test_what_is_missing_is_asked_again_and_other_inputs_are_measured_anew(folder: Path) -> None:
    def fails(_: Evidence) -> Measurement:
        raise UserError("not there")

    counted = Counted(FOUND)
    with pytest.raises(UserError, match="not there"):
        measure(replace(counted.quantity, measure=fails), evidence(folder))
    assert measure(counted.quantity, evidence(folder)) == FOUND
    other = replace(counted.quantity, inputs=lambda _: ["a benchmark's checksum"])
    assert measure(other, evidence(folder)) == FOUND
    assert counted.calls == 2
    with pytest.raises(UserError, match="not there"):
        measure(replace(other, measure=fails, inputs=lambda _: ["another"]), evidence(folder))


def test_runs_of_other_experiments_discard_nothing_and_its_own_do(folder: Path) -> None:
    runs = {run.experiment: run for run in plan([catalogue.find("table-3")], LAPTOP, [0])}
    gfl, dfl, plain = (of(runs[experiment]) for experiment in (GFL, DFL, PLAIN))
    counted = Counted(FOUND, GFL, PLAIN)
    records: tuple[Records, ...] = (
        {GFL: {0: gfl}, PLAIN: {0: plain}},
        {PLAIN: {0: plain}, DFL: {0: dfl}, GFL: {0: gfl}},
    )
    for some in records:
        assert measure(counted.quantity, evidence(folder, some)) == FOUND
    assert counted.calls == 1
    second = replace(gfl, id=gfl.id.replace("-s0-", "-s1-"), seed=1)
    measure(counted.quantity, evidence(folder, {GFL: {0: gfl, 1: second}, PLAIN: {0: plain}}))
    assert counted.calls == 2


def test_other_predictions_are_measured_anew(folder: Path) -> None:
    (run,) = (r for r in plan([catalogue.find("table-3")], LAPTOP, [0]) if r.experiment == GFL)
    record = of(run, predictions={"locations.parquet": "0" * 64})
    counted, store = Counted(FOUND, GFL), Store(folder / "runs", folder / "results")
    path = store.reference_predictions(LAPTOP.name, record.id) / "locations.parquet"
    path.parent.mkdir(parents=True)
    for content, calls in ((b"one", 1), (b"one", 1), (b"other", 2)):
        path.write_bytes(content)
        measure(counted.quantity, evidence(folder, {GFL: {0: record}}))
        assert counted.calls == calls
