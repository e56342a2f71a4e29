"""``python -m analysis table``: the paper's tables beside what the records say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from analysis import agreement, render, tables
from experiments import tables as declared
from experiments.cli import Parser, add_profile, chosen, guarded
from experiments.matrix import check_writable
from experiments.promote import other_gpus

WIDEST = 200  # a table that the terminal is too narrow for is wrapped by it, not cut


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="python -m analysis", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    table = commands.add_parser("table", help="print a table and write it as Markdown and CSV")
    table.add_argument("table", help="table-3 (or 3, table3)")
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
    table = declared.find(args.table)
    with_own = args.store == "runs"
    filled = tables.fill(table, profile, store)
    made = render.sheet(table, profile, filled, with_own)
    verdicts = agreement.lines(filled) if with_own else []
    _show(made, verdicts)
    records = any(f.own if with_own else f.reference for f in filled)
    if not records and (elsewhere := other_gpus(profile, store)):
        print(elsewhere)
    if args.no_write or not records:
        return 0
    folder = store.results / "tables" / profile.name
    check_writable(folder)
    # This machine's table has a name that git ignores: the committed one is the reference's.
    stem = table.name + (".this-machine" if with_own else "")
    files = {
        folder / f"{stem}.md": render.markdown(made, verdicts),
        folder / f"{stem}.csv": render.tidy_csv(table, filled, with_own),
    }
    for path, text in files.items():
        _write(path, text)
    print("written:", ", ".join(map(str, files)))
    return 0


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _justify(place: int, name: str) -> Literal["left", "center"]:
    return "left" if place == 0 or not name else "center"  # the row's name and the source


def _show(made: render.Sheet, verdicts: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console()
    for group, lines in made.groups:
        title = made.title + (f": {group.name}" if group.name else "")
        grid = Grid(title=title, title_style="bold", title_justify="left", box=None, pad_edge=False)
        for i, name in enumerate(made.header):
            grid.add_column(name, justify=_justify(i, name), no_wrap=True)
        for line in lines:
            if line.row:
                grid.add_row()
            grid.add_row(*line.cells, style="dim" if line.source == "paper" else None)
        Console(width=max(console.width, WIDEST)).print(grid)
        console.print()
    for text in [*made.notes, *verdicts]:
        console.print(text, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
