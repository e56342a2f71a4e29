"""``python -m analysis table``: the paper's tables beside what the records say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis import agreement, render, tables
from analysis.sheet import sheet
from experiments import tables as declared
from experiments.cli import Parser, add_profile, chosen, guarded
from experiments.declare import Table
from experiments.matrix import check_writable
from experiments.promote import other_gpus
from gfl.experiment import Profile
from gfl.files import write_text
from gfl.record import Store


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m analysis", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    table = commands.add_parser("table", help="print a table and write it as Markdown and CSV")
    table.add_argument("table", help="table-3 (or 3, table3), table-1 or its part 1a, all")
    table.add_argument(
        "--store",
        choices=["results", "runs"],
        default="results",
        help="results: the committed reference (default); runs: this machine's runs beside it",
    )
    table.add_argument("--no-write", action="store_true", help="only print")
    add_profile(table)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    return guarded("analysis", lambda: _table(parser().parse_args(argv)))


def _table(args: argparse.Namespace) -> int:
    profile, store = chosen(args)
    shown = declared.TABLES.values() if args.table == "all" else declared.parts(args.table)
    for table in shown:
        _one(table, profile, store, args.store == "runs", not args.no_write)
    return 0


def _one(table: Table, profile: Profile, store: Store, with_own: bool, write: bool) -> None:
    from analysis import terminal  # rich takes a while, and --help needs none

    filled = tables.fill(table, profile, store)
    made = sheet(table, profile, filled, with_own)
    runs = any(tables.is_run(table, profile, f.cell) for f in filled)
    verdicts = agreement.lines(filled) if with_own and runs else []
    terminal.show(made, verdicts)
    records = any(f.own if with_own else f.reference for f in filled)
    if runs and not records and (elsewhere := other_gpus(profile, store)):
        print(elsewhere)
    if not (write and records):
        return
    folder = store.results / "tables" / profile.name
    check_writable(folder)
    # This machine's table has a name that git ignores: the committed one is the reference's.
    stem = table.name + (".this-machine" if with_own else "")
    files = {
        folder / f"{stem}.md": render.markdown(made, verdicts),
        folder / f"{stem}.csv": render.tidy_csv(table, filled, with_own),
    }
    for path, text in files.items():
        write_text(path, text)
    print("written:", ", ".join(map(str, files)))


if __name__ == "__main__":
    sys.exit(main())
