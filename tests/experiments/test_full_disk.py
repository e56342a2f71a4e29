"""A disk that fills up at any write of a command: one line, nothing lost, and it can go on."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import call
from full_disk import FullDisk
from recorded import of

from experiments import profiles
from experiments.committed_predictions import committed
from experiments.matrix import Run, plan
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.files import sha256
from gfl.predictions import schema
from gfl.predictions.schema import DETECTIONS, LOCATIONS
from gfl.records.record import Store

SMOKE = profiles.get("smoke")
ROW = "table-3/QFL"
Capture = pytest.CaptureFixture


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the fake is a script, and lies elsewhere


def store_in(folder: Path) -> Store:
    return Store(folder / "runs", folder / "results")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file by its path; of logs and traces of attempts only their presence."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    appended = ("train.log", "trained.txt")
    return {n: b"" if p.name in appended else p.read_bytes() for n, p in files.items()}


def fill_at_each_write(
    tmp_path: Path, words: tuple[str, ...], keeps: Callable[[Store], None], capfd: Capture
) -> int:
    """Give a command a disk that is full from its first write on, from its second, and so on.

    Each time it starts from what lies in ``before``; each time it is repeated with space, and ends
    as if it had always had some. Returns the number of writes.
    """
    before, undisturbed = tmp_path / "before", tmp_path / "undisturbed"
    before.mkdir(exist_ok=True)
    shutil.copytree(before, undisturbed)
    assert call(store_in(undisturbed), *words) == 0
    expected = tree(undisturbed)
    capfd.readouterr()
    for after in itertools.count():
        folder = tmp_path / f"{after}"
        shutil.copytree(before, folder)
        store = store_in(folder)
        with FullDisk(folder, after) as disk:
            code = call(store, *words)
        if not disk.was_full:
            assert code == 0
            return after
        err = capfd.readouterr().err
        assert code == 2, (after, err)
        assert err.count("\n") == 1, (after, err)
        assert str(folder) in err
        assert "the disk is full; free some space" in err or os.strerror(errno.ENOSPC) in err
        left = [path.name for path in folder.rglob(".*") if path.suffix != ".lock"]
        assert left == [], after  # no half of a file
        keeps(store)
        assert call(store, *words) == 0
        found = tree(folder)
        assert found.keys() == expected.keys(), after
        assert found == expected, after
        shutil.rmtree(folder)
    raise AssertionError


def test_a_row_is_trained_and_shown(tmp_path: Path, capfd: Capture, clean_commit: str) -> None:
    writes = fill_at_each_write(tmp_path, ("run", ROW), lambda store: None, capfd)
    assert writes > 10  # folders, lock, request, log, table


def run_of(row: str) -> Run:
    (run,) = [r for r in plan([catalogue.find("table-3")], SMOKE, [0]) if r.rows == (row,)]
    return run


def with_predictions(run: Run, run_dir: Path, content: bytes) -> dict[str, str]:
    """Write files under the names of predictions; return their checksums."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in (DETECTIONS, LOCATIONS):
        (run_dir / name).write_bytes(content + name.encode())
    return {name: sha256(run_dir / name) for name in (DETECTIONS, LOCATIONS)}


@pytest.mark.usefixtures("smoke_counts")
def test_promotion_leaves_the_reference_that_was_until_the_new_one_is_whole(
    tmp_path: Path, capfd: Capture, clean_commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(ROW)
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (run.experiment,))
    store = store_in(tmp_path / "before")
    run_dir = store.run_dir("smoke", run.id)
    versions = []
    for fps, content in ((1.0, b"old"), (2.0, b"new" * 100_000)):
        made = with_predictions(run, run_dir, content)
        record = of(run, commit=clean_commit, code={"gfl/losses.py": "0"}, predictions=made)
        replace(record, fps=fps).save(run_dir / "record.json")
        versions.append(store.local("smoke", run.id))
        if content == b"old":
            assert call(store, "promote") == 0

    def keeps(store: Store) -> None:
        found = store.reference("smoke", run.id)
        assert found in versions
        names = committed(run.experiment, SMOKE, 0)
        checksums = {name: found.predictions[name] for name in names}
        assert schema.verified(store.reference_predictions("smoke", run.id), checksums)
        assert store.local("smoke", run.id) == versions[1]

    writes = fill_at_each_write(tmp_path, ("promote", "table-3"), keeps, capfd)
    assert writes > 8  # two copies, the record, two files of the table, and their folders
