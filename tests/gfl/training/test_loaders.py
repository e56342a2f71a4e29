"""Loader processes with little shared memory, that are killed, that fail: no run waits for them.

The sessions are forks of one process that has imported torch and mmdet. Those with another
/dev/shm have a mount namespace of their own, for which Linux wants root.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import own_folder
import pytest
import torch

from experiments import own
from experiments.profiles import COCO, SMOKE
from experiments.tables.catalogue import TABLES
from gfl import config
from gfl.data.images import ImageError
from gfl.errors import UserError
from gfl.experiment import AnyExperiment
from gfl.records.record import Request, RunRecord
from gfl.training import loaders
from gfl.training.checkpoint import load

NO_ROOM = {"event": "error", "message": loaders.NO_ROOM, "user": True, "lacks": []}
STEPS = own_folder.SPLITS["train"] // 2  # an epoch, of batches of two

# Arguments: a JSON list of sessions: folder, options of the tmpfs on /dev/shm (or none), and what
# happens (or nothing). Prints how each ended.
DRIVER = """
import json, multiprocessing, os, pathlib, signal, subprocess, sys
import gfl.training.session
from gfl.training import loaders, worker as train
from gfl.training.history import HistoryHook

def at_iteration(number, act):
    whole = HistoryHook.after_train_iter
    def after_train_iter(self, runner, *args, **kwargs):
        whole(self, runner, *args, **kwargs)
        if runner.iter == int(number):
            act()
    HistoryHook.after_train_iter = after_train_iter

def kill(number, name):
    def act():
        os.kill(multiprocessing.active_children()[0].pid, signal.Signals[name])
    at_iteration(number, act)

def empty(number, folder):
    def act():
        for path in pathlib.Path(folder).iterdir():
            path.write_bytes(b"")
    at_iteration(number, act)

def unnoticed():
    loaders._free = lambda: None

