"""Tables as text files: Markdown to read, and tidy CSV to compute with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from analysis import text
from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.tables import fill
from analysis.tables.fill import Filled
from analysis.tables.layout import DELTA, RATIO, TableLayout
from experiments.tables.declare import Table
from gfl import escape

FIELDS: tuple[str, ...] = (
    "table", "group", "row", "column", "source", "value", "sd", "lower", "upper", "n", "seeds",
)  # fmt: skip


def markdown(made: TableLayout, verdicts: Sequence[str]) -> str:
    """Return the table as a Markdown document, one block below the other."""
    parts = [f"# {made.title}\n"]
    align = "l" + "".join("c" if name else "l" for name in made.header[1:])
    for block in made.blocks:
        parts += [f"## {block.title}\n"] if block.title else []
        rows = [made.header, *(line.cells for line in block.lines)]
        parts.append(text.table([[*map(escape.markdown, row)] for row in rows], align))
    listed = [f"{mark} {note}" for mark, note in made.footnotes] + [*made.notes, *verdicts]
    parts.append("".join(_item(line) for note in listed for line in note.splitlines()))
    return "\n".join(parts)


def _item(line: str) -> str:
    """Return a list item; an indented line belongs to an inner list."""
    depth = "  " if line.startswith("  ") else ""
    return f"{depth}- {escape.markdown(line.strip())}\n"


def tidy_csv(table: Table, filled: Sequence[Filled], with_local: bool) -> str:
    """Return one line per number: what, source, its value, spread or interval, and seeds.

    ``lower`` and ``upper`` are the 95 % interval of a ΔAP; its ``n`` and ``seeds`` are those common
    to row and baseline. Footnotes are only in the Markdown.
    """
    lines: list[dict[str, str]] = []
    for cell in filled:
        where = {"table": table.name, "group": cell.cell.group.name, "row": cell.cell.row.key}
        for name, value in _published(cell):  # empty for additional rows
            printed = "" if value is None else str(value)
            lines.append(where | {"column": name, "source": "paper", "value": printed})
        if table.anchor:
            lines += [where | line for line in _ratios(cell, table)]
        for source in fill.sources(with_local):
            for name, found in _found(table, cell, source):
                lines.append(where | {"column": name, "source": source} | numbers(found))
    return text.tidy_csv(FIELDS, lines)


def _ratios(cell: Filled, table: Table) -> Iterator[dict[str, str]]:
    """Yield the speeds in the anchor's, with the interval over rounds; n is their number."""
    if (value := fill.published_ratio(cell, table)) is not None:
        yield {"column": RATIO, "source": "paper", "value": _number(value)}
    if (found := cell.speed) is not None:
        yield {
            "column": RATIO, "source": "reference", "value": _number(found.value),
            "lower": _number(found.low), "upper": _number(found.high), "n": str(found.rounds),
        }  # fmt: skip


def _published(cell: Filled) -> Iterator[tuple[str, float | None]]:
    if cell.cell.row.is_extra:
        return
    yield from cell.cell.published.items()
    if (difference := fill.published_difference(cell, cell.base)) is not None:
        yield DELTA, difference


def _found(table: Table, cell: Filled, source: str) -> Iterator[tuple[str, SeedMean | Estimate]]:
    for column in table.columns:
        if found := uncertainty.mean(cell.records(source), column.metric):
            yield column.name, found
    if difference := cell.difference(source):
        yield DELTA, difference


def numbers(found: SeedMean | Estimate) -> dict[str, str]:
    """Return the fields of a metric or a difference: value, spread or interval, and seeds."""
    seeds = " ".join(map(str, found.seeds))
    value = found.mean if isinstance(found, SeedMean) else found.value
    fields = {"value": _number(value), "n": str(len(found.seeds)), "seeds": seeds}
    if isinstance(found, SeedMean):
        return fields if found.spread is None else fields | {"sd": _number(found.spread)}
    if found.interval is None:
        return fields
    lower, upper = found.interval
    return fields | {"lower": _number(lower), "upper": _number(upper)}


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:z.4f}"
