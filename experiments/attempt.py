"""One run, trained by a worker in its folder: prepared, requested, followed, its record read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.machine import Machine
from experiments.matrix import Run
from experiments.worker import ROOT, Crew, Event, WorkerError, command
from gfl.errors import disk_error
from gfl.files import replacing
from gfl.record import Request, RunRecord, Store

# What can change a run; a commit is clean for it when these are.
CODE = ("gfl", "experiments", "pyproject.toml", "constraints.txt", "environment.yml")


@dataclass(frozen=True)
class Setting:
    """Where and with what the runs of a table are trained."""

    store: Store
    machine: Machine
    worker: Sequence[str]
    jobs: int  # runs at a time

    def run_dir(self, run: Run) -> Path:
        return self.store.run_dir(run.profile.name, run.id, self.machine.max_iters)

    def record(self, run: Run) -> RunRecord | None:
        return self.store.own(run.profile.name, run.id, self.machine.max_iters)


def code_state() -> tuple[str | None, bool]:
    """The commit of the code that trains, and whether that code differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", errors="replace"
        )
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", *CODE],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:  # no git
        return None, True
    if head.returncode or status.returncode:
        return None, True
    return head.stdout.strip(), bool(status.stdout.strip())


def attempt(
    run: Run,
    setting: Setting,
    crew: Crew,
    inherited: Sequence[int],
    slot: int,
    tell: Callable[[Event], None],
) -> RunRecord:
    """Train a run that this process has locked, going on from where it was left.

    ``inherited`` are the lock's file descriptors, ``slot`` says which of the runs at a time it is.

    Raises:
        UserError: the user can mend what stopped it.
        WorkerError: the worker ended before its run did.
    """
    run_dir, machine = setting.run_dir(run), setting.machine
    try:
        if setting.record(run) is not None and run_dir.exists():
            shutil.rmtree(run_dir)  # failed, or a trial: not to be resumed
        run_dir.mkdir(parents=True, exist_ok=True)
        _request(run, run_dir, setting).save(run_dir)
        for name, content in run.files.items():
            with replacing(run_dir / name) as file:
                file.write(content)
        environment = machine.environment(run.profile, slot, setting.jobs)
        crew.follow(command(setting.worker, machine.gpus), run_dir, tell, environment, inherited)
        record = setting.record(run)
    except WorkerError as err:
        raise WorkerError(f"{run.name}: {err}") from err
    except OSError as err:
        if users := disk_error(err, run_dir):
            raise users from err
        raise
    if record is None:
        raise WorkerError(f"{run.name}: the worker left no record in {run_dir}")
    return record


def _request(run: Run, run_dir: Path, setting: Setting) -> Request:
    commit, dirty = code_state()
    if setting.store.epochs_done(run_dir):
        # What two versions of the code trained between them, neither of them reproduces.
        try:
            before = Request.load(run_dir)
            dirty = dirty or before.dirty or before.commit != commit
        except Exception:  # whatever is wrong with it, it vouches for nothing
            dirty = True
    machine = setting.machine
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
        cores=machine.cores_for(run.profile, setting.jobs),
    )
