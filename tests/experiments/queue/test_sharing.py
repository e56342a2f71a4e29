"""Several processes at one table, and one that is killed: against a worker that only pretends."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import options, wait_for

from cli.main import main
from experiments import profiles
from experiments.queue.locks import RunLock, is_locked
from experiments.queue.worker import ROOT
from gfl.experiment import Experiment
from gfl.records import lease as leases
from gfl.records.record import RunRecord, run_id

FAKE_WORKER = Path(__file__).parents[1] / "fake_worker.py"
PROGRAM = (
    "import sys; from cli.main import main; "
    "from experiments.tables import catalogue; "
    "catalogue.TABLES.update(catalogue.PAPERS); "  # as in this process (conftest.py)
    "sys.exit(main(sys.argv[2:], worker=[sys.executable, sys.argv[1]]))"
)
SMOKE = profiles.get("smoke")
NONE, QFL = run_id(Experiment(), SMOKE, 0), run_id(Experiment(quality="joint"), SMOKE, 0)
Trained = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the fake is a script, and lies elsewhere


def words(folder: Path, *more: str) -> list[str]:
    return ["run", "table-3", *options(folder), *more]


def cli(folder: Path, *more: str) -> int:
    return main(words(folder, *more), worker=[sys.executable, str(FAKE_WORKER)])


def start(folder: Path, *more: str, **environment: str) -> subprocess.Popen:
    """Another process at the same table."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(FAKE_WORKER), *words(folder, *more)],
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def meanwhile(do: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=do)
    thread.start()
    return thread


def records(folder: Path) -> dict[str, RunRecord]:
    found = (folder / "runs/smoke").glob("*/record.json")
    return {path.parent.name: RunRecord.load(path) for path in found}


