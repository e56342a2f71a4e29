"""Checkpoints: what goes in comes out, damage is noticed, nothing in a file is run."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch import Tensor, nn

from gfl.errors import UserError
from gfl.training.checkpoint import DamagedError, ExactCheckpointHook, forget, load, newest, save
from gfl.training.history import HistoryHook, beginning


def seal(path: Path) -> None:
    """Write the checksum that a file now has beside it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(digest + "\n")


class Malice:
    """Unpickled without care, it writes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, (str(self.witness),)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def malice(path: Path) -> None:
    torch.save({"model": Malice(path.with_name("witness"))}, path)
    seal(path)


def no_checkpoint(path: Path) -> None:
    path.write_text("not a checkpoint")
    seal(path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a byte flipped": flip_a_byte,
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "empty, with its checksum": lambda path: (path.write_bytes(b""), seal(path)),
    "no checksum": lambda path: path.with_name(path.name + ".sha256").unlink(),
    "not a checkpoint, with its checksum": no_checkpoint,
    "code, with its checksum": malice,
}


def test_round_trip(tmp_path):
    state = {
        "model": {"weight": torch.randn(3, 4), "steps": torch.tensor(7)},
        "history": {"curve": [{"iter": 1, "loss": 0.1}], "evals": [{"AP": None}], "seconds": 1.5},
        "random": random.getstate(),
    }
    save(state, tmp_path / "epoch_3.pth")
    loaded = load(tmp_path / "epoch_3.pth")
    assert torch.equal(loaded["model"].pop("weight"), state["model"].pop("weight"))
    assert loaded == state
    assert {p.name for p in tmp_path.iterdir()} == {"epoch_3.pth", "epoch_3.pth.sha256"}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_named_set_aside_and_the_one_before_used(tmp_path, damage):
    for epoch in (9, 10):  # 10 is later than 9, whatever the alphabet says
        save({"epoch": epoch, "model": torch.randn(100)}, tmp_path / f"epoch_{epoch}.pth")
    damage(tmp_path / "epoch_10.pth")
    with pytest.raises(DamagedError):
        load(tmp_path / "epoch_10.pth")
    told: list[str] = []
    state = newest(tmp_path, told.append)
    assert state is not None
    assert state["epoch"] == 9
    (message,) = told
    assert str(tmp_path / "epoch_10.pth") in message
    assert "epoch_10.pth.damaged" in message
    assert (tmp_path / "epoch_10.pth.damaged").exists()
    assert not (tmp_path / "epoch_10.pth").exists()
    assert not (tmp_path / "witness").exists()  # what the code would have made
    # It is set aside once; the next start finds nothing wrong.
    again = newest(tmp_path, told.append)
    assert again is not None
    assert again["epoch"] == 9
    assert len(told) == 1


def test_the_malicious_file_does_run_when_unpickled_without_care(tmp_path):
    """Otherwise the test above would prove nothing."""
    malice(tmp_path / "epoch_1.pth")
    torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    assert (tmp_path / "witness").exists()


def test_with_every_checkpoint_damaged_or_none_the_run_starts_afresh(tmp_path):
    told: list[str] = []
    assert newest(tmp_path, told.append) is None
    assert not told
    for epoch in (1, 2):
        save({"epoch": epoch}, tmp_path / f"epoch_{epoch}.pth")
        flip_a_byte(tmp_path / f"epoch_{epoch}.pth")
    assert newest(tmp_path, told.append) is None
    assert [message.rpartition(", ")[2] for message in told] == [
        "going on from the one before",
        "starting over",
    ]


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError()])
def test_a_checkpoint_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch, error):
    save({"epoch": 1}, tmp_path / "epoch_1.pth")
    with monkeypatch.context() as patch:
        patch.setattr("gfl.training.checkpoint.sha256", mock.Mock(side_effect=error))
        with pytest.raises(type(error)):
            newest(tmp_path, print)
    assert newest(tmp_path, print) == {"epoch": 1}


def test_a_write_that_fails_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch):
    save({"epoch": 1}, tmp_path / "epoch_1.pth")

    def full_disk(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        with pytest.raises(OSError, match="No space"):
            save({"epoch": 2}, tmp_path / "epoch_2.pth")
    told: list[str] = []
    state = newest(tmp_path, told.append)
    assert state == {"epoch": 1}
    assert not told
    save({"epoch": 2}, tmp_path / "epoch_2.pth")
    assert newest(tmp_path, told.append) == {"epoch": 2}


def a_run(seed: int, rank: int = 0) -> Any:
    """Everything of mmengine's Runner that the hook touches, with a model that has learned."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    run = mock.Mock(
        Runner, model=model, optim_wrapper=optimizer, param_schedulers=[schedule], rank=rank,
        epoch=0, iter=0, train_loop=SimpleNamespace(_epoch=0, _iter=0, batches_done=0),
        message_hub=MessageHub(f"of run {seed}"),
    )  # fmt: skip
    train(run)
    return run


def train(run: Any) -> None:
    """Take a step on data drawn from all the streams that mmdet draws from."""
    noise = random.random() + float(np.random.rand())  # noqa: NPY002
    run.optim_wrapper.zero_grad()
    (run.model(torch.randn(8, 4)) + noise).square().sum().backward()
    run.optim_wrapper.step()
    run.param_schedulers[0].step()


