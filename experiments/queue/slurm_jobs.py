"""Jobs as Slurm's own commands describe them, where there are any."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

SECONDS = 20  # for a controller that does not answer
# Job states in which something of a job may still run, or will: all others are final.
PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
ACTIVE = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING",
     "STAGE_OUT"}
)  # fmt: skip
FIELDS = ("%i", "%A", "%T", "%N", "%L", "%r")
STATE = re.compile(r"\bJobState=(\S+)")
UNKNOWN = "Invalid job id"  # what squeue and scontrol say of a job that Slurm has forgotten


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs."""

    job: str
    state: str  # Slurm's word, such as PENDING
    nodes: str  # "n[1-2]"; empty while it waits
    time_left: str  # until its limit, "1-02:00:00"
    reason: str  # why it waits, "Priority"

    @property
    def is_pending(self) -> bool:
        return self.state in PENDING


def queued(ids: Iterable[str]) -> dict[str, Queued] | None:
    """Return those of the jobs that wait or run, by id; None if Slurm cannot be asked here.

    An array's task is found by both of its ids, "12_3" and its own number.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    words = ["--noheader", "--array", "--states=all", f"--format={'|'.join(FIELDS)}"]
    output = _ask("squeue", *words, f"--jobs={','.join(wanted)}")
    if output is None:
        return None
    found: dict[str, Queued] = {}
    for line in output.splitlines():
        parts = line.strip().split("|", len(FIELDS) - 1)
        if len(parts) == len(FIELDS) and parts[2] in PENDING | ACTIVE:
            id, number, state, nodes, left, reason = parts
            found[id] = found[number] = Queued(id, state, nodes, left, reason)
    return {id: found[id] for id in wanted if id in found}


def is_gone(job: str) -> bool | None:
    """Return whether nothing of a job runs any more or will; None if Slurm cannot be asked here."""
    found = queued([job])
    return None if found is None else job not in found


def is_running(job: str) -> bool:
    """Return whether a job runs and is not about to end, as far as Slurm can be asked."""
    found = (queued([job]) or {}).get(job)
    return found is not None and found.state == "RUNNING"


def requeue(job: str) -> None:
    """Have Slurm end a running job and start it again later."""
    _ask("scontrol", "requeue", job)


def final_state(job: str) -> str:
    """Return the state in which a job ended, as TIMEOUT; empty if nobody here remembers it.

    Slurm's controller forgets a job after minutes; its accounting, where there is one, does not.
    """
    if output := _ask("scontrol", "--oneliner", "show", "job", job):
        found = STATE.search(output)
        return found[1] if found else ""
    words = ["--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={job}"]
    output = (_ask("sacct", *words) or "").split()
    return output[0] if output else ""  # "CANCELLED by 1000"


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
