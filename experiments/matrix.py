"""Which runs a table needs, which of them this machine lacks, and running those."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from experiments import tables
from experiments.declare import Table
from experiments.display import Display
from experiments.worker import ROOT, TRAIN, WorkerError, command, follow
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Experiment, Profile
from gfl.record import RUN_ID, Request, RunRecord, Store, digest, run_id

# What can change a run; a commit is clean for it when these are.
CODE = ("gfl", "experiments", "pyproject.toml", "constraints.txt", "environment.yml")


@dataclass(frozen=True)
class Run:
    """One run, and the rows that show it."""

    id: str
    experiment: Experiment
    profile: Profile
    seed: int
    rows: tuple[str, ...]  # "table-3/QFL"

    @property
    def name(self) -> str:
        return f"{self.rows[0].partition('/')[2]}, seed {self.seed}"


@dataclass(frozen=True)
class Machine:
    """Where and under which limits this machine runs; no part of a run's identity."""

    data_root: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = 1
    max_iters: int | None = None


def plan(shown: Iterable[Table], profile: Profile, seeds: Sequence[int]) -> list[Run]:
    """The runs behind tables, each once, one seed after the other."""
    cells = [(table, cell) for table in shown for cell in table.cells() if cell.experiment]
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(seeds):
        for table, cell in cells:
            assert cell.experiment is not None
            row = "/".join(filter(None, (table.name, cell.row.name, cell.group.name)))
            id = run_id(cell.experiment, profile, seed)
            shared = runs.get(id) or Run(id, cell.experiment, profile, seed, ())
            runs[id] = replace(shared, rows=(*shared.rows, row))
    return list(runs.values())


def select(target: str, profile: Profile, seeds: Sequence[int]) -> tuple[list[Table], list[Run]]:
    """What a person named: ``all``, a table, ``table/row``, an experiment, or one run's id.

    Returns the runs, and the tables that show them.

    Raises:
        UserError: nothing of that name is declared.
    """
    name, _, row = target.partition("/")
    if target == "all":
        return list(tables.TABLES.values()), plan(tables.TABLES.values(), profile, seeds)
    if not row and tables.normal(target) in tables.TABLES:
        table = tables.find(target)
        return [table], plan([table], profile, seeds)
    if row:
        table = tables.find(name)
        runs = [r for r in plan([table], profile, seeds) if _shows(r, f"{table.name}/{row}")]
        if not runs:
            known = {cell.row.name for cell in table.cells()}
            raise UserError(f"{table.title} has no row {row!r}{did_you_mean(row, known)}")
        return [table], runs
    if match := RUN_ID.fullmatch(target):
        seeds = [int(match["seed"])]
    every = plan(tables.TABLES.values(), profile, seeds)
    runs = [run for run in every if target in (run.id, run.experiment.slug)]
    if not runs and match:
        raise UserError(_no_such_run(target, match["slug"], every, profile))
    if not runs:
        known = ["all", *tables.TABLES, *(run.experiment.slug for run in every)]
        what = "table" if target.lower().startswith("tab") else "table or run"
        raise UserError(f"unknown {what} {target!r}{did_you_mean(target, known)}")
    shown = [t for t in tables.TABLES.values() if any(_shows(r, t.name) for r in runs)]
    return shown, runs


def _shows(run: Run, where: str) -> bool:
    return any(row == where or row.startswith(where + "/") for row in run.rows)


def _no_such_run(target: str, slug: str, runs: list[Run], profile: Profile) -> str:
    same = [run.id for run in runs if run.experiment.slug == slug]
    hint = f"; its id is now {same[0]}" if same else did_you_mean(target, [r.id for r in runs])
    return f"no run {target!r} at the {profile.name} profile{hint}"


def missing(runs: Iterable[Run], store: Store) -> list[Run]:
    """The runs that this machine has not finished."""
    return [run for run in runs if not is_finished(store.own(run.profile.name, run.id))]


def is_finished(record: RunRecord | None) -> bool:
    return record is not None and record.state == "finished"


def state(run: Run, store: Store) -> str:
    """In words: finished, failed, how far it came, or missing."""
    record = store.own(run.profile.name, run.id)
    if record is not None and record.state == "finished":
        return f"finished, AP {record.metrics['AP']:.1f}"
    if record is not None:
        return f"{record.state}: {record.message}"
    epochs = store.epochs_done(store.run_dir(run.profile.name, run.id))
    return f"partial, {epochs} of {run.profile.schedule.epochs} epochs" if epochs else "missing"


