"""Jobs as Slurm's own commands describe them, where there are any.

The commands know the jobs of one cluster, and another may have jobs of the same numbers.
"""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

SECONDS = 20  # for a controller that does not answer
SECONDS_TO_END = 90  # of a cancelled job, which may store a checkpoint
# Job states in which something of a job may still run, or will: all others are final.
PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
ACTIVE = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING",
     "STAGE_OUT"}
)  # fmt: skip
FIELDS = ("%i", "%A", "%T", "%N", "%L", "%r")
STOPPED = frozenset({"SUSPENDED", "STOPPED"})  # its processes are paused
NAME = re.compile(r"^ClusterName\s*=\s*(\S+)", re.MULTILINE)
UNKNOWN = "Invalid job id"  # what squeue says of a job that Slurm has forgotten


@dataclass(frozen=True)
class Job:
    """A job that Slurm's controller knows: it waits, runs, or ended some minutes ago."""

    id: str
    state: str  # Slurm's word, such as PENDING
    nodes: str  # "n[1-2]"; empty while it waits
    time_left: str  # until its limit, "1-02:00:00"
    reason: str  # why it waits, "Priority"

    @property
    def is_pending(self) -> bool:
        return self.state in PENDING

    @property
    def is_live(self) -> bool:
        return self.state in PENDING | ACTIVE

    @property
    def is_idle(self) -> bool:
        """Return whether nothing of it runs now, but will."""
        return self.state in PENDING | STOPPED


def cluster() -> str | None:
    """Return the name of the cluster that Slurm's commands know; None if it cannot be asked."""
    found = NAME.search(_ask("scontrol", "show", "config") or "")
    return found and found[1]


def known(ids: Iterable[str]) -> dict[str, Job] | None:
    """Return those of the jobs that Slurm's controller knows, by id; None if it cannot be asked.

    Asks once. An array's task is found by both of its ids, "12_3" and its own number.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    words = ["--noheader", "--array", "--states=all", f"--format={'|'.join(FIELDS)}"]
    output = _ask("squeue", *words, f"--jobs={','.join(wanted)}")
    if output is None:
        return None
    found: dict[str, Job] = {}
    for line in output.splitlines():
        parts = line.strip().split("|", len(FIELDS) - 1)
        if len(parts) == len(FIELDS):
            id, number, *rest = parts
            found[id] = found[number] = Job(id, *rest)
    return {id: found[id] for id in wanted if id in found}


def queued(ids: Iterable[str]) -> dict[str, Job] | None:
    """Return those of the jobs that wait or run, by id; None if Slurm cannot be asked here."""
    found = known(ids)
    return None if found is None else {id: job for id, job in found.items() if job.is_live}


def is_running(job: str) -> bool:
    """Return whether a job runs and is not about to end, as far as Slurm can be asked."""
    found = (queued([job]) or {}).get(job)
    return found is not None and found.state == "RUNNING"


def requeue(job: str) -> None:
    """Have Slurm end a running job and start it again later."""
    _ask("scontrol", "requeue", job)


def cancel(name: str) -> bool:
    """Cancel this user's jobs of a name and wait; return whether Slurm says that all have ended."""
    if _ask("scancel", f"--user={getpass.getuser()}", f"--name={name}") is None:
        return False
    left: str | None = ""
    for _ in range(SECONDS_TO_END):
        left = _ask("squeue", "--noheader", "--format=%i", f"--name={name}")
        if not left:
            break
        time.sleep(1)
    return left == ""


def final_states(ids: Iterable[str]) -> dict[str, str]:
    """Return the states in which jobs ended, as TIMEOUT, by id, as Slurm's accounting has them.

    It remembers jobs that the controller has forgotten, and is asked once. Many clusters have none.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    from submitit.slurm.slurm import SlurmInfoWatcher

    words = ["--parsable2", "--allocations", "--format=JobID,State", f"--jobs={','.join(wanted)}"]
    # Of an array's tasks that never started, it prints "12_[1-3%2]".
    found = SlurmInfoWatcher().read_info(_ask("sacct", *words) or "")
    states = {id: found[id]["State"].split() for id in wanted if id in found}
    return {id: words[0] for id, words in states.items() if words}  # "CANCELLED by 1000"


def _ask(program: str, *words: str) -> str | None:
    """Return what one of Slurm's commands prints; None if it cannot be asked, or fails.

    Nothing, of a job that Slurm no longer knows.
    """
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, encoding="utf-8", errors="replace",
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return "" if UNKNOWN in done.stderr else None
    return done.stdout