def session(folder, shm, event):
    os.dup2(os.open(f"{folder}/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    if shm:
        subprocess.run(["mount", "-t", "tmpfs", "-o", shm, "tmpfs", "/dev/shm"], check=True)
    if event:
        globals()[event[0]](*event[1:])
    return train.main([folder])

for one in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(session(*one))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def write(folder: Path, data: Path) -> str:
    """Request a run of two epochs of three steps whose images processes load, on the CPU."""
    profile = replace(
        SMOKE,
        dataset=None,
        own=own.read(data).spec,
        scale=(128, 128),
        schedule=replace(SMOKE.schedule, epochs=2, batch=2),
        eval_interval=2,
        device="cuda",
    )
    folder.mkdir()
    id = f"own-{own.run_id(own.GFL, profile, 0)}"
    Request(
        id, own.GFL, profile, 0, str(data), "cpu", 1, None, None, False, cores=2
    ).save(folder)  # fmt: skip
    return str(folder)


def drive(sessions: list[Any], *before: str) -> list[int]:
    """Run sessions one after another; return their exit codes."""
    done = subprocess.run(
        [*before, sys.executable, "-c", DRIVER, json.dumps(sessions)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,  # a loader that is waited for is waited for for ever
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return [int(code) for code in done.stdout.split()]


def events(folder: str | Path, kind: str) -> list[Any]:
    lines = (json.loads(line) for line in Path(folder, "events").read_text().splitlines())
    return [event for event in lines if event["event"] == kind]


def same_weights(a: Path, b: Path) -> bool:
    one, other = (load(folder / "final.pth")["model"] for folder in (a, b))
    return all(torch.equal(one[name], other[name]) for name in one | other)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loaders")


@pytest.fixture(scope="module")
def ended(folders: Path) -> dict[str, list[int]]:
    """The exit codes of a run's sessions: undisturbed, killed and so on, and what is left of it."""
    data = own_folder.write(folders / "parts")
    emptied = shutil.copytree(data, folders / "emptied")
    names = ("whole", "killed", "bus")
    whole, killed, bus = (write(folders / name, data) for name in names)
    lost = write(folders / "lost", emptied)
    sessions = [
        (whole, "", []),
        (killed, "", ["kill", STEPS + 1, "SIGKILL"]),
        (killed, "", []),
        (bus, "", ["kill", 1, "SIGBUS"]),
        (lost, "", ["empty", 1, str(emptied / "train2017")]),
    ]
    codes: dict[str, list[int]] = {}
    for (folder, *_), code in zip(sessions, drive(sessions), strict=True):
        codes.setdefault(Path(folder).name, []).append(code)
    return codes


def test_a_loader_that_is_killed_ends_the_run_which_goes_on_afterwards(ended, folders):
    assert ended["whole"] == [0]
    assert ended["killed"] == [2, 0]
    (error,) = events(folders / "killed", "error")
    assert error["user"] is True
    assert error["message"].startswith("a loader process was killed (out of memory?): free some")
    assert "\n" not in error["message"]
    assert [start["resumed"] for start in events(folders / "killed", "start")] == [0, STEPS]
    assert same_weights(folders / "whole", folders / "killed")
    assert RunRecord.load(folders / "killed/record.json").state == "finished"


def test_a_loader_without_room_dies_of_a_bus_error_and_the_run_says_so(ended, folders):
    assert ended["bus"] == [2]
    (error,) = events(folders / "bus", "error")
    assert error == NO_ROOM
    assert "--shm-size" in error["message"]


def test_an_image_that_goes_while_it_trains_is_one_line(ended, folders):
    assert ended["lost"] == [2]
    (error,) = events(folders / "lost", "error")
    assert error["user"] is True
    assert "\n" not in error["message"]
    assert error["message"].startswith(f"{folders / 'emptied/train2017/train_'}")
    assert error["message"].endswith(".png: empty, 0 bytes")


@pytest.fixture(scope="module")
def small(ended: dict[str, list[int]], folders: Path) -> dict[str, int]:
    """The exit codes of runs with another /dev/shm."""
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs x /dev/shm"],
        capture_output=True,
        text=True,
    ) if shutil.which("unshare") else None  # fmt: skip
    if tried is None or tried.returncode:
        why = tried.stderr.strip() if tried else "there is no unshare"
        pytest.skip(f"this test mounts a small /dev/shm of its own, and cannot: {why}")
    sessions = [
        (write(folders / name, folders / "parts"), shm, event)
        for name, shm, event in (
            ("small", "size=2m", []),
            ("full", "size=128k", ["unnoticed"]),  # the loaders' semaphores have room
            ("none", "ro", []),
        )
    ]
    private = ("unshare", "-m", "sh", "-c", 'mount --make-rprivate / && exec "$@"', "sh")
    return dict(zip(("small", "full", "none"), drive(sessions, *private), strict=True))


def test_with_little_shared_memory_images_go_through_pipes_and_nothing_else_changes(small, folders):
    assert small["small"] == 0
    (message,) = [m["text"] for m in events(folders / "small", "message")]
    assert "/dev/shm has 2 MB free" in message
    assert "go through pipes" in message
    assert same_weights(folders / "whole", folders / "small")


def test_a_loader_that_finds_no_room_ends_the_run(small, folders):
    """Where its batch was dropped, and waited for, before."""
    assert small["full"] == 2
    (error,) = events(folders / "full", "error")
    assert error == NO_ROOM
    assert "unable to allocate shared memory" in (folders / "full/log").read_text()


def test_without_shared_memory_the_training_process_loads_the_images(small, folders):
    assert small["none"] == 0
    (message,) = [m["text"] for m in events(folders / "none", "message")]
    assert message.startswith("no loader processes (")
    assert same_weights(folders / "whole", folders / "none")


def experiment_of(table: str, row: str) -> AnyExperiment:
    experiment = next(r.experiment for r in TABLES[table].rows if (r.label or r.name) == row)
    assert experiment is not None
    return experiment


def settings_of(cell: str, gpus: int = 1) -> dict[str, Any]:
    resolved = config.build(experiment_of(*cell.split("/")), COCO, 0)
    return config.for_machine(
        resolved, data_root=Path("coco"), work_dir=Path("run"), workers=4, gpus=gpus
    )


@pytest.mark.parametrize("free", [64 << 20, 1 << 40, None])
def test_cocos_batches_do_not_fit_into_dockers_shared_memory(monkeypatch, free):
    monkeypatch.setattr(loaders, "_free", lambda: free)
    here, told = settings_of("table-3/QFL"), []
    before = json.dumps(here)
    loaders.prepare(here, told.append)
    for name in loaders.LOADERS:
        begin = here[name].pop("worker_init_fn")
        assert begin == {
            "type": "begin_loader", "num_workers": 4, "seed": 0, "through_pipes": free == 64 << 20,
        }  # fmt: skip
    assert json.dumps(here) == before
    assert len(told) == (free == 64 << 20)


def test_the_bytes_on_their_way_are_those_of_the_largest_images():
    """Four loaders with two batches each, and the one that is trained on."""
    resize = {"type": "Resize", "scale": (1333, 800)}
    loader = {"num_workers": 4, "batch_size": 2, "dataset": {"pipeline": [{"type": "x"}, resize]}}
    beside = 18 * loaders.BESIDES
    assert loaders._on_their_way(loader) == 18 * 3 * 1333 * 800 + beside
    resize["scale"] = ((1333, 480), (1333, 800))
    assert loaders._on_their_way(loader) == 18 * 3 * 1333 * 800 + beside
    loader["dataset"]["pipeline"][0]["type"] = "PhotoMetricDistortion"
    assert loaders._on_their_way(loader) == 18 * 3 * 1333 * 800 * 4 + beside


@pytest.mark.parametrize(
    ("row", "train", "val"),
    [
        ("SAPD R-101", 3 * 1333 * 800, 3 * 1333 * 800),  # one of six sizes
        ("TridentNet R-101-DCN", 3 * 2000 * 1200, 3 * 2000 * 800),
        ("CornerNet HG-104", 3 * 511 * 511 * 4, 3 * 767 * 767 * 4),  # in floats; padded
    ],
)
def test_the_bytes_of_an_image_are_those_of_its_systems_pipeline(row, train, val):
    settings = config.build(experiment_of("table-4", row), COCO, 0)
    for loader, expected in (("train_dataloader", train), ("val_dataloader", val)):
        assert loaders._bytes(settings[loader]["dataset"]["pipeline"]) == expected


def test_a_tensor_that_goes_by_value_is_the_same():
    for tensor in (torch.rand(2, 3)[:, ::2], torch.arange(3), torch.tensor(True), torch.rand(0, 4)):
        make, given = loaders._by_value(tensor)
        found = pickle.loads(pickle.dumps((make, given)))
        again = found[0](*found[1])
        assert again.dtype == tensor.dtype
        assert torch.equal(again, tensor)


def raise_again(error: Exception) -> None:
    from torch._utils import ExceptionWrapper

    try:
        raise error
    except Exception:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 3")
    with loaders.explained():
        wrapped.reraise()


def test_what_a_loader_raises_is_told_without_its_traceback():
    for error in (UserError("a.png: gone"), ImageError("a.png: gone", "gone")):
        with pytest.raises(UserError, match=r"^a\.png: gone$"):
            raise_again(error)
    with pytest.raises(RuntimeError, match=r"^a loader process failed: KeyError: 'a'$"):
        raise_again(KeyError("a"))
    with pytest.raises(RuntimeError, match=r"^a loader process failed: ValueError: two lines$"):
        raise_again(ValueError("two\nlines"))


@pytest.mark.parametrize(
    "error",
    [
        (RuntimeError, "DataLoader worker (pid 7) is killed by signal: Killed. "),
        (RuntimeError, "DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
        (ConnectionResetError, "by peer"),
        (EOFError, ""),
    ],
)
@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was killed \(out of memory"),
        (
            lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGBUS)),
            r"could not share its images",
        ),
        (lambda: os._exit(loaders.CANNOT_SHARE), r"could not share its images"),
        (lambda: os._exit(3), r"ended \(exit code 3\)"),
        (
            lambda: (
                signal.signal(signal.SIGTERM, signal.SIG_DFL),
                os.kill(os.getpid(), signal.SIGTERM),
            ),
            r"killed by signal: Terminated",
        ),
    ],
)
def test_a_loaders_end_is_known_though_others_have_asked_for_it_before(
    monkeypatch, error, end, said
):
    loader = multiprocessing.get_context("fork").Process(target=end)
    loader.start()
    loader.join()  # torch's own question comes too late
    monkeypatch.setattr(loaders, "_loaders", lambda: [loader])
    with pytest.raises(UserError, match=said), loaders.explained():
        raise error[0](error[1])


@pytest.mark.parametrize("when", [0.05, 0.25])
def test_torch_may_raise_while_a_loaders_end_is_waited_for(monkeypatch, when):
    loader = multiprocessing.get_context("fork").Process(
        target=lambda: (time.sleep(when), os._exit(3))
    )

    monkeypatch.setattr(loaders, "_loaders", lambda: [loader])

    def of_torch(*_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly with exit code 3.")

    before = signal.signal(signal.SIGCHLD, of_torch)
    try:
        loader.start()
        with pytest.raises(UserError, match=r"exit code 3"), loaders.explained():
            raise ConnectionResetError("by peer")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_other_errors_pass():
    for error in (KeyError("a"), RuntimeError("of torch"), UserError("of ours")):
        with pytest.raises(type(error)) as raised, loaders.explained():
            raise error
        assert raised.value is error