def estimate(profile: Profile, store: Store) -> tuple[float, str] | None:
    """Seconds that a run takes, and what says so: records here, else the reference's; or None."""
    wanted = digest(asdict(profile))
    own = [p.parent.name for p in (store.runs / profile.name).glob("*/record.json")]
    reference = [p.stem for p in (store.results / "runs" / profile.name).glob("*.json")]
    for names, read, source in (
        (own, store.own, "recorded here"),
        (reference, store.reference, "of the reference's machine"),
    ):
        records = [read(profile.name, name) for name in names if RUN_ID.fullmatch(name)]
        seconds = [
            record.seconds
            for record in records
            if record and record.state == "finished" and digest(record.profile) == wanted
        ]
        if seconds:
            return sum(seconds) / len(seconds), source
    return None


def check_writable(*folders: Path) -> None:
    """Try each folder before an hour is spent.

    Raises:
        UserError: a file cannot be written there.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as err:
            raise UserError(f"{folder}: cannot write there ({err.strerror})") from err


def code_state() -> tuple[str | None, bool]:
    """The commit of the code that trains, and whether that code differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", *CODE], capture_output=True, text=True
        )
    except FileNotFoundError:  # no git
        return None, True
    if head.returncode or status.returncode:
        return None, True
    return head.stdout.strip(), bool(status.stdout.strip())


def run_missing(
    runs: Sequence[Run],
    store: Store,
    machine: Machine,
    display: Display,
    worker: Sequence[str] = TRAIN,
) -> list[Run]:
    """Train what this machine lacks, one run after the other; return the runs that failed.

    A capped run is a trial: it is made again each time, and never counts as finished.

    Raises:
        UserError: the user can mend what stopped a run.
        WorkerError: a worker ended before its run did.
    """
    todo = list(runs) if machine.max_iters is not None else missing(runs, store)
    failed = []
    with display.table(len(todo)):
        for run in runs:
            if run not in todo:
                display.skipped(run.name, store.own(run.profile.name, run.id))
        for run in todo:
            display.begin(run.name)
            record = _train(run, store, machine, display, worker)
            display.end(record)
            if record.state == "failed":
                failed.append(run)
    return failed


def _train(
    run: Run, store: Store, machine: Machine, display: Display, worker: Sequence[str]
) -> RunRecord:
    run_dir = store.run_dir(run.profile.name, run.id, machine.max_iters)
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir.with_name(f".{run_dir.name}.lock"), timeout=0)
    try:
        with lock:
            record = store.own(run.profile.name, run.id, machine.max_iters)
            if record is not None and is_finished(record):
                return record  # another process finished it meanwhile
            if record is not None:  # failed, or a trial: not to be resumed
                shutil.rmtree(run_dir)
                run_dir.mkdir()
            _request(run, run_dir, store, machine).save(run_dir)
            follow(command(worker, machine.gpus), run_dir, display.event)
            record = store.own(run.profile.name, run.id, machine.max_iters)
    except Timeout:
        raise UserError(f"{run.id} is being trained by another process") from None
    except WorkerError as err:
        raise WorkerError(f"{run.name}: {err}") from err
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise
        raise UserError(f"{run_dir}: the disk is full; free some space and run again") from err
    if record is None:
        raise WorkerError(f"{run.name}: the worker left no record in {run_dir}")
    return record


def _request(run: Run, run_dir: Path, store: Store, machine: Machine) -> Request:
    commit, dirty = code_state()
    if store.epochs_done(run_dir):
        # What two versions of the code trained between them, neither of them reproduces.
        try:
            before = Request.load(run_dir)
            dirty = dirty or before.dirty or before.commit != commit
        except Exception:  # whatever is wrong with it, it vouches for nothing
            dirty = True
    data = machine.data_root and str(Path(machine.data_root).resolve())
    return Request(
        id=run.id,
        experiment=run.experiment,
        profile=run.profile,
        seed=run.seed,
        data_root=data or None,
        device=machine.device,
        gpus=machine.gpus,
        max_iters=machine.max_iters,
        commit=commit,
        dirty=dirty,
    )
