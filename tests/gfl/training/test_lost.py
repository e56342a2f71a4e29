"""A worker that is paused until another process has taken its run over writes nothing any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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

# gfl.training.worker, which pauses itself at a place: an iteration, or as it writes a file.
DRIVER = """
import os, signal, sys
import gfl.training.session
from gfl.training import worker
from gfl.training.history import HistoryHook

def pause():
    os.kill(os.getpid(), signal.SIGSTOP)

place = sys.argv[1]
whole_iter, whole_write = HistoryHook.after_train_iter, worker.write_json

def after_train_iter(self, runner, *args, **kwargs):
    whole_iter(self, runner, *args, **kwargs)
    if str(runner.iter) == place:
        pause()

def write_json(path, *args, **kwargs):
    whole_write(path, *args, **kwargs)
    if path.name == place:
        pause()

HistoryHook.after_train_iter, worker.write_json = after_train_iter, write_json
sys.exit(worker.main(sys.argv[2:]))
"""
KEPT = {  # what a worker leaves that is paused at a place, of checkpoints and of the run's end
    "11": {"epoch_0_iter_8.pth", "epoch_1.pth"},  # before the second epoch's
    "predictions.json": {"epoch_1.pth", "epoch_1_iter_16.pth", "final.pth", "predictions.json"},
}


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("place", KEPT)
def test_a_worker_that_wakes_without_its_lease_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc, in which a paused process is seen")
    run_dir = tmp_path / "a-run"
    run_dir.mkdir()
    profile = replace(SMOKE, eval_interval=1)
    request_of(Experiment(quality="joint"), profile).save(run_dir)
    lock = RunLock.take(run_dir)
    assert lock is not None
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, place, str(run_dir)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | lock.environment,
        )
    deadline = time.monotonic() + 300
    while state_of(process.pid) != "T":
        assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    monkeypatch.setattr(leases, "kernel", lambda: "another")
    monkeypatch.setattr(leases, "host", lambda: "another")
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    while (successor := RunLock.take(run_dir)) is None:
        pass
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    last = json.loads(out.splitlines()[-1])
    assert last["event"] == "lost"
    assert "another process took over the run" in last["message"]
    found = {p.name for p in run_dir.iterdir() if p.suffix in (".pth", ".json")}
    assert found == KEPT[place] | {"request.json"}
    successor.check()
