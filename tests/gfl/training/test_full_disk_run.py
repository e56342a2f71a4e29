"""A run whose disk fills up, at any of its files, says so and goes on once there is space.

The disk is a small one of its own, in a namespace; where that is not allowed, its writes are
refused. The sessions are forks of one process, as in ``test_resume``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from request_made import request_of

from experiments.profiles import SMOKE
from gfl.experiment import Experiment
from gfl.records.record import RunRecord, read_json
from gfl.training.checkpoint import load

ROOT = Path(__file__).parents[3]

# Arguments: where embedded data lie, the disk, whether it is real, where to copy what is left on
# it, and a JSON list of sessions: folder, file of events, place where the disk fills up (or none).
DRIVER = """
import errno, json, os, pathlib, shutil, sys
import torch
import gfl.training.session
from full_disk import FullDisk
from gfl.records.record import RunRecord
from gfl.training import worker as train
from gfl.training.history import HistoryHook

data, disk, is_real, copy, sessions = sys.argv[1:]
ballast = pathlib.Path(disk, "ballast")
refusing = FullDisk(pathlib.Path(disk), 1 << 40)

def fill():
    if is_real == "no":
        refusing.left = 0
        return
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as err:
            assert err.errno == errno.ENOSPC

def at_start(_):
    fill()

def at_iteration(number):
    whole = HistoryHook.after_train_iter
    def after_train_iter(self, runner, *args, **kwargs):
        whole(self, runner, *args, **kwargs)
        if runner.iter == int(number):
            fill()
    HistoryHook.after_train_iter = after_train_iter

def in_the_midst_of(name):
    whole = torch.save
    def save(state, file):
        if name in file.name:
            file.write(bytes(100_000))
            fill()
            file.seek(0)
            state = state | {"more": torch.zeros(100_000)}  # than what is written already
        whole(state, file)
    torch.save = save

def at_checksum_of(name):
    from gfl.training import checkpoint
    whole = checkpoint.sha256
    def sha256(path):
        if path.name.startswith(f".{name}."):
            fill()
        return whole(path)
    checkpoint.sha256 = sha256

def at_writing(name):
    whole = train.write_json
    def write(path, *args, **kwargs):
        if path.name == name:
            fill()
        whole(path, *args, **kwargs)
    train.write_json = write

def at_record(_):
    whole = RunRecord.save
    def save(self, path):
        fill()
        whole(self, path)
    RunRecord.save = save

def session(folder, events, place):
    if is_real == "no":
        refusing.__enter__()
    os.makedirs(folder, exist_ok=True)
    os.dup2(os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(os.open(f"{folder}/train.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    if place:
        kind, what = place.split(": ")
        globals()[kind.replace(" ", "_")](what)
    return train.main([folder])

train.EMBEDDED = pathlib.Path(data)
for one in json.loads(sessions):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(session(*one))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ballast.unlink(missing_ok=True)
shutil.copytree(disk, copy)
"""

SHORT = replace(SMOKE, eval_interval=1)  # 2 epochs of 8 iterations
EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)
# Where the disk fills up, and the iteration that the session began with.
PLACES = (
    ("at start: nothing", None),
    ("at iteration: 2", 0),
    ("in the midst of: epoch_1.pth", 0),
    ("at checksum of: epoch_1.pth", 8),
    ("at iteration: 9", 8),
    ("in the midst of: final.pth", 8),
    ("at writing: predictions.json", 16),
    ("at record: record.json", 16),
)


@dataclass(frozen=True)
class Ended:
    """The folders of the undisturbed run and of the other, and what its sessions told."""

    whole: Path
    filled: Path
    events: list[list[dict[str, Any]]]


def small_disk(disk: Path) -> list[str]:
    """What a command begins with to have a disk of 16 MB there; empty where it may not."""
    mount = f"mount --make-rprivate / && mount -t tmpfs -o size=16m none '{disk}' && exec \"$@\""
    for unshare in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        prefix = [*unshare, "sh", "-c", mount, "sh"]
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    return []


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    base = tmp_path_factory.mktemp("full-disk")
    disk, whole, left = base / "disk", base / "whole", base / "left"
    for folder in (disk, whole):
        folder.mkdir()
    prefix = small_disk(disk)
    request_of(EXPERIMENT, SHORT).save(base)
    request_of(EXPERIMENT, SHORT).save(whole)
    names = [f"events-{i}" for i in range(len(PLACES) + 1)]
    places = [place for place, _ in PLACES]
    sessions = [(str(whole), str(base / "events"), None)]
    for name, place in zip(names, (*places, None), strict=True):
        sessions.append((str(disk / "run"), str(base / name), place))
    copied = f'mkdir {disk}/run && cp {base}/request.json {disk}/run && exec "$@"'
    driver = [sys.executable, "-c", DRIVER, str(base / "data"), str(disk)]
    done = subprocess.run(
        [*prefix, "sh", "-c", copied, "sh", *driver, "yes" if prefix else "no", str(left),
         json.dumps(sessions)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/experiments'}"},
    )  # fmt: skip
    told = [[json.loads(line) for line in (base / name).read_text().splitlines()] for name in names]
    codes = [int(code) for code in done.stdout.split()]
    assert codes == [0, *[2] * len(PLACES), 0], (done.stderr[-3000:], told)
    return Ended(whole, left / "run", told)


def test_each_session_ends_with_one_line_that_says_so(ended: Ended) -> None:
    for events, (place, _) in zip(ended.events, PLACES, strict=False):
        (error,) = [event for event in events if event["event"] == "error"]
        assert error["user"], place
        assert "the disk is full; free some space and run again" in error["message"], place
        assert "\n" not in error["message"]


def test_each_session_goes_on_from_the_last_checkpoint_that_is_whole(ended: Ended) -> None:
    begun = [[e["resumed"] for e in events if e["event"] == "start"] for events in ended.events]
    assert begun == [[] if i is None else [i] for _, i in PLACES] + [[8]]
    told = [e for events in ended.events for e in events if e["event"] == "message"]
    assert not told  # nothing was found damaged


def test_in_the_end_all_is_as_if_there_had_been_space(ended: Ended) -> None:
    expected, found = (RunRecord.load(f / "record.json") for f in (ended.whole, ended.filled))
    timed = {"seconds": 0.0, "images_per_second": None, "fps": None, "started": ""}
    assert replace(found, **timed) == replace(expected, **timed)
    weights = [load(f / "final.pth")["model"] for f in (ended.whole, ended.filled)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())
    detections = [read_json(f / "predictions.json") for f in (ended.whole, ended.filled)]
    assert detections[0] == detections[1]
    names = [{path.name for path in f.iterdir()} for f in (ended.whole, ended.filled)]
    logs = {name for name in names[0] | names[1] if name[:8].isdigit()}  # mmengine's, by the second
    assert names[0] - logs == names[1] - logs
