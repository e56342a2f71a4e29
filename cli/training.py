"""``gfl run`` and ``gfl tune``: train and record the declared runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.tables import tuning as report
from cli import status
from cli.options import (
    SEEDS,
    Execution,
    MaybeCount,
    Seeds,
    Target,
    Training,
    Where,
    Worker,
    stoppable,
)
from cli.status import say_elsewhere, standing, standings
from experiments import matrix, tuning
from experiments.matrix import Run
from experiments.queue import estimates
from experiments.queue.display import Display
from experiments.queue.machine import Machine
from experiments.queue.running import run_missing
from experiments.queue.slurm.cluster import Cluster
from experiments.queue.worker import TRAIN
from experiments.stale import Today
from gfl import escape, terminal
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import Store
from gfl.terminal import note, say


def run(
    *target: Target,
    seeds: Seeds = SEEDS,
    training: Training = Training(),
    execution: Execution = Execution(),
    max_iters: MaybeCount = None,
    where: Where = Where(),
    worker: Worker = TRAIN,
) -> int:
    """Train the runs that are not finished locally, print the table.

    Args:
        max_iters: stop each run here: a trial, recorded as capped, never a result

    Raises:
        UserError: no run is named, or one is not declared.
    """
    if not target:
        raise UserError("no run named: gfl run table-3, table-1a/IoU-branch/ATSS, or all")
    profile, store = where.found(), where.store(mend=not training.dry_run)
    tables, runs = matrix.select_all(target, profile, seeds)
    cluster = execution.settings(training.jobs)
    machine = training.machine(where, max_iters, cluster.nodes if cluster else 1)
    say_elsewhere(tables, profile)
    written = store.results / "tables" / profile.name
    code, failed = _train(runs, profile, store, machine, cluster, training, worker, written)
    if failed is None:
        return code
    from cli import artefacts  # imports numpy and rich, not needed for a dry run

    code = artefacts.show_tables(tables, profile, store, local=True, write=max_iters is None)
    for one in failed:
        log = store.run_dir(profile.name, one.id, max_iters) / "train.log"
        note(f"{one.name} failed; its log: {log}")
    return 1 if failed else code


def tune(
    *names: str,
    training: Training = Training(),
    execution: Execution = Execution(),
    where: Where = Where(),
    worker: Worker = TRAIN,
) -> int:
    """Run the sweeps behind the settings that the paper does not give.

    Args:
        names: profile, gaussian, longer, or a method of Table 4 (sapd, cascade-rcnn); none: all
    """
    profile, store = where.found(), where.store(mend=not training.dry_run)
    runs = tuning.runs(profile, store, names)
    cluster = execution.settings(training.jobs)
    machine = training.machine(where, nodes=cluster.nodes if cluster else 1)
    written = store.results / "tuning"
    code, failed = _train(runs, profile, store, machine, cluster, training, worker, written)
    if failed is None:
        return code
    for sweep in tuning.sweeps(profile, names):
        found = tuning.trials(sweep, profile, store)
        for trial in found:
            say(f"{trial.variant.name}: {standing(trial.run, store)}")
        say(report.verdict(found))
        say("written:", ", ".join(map(str, report.publish(sweep, profile, store))))
    return 0


def _train(
    runs: Sequence[Run],
    profile: Profile,
    store: Store,
    machine: Machine,
    cluster: Cluster | None,
    training: Training,
    worker: Sequence[str],
    written: Path,
) -> tuple[int, list[Run] | None]:
    """Train the missing runs, or submit them; return an exit code, and those that failed.

    These are None if there is nothing to print yet: in a dry run, when it was stopped, or when jobs
    were submitted. ``written`` is the folder of what is printed.
    """
    if training.dry_run:
        _list(runs, profile, store, machine, cluster, training.again)
        return 0, None
    matrix.check_writable(store.runs / profile.name, written)
    if cluster:
        from experiments.queue.slurm import submit

        display = Display(terminal.console())
        code, lines = stoppable(
            lambda: submit.submit_missing(
                runs, store, machine, cluster, display, worker, training.again
            )
        )
        for line in lines or ():
            say(line)
        return code, [] if lines == [] else None
    expected = None
    if runs and machine.max_iters is None:
        known = estimates.costs(profile, store)
        each = [seconds for run in runs if (seconds := known.seconds(run)) is not None]
        expected = statistics.fmean(each) if each else None
    display = Display(terminal.console(), expected=expected)
    return stoppable(lambda: run_missing(runs, store, machine, display, worker, training.again))


def _list(
    runs: Sequence[Run],
    profile: Profile,
    store: Store,
    machine: Machine,
    cluster: Cluster | None,
    again: bool,
) -> None:
    """Print what would be trained, its cost and, of a cluster, the script for sbatch."""
    stands = standings(runs, store, Today())
    costs = estimates.costs(profile, store)
    costed = replace(machine, jobs=cluster.parallel) if cluster else machine
    say(status.missing_cost(stands, costs, store, costed, again).line(profile))
    for stand in stands:
        if machine.max_iters is not None or not stand.is_done(again):
            how = f"{stand}, " if stand.state != "missing" else ""
            rows = ", ".join(map(escape.terminal, stand.run.rows))
            say(f"  {stand.run.id}  ({how}{rows})")
    for line in status.advice([] if again else stands, {run.id: run.name for run in runs}):
        say(line)
    if cluster is not None:
        from experiments.queue.slurm import submit

        for line in submit.dry_run(runs, store, machine, cluster, again):
            say(line)
