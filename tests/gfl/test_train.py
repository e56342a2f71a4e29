"""Runs of the smoke profile in processes of their own: what one leaves; how it goes on if killed.

The processes are forks of one that has imported torch and mmdet, which takes longer than the runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch

from experiments.profiles import SMOKE
from gfl.checkpoint import load
from gfl.experiment import Experiment
from gfl.record import METRICS, Request, RunRecord, read_json, run_id

EPOCHS = 2
EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)
PROFILE = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=EPOCHS), eval_interval=1)
STEPS = PROFILE.dataset.train // PROFILE.schedule.batch  # an epoch

# Arguments: a folder for the run that nothing disturbs, and one for the run that is killed in the
# evaluation of its second epoch and started again. Prints how each process ended.
DRIVER = """
import os, runpy, signal, sys
from pathlib import Path
import gfl.session

def whole(folder):
    sys.argv[1:] = [folder]
    runpy.run_module("gfl.train", run_name="__main__")

def killed(folder):
    from gfl import train
    from gfl.record import Request
    evaluations = 0
    def tell(event, **content):
        nonlocal evaluations
        evaluations += content.get("name") == "evaluating"
        if evaluations == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    train.train(Request.load(Path(folder)), Path(folder), tell)

def in_a_process(run, folder):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"{folder}/events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        try:
            run(folder)
        except SystemExit as exit:
            os._exit(exit.code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

undisturbed, disturbed = sys.argv[1:]
in_a_process(whole, undisturbed)
in_a_process(killed, disturbed)
print(*sorted(os.listdir(disturbed)))
in_a_process(whole, disturbed)
"""


def request_in(folder: Path) -> Path:
    Request(
        id=run_id(EXPERIMENT, PROFILE, 0),
        experiment=EXPERIMENT,
        profile=PROFILE,
        seed=0,
        data_root=None,
        device="cpu",
        gpus=1,
        max_iters=None,
        commit=None,
        dirty=False,
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the undisturbed run and of the one that was killed and started again."""
    folders = [request_in(tmp_path_factory.mktemp(name)) for name in ("whole", "killed")]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        # As gfl.train's main does for a run on the CPU; the killed run does not pass through it.
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    first, second, between, third = done.stdout.splitlines()
    assert [int(code) for code in (first, second, third)] == [0, -signal.SIGKILL, 0], done.stderr
    left = set(between.split())
    assert {"epoch_1.pth", "epoch_1.pth.sha256"} <= left
    assert not left & {"epoch_2.pth", "final.pth", "record.json"}
    return folders[0], folders[1]


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events").read_text().splitlines()]


def test_a_run_leaves_its_record_its_predictions_and_its_weights(ended):
    folder, _ = ended
    record = RunRecord.load(folder / "record.json")
    assert record.state == "finished"
    assert record.id == run_id(EXPERIMENT, PROFILE, 0)
    assert record.metrics.keys() == set(METRICS)
    assert [found["epoch"] for found in record.evals] == [1, 2]
    assert record.evals[-1]["AP"] == record.metrics["AP"]
    assert [point["iter"] for point in record.curve] == list(range(1, EPOCHS * STEPS + 1))
    for point in record.curve:
        parts = point["loss_cls"] + point["loss_bbox"] + point["loss_dfl"]
        assert point["loss"] == pytest.approx(parts, abs=3e-6)  # each is rounded
    assert isinstance(read_json(folder / "predictions.json")["detections"], list)
    assert not list(folder.glob("epoch_*"))
    assert all(w.isfinite().all() for w in load(folder / "final.pth")["model"].values())


def test_standard_output_is_events_alone(ended):
    found = events(ended[0])
    kinds = [event["event"] for event in found]
    assert kinds.count("start") == 1
    assert kinds.count("eval") == EPOCHS
    assert found[-1] == {"event": "end", "state": "finished"}


def test_a_killed_run_that_is_started_again_ends_in_the_same_bits(ended):
    _, disturbed = ended
    starts = [e["resumed"] for e in events(disturbed) if e["event"] == "start"]
    assert starts == [STEPS]  # after epoch 1
    expected, weights = (load(folder / "final.pth")["model"] for folder in ended)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    before, after = (RunRecord.load(folder / "record.json") for folder in ended)
    assert after.metrics == before.metrics
    assert after.curve == before.curve
    assert after.evals == before.evals
    predictions = [read_json(folder / "predictions.json") for folder in ended]
    assert predictions[0] == predictions[1]
