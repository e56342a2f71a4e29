"""Sortable lists of the page: the errors by kind, and the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from analysis.errors.runs import ALL, IOUS, Report
from analysis.report.checks import number
from analysis.report.table_views import identifier, signed
from analysis.speed.page import Page, page
from analysis.speed.record import benchmarks
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.text import NONE, Cell, Listing, plus_minus
from gfl.records.record import Store

Titled = tuple[str, str, Listing]  # an id, a title


def errors_by_kind(report: Report) -> list[Titled]:
    """List the cost of each kind of error at each IoU, then what QFL and DFL repair."""
    made = []
    for iou in IOUS:
        points = f"AP{100 * iou:.0f}"
        rows = []
        for line in report.lines:
            found = (line.ap(iou), *(line.gain(kind, iou) for kind in ALL))
            rows.append(_row("; ".join(line.rows), len(line.found[iou]), map(_cost, found)))
        costs = Listing(("Rows", "seeds", points, *ALL), "-r", tuple(rows))
        made.append((identifier("errors", "cost", points), f"What they cost, Δ{points}", costs))
    repairs = list(report.repairs())
    for iou in IOUS if repairs else ():
        points = f"AP{100 * iou:.0f}"
        rows = []
        for repair in repairs:
            gains = [repair.gains.get((iou, kind)) for kind in ALL]
            seeds = max((len(gain.seeds) for gain in gains if gain), default=0)
            rows.append(_row(repair.name, seeds, map(_difference, gains)))
        listing = Listing(("Pair", "seeds", *ALL), "-r", tuple(rows))
        title = f"What QFL and DFL repair of them, Δ{points}"
        made.append((identifier("errors", "repaired", points), title, listing))
    return made


def _row(name: str, seeds: int, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return Cell(name), Cell(str(seeds), seeds), *cells


def _cost(found: SeedMean | None) -> Cell:
    if found is None or math.isnan(found.mean):
        return Cell(NONE)
    return Cell(number(found.mean, 2), found.mean, plus_minus(found.spread, 2))


def _difference(found: Estimate | None) -> Cell:
    if found is None or math.isnan(found.value):
        return Cell(NONE)
    half = None if found.interval is None else (found.high - found.low) / 2
    return Cell(signed(found.value, 2), found.value, plus_minus(half, 2), found.is_clear)


def speed(store: Store) -> list[tuple[str, Page]]:
    """Return the page of every recorded benchmark, with its id.

    Raises:
        UserError: a record is damaged.
    """
    return [(identifier("benchmark", found.stem), page(found)) for found in benchmarks(store)]
