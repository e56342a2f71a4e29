"""Layout of a filled table: header, lines and footnotes, shared by every printed form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from analysis import text
from analysis.stats import uncertainty
from analysis.tables import fill
from analysis.tables.fill import Filled, Records
from analysis.tables.notes import NOT_PAPERS, Footnotes, notes
from experiments.tables.declare import AP, EXTRA, Column, Table
from gfl.experiment import Profile

NOT_PUBLISHED = "n/a"  # as in the paper
DELTA = "ΔAP"


@dataclass(frozen=True)
class Line:
    """One printed line: a row from one source. Additional rows have none from the paper."""

    name: str  # of the row; empty on its further lines
    row_key: str  # the row's unique name
    mark: str  # of its footnote, or of an additional row; empty like the name
    marks: tuple[str, ...]
    source: str  # "paper", "reference", "local"
    numbers: tuple[str, ...]  # of the columns, that of seeds first

    @property
    def row(self) -> str:
        """Name with its mark."""
        return self.name + self.mark

    @property
    def key(self) -> str:
        """Unique name with its mark."""
        return self.row_key + self.mark


@dataclass(frozen=True)
class Block:
    """Lines of one group of columns."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TableLayout:
    """Table ready to print."""

    title: str
    heading: str  # of the rows' names
    marks: tuple[str, ...]  # the names of the columns between a row's name and its source
    numbers: tuple[str, ...]
    blocks: tuple[Block, ...]
    footnotes: tuple[tuple[str, str], ...]  # mark and text
    notes: tuple[str, ...]

    @property
    def has_sources(self) -> bool:
        """True if some row has more than the paper's numbers."""
        return any(line.source != "paper" for block in self.blocks for line in block.lines)

    @property
    def lead(self) -> int:
        """Number of cells before a line's numbers."""
        return 1 + len(self.marks) + self.has_sources

    @property
    def header(self) -> tuple[str, ...]:
        """Return the column headings over ``cells``."""
        if self.has_sources:
            return (self.heading, *self.marks, "", *self.numbers)
        return (self.heading, *self.marks, *self.numbers[1:])

    def cells(self, line: Line) -> tuple[str, ...]:
        """Return a line from left to right; without source and seeds if all is the paper's."""
        if self.has_sources:
            return (line.row, *line.marks, line.source, *line.numbers)
        return (line.row, *line.marks, *line.numbers[1:])


@dataclass(frozen=True)
class _Layout:
    """Context shared by all lines of a table."""

    table: Table
    profile: Profile
    filled: Sequence[Filled]
    with_local: bool
    footnotes: Footnotes
    deltas: bool  # some row has a baseline

    def lines(self, cell: Filled) -> Iterator[Line]:
        """Yield the paper's line and, if the row can have a run, its records' lines."""
        row = cell.cell.row
        base = fill.baseline_of(self.filled, self.table, cell.cell)
        mark = self.footnotes.mark(row.note) + (NOT_PAPERS if row.is_extra else "")
        lead = (row.name, row.key, mark, row.marks)
        below = ("", "", "", tuple("" for _ in row.marks))
        if not row.is_extra:
            paper = self.interleaved(self.published(cell), _published_delta(cell, base))
            yield Line(*lead, "paper", ("", *paper))
            lead = below
        if not fill.is_run(self.table, self.profile, cell.cell):
            return
        for source in fill.sources(self.with_local):
            records = cell.records(source)
            means = (_mean(records, column) for column in self.table.columns)
            delta = _delta(records, base.records(source)) if base else ""
            seeds = str(len(records) or "")
            yield Line(*lead, source, (seeds, *self.interleaved(means, delta)))
            lead = below

    def published(self, cell: Filled) -> Iterator[str]:
        for column in self.table.columns:
            is_starred = column.name in cell.cell.row.starred
            yield published(cell.cell.published[column.name], column, is_starred)

    def interleaved(self, values: Iterable[str], delta: str) -> Iterator[str]:
        """Yield the values of the columns, with the AP difference after AP."""
        for column, value in zip(self.table.columns, values, strict=True):
            yield value
            if column == AP and self.deltas:
                yield delta


def lay_out(
    table: Table, profile: Profile, filled: Sequence[Filled], with_local: bool
) -> TableLayout:
    """Lay the table out: per row the paper's, reference and, if requested, local lines."""
    filled = fill.shown(filled, table, profile, with_local)
    deltas = any(table.baseline_of(cell.cell) for cell in filled)
    footnotes = Footnotes()
    layout = _Layout(table, profile, filled, with_local, footnotes, deltas)
    names = ["n", *(column.name for column in table.columns)]
    if deltas:
        names.insert(names.index(AP.name) + 1, DELTA)
    blocks = []
    for group in table.groups:
        cells = [cell for cell in filled if cell.cell.group == group]
        lines = tuple(line for cell in cells for line in layout.lines(cell))
        blocks.append(Block(group.name, lines))
    runs = any(fill.is_run(table, profile, cell.cell) for cell in filled)
    source = f"{profile.name} profile" if runs else "published numbers"
    return TableLayout(
        title=f"{table.title}: {table.caption} ({source})",
        heading=table.heading,
        marks=table.mark_names,
        numbers=tuple(names),
        blocks=tuple(blocks),
        footnotes=(*footnotes.listed, *_legend(table, profile, filled)),
        notes=tuple(notes(table, profile, filled, with_local)),
    )


def _legend(table: Table, profile: Profile, filled: Sequence[Filled]) -> Iterator[tuple[str, str]]:
    """Explain the paper's own signs, if it uses them, and the mark of additional rows."""
    if table.star:
        yield "*", table.star
    if any(value is None for row in table.rows for value in row.published):
        yield NOT_PUBLISHED, table.missing
    if table.runs_at(profile.name) and any(f.cell.row.is_extra for f in filled):
        yield (
            NOT_PAPERS,
            f"not in the paper: declared in {EXTRA}, without published numbers; part of no claim, "
            "figure or order of rows",
        )


def published(value: float | None, column: Column, is_starred: bool) -> str:
    """Return a number as printed in the paper, which has n/a for None."""
    if value is None:
        return NOT_PUBLISHED
    return f"{value:.{column.digits}f}{'*' if is_starred else ''}"


def _published_delta(cell: Filled, base: Filled | None) -> str:
    difference = fill.published_difference(cell, base)
    return "" if difference is None else text.signed(difference, None)


def _mean(records: Records, column: Column) -> str:
    found = uncertainty.mean(records, column.metric)
    return text.NONE if found is None else text.mean(found.mean, found.spread, column.digits)


def _delta(records: Records, base: Records) -> str:
    """Return the difference to the baseline, with its number of seeds if the row has more."""
    if (found := uncertainty.difference(records, base)) is None:
        return text.NONE
    printed = text.signed(found.value, found.interval)
    seeds, of = len(found.seeds), len(records)
    return f"{printed} ({seeds} of {of} seeds)" if seeds < of else printed
