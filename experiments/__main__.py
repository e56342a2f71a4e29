"""``python -m experiments run|status|...``: the declared tables, run and recorded."""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence

from experiments import matrix, promote, tables, tuning
from experiments.cli import Parser, add_jobs, add_profile, add_seeds, chosen, guarded, whole_number
from experiments.declare import Table
from experiments.machine import Machine
from experiments.matrix import Run
from experiments.progress import duration
from experiments.running import run_missing
from experiments.worker import ROOT, TRAIN, WorkerError
from gfl import config
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.record import Store

PROG = "experiments"
ANALYSIS = [sys.executable, "-m", "analysis"]
TARGET = "all, table-1 (or 1, table1), table-1a, table-3/QFL, an experiment, or a run's id"


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)

    run = commands.add_parser(
        "run", help="train what this machine has not finished, show the table"
    )
    run.add_argument("target", help=TARGET)
    add_profile(run)
    add_seeds(run)
    add_jobs(run)
    run.add_argument("--data", metavar="DIR", help="COCO's folder, for the coco profile")
    _add_device(run)
    run.add_argument(
        "--max-iters",
        type=whole_number("--max-iters", 1),
        help="stop each run here: a trial, recorded as capped, never a result",
    )
    _add_dry_run(run)

    status = commands.add_parser("status", help="the state of every run, and what is missing")
    status.add_argument("target", nargs="?", help=TARGET)
    add_profile(status)
    add_seeds(status)
    add_jobs(status)

    shown = commands.add_parser("config", help="print a run's resolved configuration as JSON")
    shown.add_argument("target", help="a run's id, or table-3/QFL")
    add_profile(shown)
    add_seeds(shown)

    promoted = commands.add_parser(
        "promote", help="make this machine's finished runs of a clean commit the reference"
    )
    promoted.add_argument("target", nargs="?", help=TARGET)
    add_profile(promoted)

    tune = commands.add_parser(
        "tune", help="train plain ATSS at other hyper-parameters than the profile's"
    )
    add_profile(tune)
    add_jobs(tune)
    _add_device(tune)
    _add_dry_run(tune)
    return top


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be trained")


def main(argv: Sequence[str] | None = None, worker: Sequence[str] = TRAIN) -> int:
    """Run a command; return its exit code."""

    def command() -> int:
        args = parser().parse_args(argv)
        if args.command in ("run", "tune"):
            return {"run": _run, "tune": _tune}[args.command](args, worker)
        return {"status": _status, "config": _config, "promote": _promote}[args.command](args)

    return guarded(PROG, command)


def _run(args: argparse.Namespace, worker: Sequence[str]) -> int:
    profile, store = chosen(args)
    shown, runs = matrix.select(args.target, profile, args.seeds)
    machine = Machine(args.data, args.device, args.gpus, args.max_iters, args.jobs)
    if args.data and profile.dataset is not None:
        raise UserError(f"--data is for --profile coco: {profile.name} draws its own images")
    _say_elsewhere(shown, profile)
    if args.dry_run:
        todo = runs if args.max_iters else matrix.missing(runs, store)
        _summary(runs, todo, profile, store, machine)
        for run in todo:
            print(f"  {run.id}  ({', '.join(run.rows)})")
        return 0
    matrix.check_writable(store.runs / profile.name, store.results / "tables" / profile.name)
    code, failed = _train(runs, profile, store, machine, worker)
    if code:
        return code
    code = _print_tables(shown, "runs", args, *(["--no-write"] if args.max_iters else []))
    for run in failed:
        log = store.run_dir(profile.name, run.id, args.max_iters) / "train.log"
        print(f"{PROG}: {run.name} failed; its log: {log}", file=sys.stderr)
    return 1 if failed else code


