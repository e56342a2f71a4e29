"""Checkpoints from which a run resumes as if it had never stopped.

They hold weights, optimizer, schedules, the run's history and, of each of its processes, the random
states (CUDA's too), the buffers and the losses since the curve's last point; mmengine's own hold no
random state and are read by unpickling arbitrary content. The order of an epoch's images follows
from its seed and number, so a run resumes at any iteration without loading the images before it.

A checkpoint is stored at the end of each epoch; before an evaluation; on SIGTERM, SIGUSR1 or
SIGUSR2 after the iteration at hand, when the run ends; and, if asked for, every few minutes. What a
killed run did after the last one is repeated.

Exact to the bit on one CPU device, whatever the iteration at which the run was killed, and on two:
the sum of two gradients has one order. DistributedDataParallel sums those of more in an order that
depends on when it began, and CUDA's sums have none, so there a resumed run equals an undisturbed
one within rounding, as two undisturbed runs equal each other. On COCO it is exact only with as many
threads as before.

A checkpoint is written to a temporary name and renamed, carries a checksum, and is read with
``weights_only=True``. During a run its two newest exist, and for a moment a third: each three times
the weights with AdamW and twice with SGD, on COCO 260 MB and more. A finished run keeps
``final.pth``, the weights alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from gfl.errors import UserError
from gfl.files import sha256
from gfl.records.lease import Hold, LostError
from gfl.records.record import CHECKPOINT, checkpoint_position
from gfl.training import processes
from gfl.training.preemption import Preempted, preemption

KEPT = 2  # checkpoints during a run, the newest
FINAL = "final.pth"  # the trained weights alone, which stay after the run
LOGGED = 100  # values of each quantity that mmengine's log may still average
NOTHING, STORE, END, LOST = range(4)  # what the processes agree on after an iteration


class DamagedError(Exception):
    """Checkpoint that is invalid or does not match its checksum."""


def save(state: dict[str, Any], path: Path, hold: Hold | None = None) -> None:
    """Write a checkpoint and, beside it, its checksum; flushed to disk before it gets its name.

    Raises:
        LostError: the run is no longer this process's; nothing has got its name.
    """
    checksum = path.with_name(path.name + ".sha256")
    # Names of this process alone: one that lost the run may still be writing.
    end = f"{uuid.uuid4().hex[:8]}.partial"
    partial, sealed = (p.with_name(f".{p.name}.{end}") for p in (path, checksum))
    try:
        with partial.open("wb") as file:  # ours, so that a full disk is an OSError that says so
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        with sealed.open("w", encoding="utf-8") as file:
            file.write(sha256(partial) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if hold is not None:
            hold.check()
        # The checksum first: a checkpoint without one counts as damaged.
        sealed.replace(checksum)
        partial.replace(path)
    finally:
        for left in (partial, sealed):
            left.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint back, executing nothing in it.

    Raises:
        DamagedError: it does not match its checksum, or is not a checkpoint of plain tensors.
        OSError: it cannot be read now, intact or not.
    """
    try:
        seal = path.with_name(path.name + ".sha256")
        if seal.read_text(encoding="utf-8").strip() != sha256(path):
            raise DamagedError("it does not match its checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (DamagedError, MemoryError):
        raise
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.EIO):
            raise
        raise DamagedError(f"it cannot be read ({err.strerror})") from err
    except Exception as err:  # whatever torch raises for a file that is no checkpoint
        raise DamagedError(f"it cannot be read ({type(err).__name__})") from err


def load_weights(model: nn.Module, weights: dict[str, Tensor], run_dir: Path | str) -> None:
    """Load weights of a run's folder into its model.

    Raises:
        UserError: they do not fit: other code made them under the same id.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as err:
        raise UserError(
            f"{run_dir}: its weights are of a model that this code does not build; delete the "
            "folder to train the run anew"
        ) from err


def newest(folder: Path, report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return a run's newest usable checkpoint; damaged ones are reported and set aside."""
    paths = [path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)]
    paths.sort(key=lambda path: checkpoint_position(path.name) or (0, 0), reverse=True)
    for path in paths:
        try:
            return load(path)
        except DamagedError as err:
            aside = path.with_name(path.name + ".damaged")
            with contextlib.suppress(FileNotFoundError):  # another process of the run was faster
                path.replace(aside)
            then = "starting over" if path == paths[-1] else "going on from the one before"
            report(f"{path}: {err}; set aside as {aside.name}, {then}")
    return None


