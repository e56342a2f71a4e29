"""A run of the smoke profile in two processes that meet over gloo; caps on its steps.

One that a signal to one process asks to end in the midst of an epoch goes on to the same bits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from request_made import request_of
from torch import distributed

from experiments import profiles
from experiments.queue.worker import command
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.records.record import RunRecord
from gfl.training.loop import CappedTrainLoop
from gfl.training.processes import join

EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)
GPUS = 2
SMOKE = profiles.get("smoke", GPUS)
PROFILE = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=2))
STEPS = PROFILE.dataset.train // PROFILE.schedule.batch  # an epoch
CAP = STEPS + 1

# gfl.training.worker, which also says what each process saw and ended with.
DRIVER = """
import contextlib, json, os, runpy, signal, sys, time
import torch
import gfl.training.session
from pathlib import Path
from gfl.training.checkpoint import ExactCheckpointHook
from gfl.training.preemption import preemption

seen = []

def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
    seen.append([sample.img_id for sample in data_batch["data_samples"]])

def after_train(self, runner):
    whole(self, runner)
    torch.save(runner.model.module.state_dict(), self.folder / f"weights{runner.rank}")
    found = {"seen": seen, "world_size": runner.world_size}
    Path(self.folder, f"rank{runner.rank}").write_text(json.dumps(found))

whole, ExactCheckpointHook.after_train = ExactCheckpointHook.after_train, after_train
ExactCheckpointHook.after_train_iter = after_train_iter
if (place := os.environ.get("END_AT")) is not None:  # process, iteration, itself or not
    rank, at, whom = map(int, place.split())
    def after_train_iter(self, runner, *args, **kwargs):
        if (runner.rank, runner.iter) == (rank, at - 1):
            launcher = os.getppid()
            os.kill(launcher if whom else os.getpid(), signal.SIGUSR1)
            while whom and not preemption.is_requested:  # it passes the first on to both
                time.sleep(0.1)
            while whom and os.getppid() == launcher:  # at the third it leaves its processes alone
                time.sleep(0.5)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(launcher, signal.SIGUSR1)
            time.sleep(2 * whom)  # twice as long as a process takes to notice
    ExactCheckpointHook.after_train_iter = after_train_iter
if __name__ == "__main__":  # not in the processes that draw the data, if it is not drawn yet
    runpy.run_module("gfl.training.worker", run_name="__main__")
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run in two processes, capped in its second epoch, and what it printed."""
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo, over which processes on a CPU meet")
    folder = tmp_path_factory.mktemp("run")
    done = session(folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def session(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run both processes, from the newest checkpoint on."""
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    request_of(EXPERIMENT, PROFILE, gpus=GPUS, max_iters=CAP).save(folder)
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [*command([sys.executable, str(driver)], GPUS), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root} | environment,
    )


def test_two_processes_that_are_asked_to_end_go_on_to_the_same_bits(ended, tmp_path):
    """By a signal to the second process, in the first epoch; by several to the launcher, later."""
    whole, _ = ended
    for place, epoch, iter in (("1 3 0", 0, 3), (f"0 {STEPS + 1} 1", 1, STEPS + 1)):
        done = session(tmp_path, END_AT=place)
        last = json.loads(done.stdout.splitlines()[-1])
        assert last == {"event": "preempted", "epoch": epoch, "iter": iter}, done.stderr[-3000:]
        assert done.returncode != 0  # the launcher's own, not its workers'
        assert (tmp_path / f"epoch_{epoch}_iter_{iter}.pth").exists()
        assert not (tmp_path / "record.json").exists()
    done = session(tmp_path)
    assert done.returncode == 0, done.stderr
    starts = [json.loads(line) for line in done.stdout.splitlines() if '"start"' in line]
    assert [start["resumed"] for start in starts] == [STEPS + 1]
    for name in (f"weights{rank}" for rank in range(GPUS)):
        expected, found = torch.load(whole / name), torch.load(tmp_path / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    expected, found = (RunRecord.load(folder / "record.json") for folder in (whole, tmp_path))
    assert (found.metrics, found.curve, found.evals) == (
        expected.metrics, expected.curve, expected.evals
    )  # fmt: skip


def test_two_processes_train_one_model(ended):
    folder, printed = ended
    ranks = [json.loads((folder / f"rank{rank}").read_text()) for rank in range(GPUS)]
    assert [rank["world_size"] for rank in ranks] == [GPUS, GPUS]
    steps = [
        sorted(first + second) for first, second in zip(*(r["seen"] for r in ranks), strict=True)
    ]
    assert all(len(images) == PROFILE.schedule.batch for images in steps)
    epoch = sorted(image for images in steps[:STEPS] for image in images)
    assert epoch == list(range(1, PROFILE.dataset.train + 1))  # each image once
    weights = [torch.load(folder / f"weights{rank}") for rank in range(GPUS)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    events = [json.loads(line) for line in printed.splitlines()]
    assert [e["event"] for e in events].count("start") == 1  # the first process alone speaks
    assert events[-1] == {"event": "end", "state": "capped"}


def test_a_cap_beyond_an_epoch_is_in_steps_of_the_whole_batch(ended):
    folder, _ = ended
    record = RunRecord.load(folder / "record.json")
    assert (record.state, record.max_iters) == ("capped", CAP)
    assert [point["iter"] for point in record.curve] == list(range(1, CAP + 1))
    assert record.hardware["devices"] == GPUS
    assert record.metrics["AP"] is not None
    assert not (folder / ".predictions").exists()


def test_a_process_alone_is_not_several(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError, match="1 processes started for 2 devices"):
        join(2)


def test_a_cap_beyond_the_schedule_is_none():
    runner = SimpleNamespace(visualizer=SimpleNamespace())
    loader = torch.utils.data.DataLoader(torch.arange(5), batch_size=2)
    loader.dataset.metainfo = {}
    loop = CappedTrainLoop(runner, loader, max_epochs=4, val_interval=1, cap=7)
    assert (loop.max_iters, loop.max_epochs) == (7, 3)
    assert CappedTrainLoop(runner, loader, max_epochs=4, val_interval=1, cap=12).max_epochs == 4
    with pytest.raises(UserError, match="13 is no cap: the schedule has 12 iterations"):
        CappedTrainLoop(runner, loader, max_epochs=4, val_interval=1, cap=13)
