"""Differences between a committed file and its regeneration from records, cell by cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any

NOTHING = "nothing"
RECORDS = "the records"
LONGEST = 100  # displayed characters of a cell


@dataclass(frozen=True)
class Finding:
    """Place in a committed file that differs from the records."""

    file: Path
    place: str
    committed: str
    expected: str
    by: str = RECORDS  # the source of the expected value

    @property
    def text(self) -> str:
        committed, expected = _around(self.committed, self.expected)
        return f"{self.file}: {self.place}: committed {committed}, by {self.by} {expected}"


@dataclass(frozen=True)
class Line:
    """Line of a file: a row of cells with their columns' names, or plain text."""

    place: str
    cells: tuple[str, ...]
    columns: tuple[str, ...] = ()
    is_named: bool = False  # `place` is unique in both files
    variants: tuple[tuple[str, ...], ...] = ()  # its cells with another processor's rounding

    def has(self, cell: str, column: int) -> bool:
        """Return True if the line has this cell in a column."""
        return any(cells[column] == cell for cells in (self.cells, *self.variants))


Parse = Callable[[str], list[Line]]
Origin = Callable[[Line], str]  # source of a line


def of_records(line: Line) -> str:
    """Name the source of anything not declared."""
    return RECORDS


def compare(
    file: Path,
    expected: str | Sequence[str],
    parse: Parse | None = None,
    origin: Origin = of_records,
) -> Iterator[Finding]:
    """Compare a committed file with the text expected from the records, cell by cell.

    Of several texts the first is the one made here; each cell may match any of them, see
    ``rounding.variants``. The file's suffix selects the parser, unless ``parse`` is given.
    ``origin`` names a line's source, if it is not the records.
    """
    texts = (expected,) if isinstance(expected, str) else tuple(expected)
    try:
        committed = file.read_bytes().decode()
    except FileNotFoundError:
        yield Finding(file, "the file", NOTHING, "a file", origin(Line("the file", ())))
        return
    except UnicodeDecodeError as err:
        yield Finding(file, f"byte {err.start}", "not UTF-8", "text")
        return
    if committed in texts:
        return
    parse = parse or READERS[file.suffix]
    try:
        old = parse(committed)
    except ValueError as err:
        yield Finding(file, "the file", f"unreadable ({err})", "a file that can be read")
        return
    new, *others = map(parse, texts)
    found = list(_different(file, old, _with_variants(new, others), origin))
    if not found and [line.cells for line in old] == [line.cells for line in new]:
        found = [Finding(file, *_line(committed, texts[0]))]
    yield from found


def _with_variants(lines: list[Line], others: Sequence[list[Line]]) -> list[Line]:
    """Add to each line its cells in those other texts that have the same lines."""
    shape = [len(line.cells) for line in lines]
    alike = [other for other in others if [len(line.cells) for line in other] == shape]
    return [
        replace(line, variants=tuple(variant.cells for variant in several))
        for line, *several in zip(lines, *alike, strict=True)
    ]


def markdown_lines(text: str) -> list[Line]:
    """Parse Markdown: tables row by row with their headings, and every other line.

    If a row's first cell is empty, the row above gave its name; cells under an empty heading are
    names too.
    """
    lines: list[Line] = []
    title, name, header = "", "", ()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            title = f"{line[3:]}, "
        if not line.startswith("|"):
            header = ()
            lines.append(Line(f"line {number}", (line,)))
            continue
        cells = tuple(
            cell.strip().replace("\0", "|")
            for cell in line.replace("\\|", "\0").strip().strip("|").split("|")
        )
        if not header:
            header, name = cells, ""
            lines.append(Line(f"{title}heading of line {number}", cells, header))
            continue
        name = cells[0] or name
        more = [cell for cell, head in zip(cells[1:], header[1:], strict=False) if not head]
        place = ", ".join(filter(None, [f"row {name!r}", *more]))
        lines.append(Line(f"{title}{place}", cells, header))
    return lines


