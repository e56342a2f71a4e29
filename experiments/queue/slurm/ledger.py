"""Files beside a profile's runs that say which Slurm job trains which run, and how far it is.

Each file has one writer: the command that submits writes ``RUN.job.json``, the job itself writes
``RUN.progress.json``. Any login node reads them, with or without Slurm's commands.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from gfl.records.record import RecordError, Store, read_json, rebuilt, write_json

T = TypeVar("T")
Stage = Literal["training", "preempted", "finished", "failed"]


@dataclass(frozen=True)
class Submission:
    """A run's last job."""

    job: str  # "12" or, of an array, "12_3"
    submitted: str  # ISO 8601, UTC
    minutes: int  # its time limit
    nodes: int
    log: str  # of the job; the training's own is the run's train.log
    cluster: str = ""  # Slurm's name for it; empty: an earlier version did not record it
    name: str = ""  # that Slurm has for the job


@dataclass(frozen=True)
class Progress:
    """State of a run as its job last wrote it."""

    job: str
    restarts: int  # times that Slurm has requeued the job
    stage: Stage
    node: str  # the first, if several
    since: str  # ISO 8601, UTC: start of the job, or of its last restart
    written: str  # ISO 8601, UTC
    epoch: int = 0
    epochs: int = 0
    iteration: int = 0
    iterations: int = 0
    seconds_left: float | None = None  # of training
    message: str = ""  # reason of a failure
    cluster: str = ""  # the job's, as in Submission


@dataclass(frozen=True)
class Ledger:
    """Both files of one run."""

    folder: Path
    name: str  # of the run's folder

    @classmethod
    def of(cls, store: Store, profile: str, id: str, max_iters: int | None = None) -> Ledger:
        run_dir = store.run_dir(profile, id, max_iters)
        return cls(run_dir.parent / ".slurm", run_dir.name)

    @property
    def jobs(self) -> Path:
        """Return the folder of submitit's scripts, pickles and logs."""
        return self.folder / "jobs"

    def submission(self) -> Submission | None:
        return _read(Submission, self._path("job"))

    def progress(self) -> Progress | None:
        return _read(Progress, self._path("progress"))

    def write(self, entry: Submission | Progress) -> None:
        """Write a file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        what = "job" if isinstance(entry, Submission) else "progress"
        write_json(self._path(what), asdict(entry))

    def _path(self, what: str) -> Path:
        return self.folder / f"{self.name}.{what}.json"


def now() -> str:
    """Return the time, in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(kind: type[T], path: Path) -> T | None:
    """Read an entry; None if there is none, or none that this code has written."""
    try:
        return rebuilt(kind, read_json(path))
    except (OSError, RecordError):
        return None
