"""A worker that is paused until another process has taken its run over writes nothing any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
from request_made import request_of

from experiments.profiles import SMOKE
from experiments.queue import locks
from experiments.queue.locks import RunLock
from gfl.experiment import Experiment
from gfl.records import lease as leases

# Reads sessions, a JSON line each: place, folder, environment. Each is a fork of this process that
# does as gfl.training.worker, but pauses itself at the place: an iteration, or as it writes a file.
# Prints its process id, and its exit code once it has ended.
DRIVER = """
import json, os, signal, sys
import gfl.training.session
from gfl.training import worker
from gfl.training.history import HistoryHook

def session(place, folder, environment):
    os.environ.update(environment)
    os.dup2(os.open(f"{folder}/events", os.O_WRONLY | os.O_CREAT), 1)
    whole_iter, whole_write = HistoryHook.after_train_iter, worker.write_json

    def pause():
        os.kill(os.getpid(), signal.SIGSTOP)

    def after_train_iter(self, runner, *args, **kwargs):
        whole_iter(self, runner, *args, **kwargs)
        if str(runner.iter) == place:
            pause()

    def write_json(path, *args, **kwargs):
        whole_write(path, *args, **kwargs)
        if path.name == place:
            pause()

    HistoryHook.after_train_iter, worker.write_json = after_train_iter, write_json
    return worker.main([folder])

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os._exit(session(*json.loads(line)))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KEPT = {  # what a worker leaves that is paused at a place, of checkpoints and of the run's end
    "11": {"epoch_0_iter_8.pth", "epoch_1.pth"},  # before the second epoch's
    "predictions.json": {"epoch_1.pth", "epoch_1_iter_16.pth", "final.pth", "predictions.json"},
}


def state_of(pid: int) -> str:
    """A process's state in Linux's letters; X where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported torch and mmdet, which takes longer than a session."""
    with (tmp_path_factory.mktemp("driver") / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    with process:
        yield process
        process.kill()  # if a test failed, it waits for a session that is paused


@pytest.mark.parametrize("place", KEPT)
def test_a_worker_that_wakes_without_its_lease_stops(
    driver: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc, in which a paused process is seen")
    run_dir = tmp_path / "a-run"
    run_dir.mkdir()
    profile = replace(SMOKE, eval_interval=1)
    request_of(Experiment(quality="joint"), profile).save(run_dir)
    lock = RunLock.take(run_dir)
    assert lock is not None
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdin.write(json.dumps([place, str(run_dir), dict(lock.environment)]) + "\n")
    driver.stdin.flush()
    pid = int(driver.stdout.readline())
    deadline = time.monotonic() + 300
    while (state := state_of(pid)) != "T":
        assert state != "X", (run_dir / "events").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    monkeypatch.setattr(leases, "kernel", lambda: "another")
    monkeypatch.setattr(leases, "host", lambda: "another")
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    while (successor := RunLock.take(run_dir)) is None:
        pass
    os.kill(pid, signal.SIGCONT)
    assert int(driver.stdout.readline()) == 1
    last = json.loads((run_dir / "events").read_text().splitlines()[-1])
    assert last["event"] == "lost"
    assert "another process took over the run" in last["message"]
    found = {p.name for p in run_dir.iterdir() if p.suffix in (".pth", ".json")}
    assert found == KEPT[place] | {"request.json"}
    successor.check()
