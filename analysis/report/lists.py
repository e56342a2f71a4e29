"""Tables that exist as files: the errors by kind."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.report.checks import number
from analysis.report.table_views import identifier, signed

Read = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Cell:
    """Text of a cell, its sort key if different, and the text below it."""

    text: str
    order: str = ""
    under: str = ""
    clear: bool = False  # the interval excludes 0
    numeric: bool = True


@dataclass(frozen=True)
class Listed:
    """Table ready for display."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # a row's name and its cells

    def is_numeric(self, column: int) -> bool:
        """Return True if a column after the first has only numbers."""
        return all(cells[column - 1].numeric for _, cells in self.rows)


def errors_by_kind(path: Path) -> list[Listed]:
    """List the cost of each kind of error at each IoU, then what QFL and DFL repair."""
    rows = [row for row in read(path) if row["measure"] in ("AP", "gain")]
    ious = list(dict.fromkeys(row["iou"] for row in rows))
    made = []
    for repairs in (False, True):
        for iou in ious:
            some = [r for r in rows if r["iou"] == iou and bool(r["base"]) == repairs]
            if some:
                made.append(_pivoted(some, iou, repairs))
    return made


def read(path: Path) -> Read:
    """Return the rows of a CSV file; empty if it is missing."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _pivoted(rows: Read, iou: str, repairs: bool) -> Listed:
    """Pivot to a line per run or pair of runs, a column per kind."""
    points = f"AP{100 * float(iou):.0f}"
    kinds = list(dict.fromkeys(row["kind"] or points for row in rows))
    lines: dict[str, dict[str, Cell]] = {}
    seeds: dict[str, str] = {}
    for row in rows:
        cell = _difference(row) if repairs else _cost(row)
        lines.setdefault(row["rows"], {})[row["kind"] or points] = cell
        seeds[row["rows"]] = row["n"]
    return Listed(
        identifier("errors", "repaired" if repairs else "cost", points),
        f"What QFL and DFL repair of them, Δ{points}" if repairs else f"What they cost, Δ{points}",
        ("Pair" if repairs else "Rows", "seeds", *kinds),
        tuple(
            (name, (Cell(seeds[name]), *(cells.get(kind, Cell("—")) for kind in kinds)))
            for name, cells in lines.items()
        ),
    )


def _cost(row: Mapping[str, str]) -> Cell:
    if not row["value"]:
        return Cell("—")
    spread = f"±{float(row['sd']):.2f}" if row["sd"] else ""
    return Cell(number(float(row["value"]), 2), row["value"], spread)


def _difference(row: Mapping[str, str]) -> Cell:
    if not row["value"]:
        return Cell("—")
    text = signed(float(row["value"]), 2)
    if not row["lower"]:
        return Cell(text, row["value"])
    low, high = float(row["lower"]), float(row["upper"])
    return Cell(text, row["value"], f"±{(high - low) / 2:.2f}", low > 0 or high < 0)
