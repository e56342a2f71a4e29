"""Lease on a run: a file beside its folder that names who trains it, for all who share the folder.

The file ``.<run>.lease-<n>`` appears whole, by link(2): of several who try, on NFS too, one gets
the name. Whoever takes a run over from an owner that is gone links number n + 1 and then removes n.
So an owner that was paused meanwhile, and wakes, finds its file gone or a later one beside it; it
looks before it renames a checkpoint or a record into place, and stops. It may be paused again
between this look and the renaming: what it then adds is a whole checkpoint, of the same run.

A lease is alive as long as its modification time changes, every BEAT seconds. By which clock does
not matter: others compare it only with what they saw before.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

BEAT = 20.0  # s
VARIABLE = "GFL_LEASE"  # a worker's: the token and the path of the lease it trains under
GONE = (errno.ENOENT, errno.ESTALE)  # a file, here and as NFS says it
MAXIMUM = 10_000  # bytes of a lease that are read
NAME = re.compile(r"\..+\.lease-(?P<number>[1-9]\d*)")


class LostError(Exception):
    """Lease that another process took over."""


@dataclass(frozen=True)
class Lease:
    """Owner of a run."""

    token: str  # of this lease alone
    host: str
    machine: str  # its installation's id; empty if it has none
    kernel: str  # of one start of the machine; shared by its containers
    namespace: str  # of the process ids
    pid: int
    started: str  # of the process, in the kernel's units: process ids are used again
    job: str | None  # Slurm's id, within its cluster
    restarts: int  # of the job
    since: str  # ISO 8601, UTC, by the owner's clock: for people
    has_flock: bool  # the owner, and workers that inherited it, hold a lock on the lease's file
    cluster: str = ""  # the job's, by Slurm's name for it; empty: unknown


def of_this_process(has_flock: bool) -> Lease:
    """Return a new lease's content."""
    job = os.environ.get("SLURM_JOB_ID")
    return Lease(
        token=uuid.uuid4().hex,
        host=host(),
        machine=_read("/etc/machine-id"),
        kernel=kernel(),
        namespace=namespace(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        job=job,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0) if job else 0,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        has_flock=has_flock,
        cluster=os.environ.get("SLURM_CLUSTER_NAME", "") if job else "",
    )


def host() -> str:
    return platform.node()


def kernel() -> str:
    """Return an id of the running kernel: processes with the same one share its locks."""
    return _read("/proc/sys/kernel/random/boot_id") or host()


def namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def process_start(pid: int) -> str | None:
    """Return when a process started, by its kernel; None if there is none, or it is a zombie."""
    stat = _read(f"/proc/{pid}/stat")
    if stat:
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""


@dataclass(frozen=True)
class Seen:
    """Lease as one look found it: its content, if it can be understood, and its last beat."""

    path: Path
    number: int
    lease: Lease | None
    beat: int  # ns, by the file server's clock


def lease_path(run_dir: Path, number: int) -> Path:
    """Return a path beside the folder, since a failed run's folder is deleted while leased."""
    return run_dir.with_name(f".{run_dir.name}.lease-{number}")


def numbers(run_dir: Path) -> list[int]:
    """Return the numbers of a run's leases, in order: one, or two while it is taken over."""
    stem = lease_path(run_dir, 0).name.removesuffix("0")
    try:
        with os.scandir(run_dir.parent) as entries:
            ends = [e.name.removeprefix(stem) for e in entries if e.name.startswith(stem)]
    except FileNotFoundError:
        return []
    return sorted(int(end) for end in ends if re.fullmatch(r"[1-9]\d*", end))


def look(run_dir: Path) -> Seen | None:
    """Return the lease on a run; None if there is none."""
    found = (look_at(run_dir, number) for number in reversed(numbers(run_dir)))
    return next(filter(None, found), None)


def look_at(run_dir: Path, number: int) -> Seen | None:
    """Return the lease of a number; None if there is none."""
    return _seen(lease_path(run_dir, number), number)


def all_in(folder: Path) -> Iterator[Lease]:
    """Yield the leases on all runs of a folder that can be understood."""
    for path in folder.glob(".*.lease-*"):
        if (name := NAME.fullmatch(path.name)) and (found := _seen(path, int(name["number"]))):
            yield from filter(None, [found.lease])


def _seen(path: Path, number: int) -> Seen | None:
    try:
        # Opened first: NFS asks its server for a file that is opened, and only then.
        with path.open("rb") as file:
            beat, content = os.fstat(file.fileno()).st_mtime_ns, file.read(MAXIMUM)
    except OSError as err:
        if err.errno not in GONE:
            raise
        return None
    return Seen(path, number, _understood(content), beat)


def _understood(content: bytes) -> Lease | None:
    try:
        values = json.loads(content)
        # One that an earlier version wrote lacks the fields that have defaults.
        return Lease(**{f.name: values[f.name] for f in fields(Lease) if f.name in values})
    except (ValueError, TypeError, KeyError):
        return None


def written(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode() + b"\n"


class Hold:
    """Lease that this process trains under, which a thread keeps alive from ``keep`` on."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self.is_lost = False
        self._ended = threading.Event()

    @classmethod
    def inherited(cls, environment: Mapping[str, str] = os.environ) -> Hold | None:
        """Return the lease that this worker was started under, if any."""
        token, _, path = environment.get(VARIABLE, "").partition(" ")
        return cls(Path(path), token) if path else None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a worker inherits the lease."""
        return {VARIABLE: f"{self.token} {self.path.absolute()}"}

    def check(self) -> None:
        """Make sure, before something is renamed into place, that the run is still this process's.

        Raises:
            LostError: another process has taken it over.
            OSError: that cannot be known now.
        """
        self.is_lost = self.is_lost or not self._is_ours()
        if self.is_lost:
            raise LostError(
                f"another process took over the run: this one, {os.getpid()} on {host()}, "
                "was paused or cut off for too long"
            )

    def _is_ours(self) -> bool:
        stem, _, number = self.path.name.rpartition("-")
        try:
            found = _understood(self.path.read_bytes()[:MAXIMUM])
        except OSError as err:
            if err.errno not in GONE:
                raise
            return False
        successor = self.path.with_name(f"{stem}-{int(number) + 1}")
        return found is not None and found.token == self.token and not successor.exists()

    def keep(self) -> None:
        """Start a thread that keeps the lease alive."""
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self) -> None:
        """Keep it alive no longer."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.check()
                os.utime(self.path)
            except LostError:
                return
            except OSError:  # the file system does not answer: perhaps next time
                continue
