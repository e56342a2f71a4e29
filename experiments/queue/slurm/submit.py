"""Submission of runs to Slurm through submitit: one job a run, several as a job array.

submitit keeps scripts, logs and pickles in ``runs/PROFILE/.slurm/jobs``. What it unpickles there,
it has pickled itself for the same user, in the folder that holds the runs and their code: no file
from outside is unpickled.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit
from rich.console import Console
from submitit.core.utils import FailedJobError, FailedSubmissionError

from experiments.matrix import Run
from experiments.queue import slurm_jobs
from experiments.queue.display import Display
from experiments.queue.locks import RunLock
from experiments.queue.machine import Machine
from experiments.queue.running import SECONDS_BETWEEN_LOOKS, choose, prepare_all
from experiments.queue.slurm import unconfirmed
from experiments.queue.slurm.cluster import Cluster
from experiments.queue.slurm.job import TrainingJob
from experiments.queue.slurm.ledger import Ledger, Submission, now
from experiments.queue.slurm.standing import look
from experiments.queue.worker import ROOT, UTF8
from gfl import config, escape
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.lease import LostError
from gfl.records.record import Store
from gfl.training.worker import LOADERS

LOCK = "submission"  # of a profile's jobs: a lease beside their files
# submitit's names for what Slurm has not taken yet; a script that it has is a link.
UNSUBMITTED = re.compile(r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh")


class Executor(submitit.SlurmExecutor):
    """submitit's executor, which can also print its script where Slurm is not installed."""

    @classmethod
    def affinity(cls) -> int:
        """Return that Slurm is here: ``submit`` has looked, and a dry run does without."""
        return 1

    def script(self, runs: int) -> str:
        """Return the sbatch script of a number of runs."""
        if runs > 1:
            self.parameters["map_count"] = runs
        return self._make_submission_file_text(self._submitit_command_str, "")


def executor(profile: Profile, machine: Machine, cluster: Cluster, folder: Path) -> Executor:
    """Return submitit's executor of a profile's runs on a cluster."""
    made = Executor(folder, max_num_timeout=cluster.max_timeouts)
    made.update_parameters(**parameters(profile, machine, cluster))
    return made


def parameters(profile: Profile, machine: Machine, cluster: Cluster) -> dict[str, Any]:
    """Return the parameters of a run's job under submitit's names for them."""
    each = machine.gpus // cluster.nodes  # processes of a node: one a GPU
    is_cuda = machine.device_of(profile) == "cuda"
    cores = cluster.cpus_per_process or (LOADERS + 1 if is_cuda or not profile.is_small else 1)
    found: dict[str, Any] = {
        "job_name": f"gfl-{profile.name}",
        "partition": cluster.partition,
        "account": cluster.account,
        "time": cluster.time,
        "nodes": cluster.nodes,
        "ntasks_per_node": 1,  # torch's launcher starts a node's processes
        "cpus_per_task": each * cores,
        "constraint": cluster.constraint,
        "mem": cluster.memory,
        "signal_delay_s": cluster.warning_seconds,
        "array_parallelism": cluster.parallel,
        "stderr_to_stdout": True,
        "setup": [*(f"export {name}={value}" for name, value in UTF8.items()), *cluster.setup],
        # Tasks live and die together: a node's failure ends, and shows, the whole run's. Since
        # version 22.05 srun does not take the job's cores for those of a task.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={each * cores}"],
        # After a node's death, whatever the cluster's own default.
        "additional_parameters": {"requeue": True, "chdir": str(ROOT), **cluster.sbatch},
    }
    if is_cuda and cluster.gres:
        found["gres"] = f"{cluster.gres}:{each}"
    elif is_cuda:
        found["gpus_per_node"] = each
    return {name: value for name, value in found.items() if value is not None}


def submit_missing(
    runs: Sequence[Run],
    store: Store,
    machine: Machine,
    cluster: Cluster,
    display: Display,
    worker: Sequence[str],
    again: bool,
) -> list[str]:
    """Submit the runs that are neither trained nor waiting or running already.

    Data and ImageNet weights are prepared first: compute nodes often reach no network. Of several
    such commands one submits at a time, and the next sees what it has submitted. Returns lines on
    the jobs; none if everything is trained.

    Raises:
        UserError: no Slurm answers here, or sbatch fails; or as ``run_missing``.
    """
    todo, _ = choose(runs, store, machine, display, again)
    if not todo:
        return []
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("no Slurm here (sbatch is not on the path): submit on a login node")
    if (here := slurm_jobs.cluster()) is None:
        raise UserError(
            "Slurm does not answer here (scontrol show config fails): submit on a login node, or "
            "when its controller is back"
        )
    todo, lines = _without_jobs(todo, store, machine)
    if todo:
        prepare_all(todo, machine, display)
        _fetch_weights(todo, machine, display)
        with _alone(todo[0], store, machine, display) as lock:
            folder = _ledger(todo[0], store, machine).folder
            lines += unconfirmed.cancel(folder, here)
            todo, more = _without_jobs(todo, store, machine)
            lines += more
            lock.check()
            if todo:
                jobs = submit(todo, store, machine, cluster, worker, again, here)
                lines += _summary(jobs, cluster)
    return [*lines, "gfl status shows the jobs; the same command prints the table in the end"]


