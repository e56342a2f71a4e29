"""Training of one run by a worker process in the run's folder, up to reading its record."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments import stale
from experiments.checkout import code_state
from experiments.matrix import Run, is_finished
from experiments.profiles import PREDICTING
from experiments.queue.locks import RunLock
from experiments.queue.machine import Machine
from experiments.queue.worker import Event, Lost, WorkerError, Workers, command
from experiments.stale import AGAIN, Today
from gfl.errors import disk_error
from gfl.files import replacing
from gfl.records import digests
from gfl.records.lease import LostError
from gfl.records.record import RecordError, Request, RunRecord, Store

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Setting:
    """Store, machine and worker for the runs of a table."""

    store: Store
    machine: Machine
    worker: Sequence[str]
    jobs: int  # runs at a time
    again: bool = False  # neither keep nor resume runs of other code

    def run_dir(self, run: Run) -> Path:
        return self.store.run_dir(run.profile.name, run.id, self.machine.max_iters)

    def record(self, run: Run) -> RunRecord | None:
        return self.store.local(run.profile.name, run.id, self.machine.max_iters)


def attempt(
    run: Run,
    setting: Setting,
    workers: Workers,
    lock: RunLock,
    slot: int,
    emit: Emit,
) -> RunRecord:
    """Train a run that this process has locked, or resume it.

    ``slot`` numbers the concurrent runs.

    Raises:
        UserError: the user can fix what stopped it.
        WorkerError: the worker ended before its run did.
        Preempted, Lost: as ``Workers.follow``.
    """
    run_dir, machine = setting.run_dir(run), setting.machine
    try:
        lock.check()
        _clear(run_dir, setting, setting.record(run), emit)
        run_dir.mkdir(parents=True, exist_ok=True)
        _request(run, run_dir, setting, emit).save(run_dir)
        for name, content in run.files.items():
            with replacing(run_dir / name) as file:
                file.write(content)
        environment = {
            **machine.environment(run.profile, slot, setting.jobs),
            **lock.environment,
        }
        launched = command(setting.worker, machine.gpus, machine.rendezvous)
        workers.follow(launched, run_dir, emit, environment, lock.descriptors)
        record = setting.record(run)
    except WorkerError as err:
        raise WorkerError(f"{run.name}: {err}") from err
    except LostError as err:
        raise Lost from err
    except OSError as err:
        if users := disk_error(err, run_dir):
            raise users from err
        raise
    if record is None:
        raise WorkerError(f"{run.name}: the worker left no record in {run_dir}")
    return record


def _clear(run_dir: Path, setting: Setting, record: RunRecord | None, emit: Emit) -> None:
    """Remove anything from a run's folder that must not be resumed."""
    if not run_dir.exists():
        return
    if record is not None and record.max_iters is not None:
        shutil.rmtree(run_dir)  # a trial: not to be resumed
        return
    other_code = setting.again and setting.store.is_begun(run_dir) and not _is_current(run_dir)
    if is_finished(record) or other_code:
        aside = set_aside(run_dir)
        emit(
            {
                "event": "message",
                "text": f"training from scratch; the previous run is kept in {aside}",
            }
        )
    elif record is not None:  # failed: it goes on from the last checkpoint, if there is one
        (run_dir / "record.json").unlink()


def _is_current(run_dir: Path) -> bool:
    """Return whether the current code and versions trained an unfinished run's epochs so far."""
    try:
        return stale.compare(Request.load(run_dir), Today()).is_current
    except (RecordError, OSError):
        return False


def set_aside(run_dir: Path) -> Path:
    """Rename a run's folder, atomically, to an unused name beside it."""
    names = (run_dir.with_name(f"{run_dir.name}.before-{n}") for n in itertools.count(1))
    aside = next(path for path in names if not path.exists())
    return run_dir.rename(aside)


def _request(run: Run, run_dir: Path, setting: Setting, emit: Emit) -> Request:
    commit, dirty = code_state()
    machine = setting.machine
    data = machine.data_root and str(Path(machine.data_root).resolve())
    request = Request(
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
        predicts=run.profile.name in PREDICTING,
        cores=machine.cores_for(run.profile, setting.jobs),
        checkpoint_minutes=machine.checkpoint_minutes,
        code=digests.code(),
        versions=digests.versions(),
    )
    is_resumed = setting.store.is_begun(run_dir)
    return _with_before(request, run_dir, emit) if is_resumed else request


def _with_before(request: Request, run_dir: Path, emit: Emit) -> Request:
    """Record in a resumed run's request every version of the code that has trained it.

    Neither of two versions reproduces a run that both trained in turn.
    """
    try:
        before = Request.load(run_dir)
        staleness = stale.compare(before, Today())
        then, _ = stale.code_of(before)
    except Exception:  # an unreadable request proves nothing
        return replace(request, dirty=True, code={})
    if not staleness.is_current:
        what = f"the epochs so far were {staleness.sentence(before)}"
        emit({"event": "message", "text": f"{what}; {AGAIN} starts over"})
    dirty = request.dirty or before.dirty or before.commit != request.commit
    return replace(
        request,
        dirty=dirty or bool(staleness.files),
        code={} if then is None else digests.merged(then, request.code),
        versions=digests.merged(before.versions or request.versions, request.versions),
    )
