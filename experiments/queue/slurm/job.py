"""Training of one run inside a Slurm job, as submitit starts it there.

A job takes the same way as the queue of one machine: the same lock, resuming and record. When it
is to end, on submitit's signal before a time limit or a preemption, or on SIGTERM, its workers
store a checkpoint. Requeued, it goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import submitit
from submitit.core.utils import DelayedSubmission

from experiments.matrix import Run
from experiments.queue import slurm_jobs
from experiments.queue.display import Display
from experiments.queue.machine import Machine
from experiments.queue.running import run_missing
from experiments.queue.slurm.cluster import SECONDS_TO_STORE
from experiments.queue.slurm.ledger import Ledger, Progress, Stage, now
from experiments.queue.worker import (
    ROOT,
    UTF8,
    Preempted,
    Rendezvous,
    WorkerError,
    Workers,
    command,
)
from gfl import terminal
from gfl.errors import UserError
from gfl.records.record import RunRecord, Store, run_id
from gfl.training.preemption import PREEMPTED

PORTS = range(10_000, 30_000)  # below those that systems give to outgoing connections
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_PROGRESS = 5.0


@dataclass
class TrainingJob:
    """Trains a run in a Slurm job: what submitit pickles, calls, and asks for a checkpoint."""

    run: Run
    runs: Path
    results: Path
    machine: Machine
    worker: Sequence[str]
    again: bool = False
    session: Session | None = field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Train the run to its end, or this node's part of it.

        Raises:
            UserError: the user can fix what stopped it, or the code is not what was submitted.
            WorkerError: it ended in any other way, or its record says that it failed.
        """
        terminal.prepare()
        environment = submitit.JobEnvironment()
        _forget_partial(environment.paths.submitted_pickle)
        run, place = self.run, Place.here(environment)
        if run_id(run.experiment, run.profile, run.seed) != run.id:
            raise UserError(
                f"{run.id}: the code has changed since it was submitted; submit it anew"
            )
        store = Store(self.runs, self.results)
        machine = replace(self.machine, jobs=1, rendezvous=place.rendezvous)
        if environment.global_rank > 0:
            _take_part(self, store, machine, place)
            return
        self.session = Session(self, store, machine, place)
        self.session.run()

    def checkpoint(self) -> DelayedSubmission:
        """Have the workers store a checkpoint and end: submitit's hook before it requeues a job."""
        if self.session is not None:
            self.session.preempt()
        return DelayedSubmission(replace(self))


@dataclass(frozen=True)
class Place:
    """Where and as what a process runs, from Slurm's environment."""

    job: str
    restarts: int
    node: str
    rendezvous: Rendezvous | None
    cluster: str = ""  # Slurm's name for it

    @classmethod
    def here(cls, environment: Any) -> Place:
        variables = os.environ
        restarts = int(variables.get("SLURM_RESTART_COUNT", "0"))
        meet = None
        if environment.num_nodes > 1:
            # srun's, on the first node: every node's tasks are connected to it already.
            host = variables["SLURM_LAUNCH_NODE_IPADDR"]
            # A port of this job's own; another after a restart, lest the old one be still in use.
            number = int(environment.raw_job_id) + 7919 * restarts
            port = PORTS[number % len(PORTS)]
            meet = Rendezvous(environment.num_nodes, environment.node, host, port)
        node, cluster = variables["SLURMD_NODENAME"], variables.get("SLURM_CLUSTER_NAME", "")
        return cls(environment.job_id, restarts, node, meet, cluster)


