"""Checkpoints from which a run resumes as if it had never stopped.

They hold weights, optimizer, schedules, the random states of the training process (CUDA's too) and
the run's history; mmengine's own hold no random state and are read by unpickling arbitrary
content. The order of an epoch's images follows from its seed and number, so a run resumes at the
end of an epoch; what a killed one did after that is repeated.

Exact to the bit on one CPU device, whatever the iteration at which the run was killed. Not on CUDA,
whose sums have no fixed order, nor, on COCO, with a different number of threads than before.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from gfl.errors import UserError
from gfl.files import sha256
from gfl.records.record import CHECKPOINT

FINAL = "final.pth"  # the trained weights alone, which stay after the run


class DamagedError(Exception):
    """Checkpoint that is invalid or does not match its checksum."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint and, beside it, its checksum; flushed to disk before it gets its name."""
    checksum = path.with_name(path.name + ".sha256")
    # Fixed names that the next attempt reuses: a run has one process that writes.
    partial, sealed = (p.with_name(f".{p.name}.partial") for p in (path, checksum))
    with partial.open("wb") as file:  # ours, so that a full disk is an OSError that says so
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    with sealed.open("w", encoding="utf-8") as file:
        file.write(sha256(partial) + "\n")
        file.flush()
        os.fsync(file.fileno())
    # The checksum first: a checkpoint without one counts as damaged.
    sealed.replace(checksum)
    partial.replace(path)


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


def newest(folder: Path, report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return a run's newest usable checkpoint; damaged ones are reported and set aside."""
    found = [(int(m["epoch"]), p) for p in folder.iterdir() if (m := CHECKPOINT.fullmatch(p.name))]
    paths = [path for _, path in sorted(found, reverse=True)]
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


def forget(folder: Path, last: int | None = None) -> None:
    """Delete a run's checkpoints, or those up to an epoch; damaged ones and final.pth stay.

    The last ones are deleted once the run's record is written: until then it may have to resume.
    Files that a killed process left incomplete are deleted, too.
    """
    for path in folder.iterdir():
        match = CHECKPOINT.match(path.name.removeprefix("."))  # its checksum too
        if (
            match
            and not path.name.endswith(".damaged")
            and (last is None or int(match["epoch"]) <= last)
        ):
            path.unlink()


@HOOKS.register_module()
class ExactCheckpointHook(Hook):
    """Saves at the end of each epoch, evaluation included, and resumes from there.

    Args:
        folder: of the run.
        history: further state to preserve; plain data, changed in place.
        report: receives messages for the user.
        keep: number of checkpoints to keep.
    """

    # After mmengine's RuntimeInfoHook has reset its counters and before anything reads them.
    priority = "HIGH"

    def __init__(
        self,
        folder: Path,
        history: dict[str, Any],
        report: Callable[[str], None],
        keep: int = 2,
    ) -> None:
        self.folder, self.history, self.report, self.keep = folder, history, report, keep

    def before_train(self, runner: Runner) -> None:
        """Resume from the newest checkpoint, if there is one."""
        state = newest(self.folder, self.report)
        if state is not None:
            _restore(runner, state)
            self.history.update(state["history"])

    def before_train_epoch(self, runner: Runner) -> None:
        """Save the state after the previous epoch, which ends with its evaluation."""
        path = self.folder / f"epoch_{runner.epoch}.pth"
        if runner.epoch == 0 or path.exists() or runner.rank != 0:
            return
        save(_capture(runner) | {"history": self.history}, path)
        forget(self.folder, runner.epoch - self.keep)

    def after_train(self, runner: Runner) -> None:
        """Save the trained weights."""
        if runner.rank == 0:
            save({"model": _bare(runner.model).state_dict()}, self.folder / FINAL)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


# mmengine types what the Runner builds lazily as config or None; Any refers to the built object.
def _capture(runner: Any) -> dict[str, Any]:
    _, keys, *position = np.random.get_state()  # noqa: NPY002  mmdet draws from it
    return {
        "epoch": runner.epoch,
        "iter": runner.iter,
        "model": _bare(runner.model).state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedules": [schedule.state_dict() for schedule in runner.param_schedulers],
        "random": {
            "python": random.getstate(),
            "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), *position),
            "torch": torch.get_rng_state(),
            # Of the device in use: the next session may see more or fewer of them.
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else [],
        },
    }


def _restore(runner: Any, state: dict[str, Any]) -> None:
    """Restore everything.

    Raises:
        UserError: the weights do not fit: other code made them under the same id.
    """
    try:
        _bare(runner.model).load_state_dict(state["model"])
    except RuntimeError as err:
        raise UserError(
            f"{runner.work_dir}: its checkpoints are of a model that this code does not build; "
            "delete the folder to train the run anew"
        ) from err
    runner.optim_wrapper.load_state_dict(state["optimizer"])
    for schedule, saved in zip(runner.param_schedulers, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    runner.train_loop._epoch, runner.train_loop._iter = state["epoch"], state["iter"]
    states = state["random"]
    random.setstate(states["python"])
    keys, *position = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *position))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
