"""``python -m analysis table|figure|errors|audit|report``: what is made of records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.tables import agreement, fill, render, staleness
from analysis.tables.layout import sheet
from cli.options import Parser, add_folders, add_profile, chosen, guarded
from experiments import profiles
from experiments.matrix import check_writable
from experiments.promote import other_gpus
from experiments.tables import catalogue as declared
from experiments.tables.declare import Table
from gfl import terminal as streams
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.files import write_text
from gfl.records.record import Store
from gfl.terminal import say


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m analysis", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    table = commands.add_parser("table", help="print a table and write it as Markdown and CSV")
    table.add_argument("table", help="table-3 (or 3, table3), table-1 or its part 1a, all")
    _add_store(table, "this machine's runs beside it")
    table.add_argument("--no-write", action="store_true", help="only print")
    add_profile(table)
    figure = commands.add_parser(
        "figure", help="draw a figure as PNG and PDF, with the numbers it plots as CSV"
    )
    figure.add_argument("figure", help="2b (or figure-2b, fig2b), 2 or its part, calibration, all")
    _add_store(figure, "this machine's runs")
    figure.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        metavar="FILE.json",
        help="draw of the boxes of COCO annotation files alone: figures 5c and 9",
    )
    figure.add_argument(
        "--out", type=Path, metavar="FOLDER", help="(default: results/figures/<profile>)"
    )
    figure.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="COCO's folder: with --profile photos, draw its photographs too, in files that git "
        "ignores",
    )
    _add_weights(figure)
    add_profile(figure)
    errors = commands.add_parser("errors", help="detection errors by kind, as TIDE defines them")
    _add_store(errors, "this machine's runs")
    errors.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE.json",
        help="the boxes that a profile without embedded data is evaluated against",
    )
    _add_weights(errors)
    add_profile(errors)
    audit = commands.add_parser("audit", help="the paper's claims on trial, at every profile")
    _add_store(audit, "this machine's runs")
    audit.add_argument(
        "--strict",
        action="store_true",
        help="write nothing; name what is committed and not what the records give (exit code 1)",
    )
    audit.add_argument(
        "--profile", help="only has to be known: every profile that has records is audited"
    )
    audit.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="COCO's folder, whose ground truth the matches of coco's runs are held to",
    )
    add_folders(audit)
    settle = commands.add_parser(
        "register", help="settle how claims are read at a profile, before its first run"
    )
    add_profile(settle)
    report = commands.add_parser("report", help="write everything as one HTML file to read")
    _add_store(report, "this machine's runs")
    report.add_argument(
        "--out", type=Path, metavar="FILE.html", help="(default: results/report/<profile>.html)"
    )
    add_profile(report)
    return top


def _add_store(command: argparse.ArgumentParser, runs: str) -> None:
    command.add_argument(
        "--store",
        choices=["results", "runs"],
        default="results",
        help=f"results: the committed reference (default); runs: {runs}",
    )


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights",
        nargs="+",
        metavar="NAME",
        help="of others' evaluated weights instead of runs: their names in runs/weights/",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    return guarded("analysis", lambda: _command(parser().parse_args(argv)))


def _command(args: argparse.Namespace) -> int:
    commands = {
        "table": _table,
        "figure": _figure,
        "errors": _errors,
        "audit": _audit,
        "register": _register,
        "report": _report,
    }
    return commands[args.command](args)


def _figure(args: argparse.Namespace) -> int:
    from analysis.figures import command  # matplotlib takes a while, and --help needs none

    profile, store = chosen(args)
    if args.data and (args.weights or args.annotations):
        raise UserError("--data is for figures of runs: leave it out with --weights, --annotations")
    if args.weights:
        from analysis.errors.evaluations import COCO, FOLDER, Evaluations

        library = Evaluations.of(store, args.weights)
        folder = store.runs / FOLDER / "figures"
        return command.draw_from(args.figure, COCO, library, args.out or folder)
    if args.annotations:
        return command.draw_annotations(args.figure, args.annotations, store, args.out)
    return command.draw(args.figure, profile, store, args.store == "runs", args.out, args.data)


def _errors(args: argparse.Namespace) -> int:
    from analysis.errors import (
        tables as error_tables,  # pandas takes a while, and --help needs none
    )

    profile, store = chosen(args)
    if args.weights:
        from analysis.errors import evaluations

        return evaluations.write_errors(args.weights, store, args.annotations)
    return error_tables.write(profile, store, args.store == "runs", args.annotations)


def _report(args: argparse.Namespace) -> int:
    from analysis import report  # matplotlib takes a while, and --help needs none

    profile, store = chosen(args)
    path = report.write(profile, store, args.store == "runs", args.out)
    say(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def _audit(args: argparse.Namespace) -> int:
    from analysis.audit import command as audit  # pandas takes a while, and --help needs none

    if args.profile is not None:
        profiles.get(args.profile)  # that a name is misspelt is said here as everywhere
    if args.strict and args.store != "results":
        raise UserError("--strict is about the committed results: it takes no --store runs")
    store = Store(args.runs, args.results, mend=not args.strict)
    if args.strict:
        return audit.audit_strictly(store, args.data)
    return audit.audit(store, args.store, args.data)


def _register(args: argparse.Namespace) -> int:
    from analysis.claims import registration  # numpy and pandas take a while

    profile, store = chosen(args)
    say(f"written: {registration.register(profile, store)}; commit it before the first run")
    return 0


def _table(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    shown = declared.TABLES.values() if args.table == "all" else declared.parts(args.table)
    for table in shown:
        _one(table, profile, store, args.store == "runs", not args.no_write)
    return 0


def _one(table: Table, profile: Profile, store: Store, with_own: bool, write: bool) -> None:
    from analysis.tables import terminal  # rich takes a while, and --help needs none

    filled = fill.fill_all(table, profile, store)
    made = sheet(table, profile, filled, with_own)
    runs = any(fill.is_run(table, profile, f.cell) for f in filled)
    verdicts = agreement.lines(filled) if with_own and runs else []
    changed = staleness.lines(filled, with_own) if runs else []
    terminal.show(made, [*verdicts, *changed])
    records = any(f.own if with_own else f.reference for f in filled)
    if runs and not records and (elsewhere := other_gpus(profile, store)):
        say(elsewhere)
    if not (write and records):
        return
    folder = store.results / "tables" / profile.name
    check_writable(folder)
    # This machine's table has a name that git ignores: the committed one is the reference's.
    stem = table.name + (".this-machine" if with_own else "")
    files = {
        folder / f"{stem}.md": render.markdown(made, [*verdicts, *(changed if with_own else [])]),
        folder / f"{stem}.csv": render.tidy_csv(table, filled, with_own),
    }
    for path, text in files.items():
        write_text(path, text)
    say("written:", ", ".join(map(str, files)))


if __name__ == "__main__":
    streams.as_utf8()
    sys.exit(main())
