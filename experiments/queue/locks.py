"""Locks on runs: only one process of a machine trains a run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

LOOKS, A_LOOK = 3, 0.001  # attempts, s: is_locked holds a lock for a moment without owning it


class RunLock:
    """Exclusive right to train a run, for the process that took it and the worker it starts.

    The lock belongs to an open file. A worker that inherits it (``descriptors``) keeps the run
    locked until it ends, even if the process that started it was killed: nobody else writes into
    the folder of a living worker. The system frees the locks of dead processes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, run_dir: Path) -> RunLock | None:
        """Take the lock of a run; None while another process, or a worker, holds it."""
        path = lock_path(run_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            for _ in range(LOOKS):
                if lock_descriptor(descriptor, blocking=False):
                    return cls(descriptor)
                time.sleep(A_LOOK)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    @property
    def descriptors(self) -> Sequence[int]:
        """Return the file descriptors that a worker inherits."""
        return () if self._descriptor is None else (self._descriptor,)

    def release(self) -> None:
        """Release the run, even if other processes inherited the lock; idempotent."""
        if self._descriptor is not None:
            unlock_descriptor(self._descriptor)
            self.leave()

    def leave(self) -> None:
        """Give up this process's part: a worker that inherited the lock keeps it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_path(run_dir: Path) -> Path:
    """Return a path beside the folder, since a failed run's folder is deleted while locked."""
    return run_dir.with_name(f".{run_dir.name}.lock")


def is_locked(run_dir: Path) -> bool:
    """Return whether a run is being trained, as far as the system knows; writes nothing.

    Any number of processes may check at a time: they share the lock for a moment.
    """
    try:
        descriptor = os.open(lock_path(run_dir), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as err:  # other than "locked": a file system without locks
        return err.errno == errno.EWOULDBLOCK
    finally:
        os.close(descriptor)
