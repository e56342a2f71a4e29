"""Standing of runs' jobs: what Slurm says of them, and what they last wrote themselves."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from experiments.queue import slurm_jobs
from experiments.queue.estimates import duration
from experiments.queue.slurm.ledger import Ledger, Progress, Submission
from experiments.queue.slurm_jobs import Job
from experiments.queue.worker import log_tail

State = Literal["queued", "requeued", "training", "ended"]
NO_SLURM = "Slurm cannot be asked here (no squeue, or no answer): jobs are as they last wrote"
ELSEWHERE = "Slurm here does not know cluster {}: its jobs are as they last wrote"
# How jobs end that did not fail; the run of one that was stopped goes on when submitted again.
AS_MEANT = ("CANCELLED", "PREEMPTED", "COMPLETED")


@dataclass(frozen=True)
class JobStanding:
    """A run's last job."""

    submission: Submission
    progress: Progress | None  # None: it has not started
    state: State
    queued: Job | None  # None: it ended, or Slurm cannot be asked
    ended: str = ""  # Slurm's word for how, such as TIMEOUT; empty: unknown, or it did not end
    unasked: str = ""  # why Slurm was not asked, in a line; empty: it was

    @property
    def is_live(self) -> bool:
        return self.state != "ended"

    @property
    def has_failed(self) -> bool:
        """Return whether the job ended otherwise than finished or on purpose.

        One that has stored a checkpoint has, too, if Slurm did not requeue it.
        """
        if self.is_live or self.stage == "finished":
            return False
        return self.stage == "failed" or not (self.ended or "COMPLETED").startswith(AS_MEANT)

    @property
    def stage(self) -> str:
        """Return the stage that the job reported last; empty if it has not started."""
        return self.progress.stage if self.progress else ""

    @property
    def detail(self) -> str:
        """Describe the job, but for its state, in a line."""
        job, progress = f"job {self.submission.job}", self.progress
        match self.state:
            case "ended":
                if self.has_failed and progress and progress.message:
                    return f"{job}: {progress.message.splitlines()[0]}"
                how = " ".join(self.ended.lower().split("_")) or "is gone"
                stored = self.has_failed and self.stage == "preempted"
                return f"{job} {how}" + (", not requeued after its checkpoint" if stored else "")
            case "queued" | "requeued":
                reason = self.queued.reason if self.queued else ""
                why = f" ({reason})" if reason not in ("", "None") else ""
                far = f", {_epoch(progress)}" if progress and progress.epoch else ""
                times = (
                    f", restarted {progress.restarts} x" if progress and progress.restarts else ""
                )
                return f"{job}{why}{far}{times}"
        if progress is None or progress.stage != "training":
            return f"{job} starting" + (f" on {self.queued.nodes}" if self.queued else "")
        return f"{job} {self._training(progress)}"

    def _training(self, progress: Progress) -> str:
        node = self.queued.nodes if self.queued else progress.node
        parts = [f"on {node} since {clock(progress.since)}"]
        parts += [_epoch(progress)] if progress.epoch else []
        if progress.seconds_left:
            parts.append(f"about {duration(progress.seconds_left)} left")
        if self.queued:
            parts.append(f"{self.queued.time_left} to its limit")
        else:
            parts.append(f"as of {clock(progress.written)}")
        return ", ".join(parts)

    def log_end(self, run_dir: Path) -> list[str]:
        """Return the end of the job's log, which quotes the training's; else of that."""
        for path in (Path(self.submission.log), run_dir / "train.log"):
            if path.is_file() and (tail := log_tail(path)):
                return [*tail, f"the whole log: {path}"]
        return []

    def content(self) -> dict[str, Any]:
        """Return the content for JSON."""
        progress, queued = self.progress, self.queued
        return {
            "id": self.submission.job,
            "cluster": self.submission.cluster or None,
            "state": self.state,
            "submitted": self.submission.submitted,
            "slurm_state": queued.state if queued else self.ended or None,
            "reason": queued.reason if queued else None,
            "nodes": (queued.nodes if queued else progress and progress.node) or None,
            "limit_left": queued.time_left if queued else None,
            "since": progress and progress.since,
            "written": progress and progress.written,
            "restarts": progress.restarts if progress else 0,
            "epoch": progress and progress.epoch,
            "epochs": progress and progress.epochs,
            "seconds_left": progress and progress.seconds_left,
            "message": progress.message if progress else "",
            "log": self.submission.log,
        }


def look(ledgers: Mapping[str, Ledger], settled: Container[str] = ()) -> dict[str, JobStanding]:
    """Return the standing of the runs that have had a job, by id; Slurm is asked once for all.

    Only about jobs of its own cluster, and not how the job of a settled run ended.
    """
    entries = {id: entry for id, ledger in ledgers.items() if (entry := ledger.submission())}
    here = slurm_jobs.cluster() if any(entry.cluster for entry in entries.values()) else None
    asked = {id: e.job for id, e in entries.items() if e.cluster in ("", here)}
    unsettled = [job for id, job in asked.items() if id not in settled]
    found = slurm_jobs.known(unsettled)
    ends = {} if found is None else _ends(found, unsettled)
    standings = {}
    for id, entry in entries.items():
        progress = ledgers[id].progress()
        if progress is not None and not _is_of(progress, entry):
            progress = None  # an earlier job's
        if found is None or id not in asked:
            why = NO_SLURM if id in asked or here is None else ELSEWHERE.format(entry.cluster)
            standings[id] = JobStanding(entry, progress, _last(progress), None, unasked=why)
        elif (job := found.get(entry.job)) is not None and job.is_live:
            waits: State = "requeued" if progress else "queued"
            state = waits if job.is_pending else "training"
            standings[id] = JobStanding(entry, progress, state, job)
        else:
            standings[id] = JobStanding(entry, progress, "ended", None, ends.get(entry.job, ""))
    return standings


def _is_of(progress: Progress, entry: Submission) -> bool:
    clusters = {progress.cluster, entry.cluster} - {""}
    return progress.job == entry.job and len(clusters) < 2


def _ends(found: Mapping[str, Job], jobs: Sequence[str]) -> dict[str, str]:
    """Return Slurm's words for how jobs ended: its controller's, else its accounting's."""
    ended = {id: job.state for id, job in found.items() if not job.is_live}
    return ended | slurm_jobs.final_states(job for job in jobs if job not in found)


def _last(progress: Progress | None) -> State:
    """Return a job's state by what it wrote alone."""
    if progress is None:
        return "queued"
    stages: dict[str, State] = {"training": "training", "preempted": "requeued"}
    return stages.get(progress.stage, "ended")


def _epoch(progress: Progress) -> str:
    return f"epoch {progress.epoch}/{progress.epochs}"


def clock(written: str) -> str:
    """Return a time as this machine's clock shows it, with the day unless it is today."""
    then, here = datetime.fromisoformat(written).astimezone(), datetime.now().astimezone()
    return f"{then:%H:%M}" if then.date() == here.date() else f"{then:%Y-%m-%d %H:%M}"
