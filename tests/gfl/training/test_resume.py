"""A run that is ended, whenever, and started again ends in the same bits as one that was not.

The sessions are forks of one process that has imported torch and mmdet, which takes longer than
any of them. Each is killed by SIGKILL at the place it is told, or asked by a signal to end there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from request_made import request_of

from experiments.profiles import LAPTOP, PREDICTING, SMOKE
from gfl.experiment import Experiment, Profile
from gfl.records.record import RunRecord, read_json
from gfl.shapes.embedded import ShapesSpec
from gfl.training.checkpoint import load
from gfl.training.preemption import PREEMPTED

EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)

# Arguments: where embedded data lie, and the points of a loss curve. Reads JSON lists of sessions,
# a line each: folder, place to be ended at (or none), loader processes. Prints how each ended.
DRIVER = """
import io, json, os, pathlib, signal, subprocess, sys
import torch
import gfl.training.session
from gfl.training import worker as train
from gfl.training.history import HistoryHook

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def end_at(number):
    whole = HistoryHook.after_train_iter
    def after_train_iter(self, runner, *args, **kwargs):
        whole(self, runner, *args, **kwargs)
        if runner.iter == int(number) - 1:
            # By another process, as when a job ends, and to the loader processes, too.
            command = ["kill", "-TERM", "--", f"-{os.getpgid(0)}"]
            subprocess.run(command, start_new_session=True, check=True)
    HistoryHook.after_train_iter = after_train_iter

def end_repeatedly_at(number):
    end_at(number)
    whole = torch.save
    def save(state, file):
        if f"_iter_{number}." in file.name:
            for again in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
                os.kill(os.getpid(), again)
        whole(state, file)
    torch.save = save

def end_in_evaluation(number):
    def after_val_iter(self, runner, *args, **kwargs):
        if runner.epoch == int(number):
            os.kill(os.getpid(), signal.SIGUSR1)
            raise RuntimeError("it did not end at once")
    HistoryHook.after_val_iter = after_val_iter

def end_in_prediction(_):
    def predict(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGUSR2)
    train.predict = predict

def at_iteration(number):
    whole = HistoryHook.after_train_iter
    def after_train_iter(self, runner, *args, **kwargs):
        whole(self, runner, *args, **kwargs)
        if runner.iter == int(number):
            die()
    HistoryHook.after_train_iter = after_train_iter

def in_evaluation(number):
    def after_val_iter(self, runner, *args, **kwargs):
        if runner.epoch == int(number):
            die()
    HistoryHook.after_val_iter = after_val_iter

