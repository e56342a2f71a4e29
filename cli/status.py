"""``gfl status``: state of every run, table by table, and the cost of the missing ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.options import SEEDS, TARGET, Flag, Json, MaybeCount, Seeds, Where
from experiments import matrix, promote, stale
from experiments.matrix import Run
from experiments.queue import estimates
from experiments.queue.estimates import Costs, duration
from experiments.queue.locks import is_locked, owner
from experiments.queue.machine import Machine
from experiments.queue.slurm import standing as slurm
from experiments.queue.slurm.ledger import Ledger
from experiments.queue.slurm.standing import JobStanding
from experiments.stale import Made, Staleness, Today
from experiments.tables import catalogue
from experiments.tables.declare import Table
from gfl import escape
from gfl.config import schedule_of
from gfl.experiment import Profile
from gfl.records import lease
from gfl.records.record import RecordError, Request, RunRecord, Store
from gfl.terminal import say

STATES = ("finished", "training", "queued", "requeued", "partial", "failed", "missing")


def status(
    *target: Annotated[str, Parameter(help=f"{TARGET}; none: all")],
    seeds: Seeds = SEEDS,
    stale: Flag = False,
    json_: Json = False,
    jobs: MaybeCount = None,
    where: Where = Where(),
) -> int:
    """Print the state of every run, and what is missing.

    Args:
        stale: only the runs that other code or versions than today's have trained
        json_: for programs
        jobs: runs at a time, for the estimate
    """
    profile, store = where.found(), where.store(mend=False)
    tables, runs = matrix.select_all(target or ("all",), profile, seeds)
    # Planned for all tables: a run shared with other tables is printed with all of its cells.
    wanted = {run.id: run.name for run in runs}
    every = matrix.plan(catalogue.TABLES.values(), profile, sorted({run.seed for run in runs}))
    today = Today()
    stands = standings([run for run in every if run.id in wanted], store, today)
    costs = estimates.costs(profile, store)
    missing = missing_cost(stands, costs, store, Machine(gpus=where.gpus, jobs=jobs))
    is_empty = not any(s.made for s in stands)
    if stale:
        stands = [s for s in stands if not s.staleness.is_current]
    if json_:
        say(json.dumps(content(stands, missing, costs, store), indent=2))
        return 0
    if stale:
        empty = ["nothing is trained locally, so no run is stale (gfl table: the reference)"]
        say("\n".join(empty if is_empty else stale_lines(stands, wanted)))
        return 0
    for line in [*lines(tables, stands, several_seeds=len(seeds) > 1), *job_lines(stands, store)]:
        say(line)
    say_elsewhere(tables, profile)
    for line in advice(stands, wanted):
        say(line)
    say(missing.line(profile))
    nothing = runs and missing.todo == missing.runs
    if nothing and (elsewhere := promote.other_gpus(profile, store)):
        say(elsewhere)
    return 0


def say_elsewhere(tables: Sequence[Table], profile: Profile) -> None:
    """Name the tables whose rows this profile does not run."""
    for table in tables:
        if where := matrix.elsewhere(table, profile):
            say(where)


@dataclass(frozen=True)
class Standing:
    """State of one local run."""

    run: Run
    state: str  # of STATES
    detail: str  # its AP, the reason of its failure, or its progress
    record: RunRecord | None
    epochs_done: int  # of an unfinished run
    made: Made | None = None  # names the code that trained it; None: nothing is trained
    staleness: Staleness = field(default_factory=Staleness)
    job: JobStanding | None = None  # its last Slurm job, if it has had one
    silent_since: datetime | None = None  # last beat of an owner that may be gone

    def __str__(self) -> str:
        silence = ""
        if self.silent_since is not None:
            silence = f"silent since {slurm.clock(self.silent_since.isoformat())}"
        stale = "stale" if self.staleness else ""
        return ", ".join(filter(None, (self.state, self.detail, silence, stale)))

    def is_done(self, again: bool = False) -> bool:
        """Return whether nothing is left to train; ``again``: by current code and versions."""
        return self.state == "finished" and (not again or self.staleness.is_current)


def standings(runs: Sequence[Run], store: Store, today: Today | None = None) -> list[Standing]:
    """Inspect runs as ``standing`` does, and their Slurm jobs, all of them at once."""
    found = {run.id: standing(run, store, today) for run in runs}
    ledgers = {run.id: Ledger.of(store, run.profile.name, run.id) for run in runs}
    finished = {id for id, stand in found.items() if stand.state == "finished"}
    for id, job in slurm.look(ledgers, finished).items():
        found[id] = _with_job(found[id], job)
    return list(found.values())


def _with_job(stand: Standing, job: JobStanding) -> Standing:
    """Return a run's state by its job where that says more than the run's folder."""
    state, detail = stand.state, job.detail
    if state == "finished" or (state == "training" and not job.is_live):
        return replace(stand, job=job)
    if job.is_live:
        silent_since = stand.silent_since if job.state == "training" else None
        return replace(stand, job=job, state=job.state, detail=detail, silent_since=silent_since)
    if stand.record is not None:  # says itself why it failed
        return replace(stand, job=job)
    detail = ", ".join(filter(None, (stand.detail, detail)))
    return replace(stand, job=job, state="failed" if job.has_failed else state, detail=detail)


def standing(run: Run, store: Store, today: Today | None = None) -> Standing:
    """Inspect a run's record, checkpoints and lock, and the code that trained it."""
    found = _standing(run, store)
    made = found.record
    if found.record is None and store.is_begun(store.run_dir(run.profile.name, run.id)):
        with suppress(RecordError, OSError):
            made = Request.load(store.run_dir(run.profile.name, run.id))
    if made is None or found.state == "failed":
        return found
    return replace(found, made=made, staleness=stale.compare(made, today or Today()))