def weights(run: Any) -> list[Tensor]:
    return [value.clone() for value in run.model.state_dict().values()]


def test_a_run_that_is_taken_up_goes_on_as_it_would_have(tmp_path):
    """Weights, optimizer, schedule, history and all three random streams."""
    first = a_run(0)
    first.epoch, first.iter = 3, 24
    history: dict[str, Any] = {"curve": [{"iter": 24, "loss": 0.5}], "seconds": 12.0}
    ExactCheckpointHook(tmp_path, history, print).before_train_epoch(first)
    train(first)
    second = a_run(1)
    taken_up: dict[str, Any] = {"curve": [], "seconds": 0.0}
    ExactCheckpointHook(tmp_path, taken_up, print).before_train(second)
    assert (second.train_loop._epoch, second.train_loop._iter) == (3, 24)
    assert taken_up == history
    train(second)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    rates = [run.optim_wrapper.param_groups[0]["lr"] for run in (first, second)]
    assert rates[0] == rates[1] < 0.1


def test_the_state_of_the_gpu_in_use_is_kept_whatever_others_there_are(tmp_path, monkeypatch):
    run = a_run(0)
    run.epoch = 1
    cuda = mock.Mock(get_rng_state=lambda: torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setattr("gfl.training.checkpoint.torch.cuda", cuda)
    ExactCheckpointHook(tmp_path, {}, print).before_train_epoch(run)
    cuda.is_available = lambda: False
    ExactCheckpointHook(tmp_path, {}, print).before_train(run)
    cuda.set_rng_state.assert_not_called()
    cuda.is_available = lambda: True
    ExactCheckpointHook(tmp_path, {}, print).before_train(run)
    ((state,), _) = cuda.set_rng_state.call_args
    assert state.tolist() == [7]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.suffix != ".sha256"}


def test_the_last_two_are_kept_until_the_record_is_written_and_then_the_weights_alone(tmp_path):
    run = a_run(0)
    hook = ExactCheckpointHook(tmp_path, {}, print)
    (tmp_path / "epoch_1.pth.damaged").touch()
    (tmp_path / ".epoch_2.pth.partial").touch()  # a process was killed as it wrote
    (tmp_path / ".epoch_5.pth.sha256.partial").touch()
    for epoch in range(6):
        run.epoch = epoch
        hook.before_train_epoch(run)
    assert names(tmp_path) == {"epoch_4.pth", "epoch_5.pth", "epoch_1.pth.damaged"}
    (tmp_path / ".epoch_6.pth.partial").touch()
    run.epoch = 6
    hook.after_train(run)
    # What follows may fail: the run must be able to go on.
    assert names(tmp_path) >= {"final.pth", "epoch_5.pth"}
    forget(tmp_path)
    assert names(tmp_path) == {"final.pth", "epoch_1.pth.damaged"}
    assert {p.name for p in tmp_path.glob("*.sha256")} == {"final.pth.sha256"}
    state = load(tmp_path / "final.pth")
    assert state.keys() == {"model"}
    a_run(1).model.load_state_dict(state["model"])


def test_a_checkpoint_of_another_model_is_refused_with_what_to_do(tmp_path):
    run = a_run(0)
    run.epoch, run.work_dir = 1, str(tmp_path)
    ExactCheckpointHook(tmp_path, {}, print).before_train_epoch(run)
    run.model = nn.Linear(4, 4)
    with pytest.raises(UserError, match="delete the folder to train the run anew") as refused:
        ExactCheckpointHook(tmp_path, {}, print).before_train(run)
    assert str(tmp_path) in str(refused.value)


def test_time_adds_up_over_sessions_from_the_first_ones_start(tmp_path, monkeypatch):
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    first = beginning() | {"started": "2020-02-20T20:20:20+00:00"}
    run = a_run(0)
    run.epoch = 1
    chronicle = HistoryHook(first, 4, lambda event, **content: None)
    clock = 130.0
    chronicle.tick()
    ExactCheckpointHook(tmp_path, first, print).before_train_epoch(run)
    clock = 150.0
    chronicle.tick()  # is lost: the session is killed before it saves this
    clock = 1000.0
    second = beginning()
    chronicle = HistoryHook(second, 4, lambda event, **content: None)
    ExactCheckpointHook(tmp_path, second, print).before_train(run)
    clock = 1012.0
    chronicle.tick()
    assert second["seconds"] == 30.0 + 12.0
    assert second["started"] == "2020-02-20T20:20:20+00:00"


def test_of_several_processes_the_first_writes(tmp_path):
    run = a_run(0, rank=1)
    run.epoch = 1
    hook = ExactCheckpointHook(tmp_path, {}, print)
    hook.before_train_epoch(run)
    hook.after_train(run)
    assert not list(tmp_path.iterdir())


def test_of_several_processes_that_find_damage_all_go_on(tmp_path, monkeypatch):
    """Another process may set a file aside between this one's look and its turn."""
    for epoch in (1, 2):
        save({"epoch": epoch}, tmp_path / f"epoch_{epoch}.pth")
    flip_a_byte(tmp_path / "epoch_2.pth")
    replace = Path.replace

    def second(path: Path, target: Path) -> Path:
        replace(path, target)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", second)
        assert newest(tmp_path, lambda text: None) == {"epoch": 1}
