"""A run of the smoke profile in a process of its own: what it tells and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest

from experiments.profiles import SMOKE
from gfl.checkpoint import load
from gfl.experiment import Experiment
from gfl.record import METRICS, Request, RunRecord, read_json, run_id

EPOCHS = 2
EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)
PROFILE = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=EPOCHS), eval_interval=1)
STEPS = 8  # an epoch: 32 images in batches of 4


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
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is over."""
    folder = request_in(tmp_path_factory.mktemp("run"))
    with (folder / "events").open("wb") as events:
        done = subprocess.run(
            [sys.executable, "-m", "gfl.train", str(folder)],
            stdout=events,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    assert done.returncode == 0, done.stderr
    return folder


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events").read_text().splitlines()]


def test_a_run_leaves_its_record_its_predictions_and_its_weights(ended):
    folder = ended
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
    found = events(ended)
    kinds = [event["event"] for event in found]
    assert kinds.count("start") == 1
    assert kinds.count("eval") == EPOCHS
    assert found[-1] == {"event": "end", "state": "finished"}
