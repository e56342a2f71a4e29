"""Training of the missing runs, several at a time, each in a process of its own.

Any number of processes may do so for the same table: runs that another is training are skipped, and
awaited at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from experiments import checkout, stale
from experiments.matrix import Run
from experiments.queue.attempt import Setting, attempt
from experiments.queue.display import Display
from experiments.queue.locks import RunLock
from experiments.queue.machine import Machine
from experiments.queue.worker import TRAIN, Lost, Preempted, Terminated, WorkerError, Workers
from experiments.stale import Today
from gfl.data import coco, photos
from gfl.data.photos_spec import PhotosSpec
from gfl.experiment import Profile
from gfl.records.record import RunRecord, Store
from gfl.shapes import embedded
from gfl.training.worker import coco_root, embedded_root, photos_root

SECONDS_BETWEEN_LOOKS = 0.5  # for other processes' runs, and for Ctrl-C


def run_missing(
    runs: Sequence[Run],
    store: Store,
    machine: Machine,
    display: Display,
    worker: Sequence[str] = TRAIN,
    again: bool = False,
    workers: Workers | None = None,
) -> list[Run]:
    """Train the runs without a local record; return those that failed.

    A capped run is a trial: it is repeated each time, and never counts as finished. With ``again``,
    neither does a run that code or versions other than the current ones trained, or may have.
    ``workers`` are given by who must reach them meanwhile.

    Raises:
        UserError: the user can fix what stopped a run; the others are stopped too.
        WorkerError: a worker ended before its run did; the others are stopped too.
        Preempted: a signal asked a worker to store a checkpoint; the others have stored theirs.
    """
    todo, before = choose(runs, store, machine, display, again)
    jobs = machine.jobs_for(runs[0].profile, len(todo)) if runs else 1
    with display.table(len(todo), jobs):
        prepare_all(todo, machine, display)
        setting = Setting(store, machine, worker, jobs, again)
        return Queue(todo, before, setting, display, workers or Workers()).work()


def choose(
    runs: Sequence[Run], store: Store, machine: Machine, display: Display, again: bool
) -> tuple[list[Run], Mapping[str, RunRecord | None]]:
    """Return the runs to be trained, and all records so far; report those that are trained.

    Raises:
        UserError: the machine does not suit a profile.
    """
    for profile in {run.profile.name: run.profile for run in runs}.values():
        machine.check(profile)
    # Read once: any later record is another process's work.
    before = {run.id: store.local(run.profile.name, run.id, machine.max_iters) for run in runs}
    today = Today()
    finished = [(run, r) for run in runs if (r := before[run.id]) and r.is_finished]
    stales = {run.id: stale.compare(record, today) for run, record in finished}
    kept = [(run, r) for run, r in finished if not again or stales[run.id].is_current]
    todo = [run for run in runs if run not in [run for run, _ in kept]]
    for run, record in kept:
        display.skipped(run.name, record)
    for line in stale.advice((run.name, record, stales[run.id]) for run, record in kept):
        display.warning(line)
    if todo and (problem := checkout.problem()):
        display.warning(f"{problem}; runs are recorded without a commit")
    return todo, before


def prepare_all(runs: Sequence[Run], machine: Machine, display: Display) -> None:
    """Prepare the data of runs, each set once.

    Raises:
        UserError: COCO's folder is not given, or not in COCO's layout.
    """
    data = {(run.profile.dataset, run.profile.photos): run.profile for run in runs}
    for profile in data.values():
        prepare_data(profile, machine, display)


def prepare_data(profile: Profile, machine: Machine, display: Display) -> None:
    """Draw or prepare the data set once for all runs, or check COCO before training starts.

    Raises:
        UserError: COCO's folder is not given, or not in COCO's layout.
    """
    if profile.own is not None:
        return  # checked when it was read
    if profile.photos is not None:
        prepare_photos(profile.photos, machine.data_root, display)
        return
    if profile.dataset is None:
        root = coco_root(machine.data_root)
        display.preparing("checking COCO")
        for remark in coco.check(root):
            display.note(remark)
        return
    drawing = partial(display.preparing, "drawing the embedded data set")
    root = embedded_root(profile.dataset)
    embedded.write(profile.dataset, root, progress=drawing, report=display.warning)


def prepare_photos(spec: PhotosSpec, data: str | None, display: Display) -> photos.Prepared:
    """Prepare the photographs of ``data``, unless they are, and report differences.

    Raises:
        UserError: they are not prepared yet, and ``data`` is unsuitable for it.
    """
    preparing = partial(display.preparing, "preparing the photographs")
    prepared = photos.write(spec, Path(data) if data else None, photos_root(spec), preparing)
    for difference in prepared.differences(spec):
        display.warning(difference)
    return prepared


class Queue:
    """One process's share of a table: a thread for each of ``jobs`` concurrent runs.

    A single thread chooses the next run and does all reporting.
    """

    def __init__(
        self,
        todo: Sequence[Run],
        before: Mapping[str, RunRecord | None],
        setting: Setting,
        display: Display,
        workers: Workers,
    ) -> None:
        self.setting, self.display = setting, display
        self.left, self.before = list(todo), before
        self.working: dict[str, tuple[Run, RunLock, int]] = {}
        self.slots = list(range(setting.jobs))
        self.said: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.workers = workers
        self.failed: list[Run] = []

    def work(self) -> list[Run]:
        """Train all runs, or wait for other processes to; return those that failed."""
        pool = ThreadPoolExecutor(self.setting.jobs)
        try:
            while self.left or self.working:
                self._hand_out(pool)
                # With a timeout: a signal may reach another thread than this.
                with suppress(Empty):
                    self.said.get(timeout=SECONDS_BETWEEN_LOOKS)()
        except BaseException as err:
            try:
                pool.shutdown(wait=False, cancel_futures=True)
                self.display.stopping()
                if isinstance(err, Preempted | Terminated):
                    self._store_checkpoints()
            finally:  # stop them even if another Ctrl-C arrives
                self.workers.stop()
            raise
        finally:
            has_ended = False
            try:
                pool.shutdown()
                has_ended = True
            finally:  # if that was interrupted, a surviving worker keeps its run
                for _, lock, _ in self.working.values():
                    lock.release() if has_ended else lock.leave()
        return self.failed

    def _store_checkpoints(self) -> None:
        """Have all workers store a checkpoint, and wait for it."""
        self.workers.preempt()
        try:
            self.workers.wait()
        except Terminated:  # the first signal reached a worker, and this one asks for the same
            self.workers.wait()

    def _hand_out(self, pool: ThreadPoolExecutor) -> None:
        """Give the free threads the first runs that no other process is training."""
        elsewhere: list[str] = []
        for run in list(self.left) if self.slots else ():
            if (lock := RunLock.take(self.setting.run_dir(run))) is None:
                elsewhere.append(run.name)
                continue
            self.left.remove(run)
            record = self.setting.record(run)
            if record is not None and record != self.before[run.id]:
                lock.release()
                self.display.done_elsewhere(run.name, record)
                self._note(run, record)
                continue
            slot = self.slots.pop(0)
            self.working[run.id] = run, lock, slot
            self.display.elsewhere(elsewhere)
            self.display.begin(run.id, run.name)
            pool.submit(self._work, run, lock, slot)
            if not self.slots:
                return
        if self.slots:
            self.display.elsewhere(elsewhere)

    def _work(self, run: Run, lock: RunLock, slot: int) -> None:
        """Train a run, in a thread of its own."""

        def emit(event: dict) -> None:
            self.said.put(partial(self.display.event, run.id, event))

        try:
            record = attempt(run, self.setting, self.workers, lock, slot, emit)
            self.said.put(partial(self._end, run, record))
        except Lost:
            self.said.put(partial(self._lose, run))
        except BaseException as err:
            self.said.put(partial(self._give_up, run, err))

    def _end(self, run: Run, record: RunRecord) -> None:
        self._free(run)
        self.display.end(run.id, record)
        self._note(run, record)

    def _lose(self, run: Run) -> None:
        """Leave a run to the process that took it over while this one was paused."""
        self._free(run)
        self.display.lost(run.id)
        self.left.append(run)

    def _give_up(self, run: Run, err: BaseException) -> None:
        self._free(run)
        if isinstance(err, WorkerError) and self.working:
            others = "; ".join(run.name for run, _, _ in self.working.values())
            raise WorkerError(f"{err}\n  stopped with it: {others}") from err
        raise err

    def _free(self, run: Run) -> None:
        _, lock, slot = self.working.pop(run.id)
        lock.release()
        self.slots.append(slot)

    def _note(self, run: Run, record: RunRecord) -> None:
        if record.state == "failed":
            self.failed.append(run)