def in_the_midst_of(name):
    whole = torch.save
    def save(state, file):
        if name not in file.name:
            return whole(state, file)
        content = io.BytesIO()
        whole(state, content)
        file.write(content.getvalue()[:content.tell() // 2])
        file.flush()
        die()
    torch.save = save

def before_renaming(name):
    whole = pathlib.Path.replace
    def replace(self, target):
        if pathlib.Path(target).name == name:
            die()
        return whole(self, target)
    pathlib.Path.replace = replace

def before_writing(name):
    whole = train.write_json
    train.write_json = lambda path, *a, **k: die() if path.name == name else whole(path, *a, **k)

def with_loaders(count):
    whole = train._settings
    def settings(*args):
        here = whole(*args)
        for split in ("train", "val"):
            loader = here[f"{split}_dataloader"]
            loader["num_workers"], loader["persistent_workers"] = count, count % 2 == 0
        return here
    train._settings = settings

def session(folder, place, loaders):
    os.setsid()
    os.dup2(os.open(f"{folder}/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    if place:
        kind, what = place.split(": ")
        globals()[kind.replace(" ", "_")](what)
    if loaders:
        with_loaders(loaders)
    return train.main([folder])

train.EMBEDDED = pathlib.Path(sys.argv[1])
gfl.training.history.CURVE_POINTS = int(sys.argv[2])
for line in sys.stdin:
    codes = []
    for one in json.loads(line):
        child = os.fork()
        if child == 0:
            os._exit(session(*one))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes), flush=True)
"""


@dataclass(frozen=True)
class Chain:
    """Where a run is ended, again and again, and the iterations its sessions go on from."""

    profile: Profile
    places: tuple[str, ...]
    resumed: tuple[int, ...]
    loaders: tuple[int, ...] = ()  # processes, a session each; the undisturbed run has none
    minutes: float | None = None  # between checkpoints


# The laptop's precision, clipping, optimizer and schedule on fewer images, 3 epochs of 3 steps.
LITTLE = replace(
    LAPTOP,
    dataset=ShapesSpec(image_size=128, train=24, val=8),
    schedule=replace(LAPTOP.schedule, warmup_iters=4),
)
SHORT = replace(SMOKE, eval_interval=1)  # 2 epochs of 8 iterations
CHAINS = {
    "everywhere": Chain(
        SHORT,
        (
            "at iteration: 2",
            "in evaluation: 1",
            "in the midst of: epoch_1.pth",
            "before renaming: epoch_1.pth",  # its checksum is there
            "at iteration: 8",  # the first after the checkpoint
            "at iteration: 15",  # the last
            "in evaluation: 2",
            "in the midst of: final.pth",
            "before renaming: final.pth",
            "before writing: predictions.json",
        ),
        (0, 0, 8, 8, 8, 8, 8, 16, 16, 16, 16),
    ),
    "laptop": Chain(
        LITTLE, ("at iteration: 4", "at iteration: 7", "in evaluation: 3"), (0, 3, 6, 9)
    ),
    # Where other processes load the images: as many as there happen to be.
    "loaders": Chain(
        replace(SHORT, device="cuda"),
        ("at iteration: 10", "at iteration: 13"),
        (0, 8, 8),
        (2, 0, 3),
    ),
    # By signals: after an iteration, the last of an epoch too, and anywhere else at once. Further
    # ones while the checkpoint is written change nothing.
    "asked": Chain(
        SHORT,
        (
            "end at: 3",
            "end at: 8",
            "end repeatedly at: 11",
            "end in evaluation: 2",
            "end in evaluation: 2",
        ),
        (0, 3, 8, 11, 16, 16),
    ),
    "laptop, asked": Chain(
        LITTLE, ("end at: 2", "end at: 4", "end at: 8", "end in prediction: "), (0, 2, 4, 8, 9)
    ),
    "loaders, asked": Chain(
        replace(SHORT, device="cuda"),
        ("end at: 3", "end at: 10", "end at: 13"),
        (0, 3, 10, 13),
        (2, 0, 3, 2),
    ),
    "every moment": Chain(
        SHORT,
        ("at iteration: 2", "in the midst of: epoch_0_iter_5.pth", "at iteration: 12"),
        (0, 2, 4, 12),
        minutes=1e-9,
    ),
}


POINTS = 4  # of a loss curve: a run is ended between two of them


Sessions = list[tuple[str, str | None, int]]  # folder, place, loader processes
Trained = Callable[[Sessions], list[int]]


def request_in(folder: Path, profile: Profile, minutes: float | None = None) -> Path:
    asked = request_of(EXPERIMENT, profile, predicts=profile.name in PREDICTING)
    replace(asked, checkpoint_minutes=minutes).save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Trains sessions, one after the other, and returns how each ended; one process for all."""
    log = tmp_path_factory.mktemp("driver") / "log"
    data = str(tmp_path_factory.mktemp("data"))
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, data, str(POINTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        write, read = process.stdin, process.stdout

        def train(sessions: Sessions) -> list[int]:
            write.write(json.dumps(sessions) + "\n")
            write.flush()
            codes = json.loads(read.readline() or "[]")
            assert len(codes) == len(sessions), log.read_text()[-3000:]
            return codes

        yield train
        write.close()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def undisturbed(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Profile], Path]:
    """The folder of a run that nothing ended, trained once a profile."""

    @cache
    def whole(profile: Profile) -> Path:
        folder = request_in(tmp_path_factory.mktemp("whole"), profile)
        assert trained([(str(folder), None, 0)]) == [0]
        return folder

    return whole


@pytest.fixture(scope="module", params=CHAINS.values(), ids=list(CHAINS))
def ended(
    request: pytest.FixtureRequest,
    trained: Trained,
    undisturbed: Callable[[Profile], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Chain, Path, Path]:
    """The folders of the undisturbed run and of the one that was ended and started again."""
    chain: Chain = request.param
    killed = request_in(tmp_path_factory.mktemp("killed"), chain.profile, chain.minutes)
    places = (*chain.places, None)
    loaders = chain.loaders or (0,) * len(places)
    codes = trained([(str(killed), *one) for one in zip(places, loaders, strict=True)])
    ends = [PREEMPTED if p.startswith("end ") else -signal.SIGKILL for p in chain.places]
    assert codes == [*ends, 0]
    return chain, undisturbed(chain.profile), killed


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events").read_text().splitlines()]


def test_each_session_goes_on_where_the_last_checkpoint_is(ended):
    chain, _, killed = ended
    found = events(killed)
    assert tuple(e["resumed"] for e in found if e["event"] == "start") == chain.resumed
    assert not [e for e in found if e["event"] == "message"]  # nothing was found damaged
    ended_at = [e["iter"] for e in found if e["event"] == "preempted"]
    after = chain.resumed[1:]
    asked = [i for i, place in zip(after, chain.places, strict=True) if place.startswith("end ")]
    assert ended_at == asked


def test_weights_are_the_same(ended):
    _, *folders = ended
    expected, weights = (load(folder / "final.pth")["model"] for folder in folders)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_metrics_loss_curve_and_detections_are_the_same(ended):
    _, *folders = ended
    expected, found = (RunRecord.load(folder / "record.json") for folder in folders)
    assert found.state == expected.state == "finished"
    assert found.metrics == expected.metrics
    assert found.curve == expected.curve
    assert found.evals == expected.evals
    predictions = [read_json(folder / "predictions.json") for folder in folders]
    assert predictions[0] == predictions[1]


def test_what_is_left_is_what_an_undisturbed_run_leaves(ended):
    _, *folders = ended
    expected, found = ({path.name for path in folder.iterdir()} for folder in folders)
    logs = {name for name in expected | found if name[:8].isdigit()}  # mmengine's, by the second
    assert found - logs == expected - logs
