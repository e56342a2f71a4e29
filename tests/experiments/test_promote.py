import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.main import main
from experiments import profiles
from experiments.matrix import plan
from experiments.promote import objection, other_gpus, promote
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.records.record import RunRecord, Store

pytestmark = pytest.mark.usefixtures("smoke_counts")

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
SMOKE = profiles.get("smoke")
TABLE3 = catalogue.find("table-3")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_commit: str) -> Store:
    """A machine that has finished the row QFL at seed 0."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store = Store(tmp_path / "runs", tmp_path / "results")
    assert call(store, "run", "table-3/QFL") == 0
    return store


def call(store: Store, *words: str) -> int:
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    words = (*words, "--profile", "smoke", *folders)
    return main(words, worker=[sys.executable, str(FAKE_WORKER)])


def finished(store: Store) -> RunRecord:
    (run,) = [r for r in plan([TABLE3], SMOKE, [0]) if r.rows == ("table-3/QFL",)]
    record = store.local("smoke", run.id)
    assert record is not None
    return record


def test_a_finished_run_of_a_clean_commit_becomes_the_reference(
    store: Store, capfd: pytest.CaptureFixture
) -> None:
    assert call(store, "promote", "table-3") == 0
    record = finished(store)
    assert store.reference("smoke", record.id) == record
    folder = store.results / "tables/smoke"
    assert "| reference | 1 |" in (folder / "table-3.md").read_text()
    assert "local" not in (folder / "table-3.md").read_text()
    assert "new: " in capfd.readouterr().out

    before = (folder / "table-3.md").read_bytes(), (folder / "table-3.csv").read_bytes()
    assert call(store, "promote") == 0
    assert "unchanged: " in capfd.readouterr().out
    after = (folder / "table-3.md").read_bytes(), (folder / "table-3.csv").read_bytes()
    assert after == before


def test_what_may_not_be_the_reference_is_refused_with_the_reason(
    store: Store, capfd: pytest.CaptureFixture
) -> None:
    record = finished(store)
    path = store.run_dir("smoke", record.id) / "record.json"
    for change, reason in (
        ({"dirty": True}, "uncommitted code"),
        ({"commit": None}, "no commit"),
        ({"state": "failed", "message": "it diverged"}, "failed: it diverged"),
        ({"max_iters": 2}, "capped after 2 iterations"),
    ):
        replace(record, **change).save(path)
        assert call(store, "promote") == 1
        assert reason in capfd.readouterr().err
        assert not store.reference_path("smoke", record.id).exists()
    assert objection(record) is None


def test_a_new_result_replaces_the_old_one_and_says_so(store: Store) -> None:
    promote([TABLE3], SMOKE, store)
    record = finished(store)
    changed = replace(record, fps=7.0)
    changed.save(store.run_dir("smoke", record.id) / "record.json")
    outcome = promote([TABLE3], SMOKE, store)
    assert outcome.promoted[0].startswith("replaced: ")
    assert store.reference("smoke", record.id) == changed


def test_what_only_checks_that_everything_runs_is_never_the_reference(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("experiments.promote.REHEARSALS", profiles.REHEARSALS)
    assert call(store, "promote", "table-3") == 1
    assert "the smoke profile only checks that everything runs" in capfd.readouterr().err
    assert store.reference_ids("smoke") == []


def test_runs_for_other_gpus_are_pointed_to(store: Store, capfd: pytest.CaptureFixture) -> None:
    assert other_gpus(SMOKE, store) == ""
    assert call(store, "promote", "--gpus", "2") == 2
    assert "nothing to promote: 1 smoke run is recorded for GPUS=1: say GPUS=1\n" in (
        capfd.readouterr().err
    )
    promote([TABLE3], SMOKE, store)  # the same run in both places is one run
    assert call(store, "status", "--gpus", "2") == 0
    assert "\n1 smoke run is recorded for GPUS=1: say GPUS=1\n" in capfd.readouterr().out
    assert call(store, "status") == 0
    assert "GPUS" not in capfd.readouterr().out


def test_a_table_that_cannot_be_shown_is_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def failing(*_: object) -> None:
        raise UserError("no place for it")

    monkeypatch.setattr("analysis.tables.fill.fill_all", failing)
    assert call(store, "run", "table-3/QFL") == 2
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "gfl: no place for it",
        "gfl: Table 3 could not be printed",
    ]
    assert call(store, "promote") == 2
    monkeypatch.setenv("FAKE", "fail")
    assert call(store, "run", "table-3/DFL") == 1