def _standing(run: Run, store: Store) -> Standing:
    run_dir = store.run_dir(run.profile.name, run.id)
    record = store.local(run.profile.name, run.id)
    if record is not None and record.is_finished:
        return Standing(run, "finished", f"AP {record.metrics['AP']:.1f}", record, 0)
    is_begun, epochs = store.is_begun(run_dir), store.epochs_done(run_dir)
    of = schedule_of(run.experiment, run.profile).epochs
    far = f"{epochs} of {of} epochs" if is_begun else ""
    if is_locked(run_dir):
        where, silent_since = _elsewhere(run_dir)
        detail = ", ".join(filter(None, (far, where)))
        return Standing(run, "training", detail, None, epochs, silent_since=silent_since)
    if record is not None:  # goes on from its last checkpoint
        return Standing(run, "failed", record.message, record, epochs)
    return Standing(run, "partial" if is_begun else "missing", far, None, epochs)


def _elsewhere(run_dir: Path) -> tuple[str, datetime | None]:
    """Name the machine that trains a run, if it is another; and since when its owner is silent."""
    if (found := owner(run_dir)) is None:
        return "", None
    held, silent_since = found
    where = f"on {held.host} since {slurm.clock(held.since)}"
    return "" if held.host == lease.host() else where, silent_since


@dataclass(frozen=True)
class MissingCost:
    """Cost of the unfinished runs."""

    runs: int
    extra: int  # those of the runs that no row of the paper prints
    todo: int
    jobs: int
    timed: int | None  # number of those like a recorded run; None: trials, which resemble no record
    seconds: float  # of the timed ones
    source: str  # of the times
    bytes: int  # includes the data set's
    data_bytes: int  # of the data set, less what exists already
    free: int

    def line(self, profile: Profile) -> str:
        """Return one line for a person."""
        line = f"{profile.name} profile: {self._runs()}, {self.todo} to train"
        if not self.todo:
            return line
        line += f", {self.jobs} at a time" if self.jobs > 1 else ""
        line += self._time()
        size, free = estimates.in_words(self.bytes), estimates.in_words(self.free)
        data = estimates.in_words(self.data_bytes)
        part = f", {data} of it the data set" if self.data_bytes else ""
        return f"{line}, {size} of disk{part} ({free} free)"

    def _runs(self) -> str:
        papers = self.runs - self.extra
        if papers and self.extra:
            return f"{escape.counted(self.runs, 'run')} ({self.extra} not in the paper)"
        runs = escape.counted(self.runs, "run")
        return f"{runs} not in the paper" if self.extra else runs

    def _time(self) -> str:
        if self.timed is None:
            return ""
        if not self.timed:
            return ", time unknown (no comparable run is recorded)"
        time = f", about {duration(self.seconds)}"
        if self.timed == self.todo:
            return f"{time} (from speeds {self.source})"
        others = f"no comparable run is recorded for the other {self.todo - self.timed}"
        return f"{time} for {self.timed} of them (from speeds {self.source}; {others})"


def missing_cost(
    stands: Sequence[Standing], costs: Costs, store: Store, machine: Machine, again: bool = False
) -> MissingCost:
    """Add up the cost of the missing runs; records do not predict a trial's time."""
    profile = costs.profile
    trial = machine.max_iters is not None
    todo = [s for s in stands if trial or not s.is_done(again)]
    jobs = machine.jobs_for(profile, len(todo))
    each = [costs.seconds(s.run, s.epochs_done) for s in todo]
    known = [seconds for seconds in each if seconds is not None]
    kept = sum(costs.bytes(s.run) for s in todo)
    data = estimates.data_bytes(profile) if todo else 0
    return MissingCost(
        runs=len(stands),
        extra=sum(s.run.is_extra for s in stands),
        todo=len(todo),
        jobs=jobs,
        timed=None if trial else len(known),
        seconds=estimates.in_all(known, jobs),
        source=costs.source,
        bytes=kept + costs.working_bytes([s.run for s in todo], jobs) + data,
        data_bytes=data,
        free=estimates.free_bytes(store.runs),
    )


