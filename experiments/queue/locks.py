"""Locks on runs: one process trains a run at a time, of all machines that share its folder.

A lock is a lease (``gfl.records.lease``). It is taken over only from an owner known to be gone:

- On the owner's own machine the kernel knows: the owner holds flock(2) on the lease's file, and a
  worker inherits it. The kernel frees it when the last of them is dead, also in a container. Where
  a file system has no flock, the owner's process id and its start decide.
- If the same machine runs another kernel now, it was started anew, and the owner is dead.
- An owner in a job of Slurm's is gone when Slurm says that the job is, or when it is this job
  before it was requeued. Slurm is believed about the jobs of its own cluster alone: others have the
  same numbers. A job that waits to go on, or is suspended, keeps its runs.
- Of any other owner on another machine nothing is known but its silence, nor of one whose job runs:
  it may have been killed in an allocation that lives on. It is gone after SILENCE seconds without a
  beat that this process has watched, by its own monotonic clock: the clocks of two machines are
  never compared, and one that jumps takes no lease. Thirty beats, since a client of NFS may show
  attributes a minute old, and a server that fails over answers nobody for minutes.

flock alone is not enough: NFS may keep it on each client (``local_lock``), and Lustre does by
default, so that two machines both get it; or a server keeps that of a client that is dead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from experiments.queue import slurm_jobs
from experiments.queue.slurm_jobs import Job
from gfl.records import lease as leases
from gfl.records.lease import Hold, Lease, Seen

SILENCE = 600.0  # s
QUIET = 9 * leases.BEAT  # s without a beat that people are told of
SECONDS_OF_AN_ANSWER = 10.0  # of Slurm's, for which its controller is not asked again

_watched: dict[Path, tuple[tuple[str, int], float]] = {}  # token and beat, and since when


@dataclass(frozen=True)
class Answer:
    """Slurm's answer on the jobs of all leases in a folder."""

    asked: float  # monotonic, s
    cluster: str | None  # that it is about; None: it could not be asked
    tokens: frozenset[str]  # of the leases
    jobs: Mapping[str, Job] | None


_answers: dict[Path, Answer] = {}  # the last one on each folder


class RunLock:
    """Exclusive right to train a run, for the process that took it and the worker it starts.

    A worker that inherits it (``descriptors``, ``environment``) keeps the run locked until it ends,
    even if the process that started it was killed: nobody else writes into the folder of a living
    worker. torch's launcher passes no descriptor on: its workers outlive it by half a minute at
    most, and look at the lease (``Hold.check``) before they write.
    """

    def __init__(self, hold: Hold, descriptor: int) -> None:
        self.hold = hold
        self._descriptor: int | None = descriptor
        hold.keep()

    @classmethod
    def take(cls, run_dir: Path) -> RunLock | None:
        """Take the lock of a run; None while another process, or a worker, may hold it."""
        if _free_number(run_dir) is None:
            return None
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        with _draft(run_dir) as (draft, lease, descriptor):
            # Once more: after a file was created in it, NFS shows a folder as it is.
            if (number := _free_number(run_dir)) is None:
                return None
            path = leases.lease_path(run_dir, number + 1)
            if not _link(draft, path):
                return None
            found = [leases.look_at(run_dir, other) for other in leases.numbers(run_dir)]
            others = [seen for seen in found if seen is not None and seen.path != path]
            # A later one, or one that was taken anew while this process was paused: numbers begin
            # again once a run is released.
            if any(seen.number > number or not _is_gone(seen) for seen in others):
                path.unlink(missing_ok=True)
                return None
            for seen in others:
                seen.path.unlink(missing_ok=True)
            return cls(Hold(path, lease.token), os.dup(descriptor))

    @property
    def descriptors(self) -> Sequence[int]:
        """Return the file descriptors that a worker inherits."""
        return () if self._descriptor is None else (self._descriptor,)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that a worker inherits."""
        return self.hold.environment

    def check(self) -> None:
        """Make sure that the run is still this process's.

        Raises:
            LostError: it was paused for so long that another has taken the run over.
        """
        self.hold.check()

    def release(self) -> None:
        """Release the run, even if other processes inherited the lock; idempotent."""
        if self._descriptor is not None:
            self.hold.end()
            with contextlib.suppress(leases.LostError, OSError):
                self.hold.check()
                self.hold.path.unlink()
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.leave()

    def leave(self) -> None:
        """Give up this process's part: a worker that inherited the lock keeps it."""
        if self._descriptor is not None:
            self.hold.end()
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(run_dir: Path) -> bool:
    """Return whether a run is being trained, as far as can be known; writes nothing."""
    return _free_number(run_dir) is None


