"""Tables that are files already: the errors by kind, and the speed beside mmdet's heads."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.report.checks import number
from analysis.report.sides import identifier, signed

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
Read = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Cell:
    """What a cell says, what it is sorted by if that is another thing, and what stands under it."""

    text: str
    order: str = ""
    under: str = ""
    clear: bool = False  # the interval leaves 0 out
    numeric: bool = True


@dataclass(frozen=True)
class Listed:
    """A table ready to show."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # a row's name and its cells
    about: str = ""

    def is_numeric(self, column: int) -> bool:
        """Whether a column after the first has numbers alone."""
        return all(cells[column - 1].numeric for _, cells in self.rows)


def benchmarks(folder: Path) -> Iterator[Listed]:
    """Every benchmark as it was written, under the title and the first words beside it."""
    for path in sorted(folder.glob("*.csv")):
        if not (rows := read(path)):
            continue
        title, about = _told(path.with_suffix(".md"))
        columns = {name: list(_plain([row[name] for row in rows])) for name in rows[0]}
        first, *others = columns
        yield Listed(
            identifier("benchmark", path.stem),
            title or path.stem,
            tuple(name.replace("_", " ") for name in columns),
            tuple(
                (row[first], tuple(columns[name][i] for name in others))
                for i, row in enumerate(rows)
            ),
            about,
        )


def _told(path: Path) -> tuple[str, str]:
    """The title of a Markdown file and its first paragraph, as plain text."""
    if not path.is_file():
        return "", ""
    head, *paragraphs = path.read_text(encoding="utf-8").replace("`", "").split("\n\n")
    return head.lstrip("# "), " ".join(paragraphs[0].split()) if paragraphs else ""


def errors_by_kind(path: Path) -> list[Listed]:
    """What the errors of each kind cost, at each IoU; then what QFL and DFL repair of them."""
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
    """The rows of a CSV file; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _pivoted(rows: Read, iou: str, repairs: bool) -> Listed:
    """A line a run or a pair of runs, a column a kind."""
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
        f"What is repaired of them, {points}" if repairs else f"What they cost, Δ{points}",
        ("Pair" if repairs else "Rows", "n", *kinds),
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


def _plain(column: Sequence[str]) -> Iterator[Cell]:
    """A column's cells: numbers with as many decimals as the least needs for three figures."""
    found = [text for text in column if text]
    if not all(map(NUMBER.fullmatch, found)):
        yield from (Cell(text or "—", numeric=False) for text in column)
        return
    written = max((len(text.partition(".")[2]) for text in found), default=0)
    least = min((abs(float(text)) for text in found if float(text)), default=1.0)
    digits = min(written, max(0, 2 - math.floor(math.log10(least))))
    yield from (Cell(number(float(t), digits), t) if t else Cell("—") for t in column)
