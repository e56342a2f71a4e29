"""``python -m experiments run|status|...``: the declared tables, run and recorded."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli import configfile, evaluate, photos, predict, predict_pictures, status, testdev, train_own
from cli.arguments import parser
from cli.options import chosen, guarded, stoppable
from cli.status import standing
from experiments import diff, matrix, promote, tuning, tuning_report
from experiments.matrix import Run
from experiments.queue import estimates
from experiments.queue.machine import Machine
from experiments.queue.running import run_missing
from experiments.queue.worker import ROOT, TRAIN
from experiments.stale import Today
from experiments.tables import catalogue
from experiments.tables.declare import Table
from gfl import config, escape, terminal
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.predictions import evaluation
from gfl.records.record import Store
from gfl.terminal import say

PROG = "experiments"
ANALYSIS = [sys.executable, "-m", "analysis"]


def main(argv: Sequence[str] | None = None, worker: Sequence[str] = TRAIN) -> int:
    """Run a command; return its exit code."""

    def command() -> int:
        args = parser().parse_args(argv)
        training = {"run": _run, "tune": _tune, "train-own": train_own.run}
        if args.command in training:
            return training[args.command](args, worker)
        others = {"predict": predict.run, "test-dev": testdev.run, "promote": _promote}
        others |= {"detect": predict_pictures.main, "evaluate": evaluate.run}
        others |= {"photos": photos.run, "status": _status, "config": _config, "diff": _diff}
        return others[args.command](args)

    return guarded(PROG, command)


def _run(args: argparse.Namespace, worker: Sequence[str]) -> int:
    profile, store = chosen(args)
    shown, runs = matrix.select(args.target, profile, args.seeds)
    machine = Machine(args.data, args.device, args.gpus, args.max_iters, args.jobs)
    _check_data(args, profile)
    _say_elsewhere(shown, profile)
    if args.dry_run:
        return _dry_run(runs, profile, store, machine, args.again)
    matrix.check_writable(store.runs / profile.name, store.results / "tables" / profile.name)
    code, failed = _train(runs, profile, store, machine, worker, args.again)
    if code:
        return code
    code = _print_tables(shown, "runs", args, *(["--no-write"] if args.max_iters else []))
    for run in failed:
        log = store.run_dir(profile.name, run.id, args.max_iters) / "train.log"
        say(f"{PROG}: {run.name} failed; its log: {log}", error=True)
    return 1 if failed else code


def _train(
    runs: Sequence[Run],
    profile: Profile,
    store: Store,
    machine: Machine,
    worker: Sequence[str],
    again: bool,
) -> tuple[int, list[Run]]:
    """Train what is missing; return an exit code, not 0 if that was stopped, and what failed."""
    from experiments.queue.display import Display

    expected = None
    if runs and machine.max_iters is None:
        known = estimates.costs(profile, store)
        each = [seconds for run in runs if (seconds := known.seconds(run)) is not None]
        expected = statistics.fmean(each) if each else None
    display = Display(terminal.console(), expected=expected)
    code, failed = stoppable(
        PROG, lambda: run_missing(runs, store, machine, display, worker, again)
    )
    return code, failed or []


def _tune(args: argparse.Namespace, worker: Sequence[str]) -> int:
    profile, store = chosen(args)
    runs = tuning.runs(profile, store)
    machine = Machine(args.data, args.device, args.gpus, jobs=args.jobs)
    _check_data(args, profile)
    if args.dry_run:
        return _dry_run(runs, profile, store, machine, args.again)
    matrix.check_writable(store.runs / profile.name, store.results / "tuning")
    code, _ = _train(runs, profile, store, machine, worker, args.again)
    if code:
        return code
    for sweep in tuning.sweeps(profile):
        found = tuning.trials(sweep, profile, store)
        for trial in found:
            say(f"{trial.variant.name}: {standing(trial.run, store)}")
        say(tuning_report.verdict(found))
        say("written:", ", ".join(map(str, tuning_report.publish(sweep, profile, store))))
    return 0


def _print_tables(
    shown: Sequence[Table], source: str, args: argparse.Namespace, *options: str
) -> int:
    """Call the consumer of records as a person would: imports point from analysis to here.

    Returns the first exit code that is not 0.
    """
    sys.stdout.flush()
    folders = ["--runs", str(args.runs.resolve()), "--results", str(args.results.resolve())]
    options = (*options, "--profile", args.profile, "--gpus", str(args.gpus), *folders)
    codes = []
    for table in shown:
        command = [*ANALYSIS, "table", table.name, "--store", source, *options]
        codes.append(subprocess.run(command, cwd=ROOT).returncode)
        if codes[-1]:
            say(f"{PROG}: {table.title} could not be shown", error=True)
    return next(filter(None, codes), 0)


def _dry_run(
    runs: Sequence[Run], profile: Profile, store: Store, machine: Machine, again: bool
) -> int:
    today = Today()
    stands = [standing(run, store, today) for run in runs]
    costs = estimates.costs(profile, store)
    say(status.bill(stands, costs, store, machine, again).line(profile))
    for stand in stands:
        if machine.max_iters is not None or not stand.is_done(again):
            how = f"{stand}, " if stand.state != "missing" else ""
            say(f"  {stand.run.id}  ({how}{', '.join(stand.run.rows)})")
    for line in status.advice([] if again else stands, {run.id: run.name for run in runs}):
        say(line)
    return 0


def _status(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    shown, runs = matrix.select(args.target or "all", profile, args.seeds)
    # Asked for again, of all tables: a run that others show too is shown with all of them.
    wanted = {run.id: run.name for run in runs}
    every = matrix.plan(catalogue.TABLES.values(), profile, sorted({run.seed for run in runs}))
    today = Today()
    stands = [standing(run, store, today) for run in every if run.id in wanted]
    machine = Machine(gpus=args.gpus, jobs=args.jobs)
    costs = estimates.costs(profile, store)
    bill = status.bill(stands, costs, store, machine)
    if args.stale:
        stands = [s for s in stands if not s.staleness.is_current]
    if args.json:
        say(json.dumps(status.content(stands, bill, costs), indent=2))
        return 0
    if args.stale:
        say("\n".join(status.stale_lines(stands, wanted)))
        return 0
    for line in status.lines(shown, stands, several_seeds=len(args.seeds) > 1):
        say(line)
    _say_elsewhere(shown, profile)
    for line in status.advice(stands, wanted):
        say(line)
    say(bill.line(profile))
    nothing = runs and bill.todo == bill.runs
    if nothing and (elsewhere := promote.other_gpus(profile, store)):
        say(elsewhere)
    return 0


def _say_elsewhere(shown: Sequence[Table], profile: Profile) -> None:
    """Name the tables whose rows this profile does not run."""
    for table in shown:
        if where := matrix.elsewhere(table, profile):
            say(where)


def _config(args: argparse.Namespace) -> int:
    profile, _ = chosen(args)
    _check_data(args, profile)
    run = matrix.single(args.target, profile, args.seeds)
    if args.json:
        say(json.dumps(config.build(run.experiment, profile, run.seed), indent=2))
        return 0
    words = [args.target, "--profile", profile.name, "--gpus", args.gpus, "--seeds", run.seed]
    words += ["--data", args.data] if args.data else []
    words = ["python", "-m", "experiments", "config", *map(str, words)]
    command = " ".join(map(escape.shell, words))
    terminal.write_utf8(configfile.text(run, command, args.data))
    return 0


def _check_data(args: argparse.Namespace, profile: Profile) -> None:
    if args.data and profile.dataset is not None:
        raise UserError(
            f"--data is for --profile coco and photos: {profile.name} draws its own images"
        )


def _diff(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    if len(args.seeds) > 2:
        raise UserError(f"--seeds: two runs have at most two seeds, not {len(args.seeds)}")
    seeds = (args.seeds[0], args.seeds[-1])
    a, b = (
        diff.side(name, profile.name, seed, args.gpus, store)
        for name, seed in zip((args.a, args.b), seeds, strict=True)
    )
    found = diff.compare(a, b, store)
    say(json.dumps(found.content(), indent=2) if args.json else "\n".join(found.lines()))
    return 0


def _promote(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    if args.target and (store.runs / evaluation.FOLDER / Path(args.target).name).is_dir():
        raise UserError(f"{args.target}: {evaluation.KIND}")
    shown = catalogue.parts(args.target) if args.target else list(catalogue.TABLES.values())
    outcome = promote.promote(shown, profile, store)
    for line in outcome.promoted:
        say(line)
    for line in outcome.refused:
        say(f"refused: {line}", error=True)
    code = _print_tables(shown if outcome.promoted else [], "results", args)
    return 1 if outcome.refused else code