def owner(run_dir: Path) -> tuple[Lease, datetime | None] | None:
    """Return who trains a run, and its last beat if that is more than QUIET seconds ago.

    For people: its start is by the owner's clock, the beat by the file server's. None if nobody
    trains the run, or its lease cannot be understood.
    """
    seen = leases.look(run_dir)
    if seen is None or seen.lease is None or _is_gone(seen):
        return None
    beat = datetime.fromtimestamp(seen.beat / 1e9, UTC)
    is_silent = (datetime.now(UTC) - beat).total_seconds() > QUIET
    return seen.lease, beat if is_silent else None


def lock_path(run_dir: Path) -> Path:
    """Return the path of the lock that earlier versions took, and may hold as this one starts."""
    return run_dir.with_name(f".{run_dir.name}.lock")


@contextmanager
def _draft(run_dir: Path) -> Iterator[tuple[Path, Lease, int]]:
    """Write a lease under a name of its own, locked; the name is removed at the end."""
    handle, name = tempfile.mkstemp(dir=run_dir.parent, prefix=f".{run_dir.name[:40]}.draft-")
    path = Path(name)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_flock = True
        except OSError:  # a file system without it
            has_flock = False
        lease = leases.of_this_process(has_flock)
        os.write(handle, leases.written(lease))
        os.fchmod(handle, 0o644)
        os.fsync(handle)
        yield path, lease, handle
    finally:
        os.close(handle)
        path.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> bool:
    """Give a draft the lease's name, unless there is one; NFS may lose the answer of success."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return os.stat(draft).st_nlink == 2
    except OSError as err:  # a file system without links, as of a USB stick
        if err.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        try:  # seen empty for a moment, by others who then wait
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
        draft.replace(path)
    return True


def _free_number(run_dir: Path) -> int | None:
    """Return the number of the last lease if a run is free, 0 if there is none; else None."""
    if _is_flocked(lock_path(run_dir)) is True:
        return None
    seen = leases.look(run_dir)
    if seen is None:
        return 0
    return seen.number if _is_gone(seen) else None


def _is_gone(seen: Seen) -> bool:
    lease = seen.lease
    if lease is None:
        return _is_silent(seen)
    if lease.kernel == leases.kernel():
        flocked = _is_flocked(seen.path) if lease.has_flock else None
        if flocked is not None:
            return not flocked
        if lease.namespace == leases.namespace():
            return leases.process_start(lease.pid) != lease.started
        return _is_silent(seen)
    mine = leases.of_this_process(has_flock=False)
    if lease.machine and (lease.machine, lease.host) == (mine.machine, mine.host):
        return True
    if lease.job is not None and lease.cluster:
        is_mine = (lease.cluster, lease.job) == (mine.cluster, mine.job)
        if is_mine and lease.restarts < mine.restarts:
            return True
        if (known := _is_job_gone(lease, lease.job, seen.path.parent)) is not None:
            return known
    return _is_silent(seen)


def _is_flocked(path: Path) -> bool | None:
    """Return whether a process of this kernel holds a file's lock; None if that is unknown.

    Any number of processes may look at a time: they share the lock for a moment.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as err:  # other than "locked": a file system without locks
        return True if err.errno == errno.EWOULDBLOCK else None
    finally:
        os.close(descriptor)


def _is_job_gone(lease: Lease, id: str, folder: Path) -> bool | None:
    """Return whether nothing of a lease's job runs or will.

    None: something may run, or nothing is known. Slurm is asked about the jobs of all leases in a
    folder at a time.
    """
    answer = _answers.get(folder)
    if (
        answer is None
        or time.monotonic() - answer.asked > SECONDS_OF_AN_ANSWER
        or (lease.cluster == answer.cluster and lease.token not in answer.tokens)
    ):
        answer = _answers[folder] = _ask_slurm(folder)
    if answer.jobs is None or lease.token not in answer.tokens:
        return None
    job = answer.jobs.get(id)
    if job is None or not job.is_live:
        return True
    return False if job.is_idle else None


def _ask_slurm(folder: Path) -> Answer:
    here = slurm_jobs.cluster()
    ids = {x.token: x.job for x in leases.all_in(folder) if x.job and x.cluster == here}
    jobs = None if here is None else slurm_jobs.known(sorted(set(ids.values())))
    return Answer(time.monotonic(), here, frozenset(ids), jobs)


def _is_silent(seen: Seen) -> bool:
    """Return whether this process has watched a lease long enough without a beat."""
    now, state = time.monotonic(), (seen.lease.token if seen.lease else "", seen.beat)
    before, since = _watched.get(seen.path, (None, now))
    if before != state:
        _watched[seen.path] = state, now
        return False
    return now - since >= SILENCE
