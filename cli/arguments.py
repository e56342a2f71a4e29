"""What ``python -m experiments`` understands."""

from __future__ import annotations

import argparse

from cli import evaluate, photos, predict, predict_pictures, testdev, train_own
from cli.options import Parser, add_again, add_jobs, add_profile, add_seeds, whole_number

ABOUT = "The declared tables, run and recorded: python -m experiments run|status|..."
RUN = "a run's id, or table-3/QFL"
TARGET = "all, table-1 (or 1, table1), table-1a, table-3/QFL, an experiment, or a run's id"


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m experiments", description=ABOUT)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    _run(
        commands.add_parser("run", help="train what this machine has not finished, show the table")
    )
    _status(commands.add_parser("status", help="the state of every run, and what is missing"))
    _config(
        commands.add_parser(
            "config", help="print a run's configuration as a file for mmdet's own tools"
        )
    )
    _diff(commands.add_parser("diff", help="what differs between two runs"))
    promoted = commands.add_parser(
        "promote", help="make this machine's finished runs of a clean commit the reference"
    )
    promoted.add_argument("target", nargs="?", help=TARGET)
    add_profile(promoted)
    train_own.add(commands.add_parser("train-own", help=train_own.ABOUT))
    predict.add(commands.add_parser("predict", help=predict.ABOUT))
    predict_pictures.add(commands.add_parser("detect", help=predict_pictures.ABOUT))
    evaluate.add(commands.add_parser("evaluate", help=evaluate.ABOUT))
    photos.add(commands.add_parser("photos", help=photos.ABOUT))
    testdev.add(commands.add_parser("test-dev", help=testdev.ABOUT))
    _tune(
        commands.add_parser(
            "tune", help="the sweeps behind the settings that the paper does not give"
        )
    )
    return top


def _run(run: argparse.ArgumentParser) -> None:
    run.add_argument("target", help=TARGET)
    add_profile(run)
    add_seeds(run)
    add_jobs(run)
    _add_data(run)
    _add_device(run)
    add_again(run)
    run.add_argument(
        "--max-iters",
        type=whole_number("--max-iters", 1),
        help="stop each run here: a trial, recorded as capped, never a result",
    )
    _add_dry_run(run)


def _status(status: argparse.ArgumentParser) -> None:
    status.add_argument("target", nargs="?", help=TARGET)
    add_profile(status)
    add_seeds(status)
    add_jobs(status)
    status.add_argument(
        "--stale",
        action="store_true",
        help="only the runs that other code or versions than today's have trained",
    )
    _add_json(status)


def _config(config: argparse.ArgumentParser) -> None:
    config.add_argument("target", help=RUN)
    add_profile(config)
    add_seeds(config)
    _add_data(config)
    _add_json(config, "as JSON, and only what the run's id is made of: no paths")


def _diff(diff: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        diff.add_argument(name, help=f"{RUN}; coco:table-3/QFL is of that profile; a record.json")
    add_profile(diff)
    add_seeds(diff, "of both, or one for each; an id has its own")
    _add_json(diff)


def _tune(tune: argparse.ArgumentParser) -> None:
    add_profile(tune)
    add_jobs(tune)
    _add_data(tune)
    _add_device(tune)
    add_again(tune)
    _add_dry_run(tune)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", help="COCO's folder, for the profiles coco and photos"
    )


def _add_json(parser: argparse.ArgumentParser, what: str = "for programs") -> None:
    parser.add_argument("--json", action="store_true", help=what)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would be trained: nothing is drawn, trained or written",
    )