def _train(
    runs: Sequence[Run], profile: Profile, store: Store, machine: Machine, worker: Sequence[str]
) -> tuple[int, list[Run]]:
    """Train what is missing; return an exit code, not 0 if that was stopped, and what failed."""
    from rich.console import Console

    from experiments.display import Display

    known = matrix.estimate(profile, store) if machine.max_iters is None else None
    display = Display(Console(), expected=known[0] if known else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, _interrupt)
    try:
        return 0, run_missing(runs, store, machine, display, worker)
    except KeyboardInterrupt:
        again = "run the same command again to go on from the last finished epoch"
        print(f"stopped; {again}", file=sys.stderr)
        return 130, []
    except WorkerError as err:
        print(f"{PROG}: {err}", file=sys.stderr)
        return 1, []


def _tune(args: argparse.Namespace, worker: Sequence[str]) -> int:
    profile, store = chosen(args)
    runs = [trial.run for trial in tuning.trials(profile, store)]
    machine = Machine(gpus=args.gpus, device=args.device, jobs=args.jobs)
    if args.dry_run:
        _list(runs, store)
        _summary(runs, matrix.missing(runs, store), profile, store, machine)
        return 0
    matrix.check_writable(store.runs / profile.name, store.results / "tuning")
    code, _ = _train(runs, profile, store, machine, worker)
    if code:
        return code
    found = tuning.trials(profile, store)
    for trial in found:
        print(f"{trial.variant.name}: {matrix.state(trial.run, store)}")
    print(tuning.verdict(found))
    print("written:", ", ".join(map(str, tuning.publish(profile, store))))
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


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
            print(f"{PROG}: {table.title} could not be shown", file=sys.stderr)
    return next(filter(None, codes), 0)


def _status(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    if args.target:
        shown, runs = matrix.select(args.target, profile, args.seeds)
    else:
        shown = list(tables.TABLES.values())
        runs = matrix.plan(shown, profile, args.seeds)
    _list(runs, store)
    _say_elsewhere(shown, profile)
    machine = Machine(gpus=args.gpus, jobs=args.jobs)
    todo = matrix.missing(runs, store)
    _summary(runs, todo, profile, store, machine)
    if runs and len(todo) == len(runs) and (elsewhere := promote.other_gpus(profile, store)):
        print(elsewhere)
    return 0


def _say_elsewhere(shown: Sequence[Table], profile: Profile) -> None:
    """Name the tables whose rows this profile does not run."""
    for table in shown:
        if table.profiles is not None and not table.runs_at(profile.name):
            print(
                f"{table.title}: its rows are run at --profile {' or '.join(table.profiles)} only"
            )


def _list(runs: Sequence[Run], store: Store) -> None:
    width = max((len(run.id) for run in runs), default=0)
    for run in runs:
        print(f"{run.id:{width}}  {matrix.state(run, store)}  ({', '.join(run.rows)})")


def _summary(
    runs: Sequence[Run], todo: Sequence[Run], profile: Profile, store: Store, machine: Machine
) -> None:
    line = f"{profile.name} profile: {len(runs)} runs, {len(todo)} to train"
    jobs = machine.jobs_for(profile, len(todo))
    if todo and jobs > 1:
        line += f", {jobs} at a time"
    if todo and machine.max_iters is None and (known := matrix.estimate(profile, store)):
        seconds, source = known
        line += f", about {duration(seconds * math.ceil(len(todo) / jobs))}"
        line += f" (from speeds {source})"
    print(line)


def _config(args: argparse.Namespace) -> int:
    profile, _ = chosen(args)
    _, runs = matrix.select(args.target, profile, args.seeds)
    if len(runs) != 1:
        names = ", ".join(run.rows[0] for run in runs)
        raise UserError(f"{args.target!r} is {len(runs)} runs; name one: {names}")
    resolved = config.build(runs[0].experiment, profile, runs[0].seed)
    print(json.dumps(resolved, indent=2))
    return 0


def _promote(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    shown = tables.parts(args.target) if args.target else list(tables.TABLES.values())
    outcome = promote.promote(shown, profile, store)
    for line in outcome.promoted:
        print(line)
    for line in outcome.refused:
        print(f"refused: {line}", file=sys.stderr)
    code = _print_tables(shown if outcome.promoted else [], "results", args)
    return 1 if outcome.refused else code


if __name__ == "__main__":
    sys.exit(main())