def test_two_processes_train_each_run_once(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_SLEEP", "0.01")
    other = start(tmp_path, "--seeds", "0", "1", "--jobs", "1")
    wait_for(trained)
    assert cli(tmp_path, "--seeds", "0", "1", "--jobs", "1") == 0
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 0
    assert len(trained()) == len(set(trained())) == 8
    assert len(records(tmp_path)) == 8
    here = capfd.readouterr().out
    # Each process accounts for all runs, whoever trained them.
    for out in (said, here):
        assert sum(f"seed {seed}: finished" in line for line in out.splitlines()
                   for seed in (0, 1)) == 8  # fmt: skip
    assert "trained by another process" in said + here


def test_what_a_killed_process_trained_is_taken_over_once_its_worker_is_gone(
    tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    other = start(tmp_path, "--jobs", "1", FAKE="hang")
    hanging = tmp_path / "runs/smoke" / NONE / "hanging"
    wait_for(lambda: hanging.exists() and hanging.read_text())
    seen = []

    def kill() -> None:
        wait_for(lambda: len(records(tmp_path)) == 3)  # all the others
        other.kill()
        other.communicate()
        time.sleep(2)  # several looks at the lock
        seen.extend(trained())
        os.kill(int(hanging.read_text()), signal.SIGKILL)

    thread = meanwhile(kill)
    assert cli(tmp_path, "--jobs", "1") == 0
    thread.join()
    assert seen.count(NONE) == 1  # as long as the orphan lived nobody touched its run
    assert trained()[-1] == NONE
    assert len(records(tmp_path)) == 4
    out = capfd.readouterr().out
    assert "another process is training none, seed 0\nrun 1 of 4: QFL, seed 0\n" in out
    assert "none, seed 0: going on from iteration 10" in out


def test_a_run_that_failed_elsewhere_has_failed(
    tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    run_dir = tmp_path / "runs/smoke" / QFL
    lock = RunLock.take(run_dir)
    assert lock is not None

    def fail() -> None:
        wait_for(lambda: len(records(tmp_path)) == 3)
        failed = replace(records(tmp_path)[NONE], id=QFL, state="failed", message="it diverged")
        failed.save(run_dir / "record.json")
        lock.release()

    thread = meanwhile(fail)
    assert cli(tmp_path) == 1
    thread.join()
    assert QFL not in trained()
    out, err = capfd.readouterr()
    assert "QFL, seed 0: failed: it diverged, trained by another process" in out
    assert "QFL, seed 0 failed; its log: " in err


@pytest.mark.parametrize(
    ("number", "begun"), [(signal.SIGINT, 2), (signal.SIGKILL, 3), (signal.SIGKILL, 6)]
)
def test_stopped_and_started_again_is_as_if_never_stopped(
    tmp_path: Path, number: int, begun: int, monkeypatch: pytest.MonkeyPatch, clean_commit: str
) -> None:
    monkeypatch.setenv("FAKE_SLEEP", "0.01")
    options = ("--seeds", "0", "1", "--jobs", "2")
    process = start(tmp_path, *options)
    log = tmp_path / "runs/smoke/trained.txt"
    wait_for(lambda: log.exists() and len(log.read_text().split()) >= begun)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGKILL, 130)
    assert len(records(tmp_path)) < 8
    assert cli(tmp_path, *options) == 0
    expected = {
        id: 30.0 + len(id.rpartition("-s")[0]) / 10 + int(id.rpartition("-s")[2][0])
        for id in (run_id(e, SMOKE, seed) for seed in (0, 1) for e in EXPERIMENTS)
    }
    assert {id: record.metrics["AP"] for id, record in records(tmp_path).items()} == expected
    assert {record.state for record in records(tmp_path).values()} == {"finished"}


EXPERIMENTS = (
    Experiment(),
    Experiment(quality="joint"),
    Experiment(boxes="general", dfl=True),
    Experiment(quality="joint", boxes="general", dfl=True),
)


def test_two_real_runs_at_a_time_whose_parent_is_killed_end_as_if_it_were_not(
    tmp_path: Path,
) -> None:
    program = (  # which prints no table: its records are what counts here
        "import sys; from cli import artefacts; from cli.main import main; "
        "artefacts.show_tables = lambda *_, **__: 0; sys.exit(main(sys.argv[1:]))"
    )
    options = ("--seeds", "0", "1", "--jobs", "2")

    def command(folder: Path) -> list[str]:
        run, _, *rest = words(folder, *options)
        return [sys.executable, "-c", program, run, "table-3/QFL", *rest]

    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    subprocess.run(command(whole), cwd=ROOT, check=True, **silent)
    process = subprocess.Popen(command(halved), cwd=ROOT, **silent)
    run_dirs = [halved / "runs/smoke" / run_id(EXPERIMENTS[1], SMOKE, seed) for seed in (0, 1)]
    # Whichever is first; the other may be anywhere.
    wait_for(lambda: any((each / "epoch_1.pth").exists() for each in run_dirs), seconds=300)
    process.kill()
    process.wait()
    assert records(halved) == {}
    done = subprocess.run(command(halved), cwd=ROOT, capture_output=True, text=True, check=True)
    # Its worker notices at the next event, which may be the last epoch's.
    assert re.search("going on from iteration (8|16)\n", done.stdout)
    found, expected = records(halved), records(whole)
    assert found.keys() == expected.keys() == {each.name for each in run_dirs}
    timed = {"seconds": 0.0, "images_per_second": None, "fps": None, "started": ""}
    made = {"commit": None, "dirty": False}  # whatever happens to this checkout meanwhile
    for id, record in found.items():
        assert replace(record, **timed, **made) == replace(expected[id], **timed, **made)
        # Nothing twice and nothing left out, whatever the orphan did before it noticed.
        assert [point["iter"] for point in record.curve] == list(range(1, 17))
        # One process at a time wrote the log: each of them begins with its environment.
        log = (halved / "runs/smoke" / id / "train.log").read_text()
        *before, last = [one.count("Epoch(train) [2]")
                         for one in log.split("System environment")[1:]]  # fmt: skip
        # An orphan that has trained it to the end has stored it before the evaluation.
        assert last == 1 or (last, before[-1]) == (0, 1)
        assert max(before, default=0) <= 1


def test_a_lock_lives_as_long_as_who_inherited_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "a-run"
    assert not is_locked(run_dir)
    lock = RunLock.take(run_dir)
    assert lock is not None
    assert is_locked(run_dir)
    assert RunLock.take(run_dir) is None
    child = subprocess.Popen(["sleep", "60"], pass_fds=lock.descriptors)
    os.close(*lock.descriptors)  # as when this process is killed
    assert is_locked(run_dir)
    child.kill()
    child.wait()
    assert not is_locked(run_dir)
    assert not run_dir.exists()


def test_who_only_looks_sees_no_other_who_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "a-run"
    lock = RunLock.take(run_dir)
    assert lock is not None
    lock.leave()  # as an owner that died
    seen = []
    looking = fcntl.flock

    def look(descriptor: int, how: int) -> None:
        looking(descriptor, how)
        if len(seen) < 3:  # while this one has it, another looks
            seen.append(None)
            seen.append(is_locked(run_dir))

    monkeypatch.setattr(fcntl, "flock", look)
    assert not is_locked(run_dir)
    assert seen[-1] is False

    def broken(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", broken)
    assert is_locked(run_dir)  # its owner's process lives: this one
    monkeypatch.setattr(leases, "process_start", lambda pid: None)
    assert not is_locked(run_dir)


def test_a_lock_that_is_left_stays_its_workers(tmp_path: Path) -> None:
    run_dir = tmp_path / "a-run"
    lock = RunLock.take(run_dir)
    assert lock is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=lock.descriptors)
    lock.leave()
    lock.release()
    assert is_locked(run_dir)
    child.kill()
    child.wait()
    assert not is_locked(run_dir)


def test_a_lock_that_is_given_back_is_free_whoever_inherited_it(tmp_path: Path) -> None:
    lock = RunLock.take(tmp_path / "a-run")
    assert lock is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=lock.descriptors)
    lock.release()
    lock.release()
    again = RunLock.take(tmp_path / "a-run")
    assert again is not None
    again.release()
    child.kill()
    child.wait()