def _ledger(run: Run, store: Store, machine: Machine) -> Ledger:
    return Ledger.of(store, run.profile.name, run.id, machine.max_iters)


def _without_jobs(
    runs: Sequence[Run], store: Store, machine: Machine
) -> tuple[list[Run], list[str]]:
    """Return the runs that no job waits for or trains, and a line on each other."""
    standings = look({run.id: _ledger(run, store, machine) for run in runs})
    live = {id: f"{job.state}, {job.detail}" for id, job in standings.items() if job.is_live}
    lines = [f"{run.name}: {live[run.id]}" for run in runs if run.id in live]
    return [run for run in runs if run.id not in live], lines


@contextmanager
def _alone(run: Run, store: Store, machine: Machine, display: Display) -> Iterator[RunLock]:
    """Wait until no other command submits runs of this one's profile, on any machine.

    Raises:
        UserError: this command was paused for so long that another took the lock over.
    """
    path = _ledger(run, store, machine).folder / LOCK
    while (lock := RunLock.take(path)) is None:
        display.preparing("waiting for another command, which submits to Slurm")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    try:
        yield lock
    except LostError as err:
        raise UserError("paused for too long while it submitted: give the command again") from err
    finally:
        lock.release()


def _summary(jobs: Sequence[Submission], cluster: Cluster) -> list[str]:
    """Return a line on what was submitted."""
    array = jobs[0].job.partition("_")[0]
    at_once = f", at most {cluster.parallel} at a time" if len(jobs) > cluster.parallel else ""
    number = escape.counted(len(jobs), "run")
    return [f"submitted {number} to Slurm as job {array}{at_once}; scancel {array} stops them"]


def _fetch_weights(runs: Sequence[Run], machine: Machine, display: Display) -> None:
    """Download the initial weights of full runs.

    Raises:
        UserError: they cannot be had.
    """
    models = [config.build(run.experiment, run.profile, run.seed)["model"] for run in runs]
    if machine.max_iters is not None or not config.pretrained_parts(models):
        return
    from gfl.training import pretrained  # imports torch

    display.preparing("looking for ImageNet weights")
    pretrained.fetch(models, capped=False, report=display.warning)


def dry_run(
    runs: Sequence[Run], store: Store, machine: Machine, cluster: Cluster, again: bool
) -> list[str]:
    """Return the script that would be given to sbatch, or why there would be none.

    Nothing is written, and Slurm asked only about jobs that were submitted before.

    Raises:
        UserError: the machine does not suit the profile.
    """
    quiet = Display(Console(quiet=True))
    chosen, _ = choose(runs, store, machine, quiet, again)
    todo, lines = _without_jobs(chosen, store, machine)
    if todo:
        folder = _ledger(todo[0], store, machine).jobs.resolve()
        script = executor(todo[0].profile, machine, cluster, folder).script(len(todo))
        return [*lines, "", *script.splitlines()]
    return [*lines, f"nothing to submit: every run {'has a job' if chosen else 'is trained'}"]


def submit(
    runs: Sequence[Run],
    store: Store,
    machine: Machine,
    cluster: Cluster,
    worker: Sequence[str],
    again: bool,
    here: str,
) -> list[Submission]:
    """Submit the runs, at least one, all of one profile, to cluster ``here``; return their jobs.

    Raises:
        UserError: sbatch fails.
    """
    profile = runs[0].profile
    ledgers = [_ledger(run, store, machine) for run in runs]
    folder = ledgers[0].jobs.resolve()
    made = executor(profile, machine, cluster, folder)
    places = store.runs.resolve(), store.results.resolve()
    if machine.data_root:  # the jobs have another current folder
        machine = replace(machine, data_root=str(Path(machine.data_root).resolve()))
    calls: list[Callable[[], None]] = [
        TrainingJob(run, *places, machine, worker, again) for run in runs
    ]
    found = []
    with unconfirmed.submission(ledgers, profile.name, here) as name:
        made.update_parameters(job_name=name)
        try:
            # submitit prints sbatch's error as well as raising it.
            with contextlib.redirect_stderr(io.StringIO()), made.batch():
                jobs = [made.submit(call) for call in calls]
        except (FailedJobError, FailedSubmissionError) as err:
            why = " ".join(str(err).split())
            raise UserError(f"sbatch failed: {why}") from err
        finally:
            _forget_unsubmitted(folder)
        submitted = now()
        for ledger, job in zip(ledgers, jobs, strict=True):
            log = str(job.paths.stdout)
            found.append(
                Submission(job.job_id, submitted, cluster.time, cluster.nodes, log, here, name)
            )
            ledger.write(found[-1])
    return found


def _forget_unsubmitted(folder: Path) -> None:
    """Delete what is left in submitit's folder of jobs that Slurm did not take."""
    for path in folder.glob("*"):
        if UNSUBMITTED.fullmatch(path.name) and not path.is_symlink():
            path.unlink(missing_ok=True)