def forget(folder: Path, keep: int = 0) -> None:
    """Delete a run's checkpoints but the ``keep`` newest; damaged ones and final.pth stay.

    The last ones are deleted once the run's record is written: until then it may have to resume.
    Files that a killed process left incomplete are deleted, too.
    """
    files = {path: checkpoint_position(path.name) for path in folder.iterdir()}
    whole = sorted(p for path, p in files.items() if p and CHECKPOINT.fullmatch(path.name))
    oldest = whole[-keep:][0] if keep and whole else None
    for path, position in files.items():  # their checksums too
        is_old = position is not None and (oldest is None or position < oldest)
        if (is_old and path.suffix != ".damaged") or path.suffix == ".partial":
            path.unlink(missing_ok=True)


@HOOKS.register_module()
class ExactCheckpointHook(Hook):
    """Stores checkpoints and resumes from the newest.

    Args:
        folder: of the run.
        history: further state to preserve; plain data, changed in place.
        report: receives messages for the user.
        minutes: between checkpoints within an epoch; None: none but on a signal.
        hold: lease under which the run is trained.
    """

    # After mmengine's RuntimeInfoHook has reset its counters and before anything reads them.
    priority = "HIGH"

    def __init__(
        self,
        folder: Path,
        history: dict[str, Any],
        report: Callable[[str], None],
        minutes: float | None = None,
        hold: Hold | None = None,
    ) -> None:
        self.folder, self.history, self.report = folder, history, report
        self.seconds, self.hold = None if minutes is None else 60 * minutes, hold
        self._stored = (0, 0)  # epoch and iteration of the newest checkpoint
        self._stored_at = time.monotonic()
        self._resumed: dict[str, Any] | None = None  # this process's part of an epoch begun before

    def before_train(self, runner: Runner) -> None:
        """Resume from the newest checkpoint, if there is one, as all processes agree."""
        preemption.defer()
        state = newest(self.folder, self.report) if runner.rank == 0 else None
        name = processes.from_first(None if state is None else _name(state))
        if name is None:
            return
        state = state or load(self.folder / name)
        own = _own(state, runner.rank)
        _restore(runner, state, own)
        self.history.update(state["history"])
        self._stored, self._stored_at = (state["epoch"], state["iter"]), time.monotonic()
        self._resumed = own if state.get("batches") else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Store the state after the previous epoch, which ends with its evaluation."""
        if runner.epoch != self._stored[0]:
            self._store(runner)

    def after_loader_start(self, runner: Runner) -> None:
        """Restore what beginning an epoch has changed, if it was begun before."""
        if self._resumed is not None:
            _set_random(self._resumed["random"])  # the loader has drawn a seed
            self.history["since_point"] = self._resumed["since_point"]
            self._resumed = None

    def after_step(self, runner: Runner) -> None:
        """Store the state after an iteration if it is due, or the last of this process.

        Raises:
            Preempted: a signal asked any of the processes to end, and the state is stored.
            LostError: another process has taken the run over.
        """
        wish = processes.agreed(self._wish(runner.rank))
        if wish == LOST:
            raise LostError("another process took over the run")
        if wish != NOTHING:
            self._store(runner)
        if wish == END:
            processes.agreed(0)  # the first has stored it
            raise Preempted(*self._stored)

    def after_steps(self, runner: Runner) -> None:
        """Store the state before an evaluation, which may be stopped at any time."""
        loop: Any = runner.train_loop
        if loop.evaluates_next and runner.iter != self._stored[1]:
            self._store(runner)

    def before_val(self, runner: Runner) -> None:
        """End at once, from here on, if asked to.

        Raises:
            Preempted: a signal has asked.
        """
        preemption.at_once(*self._stored)

    def after_val(self, runner: Runner) -> None:
        """End only after an iteration, if there are more."""
        if runner.epoch < runner.max_epochs:
            preemption.defer()

    def after_train(self, runner: Runner) -> None:
        """Save the trained weights."""
        if runner.rank == 0:
            save({"model": _bare(runner.model).state_dict()}, self.folder / FINAL, self.hold)

    def _wish(self, rank: int) -> int:
        if self.hold is not None and self.hold.is_lost:
            return LOST
        if preemption.is_requested:
            return END
        is_due = self.seconds is not None and time.monotonic() - self._stored_at >= self.seconds
        return STORE if is_due and rank == 0 else NOTHING

    def _store(self, runner: Runner) -> None:
        """Store the state of all processes."""
        runner.call_hook("before_checkpoint")
        parts = processes.gathered(_part(runner, self.history))
        self._stored, self._stored_at = (runner.epoch, runner.iter), time.monotonic()
        if runner.rank == 0:
            state = _capture(runner) | {"history": self.history, "processes": parts}
            save(state, self.folder / _name(state), self.hold)
            forget(self.folder, KEPT)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def _name(state: dict[str, Any]) -> str:
    within = f"_iter_{state['iter']}" if state.get("batches") else ""
    return f"epoch_{state['epoch']}{within}.pth"


# mmengine types what the Runner builds lazily as config or None; Any refers to the built object.
def _capture(runner: Any) -> dict[str, Any]:
    return {
        "epoch": runner.epoch,
        "iter": runner.iter,
        "batches": runner.train_loop.batches_done,  # of the epoch at hand
        "model": _bare(runner.model).state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedules": [schedule.state_dict() for schedule in runner.param_schedulers],
        "log": {
            name: buffer.data[0][-LOGGED:].tolist()
            for name, buffer in runner.message_hub.log_scalars.items()
        },
    }


def _part(runner: Any, history: dict[str, Any]) -> dict[str, Any]:
    """Return what each process has of its own."""
    _, keys, *position = np.random.get_state()  # noqa: NPY002  mmdet draws from it
    model = _bare(runner.model)
    stored = model.state_dict() if is_distributed() else ()
    buffers = {name: value for name, value in model.named_buffers() if name in stored}
    return {
        "random": {
            "python": random.getstate(),
            "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), *position),
            "torch": torch.get_rng_state(),
            # Of the device in use: the next session may see more or fewer of them.
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else [],
        },
        "buffers": {name: value.cpu() for name, value in buffers.items()},  # alike after an epoch
        "since_point": _on_cpu(history.get("since_point", {})),
    }


def _on_cpu(point: dict[str, Any]) -> dict[str, Any]:
    return point | {"sums": {name: value.cpu() for name, value in point.get("sums", {}).items()}}


def _own(state: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return this process's part of a checkpoint; an earlier version's has one for all."""
    parts = state.get("processes") or [{"random": state["random"], "buffers": {}}]
    return parts[min(rank, len(parts) - 1)]


def _restore(runner: Any, state: dict[str, Any], own: dict[str, Any]) -> None:
    """Restore everything; raises what ``load_weights`` does."""
    model = _bare(runner.model)
    load_weights(model, state["model"] | own["buffers"], runner.work_dir)
    runner.optim_wrapper.load_state_dict(state["optimizer"])
    for schedule, saved in zip(runner.param_schedulers, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    loop = runner.train_loop
    loop._epoch, loop._iter = state["epoch"], state["iter"]
    loop.batches_done = state.get("batches", 0)
    _set_random(own["random"])
    if point := own.get("since_point"):
        device = next(model.parameters()).device
        point["sums"] = {name: value.to(device) for name, value in point["sums"].items()}
    hub: MessageHub = runner.message_hub
    for name, values in state.get("log", {}).items():
        for value in values:
            hub.update_scalar(name, value)


def _set_random(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    keys, *position = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *position))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
