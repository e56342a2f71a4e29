"""Sortable lists of the page: the errors by kind, and the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.errors.runs import ALL, IOUS, Report
from analysis.report.checks import number
from analysis.report.table_views import identifier, signed
from analysis.speed import page
from analysis.speed.record import benchmarks
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.text import NONE, plus_minus
from gfl.records.record import Store


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


@dataclass(frozen=True)
class Part:
    """Paragraph or table."""

    text: str
    table: Listed | None = None


@dataclass(frozen=True)
class Benchmark:
    """Page of one benchmark."""

    id: str
    title: str
    parts: tuple[Part, ...]


def errors_by_kind(report: Report) -> list[Listed]:
    """List the cost of each kind of error at each IoU, then what QFL and DFL repair."""
    made = []
    for iou in IOUS:
        points = f"AP{100 * iou:.0f}"
        rows = []
        for line in report.lines:
            found = (line.ap(iou), *(line.gain(kind, iou) for kind in ALL))
            rows.append(("; ".join(line.rows), str(len(line.found[iou])), [*map(_cost, found)]))
        columns = ("Rows", "seeds", points, *ALL)
        made.append(_listed("cost", f"What they cost, Δ{points}", points, columns, rows))
    repairs = list(report.repairs())
    for iou in IOUS if repairs else ():
        points = f"AP{100 * iou:.0f}"
        rows = []
        for repair in repairs:
            gains = [repair.gains.get((iou, kind)) for kind in ALL]
            seeds = max((len(gain.seeds) for gain in gains if gain), default=0)
            rows.append((repair.name, str(seeds), [*map(_difference, gains)]))
        columns = ("Pair", "seeds", *ALL)
        title = f"What QFL and DFL repair of them, Δ{points}"
        made.append(_listed("repaired", title, points, columns, rows))
    return made


def _listed(
    what: str,
    title: str,
    points: str,
    columns: tuple[str, ...],
    rows: list[tuple[str, str, list[Cell]]],
) -> Listed:
    cells = tuple((name, (Cell(seeds), *found)) for name, seeds, found in rows)
    return Listed(identifier("errors", what, points), title, columns, cells)


def _cost(found: SeedMean | None) -> Cell:
    if found is None or math.isnan(found.mean):
        return Cell(NONE)
    return Cell(number(found.mean, 2), _order(found.mean), plus_minus(found.spread, 2))


def _difference(found: Estimate | None) -> Cell:
    if found is None or math.isnan(found.value):
        return Cell(NONE)
    half = None if found.interval is None else (found.high - found.low) / 2
    text = signed(found.value, 2)
    return Cell(text, _order(found.value), plus_minus(half, 2), found.is_clear)


def _order(value: float) -> str:
    return f"{value:z.4f}"


def speed(store: Store) -> Iterator[Benchmark]:
    """Yield every recorded benchmark.

    Raises:
        UserError: a record is damaged.
    """
    for found in benchmarks(store):
        made, id = page.page(found), identifier("benchmark", found.stem)
        parts = (
            Part(part.replace("`", ""))
            if isinstance(part, str)
            else Part("", _measured(part, f"{id}-{i}", f"{made.title} ({i})"))
            for i, part in enumerate(made.parts)
        )
        yield Benchmark(id, made.title, tuple(parts))


def _measured(listing: page.Listing, id: str, title: str) -> Listed:
    rows = []
    for row in listing.rows:
        cells = [
            Cell(cell.text, cell.text if cell.value is None else f"{cell.value:.9g}", numeric=right)
            for cell, right in zip(row, listing.is_numeric, strict=True)
        ]
        rows.append((row[0].text, tuple(cells[1:])))
    return Listed(id, title, listing.columns, tuple(rows))