def lines(tables: Sequence[Table], stands: Sequence[Standing], several_seeds: bool) -> list[str]:
    """Return a line per cell and seed, table by table, ending with the run's other cells."""
    found = []
    for table in tables:
        cells = [(row, s) for s in stands for row in s.run.rows if row.startswith(f"{table.name}/")]
        if not cells:
            continue
        runs = {s.run.id: s for _, s in cells}.values()
        counts = Counter(s.state for s in runs)
        counted = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        stales = sum(bool(s.staleness) for s in runs)
        counted += f" ({stales} stale)" if stales else ""
        found += ["", f"{table.title}: {counted}"] if found else [f"{table.title}: {counted}"]
        order = {f"{table.name}/{cell.key}": i for i, cell in enumerate(table.all_cells())}
        extra = {f"{table.name}/{cell.key}" for cell in table.extra_cells()}
        cells.sort(key=lambda cell: (order[cell[0]], cell[1].run.seed))
        rows = [_cells(row, s, several_seeds, row in extra) for row, s in cells]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        for row in rows:
            texts = [f"{text:{width}}" for text, width in zip(row, widths, strict=False)]
            found.append("  ".join(["", *texts, *row[3:]]).rstrip())
    return found


def job_lines(stands: Sequence[Standing], store: Store) -> list[str]:
    """Return the ends of the logs of failed jobs, and whether Slurm could be asked."""
    found = []
    jobs = [(s, s.job) for s in stands if s.job is not None and s.state != "finished"]
    for stand, job in jobs:
        if job.has_failed:
            run_dir = store.run_dir(stand.run.profile.name, stand.run.id)
            found.append(f"{stand.run.name}: job {job.submission.job} failed; its log ends:")
            found += [f"    {line}" for line in job.log_end(run_dir)]
    return found + sorted({job.unasked for _, job in jobs if job.unasked})


def advice(stands: Sequence[Standing], names: Mapping[str, str]) -> list[str]:
    """Return lines on runs that other code or versions trained, and how to retrain them.

    ``names`` maps ids to the runs' names.
    """
    return stale.advice((names[s.run.id], s.made, s.staleness) for s in stands if s.made)


def stale_lines(stands: Sequence[Standing], names: Mapping[str, str]) -> list[str]:
    """Return one line per run that is or may be stale, with the reason."""
    found = [
        f"{s.run.id}  {names[s.run.id]}: {s.staleness.sentence(s.made)}" for s in stands if s.made
    ]
    if not found:
        return ["no run is stale: the current code and versions trained all local runs"]
    return [*found, f"run {stale.anew(len(found))}"]


def _cells(row: str, stand: Standing, several_seeds: bool, is_extra: bool) -> tuple[str, ...]:
    seed = f", seed {stand.run.seed}" if several_seeds else ""
    name = escape.terminal(row.partition("/")[2]) + seed
    others = [other for other in stand.run.rows if other != row]
    also = ("not in the paper",) if is_extra else ()
    also += (f"also {', '.join(others)}",) if others else ()
    return name, str(stand), stand.run.id, *also


def _job_content(stand: Standing, store: Store) -> dict[str, Any] | None:
    if (job := stand.job) is None:
        return None
    run_dir = store.run_dir(stand.run.profile.name, stand.run.id)
    end = job.log_end(run_dir) if job.has_failed and stand.state != "finished" else []
    return {**job.content(), "asked_slurm": not job.unasked, "log_end": end}


def content(
    stands: Sequence[Standing], cost: MissingCost, costs: Costs, store: Store
) -> dict[str, Any]:
    """Return the content for JSON."""
    return {
        "profile": costs.profile.name,
        "runs": [
            {
                "id": s.run.id,
                "seed": s.run.seed,
                "cells": list(s.run.rows),
                "in_paper": not s.run.is_extra,
                "state": s.state,
                "detail": s.detail,
                "AP": s.record.metrics["AP"] if s.record and s.state == "finished" else None,
                "seconds": None if s.state == "finished" else costs.seconds(s.run, s.epochs_done),
                "bytes": None if s.state == "finished" else costs.bytes(s.run),
                "commit": s.made.commit if s.made else None,
                "dirty": s.made.dirty if s.made else None,
                "job": _job_content(s, store),
                "silent_since": s.silent_since and s.silent_since.isoformat(timespec="seconds"),
            }
            | (s.staleness.content() if s.made else dict.fromkeys(Staleness().content()))
            for s in stands
        ],
        "missing": {
            "runs": cost.todo,
            "jobs": cost.jobs,
            "timed_runs": cost.timed,
            "seconds": cost.seconds if cost.timed else None,  # of the timed ones
            "source": cost.source,
            "bytes": cost.bytes,
            "data_set_bytes": cost.data_bytes,
            "free_bytes": cost.free,
        },
    }