class Session:
    """One start of a job on its first node: a thread trains, the main one answers signals."""

    def __init__(self, job: TrainingJob, store: Store, machine: Machine, place: Place) -> None:
        self.job, self.store, self.machine, self.place = job, store, machine, place
        self.workers = Workers()
        ledger = Ledger.of(store, job.run.profile.name, job.run.id, machine.max_iters)
        self.display = JobDisplay(ledger, place)
        self.failed: list[Run] = []
        self.error: BaseException | None = None
        self.is_ending = False
        # A daemon; a worker that does not end in time is left to Slurm, which kills the job.
        self.thread = threading.Thread(target=self._train, daemon=True)

    def run(self) -> None:
        """Train to the end, or until a signal.

        Raises:
            UserError, WorkerError: as ``TrainingJob``.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        self.thread.start()
        self._wait()
        if isinstance(self.error, UserError | WorkerError):
            self.display.report("failed", str(self.error))
            raise self.error
        if isinstance(self.error, Preempted):  # by a signal that reached the workers first
            self.display.report("preempted")
            self._requeue()
        if self.error is not None:
            self.display.report("failed", repr(self.error))
            raise self.error
        if self.failed:
            self.display.report("failed", "its record says why")
            raise WorkerError(f"{self.job.run.name} failed")
        self.display.report("finished")

    def preempt(self) -> None:
        """Have the workers store a checkpoint, and wait until they have."""
        self.is_ending = True
        self.workers.preempt()
        self._wait(SECONDS_TO_STORE)
        if self.thread.is_alive() or isinstance(self.error, Preempted):  # not if it has ended
            self.display.report("preempted")

    def _terminate(self, number: int, frame: object) -> None:
        """Answer SIGTERM: this job is cancelled, requeued, or displaced by a more urgent one.

        In the last case Slurm lets it run for a time of grace, and requeues it at the end of that
        alone: a job that has used the time to end itself has ended for good.
        """
        if self.is_ending:  # by submitit's hook, which is about to requeue it
            return
        self.preempt()
        self._requeue()

    def _requeue(self) -> NoReturn:
        """End this process, and have its job start again unless Slurm is already ending it."""
        if slurm_jobs.is_running(self.place.job):
            slurm_jobs.requeue(self.place.job)
        sys.exit(PREEMPTED)

    def _wait(self, patience: float = float("inf")) -> None:
        """Wait for the training thread; a signal may be answered meanwhile, in this thread.

        Polls: a lock that is being taken when a signal arrives cannot be taken by its handler.
        """
        deadline = time.monotonic() + patience
        while self.thread.is_alive() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _train(self) -> None:
        job = self.job
        try:
            self.failed = run_missing(
                [job.run],
                self.store,
                self.machine,
                self.display,
                job.worker,
                job.again,
                self.workers,
            )
        except BaseException as err:
            self.error = err


class JobDisplay(Display):
    """Display of one run in its job's log, and in its ledger for other machines."""

    def __init__(self, ledger: Ledger, place: Place) -> None:
        super().__init__(terminal.console())
        self.ledger = ledger
        began = now()
        self.progress = Progress(
            place.job, place.restarts, "training", place.node, began, began, cluster=place.cluster
        )
        self._reported = float("-inf")

    def begin(self, id: str, name: str) -> None:
        """Report that the run is locked, and begins: what other nodes wait for."""
        super().begin(id, name)
        self.report("training")

    def event(self, id: str, event: dict[str, Any]) -> None:
        """Show an event, and write the progress unless it was written just now."""
        super().event(id, event)
        task = self.running[id]
        new = task.fields["epoch"] != self.progress.epoch
        self.progress = replace(
            self.progress,
            epoch=task.fields["epoch"],
            epochs=task.fields["epochs"],
            iteration=round(task.completed),
            iterations=round(task.total or 0),
            seconds_left=self.left_of(task),
        )
        if new or self.clock() - self._reported >= SECONDS_BETWEEN_PROGRESS:
            self.report("training")

    def end(self, id: str, record: RunRecord) -> None:
        """Show the run's end."""
        super().end(id, record)
        self.progress = replace(self.progress, message=record.message)

    def report(self, stage: Stage, message: str = "") -> None:
        """Write the progress; where that fails the training, which it only describes, goes on."""
        self._reported = self.clock()
        message = message or self.progress.message
        self.progress = replace(self.progress, stage=stage, message=message, written=now())
        with contextlib.suppress(OSError):
            self.ledger.write(self.progress)


def _take_part(job: TrainingJob, store: Store, machine: Machine, place: Place) -> None:
    """Run this node's part of the run, once the first node has locked and prepared it.

    Raises:
        WorkerError: a process ended although nobody asked it to; srun then ends the job.
    """
    run = job.run
    ledger = Ledger.of(store, run.profile.name, run.id, machine.max_iters)
    asked: list[int] = []
    for number in (signal.SIGTERM, submitit.JobEnvironment()._usr_sig()):
        signal.signal(number, lambda number, frame: asked.append(number))
    start = place.cluster, place.job, place.restarts
    while (at := ledger.progress()) is None or (at.cluster, at.job, at.restarts) != start:
        if asked:
            return
        time.sleep(1.0)
    if asked or at.stage != "training":
        return
    run_dir = store.run_dir(run.profile.name, run.id, machine.max_iters)
    launched = [*command(job.worker, machine.gpus, place.rendezvous), str(run_dir.resolve())]
    environment = {**os.environ, **UTF8}
    code = subprocess.call(launched, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment)
    if code and not asked:
        raise WorkerError(f"{run.name}: the processes on {place.node} ended with exit code {code}")


def _forget_partial(pickle: Path) -> None:
    """Delete what a job that was killed while it requeued itself has left: submitit refuses it."""
    pickle.with_name(pickle.name + ".save_tmp").unlink(missing_ok=True)
