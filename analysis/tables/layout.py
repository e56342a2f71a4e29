"""Layout of a filled table: header, lines and footnotes, shared by every printed form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from analysis import text
from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.tables import fill
from analysis.tables.fill import Filled
from analysis.tables.notes import NOT_PAPERS, Footnotes, notes
from experiments.tables.declare import AP, EXTRA, FPS, Column, Table
from gfl.experiment import Profile

NOT_PUBLISHED = "n/a"  # as in the paper
DELTA = "ΔAP"
RATIO, RATIO_FORM = "FPS ratio", ".2f"


@dataclass(frozen=True)
class Line:
    """One printed line: a row from one source. Additional rows have none from the paper."""

    filled: Filled = field(compare=False, repr=False)  # the row; equal lines print the same
    source: str  # "paper", "reference", "local"
    mark: str  # of the row's footnote, or of an additional row
    is_first: bool  # further lines leave the row's name and marks empty
    cells: tuple[str, ...]  # from left to right, under the table's header

    @property
    def key(self) -> str:
        """Unique name of the row with its mark; empty on its further lines."""
        return self.filled.cell.row.key + self.mark if self.is_first else ""


@dataclass(frozen=True)
class Block:
    """Lines of one group of columns."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TableLayout:
    """Table ready to print; without columns of source and seeds if all is the paper's."""

    title: str
    header: tuple[str, ...]  # over the cells of a line; empty over the source
    lead: int  # number of cells before a line's numbers: name, marks, source
    has_sources: bool
    blocks: tuple[Block, ...]
    footnotes: tuple[tuple[str, str], ...]  # mark and text
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """Context shared by all lines of a table."""

    table: Table
    with_local: bool
    footnotes: Footnotes
    runs: bool  # some row can have a run
    deltas: bool  # some row has a baseline

    def header(self) -> tuple[str, ...]:
        """Return the headings over a line's cells."""
        numbers = self.interleaved((c.name for c in self.table.columns), DELTA, RATIO)
        sources = ("", "n") if self.runs else ()
        return (self.table.heading, *self.table.mark_names, *sources, *numbers)

    def lines(self, filled: Filled, is_run: bool) -> Iterator[Line]:
        """Yield the paper's line and, if the row can have a run, its records' lines."""
        row = filled.cell.row
        mark = self.footnotes.mark(row.note) + (NOT_PAPERS if row.is_extra else "")
        sources = [] if row.is_extra else ["paper"]
        sources += fill.sources(self.with_local) if is_run else []
        for i, source in enumerate(sources):
            name, marks = (row.name + mark, row.marks) if i == 0 else ("", ("",) * len(row.marks))
            seeds, numbers = (
                ("", self.published(filled))
                if source == "paper"
                else (str(len(filled.records(source)) or ""), self.recorded(filled, source))
            )
            sourced = (source, seeds) if self.runs else ()
            yield Line(filled, source, mark, i == 0, (name, *marks, *sourced, *numbers))

    def published(self, filled: Filled) -> Iterator[str]:
        """Yield the numbers of the paper's line."""
        cell, ratio = filled.cell, ""
        difference = fill.published_difference(filled, filled.base)
        if self.table.anchor:
            ratio = text.number(fill.published_ratio(filled, self.table), RATIO_FORM)
        numbers = (
            published(cell.published[column.name], column, column.name in cell.row.starred)
            for column in self.table.columns
        )
        delta = "" if difference is None else text.signed(difference, None)
        return self.interleaved(numbers, delta, ratio)

    def recorded(self, filled: Filled, source: str) -> Iterator[str]:
        """Yield the numbers of a line of records."""
        records = filled.records(source)
        means = (_mean(uncertainty.mean(records, c.metric), c) for c in self.table.columns)
        delta = _delta(filled.difference(source), len(records)) if filled.base else ""
        speed = filled.speed if source == "reference" else None
        return self.interleaved(
            means, delta, text.number(speed.value if speed else None, RATIO_FORM)
        )

    def interleaved(self, values: Iterable[str], delta: str, ratio: str) -> Iterator[str]:
        """Yield the values of the columns, the difference after AP and the ratio after FPS."""
        for column, value in zip(self.table.columns, values, strict=True):
            yield value
            if column == FPS and self.table.anchor:
                yield ratio
            if column == AP and self.deltas:
                yield delta


def lay_out(
    table: Table, profile: Profile, filled: Sequence[Filled], with_local: bool
) -> TableLayout:
    """Lay the table out: per row the paper's, reference and, if requested, local lines."""
    filled = fill.shown(filled, table, profile, with_local)
    runs = any(fill.is_run(table, profile, one.cell) for one in filled)
    deltas = any(table.baseline_of(one.cell) for one in filled)
    footnotes = Footnotes()
    layout = _Layout(table, with_local, footnotes, runs, deltas)
    blocks = tuple(
        Block(group.name, tuple(
            line
            for one in filled if one.cell.group == group
            for line in layout.lines(one, fill.is_run(table, profile, one.cell))
        ))
        for group in table.groups
    )  # fmt: skip
    source = f"{profile.name} profile" if runs else "published numbers"
    return TableLayout(
        title=f"{table.title}: {table.caption} ({source})",
        header=layout.header(),
        lead=1 + len(table.mark_names) + runs,
        has_sources=runs,
        blocks=blocks,
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


def _mean(found: SeedMean | None, column: Column) -> str:
    return text.NONE if found is None else text.mean(found.mean, found.spread, column.digits)


def _delta(found: Estimate | None, of: int) -> str:
    """Format the difference to the baseline, with its seeds if the row has more."""
    if found is None:
        return text.NONE
    printed, seeds = text.signed(found.value, found.interval), len(found.seeds)
    return f"{printed} ({seeds} of {of} seeds)" if seeds < of else printed
