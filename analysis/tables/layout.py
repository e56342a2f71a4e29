"""Layout of a filled table: header, lines and footnotes, shared by every printed form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from analysis import text
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.tables import fill
from analysis.tables.fill import Filled, Records
from analysis.tables.notes import NOT_PAPERS, Footnotes, notes
from experiments.tables.declare import AP, EXTRA, Table
from gfl.experiment import Profile

NONE = "—"  # nothing is recorded
NOT_PUBLISHED = "n/a"  # as in the paper
DELTA = "ΔAP"


@dataclass(frozen=True)
class Published:
    """Number printed in the paper; None for its n/a."""

    value: float | None
    digits: int
    is_starred: bool = False

    @property
    def text(self) -> str:
        if self.value is None:
            return NOT_PUBLISHED
        return f"{self.value:.{self.digits}f}{'*' if self.is_starred else ''}"


@dataclass(frozen=True)
class Mean:
    """Mean of a metric over seeds with its spread; None if nothing is recorded."""

    found: SeedMean | None
    digits: int

    @property
    def text(self) -> str:
        if self.found is None:
            return NONE
        return text.mean(self.found.mean, self.found.spread, self.digits)


@dataclass(frozen=True)
class Delta:
    """Difference to the row's baseline, from ``seeds`` of the row's ``of`` seeds."""

    found: Estimate | None  # None: not recorded
    of: int = 0

    @property
    def text(self) -> str:
        if self.found is None:
            return NONE
        printed = text.signed(self.found.value, self.found.interval)
        fewer = len(self.found.seeds) < self.of
        return f"{printed} ({len(self.found.seeds)} of {self.of} seeds)" if fewer else printed


Value = Published | Mean | Delta | None  # None: the cell is empty


@dataclass(frozen=True)
class Line:
    """One printed line: a row from one source. Additional rows have none from the paper."""

    name: str  # of the row; empty on its further lines
    row_key: str  # the row's unique name
    mark: str  # of its footnote, or of an additional row; empty like the name
    marks: tuple[str, ...]
    source: str  # "paper", "reference", "local"
    seeds: int | None  # None: not applicable
    values: tuple[Value, ...]

    @property
    def row(self) -> str:
        """Name with its mark."""
        return self.name + self.mark

    @property
    def key(self) -> str:
        """Unique name with its mark."""
        return self.row_key + self.mark

    @property
    def numbers(self) -> tuple[str, ...]:
        """Texts of the line's columns, the number of seeds first."""
        seeds = "" if self.seeds is None else str(self.seeds)
        return (seeds, *("" if value is None else value.text for value in self.values))


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
            yield Line(*lead, "paper", None, tuple(paper))
            lead = below
        if not fill.is_run(self.table, self.profile, cell.cell):
            return
        for source in fill.sources(self.with_local):
            records = cell.records(source)
            base_records = base.records(source) if base else None
            means = (
                Mean(fill.mean(records, column.metric), column.digits)
                for column in self.table.columns
            )
            values = tuple(self.interleaved(means, _delta(records, base_records)))
            yield Line(*lead, source, len(records) or None, values)
            lead = below

    def published(self, cell: Filled) -> Iterator[Published]:
        for column in self.table.columns:
            is_starred = column.name in cell.cell.row.starred
            yield Published(cell.cell.published[column.name], column.digits, is_starred)

    def interleaved(self, values: Iterable[Value], delta: Value) -> Iterator[Value]:
        """Yield the values of the columns, with the AP difference after AP."""
        for column, value in zip(self.table.columns, values, strict=True):
            yield value
            if column == AP and self.deltas:
                yield delta


def lay_out(
    table: Table, profile: Profile, filled: Sequence[Filled], with_local: bool
) -> TableLayout:
    """Lay the table out: per row the paper's, reference and, if requested, local lines."""
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


def _published_delta(cell: Filled, base: Filled | None) -> Delta | None:
    difference = fill.published_difference(cell, base)
    return None if difference is None else Delta(Estimate(difference, None))


def _delta(records: Records, base: Records | None) -> Delta | None:
    return None if base is None else Delta(fill.difference(records, base), len(records))
