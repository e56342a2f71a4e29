"""Loader processes: how they hand their images over, and what is said when one of them ends.

torch passes tensors between processes in shared memory. Of that a container may have little (64 MB
in Docker's), and a loader that finds no room for a batch drops it in silence, so that training
waits for it for ever. Where the batches on their way may not fit, they go through pipes instead:
each is copied twice, and nothing else changes.
"""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import queues
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from mmengine.registry import FUNCTIONS
from torch import Tensor

from gfl.errors import UserError
from gfl.terminal import say

SHARED_MEMORY = Path("/dev/shm")  # of Linux
PREFETCHED = 2  # batches of each loader, torch's default; one more is being trained on
FLOATS = ("PhotoMetricDistortion",)  # the transforms that leave float32, 4 bytes, in place of uint8
BESIDES = 64 << 10  # bytes: an image's boxes and labels, a few pages of memory each
FOR_SEMAPHORES = 1 << 20  # bytes; the queues of four loaders take some 40 pages
CANNOT_SHARE = 75  # a loader's exit code, sysexits.h's EX_TEMPFAIL

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
AGAIN = "then run the same command again: it goes on from the last checkpoint"
NO_ROOM = (
    f"a loader process could not share its images ({SHARED_MEMORY} is full?): give it more shared "
    f"memory (docker run --shm-size=2g, or --ipc=host), {AGAIN}"
)
# What torch says of loaders that died, and of what they raised.
DIED = re.compile(
    r"DataLoader worker \(pid\D*\d[\d, ]*\) (is killed by signal|exited unexpectedly)"
)
RAISED = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")
TRACEBACK = "Traceback (most recent call last):\n"

Config = dict[str, Any]


def prepare(settings: Config, tell: Callable[[str], None], gpus: int = 1) -> None:
    """Choose, in place, how the loader processes of a run hand their images over.

    ``settings`` are mmengine's. Without loaders nothing is changed; where there can be none,
    because the machine lets no processes share anything, the training process loads instead.
    """
    loaders = [settings[name] for name in LOADERS if settings.get(name, {}).get("num_workers")]
    if not loaders:
        return
    if (reason := _obstacle()) is not None:
        for loader in loaders:
            loader["num_workers"], loader["persistent_workers"] = 0, False
        tell(f"no loader processes ({reason}): the training process loads the images itself")
        return
    needed = gpus * sum(_on_their_way(settings[name]) for name in LOADERS[:2] if name in settings)
    through_pipes = (free := _free()) is not None and free < needed
    for loader in loaders:
        loader["worker_init_fn"] = {
            "type": "begin_loader",
            "num_workers": loader["num_workers"],
            "seed": settings["randomness"]["seed"],
            "through_pipes": through_pipes,
        }
    if through_pipes:
        tell(
            f"{SHARED_MEMORY} has {_megabytes(free or 0)} free, the loaders may need "
            f"{_megabytes(needed)}: images go through pipes, a little slower "
            "(docker run --shm-size gives more)"
        )


def _obstacle() -> str | None:
    """Say why processes cannot have a queue here, if they cannot."""
    if (free := _free()) is not None and free < FOR_SEMAPHORES:
        return f"{SHARED_MEMORY} is full"
    try:
        multiprocessing.get_context().Queue().close()
    except (OSError, ImportError) as err:  # ImportError: a Python without semaphores
        return getattr(err, "strerror", None) or str(err)
    return None


def _free() -> int | None:
    """Return the bytes of shared memory that are free; None where there is no such file system."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def _on_their_way(loader: Mapping[str, Any]) -> int:
    """Return the most bytes of images that a loader's processes and its reader hold at a time."""
    images = loader["batch_size"] * (loader["num_workers"] * PREFETCHED + 1)
    return images * (_bytes(loader["dataset"]["pipeline"]) + BESIDES)


def _bytes(pipeline: Sequence[Mapping[str, Any]]) -> int:
    """Return the most bytes of an image that leaves a pipeline."""
    scales = [step["scale"] for step in pipeline if "scale" in step]
    # RandomResize has two, between which it draws.
    sizes = [one for s in scales for one in ([s] if isinstance(s[0], int) else s)]
    floats = any(step["type"] in FLOATS for step in pipeline)
    pixels = max((long * short for long, short in sizes), default=0)
    return 3 * pixels * (4 if floats else 1)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


@FUNCTIONS.register_module()
def begin_loader(worker_id: int, num_workers: int, seed: int, through_pipes: bool) -> None:
    """Seed a loader process as mmengine does, and let it end where torch's would wait for ever."""
    worker_init_fn(worker_id, num_workers, get_rank(), seed)
    # Called in the thread that hands batches over; what it raises is printed, the batch lost.
    queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]
    if through_pipes:
        ForkingPickler.register(Tensor, _by_value)


def _by_value(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[Any]]:
    return torch.from_numpy, (tensor.numpy(),)


def _end(error: BaseException, _: object) -> NoReturn:
    say(f"loader process {os.getpid()}: {error!r}", error=True, flush=True)
    is_full = "shared memory" in str(error) or getattr(error, "errno", None) == errno.ENOSPC
    os._exit(CANNOT_SHARE if is_full else 1)


@contextmanager
def explained() -> Iterator[None]:
    """Say in one line what ended a loader process, where torch says it in many.

    Raises:
        UserError: the user can mend it: the machine had too little memory, or an image was not
            to be read.
        RuntimeError: a loader failed otherwise.
    """
    try:
        yield
    except Exception as err:
        if RAISED.match(str(err)):
            raise _raised(str(err)) from err
        # A loader that dies may break a connection first: torch learns of it later, or never.
        broken = isinstance(err, ConnectionError | EOFError)
        if (broken or DIED.match(str(err))) and (code := _exit_code()):
            raise UserError(_died(code)) from err
        raise


def _exit_code() -> int | None:
    """Return the exit code of a loader that died, which may take a moment; of a signal, minus it.

    torch's own message has it only if nothing else has asked for it before.
    """
    for _ in range(50):
        try:
            for loader in _loaders():
                if loader.exitcode:
                    return loader.exitcode
            time.sleep(0.1)
        except RuntimeError:  # torch's, which raises at whatever runs when a loader ends
            continue
    return None


def _loaders() -> list[BaseProcess]:
    """Return this process's loaders, dead or alive: torch keeps them to itself."""
    return [one for one in gc.get_objects() if issubclass(type(one), BaseProcess)]


def _died(code: int) -> str:
    if code in (-signal.SIGBUS, CANNOT_SHARE):
        return NO_ROOM
    if code == -signal.SIGKILL:
        return f"a loader process was killed (out of memory?): free some memory, {AGAIN}"
    how = f"killed by signal: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
    return f"a loader process ended ({how}); the log may say why; {AGAIN.removeprefix('then ')}"


def _raised(text: str) -> Exception:
    """Return what a loader raised, without its traceback."""
    lines = text.rpartition(TRACEBACK)[2].splitlines()
    at = next((i for i, line in enumerate(lines) if line[:1].strip()), len(lines) - 1)
    kind, _, message = " ".join(lines[at:]).partition(": ")
    if kind.startswith("gfl."):  # a UserError or one of its kinds
        return UserError(message)
    return RuntimeError(f"a loader process failed: {kind}: {message}")