def csv_lines(text: str) -> list[Line]:
    """Parse CSV: a row is named by its number in the file and by its cells that are words."""
    rows = [tuple(row) for row in csv.reader(io.StringIO(text))]
    header = rows[0] if rows else ()
    lines = [Line("header", header, header)]
    for number, row in enumerate(rows[1:], 2):
        cells = zip(header, row, strict=False)
        words = [cell for column, cell in cells if cell and _is_name(column, cell)][:5]
        named = f" ({', '.join(words)})" if words else ""
        lines.append(Line(f"line {number}{named}", row, header))
    return lines


def _is_name(column: str, cell: str) -> bool:
    """Return True if a cell names its row: a table's row may be named by a number."""
    return column == "row" or (_number(cell) is None and column != "seeds")


def json_lines(text: str) -> list[Line]:
    """Parse JSON: a line per value, named by its path; objects with an id by that."""
    values = _values(json.loads(text), "")
    return [Line(place, (value,), is_named=True) for place, value in values]


READERS: Mapping[str, Parse] = {".md": markdown_lines, ".csv": csv_lines, ".json": json_lines}


def _values(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _values(inner, f"{place}, {key}" if place else str(key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value, 1):
            id = inner.get("id") if isinstance(inner, Mapping) else None
            yield from _values(inner, f"{place} {id or number}".strip())
    else:
        yield place, json.dumps(value, ensure_ascii=False)


def _different(
    file: Path,
    committed: Sequence[Line],
    expected: Sequence[Line],
    origin: Origin,
) -> Iterator[Finding]:
    for old, new in _pairs(committed, expected):
        if old is None or new is None or len(old.cells) != len(new.cells):
            line = new or old or Line("the file", ())
            yield Finding(file, line.place, _whole(old), _whole(new), origin(line))
        else:
            yield from _cells(file, old, new, origin(new))


def _cells(file: Path, old: Line, new: Line, by: str) -> Iterator[Finding]:
    for i, (was, is_) in enumerate(zip(old.cells, new.cells, strict=True)):
        if not new.has(was, i):
            column = new.columns[i] if i < len(new.columns) else ""
            where = f"column {column or i + 1}" if new.columns else ""
            yield Finding(file, ", ".join(filter(None, [new.place, where])), was, is_, by)


def _pairs(
    committed: Sequence[Line], expected: Sequence[Line]
) -> Iterator[tuple[Line | None, Line | None]]:
    """Pair the lines of two files; if one has more, common lines stay paired."""
    if all(line.is_named for line in (*committed, *expected)):
        old, new = ({line.place: line for line in lines} for lines in (committed, expected))
        yield from ((old.get(place), new.get(place)) for place in dict.fromkeys([*new, *old]))
    elif len(committed) == len(expected):
        yield from zip(committed, expected, strict=True)
    else:
        cells = [[line.cells for line in lines] for lines in (committed, expected)]
        for kind, i, j, k, m in SequenceMatcher(None, *cells, autojunk=False).get_opcodes():
            if kind != "equal":
                yield from zip_longest(committed[i:j], expected[k:m])


def _whole(line: Line | None) -> str:
    return NOTHING if line is None else " | ".join(line.cells)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _line(committed: str, expected: str) -> tuple[str, str, str]:
    """Return the first difference of files with equal cells: in quotes or spaces."""
    lines = [text.splitlines(keepends=True) for text in (committed, expected)]
    for number, (one, other) in enumerate(zip_longest(*lines, fillvalue=""), 1):
        if one != other:
            return f"line {number}", repr(one), repr(other)
    return "its encoding", "other bytes", "the same text"


def _around(one: str, other: str) -> tuple[str, str]:
    """Return two texts unchanged, or long ones cut to their first difference."""
    if max(len(one), len(other)) <= LONGEST:
        return one, other
    pairs = zip_longest(one, other)
    start = max(0, next((i for i, (a, b) in enumerate(pairs) if a != b), 0) - LONGEST // 2)
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    before, after = "…" if start else "", "…" if start + LONGEST < len(text) else ""
    return f"{before}{text[start : start + LONGEST]}{after}"
