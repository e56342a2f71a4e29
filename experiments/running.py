"""Trains the runs that are missing, several at a time, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

from filelock import FileLock, Timeout

from experiments.display import Display
from experiments.matrix import Run, is_finished, missing
from experiments.worker import ROOT, TRAIN, Crew, Event, WorkerError, command
from gfl.data import coco, shapes
from gfl.errors import UserError, disk_error
from gfl.experiment import Profile
from gfl.record import Request, RunRecord, Store
from gfl.train import coco_root, embedded_root

# What can change a run; a commit is clean for it when these are.
CODE = ("gfl", "experiments", "pyproject.toml", "constraints.txt", "environment.yml")
MEMORY_OF_A_RUN = 2 << 30  # bytes, rounded up generously from the laptop profile's 1.2 GB


@dataclass(frozen=True)
class Machine:
    """Where and under which limits this machine runs; no part of a run's identity."""

    data_root: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = 1
    max_iters: int | None = None
    jobs: int | None = None  # runs at a time; None: as many as do not slow one another down

    def check(self, profile: Profile) -> None:
        """Refuse several devices where there is but the CPU.

        Raises:
            UserError: they were asked for.
        """
        if self.gpus > 1 and self._device(profile) == "cpu":
            raise UserError(
                f"--gpus {self.gpus} is for CUDA: the {profile.name} profile is trained on the CPU "
                "here; --jobs (make: JOBS) trains several rows at once"
            )

    def _device(self, profile: Profile) -> str:
        return profile.device if self.device == "auto" else self.device

    def jobs_for(self, profile: Profile, runs: int) -> int:
        """How many of so many runs are trained at a time.

        A run on embedded data takes one core, so that its result depends on nothing else; any
        other has the machine for itself.
        """
        if self.jobs is not None:
            return max(1, min(self.jobs, runs))
        if profile.dataset is None or self._device(profile) != "cpu" or self.gpus > 1:
            return 1
        return max(1, min(usable_cores(), usable_memory() // MEMORY_OF_A_RUN, runs))


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def usable_memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
    """Train what this machine lacks; return the runs that failed.

    A capped run is a trial: it is made again each time, and never counts as finished.

    Raises:
        UserError: the user can mend what stopped a run; the others are stopped too.
        WorkerError: a worker ended before its run did; the others are stopped too.
    """
    for profile in {run.profile.name: run.profile for run in runs}.values():
        machine.check(profile)
    todo = list(runs) if machine.max_iters is not None else missing(runs, store)
    jobs = machine.jobs_for(runs[0].profile, len(todo)) if runs else 1
    with display.table(len(todo), jobs):
        for run in runs:
            if run not in todo:
                display.skipped(run.name, store.own(run.profile.name, run.id))
        for profile in {run.profile.dataset: run.profile for run in todo}.values():
            prepare_data(profile, machine, display)
        return _train_all(todo, store, machine, display, worker, jobs)


def prepare_data(profile: Profile, machine: Machine, display: Display) -> None:
    """Draw the embedded data set once for all runs, or check COCO before an hour is spent on it.

    Raises:
        UserError: COCO's folder is not named, or not as COCO lays it out.
    """
    if profile.dataset is None:
        root = coco_root(machine.data_root)
        display.preparing("checking COCO")
        coco.check(root)
        return
    drawing = partial(display.preparing, "drawing the embedded data set")
    shapes.write(profile.dataset, embedded_root(profile.dataset), progress=drawing)


def _train_all(
    todo: Sequence[Run],
    store: Store,
    machine: Machine,
    display: Display,
    worker: Sequence[str],
    jobs: int,
) -> list[Run]:
    """Train in ``jobs`` threads; all that they have to say is said by this one."""
    said: SimpleQueue[Callable[[], None]] = SimpleQueue()
    crew, failed, ended = Crew(), [], 0
    working: dict[str, str] = {}

    def begin(run: Run) -> None:
        working[run.id] = run.name
        display.begin(run.id, run.name)

    def end(run: Run, record: RunRecord) -> None:
        nonlocal ended
        ended += 1
        del working[run.id]
        display.end(run.id, record)
        if record.state == "failed":
            failed.append(run)

    def give_up(run: Run, err: BaseException) -> None:
        working.pop(run.id, None)
        if isinstance(err, WorkerError) and working:
            raise WorkerError(f"{err}\n  stopped with it: {'; '.join(working.values())}") from err
        raise err

    def work(run: Run) -> None:
        try:
            said.put(partial(begin, run))
            tell = lambda event: said.put(partial(display.event, run.id, event))  # noqa: E731
            said.put(partial(end, run, _train(run, store, machine, crew, worker, tell)))
        except BaseException as err:
            said.put(partial(give_up, run, err))

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for run in todo:
                pool.submit(work, run)
            while ended < len(todo):
                try:
                    say = said.get(timeout=0.5)  # a signal may reach another thread than this
                except Empty:
                    continue
                say()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            display.stopping()
            crew.stop()
            raise
    return failed


def _train(
    run: Run,
    store: Store,
    machine: Machine,
    crew: Crew,
    worker: Sequence[str],
    tell: Callable[[Event], None],
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
            crew.follow(command(worker, machine.gpus), run_dir, tell)
            record = store.own(run.profile.name, run.id, machine.max_iters)
    except Timeout:
        raise UserError(f"{run.id} is being trained by another process") from None
    except WorkerError as err:
        raise WorkerError(f"{run.name}: {err}") from err
    except OSError as err:
        if users := disk_error(err, run_dir):
            raise users from err
        raise
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
