"""A loss or a weight that is not finite ends a run with its cause; then the run can go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from request_made import request_of
from torch import nn

from experiments.profiles import SMOKE
from gfl.experiment import Experiment
from gfl.records.record import RunRecord
from gfl.training.checkpoint import load
from gfl.training.history import CURVE_POINTS, DivergedError, HistoryHook, beginning

# Arguments: where embedded data lie, and a JSON list of sessions: folder, and the iteration after
# which a weight is no number (or none). Prints how each ended. What is left of a session that
# failed is as in ``experiments.queue.attempt``: all but the record.
DRIVER = """
import json, os, pathlib, sys
import torch
import gfl.training.session
from gfl.training import worker as train
from gfl.training.history import HistoryHook

def spoil(number):
    whole = HistoryHook.after_train_iter
    def after_train_iter(self, runner, *args, **kwargs):
        whole(self, runner, *args, **kwargs)
        if runner.iter + 1 == number:
            with torch.no_grad():
                next(runner.model.parameters()).mul_(float("nan"))
    HistoryHook.after_train_iter = after_train_iter

def session(folder, number):
    os.dup2(os.open(f"{folder}/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    if number:
        spoil(number)
    return train.main([folder])

train.EMBEDDED = pathlib.Path(sys.argv[1])
for folder, number in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        os._exit(session(folder, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    record = pathlib.Path(folder, "record.json")
    left = sorted(path.name for path in record.parent.glob("*.pth"))
    print(json.dumps([code, json.loads(record.read_text()), left]), flush=True)
    if number:
        record.unlink()
"""

SHORT = replace(SMOKE, eval_interval=1)  # 2 epochs of 8 iterations, each a point of the curve
SPOILT = (8, 11)  # after the first epoch's last point, and in the second


@dataclass(frozen=True)
class Ended:
    whole: Path
    spoilt: Path
    sessions: list[tuple[int, dict[str, Any], list[str]]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    whole, spoilt = (tmp_path_factory.mktemp(name) for name in ("whole", "spoilt"))
    for folder in (whole, spoilt):
        request_of(Experiment(quality="joint"), SHORT).save(folder)
    sessions = [(str(whole), None), *((str(spoilt), one) for one in (*SPOILT, None))]
    data = str(tmp_path_factory.mktemp("data"))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, data, json.dumps(sessions)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, *_ in told] == [0] * 4, done.stderr[-3000:]
    return Ended(whole, spoilt, told)


def test_the_record_says_why_and_what_was_computed_so_far(ended: Ended) -> None:
    _, (_, first, left), (_, second, kept), _ = ended.sessions
    assert (first["state"], left) == ("failed", [])  # no checkpoint of such weights
    assert first["message"] == "the weights are not finite after iteration 8"
    assert (second["state"], kept) == ("failed", ["epoch_0_iter_8.pth", "epoch_1.pth"])
    cause = second["message"]
    assert cause.startswith("the loss is not finite by iteration 12: loss nan, loss_cls nan")
    assert "; learning rate 0." in cause
    assert [point["iter"] for point in second["curve"]] == list(range(1, 12))
    assert second["metrics"] == {}  # those of the first epoch are no result


def test_then_the_run_goes_on_to_what_an_undisturbed_one_gives(ended: Ended) -> None:
    events = [json.loads(line) for line in (ended.spoilt / "events").read_text().splitlines()]
    assert [e["resumed"] for e in events if e["event"] == "start"] == [0, 0, 8]
    found, expected = (RunRecord.load(f / "record.json") for f in (ended.spoilt, ended.whole))
    assert found.state == "finished"
    assert (found.metrics, found.curve) == (expected.metrics, expected.curve)
    weights, wanted = (load(f / "final.pth")["model"] for f in (ended.spoilt, ended.whole))
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("part", ["loss_cls", "loss_bbox"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_between_two_points_is_found_before_a_checkpoint(part: str, value: float) -> None:
    """On COCO a point is hundreds of iterations, and an epoch does not end with one."""
    runner: Any = SimpleNamespace(
        iter=0, epoch=0, max_iters=CURVE_POINTS * 100, model=nn.Linear(1, 1),
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"lr": [0.01]}),
    )  # fmt: skip
    hook = HistoryHook(beginning(), 2, lambda event, **content: None)
    hook.before_train_epoch(runner)
    for number in range(3):
        losses = {"loss_cls": torch.tensor(1.0), "loss_bbox": torch.tensor(0.5)}
        if number == 1:
            losses[part] = torch.tensor(value)
        losses = {"loss": losses["loss_cls"] + losses["loss_bbox"]} | losses
        runner.iter = number
        hook.after_train_iter(runner, number, None, losses)
    runner.iter = 3
    with pytest.raises(DivergedError) as found:
        hook.after_train_epoch(runner)
    text = str(found.value)
    assert text.startswith("the loss is not finite by iteration 3: ")
    assert f"{part} {value:g}" in text
    assert text.endswith("; learning rate 0.01")


def test_an_epochs_last_event_has_its_last_loss(ended: Ended) -> None:
    """Even of an epoch that is shorter than the time between two events."""
    events = [json.loads(line) for line in (ended.whole / "events").read_text().splitlines()]
    trained = {event["epoch"]: event for event in events if event["event"] == "train"}
    _, record, _ = ended.sessions[0]
    losses = {point["iter"]: point["loss"] for point in record["curve"]}
    assert {epoch: (event["iter"], event["loss"]) for epoch, event in trained.items()} == {
        1: (8, losses[8]),
        2: (16, losses[16]),
    }
