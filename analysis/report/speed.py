"""Benchmarks parsed from their Markdown: title, paragraphs, and sortable tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.report.lists import Cell, Listed
from analysis.report.table_views import identifier

NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+")


@dataclass(frozen=True)
class Part:
    """Paragraph or table."""

    text: str
    table: Listed | None = None


@dataclass(frozen=True)
class Benchmark:
    """One file of results/benchmarks."""

    id: str
    title: str
    parts: tuple[Part, ...]


def benchmarks(folder: Path) -> Iterator[Benchmark]:
    """Yield every benchmark, even if only its title can be parsed."""
    for path in sorted(folder.glob("*.md")):
        id = identifier("benchmark", path.stem)
        head, *blocks = re.split(r"\n{2,}", path.read_text(encoding="utf-8").strip())
        title = head.removeprefix("#").strip()
        parts = (
            _part(block.splitlines(), f"{id}-{i}", f"{title} ({i})")
            for i, block in enumerate(blocks)
        )
        yield Benchmark(id, title, tuple(parts))


def _part(lines: Sequence[str], id: str, title: str) -> Part:
    if not lines[0].startswith("|"):
        return Part(_plain(" ".join(lines)))
    names, rule, *rows = map(_cells, lines)
    numeric = [mark.endswith(":") and not mark.startswith(":") for mark in rule]
    made = tuple(
        (row[0], tuple(_cell(text, n) for text, n in zip(row[1:], numeric[1:], strict=True)))
        for row in rows
    )
    return Part("", Listed(id, title, tuple(names), made))


def _cells(line: str) -> list[str]:
    return [_plain(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _cell(text: str, numeric: bool) -> Cell:
    """Return a cell; a number sorts by its value, whatever follows it: an interval, a unit."""
    found = NUMBER.match(text)
    return Cell(text, found[0].replace(",", "") if numeric and found else text, numeric=numeric)


def _plain(text: str) -> str:
    """Strip Markdown's markup, as far as the benchmarks use it."""
    return text.replace("`", "").replace("\\|", "|").replace("**", "").strip()
