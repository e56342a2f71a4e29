"""Loader processes: transport of their images, and explanation of their failures.

torch passes tensors between processes in shared memory. A container may have little of it (64 MB in
Docker's), and a loader without room for a batch drops it silently, so that training waits forever.
Where the batches in flight may not fit, they go through pipes instead: each is copied twice, and
nothing else changes.
"""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import re
import shutil
import signal
import threading
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
from gfl.training.preemption import SIGNALS

SHARED_MEMORY = Path("/dev/shm")  # on Linux
PREFETCHED = 2  # batches per loader, torch's default; one more is being trained on
FLOATS = ("PhotoMetricDistortion",)  # transforms that output float32, 4 bytes, instead of uint8
PADDED = (767, 767)  # COCO's largest images, 640 px, as corner detectors pad them to predict
BESIDES = 64 << 10  # bytes: an image's boxes and labels, a few pages of memory each
FOR_SEMAPHORES = 1 << 20  # bytes; the queues of four loaders take some 40 pages
CANNOT_SHARE = 75  # a loader's exit code, sysexits.h's EX_TEMPFAIL

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
AGAIN = "then run the same command again: it goes on from the last checkpoint"
NO_ROOM = (
    f"a loader process could not share its images ({SHARED_MEMORY} is full?): give it more shared "
    f"memory (docker run --shm-size=2g, or --ipc=host), {AGAIN}"
)
# torch's messages about loaders that died, and about their exceptions.
DIED = re.compile(
    r"DataLoader worker \(pid\D*\d[\d, ]*\) (is killed by signal|exited unexpectedly)"
)
RAISED = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")
TRACEBACK = "Traceback (most recent call last):\n"

Config = dict[str, Any]


def prepare(settings: Config, report: Callable[[str], None], gpus: int = 1) -> None:
    """Choose, in place, how a run's loader processes pass their images on.

    ``settings`` are mmengine's. Without loaders nothing changes; if the machine does not allow
    processes to share memory, the training process loads instead.
    """
    loaders = [settings[name] for name in LOADERS if settings.get(name, {}).get("num_workers")]
    if not loaders:
        return
    if (reason := _obstacle()) is not None:
        for loader in loaders:
            loader["num_workers"], loader["persistent_workers"] = 0, False
        report(f"no loader processes ({reason}): the training process loads the images itself")
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
        report(
            f"{SHARED_MEMORY} has {_megabytes(free or 0)} free, the loaders may need "
            f"{_megabytes(needed)}: images go through pipes, a little slower "
            "(docker run --shm-size gives more)"
        )


def _obstacle() -> str | None:
    """Explain why processes cannot have a queue here; None if they can."""
    if (free := _free()) is not None and free < FOR_SEMAPHORES:
        return f"{SHARED_MEMORY} is full"
    try:
        multiprocessing.get_context().Queue().close()
    except (OSError, ImportError) as err:  # ImportError: a Python without semaphores
        return getattr(err, "strerror", None) or str(err)
    return None


def _free() -> int | None:
    """Return the bytes of free shared memory; None if there is no such file system."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def _on_their_way(loader: Mapping[str, Any]) -> int:
    """Return the most bytes of images that a loader's processes and its reader hold at once."""
    images = loader["batch_size"] * (loader["num_workers"] * PREFETCHED + 1)
    return images * (_bytes(loader["dataset"]["pipeline"]) + BESIDES)


def _bytes(pipeline: Sequence[Mapping[str, Any]]) -> int:
    """Return the most bytes of an image at the end of a pipeline."""
    sizes = [size for step in pipeline for size in _sizes(step)]
    floats = any(step["type"] in FLOATS or step.get("to_float32") for step in pipeline)
    pixels = max((long * short for long, short in sizes), default=0)
    return 3 * pixels * (4 if floats else 1)


def _sizes(step: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the sizes between or among which a step draws the one that it gives an image."""
    if step["type"] == "RandomCenterCropPad" and step.get("test_mode"):
        return [PADDED]
    scale = step.get("scale") or step.get("scales") or ()
    return [scale] if scale and isinstance(scale[0], int) else list(scale)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


@FUNCTIONS.register_module()
def begin_loader(worker_id: int, num_workers: int, seed: int, through_pipes: bool) -> None:
    """Seed a loader process as mmengine does, and make it exit where torch's would wait forever."""
    worker_init_fn(worker_id, num_workers, get_rank(), seed)
    _leave_signals_to_the_trainer()
    # Called in the thread that passes batches on, where an exception is printed and the batch lost.
    queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]
    if through_pipes:
        ForkingPickler.register(Tensor, _by_value)


def _leave_signals_to_the_trainer() -> None:
    """Survive SIGTERM and its like sent to all of a job, while the trainer stores a checkpoint."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    # The trainer's own is heeded: multiprocessing ends loaders by it, and waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    trainer = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _by_value(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[Any]]:
    return torch.from_numpy, (tensor.numpy(),)


def _end(error: BaseException, _: object) -> NoReturn:
    say(f"loader process {os.getpid()}: {error!r}", error=True, flush=True)
    is_full = "shared memory" in str(error) or getattr(error, "errno", None) == errno.ENOSPC
    os._exit(CANNOT_SHARE if is_full else 1)


@contextmanager
def explained() -> Iterator[None]:
    """Explain in one line what ended a loader process, instead of torch's many.

    Raises:
        UserError: the user can fix it: the machine had too little memory, or an image could not
            be read.
        RuntimeError: a loader failed for another reason.
    """
    try:
        yield
    except Exception as err:
        if RAISED.match(str(err)):
            raise _raised(str(err)) from err
        # A dying loader may break a connection first: torch learns of it later, or never.
        broken = isinstance(err, ConnectionError | EOFError)
        if (broken or DIED.match(str(err))) and (code := _exit_code()):
            raise UserError(_died(code)) from err
        raise


def _exit_code() -> int | None:
    """Return a dead loader's exit code, which may take a moment; for a signal, its negative.

    torch's own message has it only if nothing else has queried it before.
    """
    for _ in range(50):
        try:
            for loader in _loaders():
                if loader.exitcode:
                    return loader.exitcode
            time.sleep(0.1)
        except RuntimeError:  # torch's, raised in whatever code runs when a loader ends
            continue
    return None


def _loaders() -> list[BaseProcess]:
    """Return this process's loaders, dead or alive, which torch does not expose."""
    return [one for one in gc.get_objects() if issubclass(type(one), BaseProcess)]


def _died(code: int) -> str:
    if code in (-signal.SIGBUS, CANNOT_SHARE):
        return NO_ROOM
    if code == -signal.SIGKILL:
        return f"a loader process was killed (out of memory?): free some memory, {AGAIN}"
    how = f"killed by signal: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
    return f"a loader process ended ({how}); the log may say why; {AGAIN.removeprefix('then ')}"


def _raised(text: str) -> Exception:
    """Return a loader's exception, without its traceback."""
    lines = text.rpartition(TRACEBACK)[2].splitlines()
    at = next((i for i, line in enumerate(lines) if line[:1].strip()), len(lines) - 1)
    kind, _, message = " ".join(lines[at:]).partition(": ")
    if kind.startswith("gfl."):  # a UserError or a subclass
        return UserError(message)
    return RuntimeError(f"a loader process failed: {kind}: {message}")
