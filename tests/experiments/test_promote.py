import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import recorded
from commands import call

from experiments import profiles
from experiments.matrix import Run, plan
from experiments.promote import objection, other_gpus, promote
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.files import sha256
from gfl.predictions import schema
from gfl.records.record import RunRecord, Store

pytestmark = pytest.mark.usefixtures("smoke_counts")

SMOKE = profiles.get("smoke")
TABLE3 = catalogue.find("table-3")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_commit: str) -> Store:
    """A machine that has finished the row QFL at seed 0."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store = Store(tmp_path / "runs", tmp_path / "results")
    assert call(store, "run", "table-3/QFL") == 0
    return store


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


class KilledError(BaseException):
    """End of a process by SIGKILL."""


@contextmanager
def killed_after(changes: int) -> Iterator[list[str]]:
    """Refuse every change of the file system after so many: nothing runs in a killed process.

    Yields the names of the changes that were made.
    """
    made: list[str] = []

    def limited(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def change(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:
                if len(made) == changes:
                    raise KilledError
                made.append(name)
            return real(*args, **kwargs)

        return change

    with ExitStack() as patches:
        for name in ("open", "mkdir", "rename", "replace", "unlink", "rmdir"):
            patches.enter_context(mock.patch.object(os, name, limited(name)))
        yield made


@pytest.mark.parametrize("has_new_predictions", [True, False])
def test_a_promotion_that_is_killed_leaves_one_reference_whole_and_a_second_one_mends_it(
    tmp_path: Path,
    clean_commit: str,
    monkeypatch: pytest.MonkeyPatch,
    has_new_predictions: bool,
) -> None:
    (run,) = [r for r in plan([TABLE3], SMOKE, [0]) if r.rows == ("table-3/QFL",)]
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (run.experiment,))
    before = Store(tmp_path / "before/runs", tmp_path / "before/results")
    old = trained(before, run, 1.0, b"old", clean_commit)
    promote([TABLE3], SMOKE, before)
    new = trained(before, run, 2.0, b"new" if has_new_predictions else b"", clean_commit)
    seen = set()
    for changes in itertools.count():
        folder = tmp_path / str(changes)
        shutil.copytree(before.runs.parent, folder)
        store = Store(folder / "runs", folder / "results")
        with contextlib.suppress(KilledError), killed_after(changes) as made:
            promote([TABLE3], SMOKE, store)
        left = Store(folder / "runs", folder / "results")
        found = left.reference("smoke", run.id)
        assert found in (old, new)
        assert verified(left.reference_predictions("smoke", run.id), found) is bool(
            found.predictions
        ), made
        seen.add((found.fps, (left.results / "predictions/smoke" / run.id).exists()))
        promote([TABLE3], SMOKE, left)
        assert left.reference("smoke", run.id) == new
        names = [path.name for path in (left.results / "predictions/smoke").iterdir()]
        assert names == [run.id] * has_new_predictions, made
        assert verified(left.results / "predictions/smoke" / run.id, new) is has_new_predictions
        if len(made) < changes:
            break
    # Before and after the record, and with the predictions' folder gone in between.
    assert seen == {(1.0, True), (2.0, True), (2.0, False)}


@pytest.mark.parametrize("differing", [schema.DETECTIONS, schema.LOCATIONS])
def test_what_was_staged_for_another_record_is_deleted_and_never_read(
    tmp_path: Path, clean_commit: str, monkeypatch: pytest.MonkeyPatch, differing: str
) -> None:
    """One of its files is also the reference's: in part it would look like the reference's."""
    (run,) = [r for r in plan([TABLE3], SMOKE, [0]) if r.rows == ("table-3/QFL",)]
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (run.experiment,))
    before = Store(tmp_path / "before/runs", tmp_path / "before/results")
    record = trained(before, run, 1.0, b"content", clean_commit)
    promote([TABLE3], SMOKE, before)
    staged = before.staged_predictions("smoke", run.id)
    shutil.copytree(before.reference_predictions("smoke", run.id), staged)
    (staged / differing).write_bytes(b"another")
    for changes in itertools.count():
        folder = tmp_path / str(changes)
        shutil.copytree(before.runs.parent, folder)
        store = Store(folder / "runs", folder / "results")
        with contextlib.suppress(KilledError), killed_after(changes) as made:
            promote([TABLE3], SMOKE, store)
        assert verified(store.reference_predictions("smoke", run.id), record), made
        if len(made) < changes:
            break
    names = [path.name for path in (store.results / "predictions/smoke").iterdir()]
    assert names == [run.id]


def trained(store: Store, run: Run, fps: float, content: bytes, commit: str) -> RunRecord:
    """A finished run of a clean commit, with files under the names of predictions, if any."""
    run_dir = store.run_dir("smoke", run.id)
    run_dir.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in (schema.DETECTIONS, schema.LOCATIONS) if content else ():
        (run_dir / name).write_bytes(content + name.encode())
        made[name] = sha256(run_dir / name)
    record = recorded.of(run, fps=fps, commit=commit, code={"gfl/a.py": "0"}, predictions=made)
    record.save(run_dir / "record.json")
    read = store.local("smoke", run.id)
    assert read is not None
    return read


def verified(folder: Path, record: RunRecord) -> bool:
    """The folder has exactly the predictions of a record."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return there == record.predictions.keys() and schema.verified(folder, record.predictions)


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
