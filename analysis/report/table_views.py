"""The paper's tables with the paper's and our numbers side by side, and their gap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from analysis.stats import uncertainty
from analysis.tables import agreement, fill
from analysis.tables.fill import Filled, Records
from analysis.tables.layout import Line, lay_out, published
from analysis.text import NONE, mean, plus_minus, setting
from experiments import diff
from experiments.tables.declare import FPS, Column, Table
from gfl.experiment import Profile
from gfl.records.record import Store

# Thresholds of a gap's shades, AP; below the first it is within the paper's own seed noise.
STEPS = (0.3, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Gap:
    """Difference of ours from the paper's; ``half`` is half its 95 % interval, or None."""

    value: float
    half: float | None

    @property
    def text(self) -> str:
        return signed(self.value)

    @property
    def half_text(self) -> str:
        return "" if self.half is None else f"±{self.half:.1f}"

    @property
    def clear(self) -> bool:
        """True if the interval excludes 0."""
        return self.half is not None and abs(self.value) > self.half

    @property
    def shade(self) -> str:
        """CSS class, such as ``up2``: the direction, and the number of ``STEPS`` exceeded."""
        passed = sum(abs(self.value) >= step for step in STEPS)
        return f"{'up' if self.value > 0 else 'down'}{passed}" if passed else ""


@dataclass(frozen=True)
class Numbers:
    """One column of a row: the paper's number, ours, and the gap."""

    name: str
    paper: str
    paper_value: float | None
    paper_delta: str  # to the row's baseline; empty without one
    ours: str
    spread: str  # "±0.8"
    ours_value: float | None
    ours_delta: str
    gap: Gap | None


@dataclass(frozen=True)
class Row:
    """Row in one group of columns."""

    id: str  # of the section on its runs; empty if it cannot have any
    name: str
    mark: str  # of its footnote
    marks: tuple[str, ...]
    is_extra: bool  # not the paper's
    is_baseline: bool
    seeds: str
    numbers: tuple[Numbers, ...]


@dataclass(frozen=True)
class Block:
    """Rows of a table for one group of columns."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class View:
    """Table for the page."""

    id: str
    title: str
    caption: str
    heading: str
    mark_names: tuple[str, ...]
    columns: tuple[str, ...]
    gaps: frozenset[str]  # the columns with a visible gap
    has_runs: bool
    blocks: tuple[Block, ...]
    footnotes: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    command: str
    command_note: str


@dataclass(frozen=True)
class Use:
    """Place where runs are shown, and their differences from that row's baseline."""

    id: str
    table: str
    row: str
    baseline: str  # its name; empty if the row is one
    factors: tuple[tuple[str, str, str], ...]  # factor, here, there


@dataclass(frozen=True)
class CellRuns:
    """Filled cell that has runs."""

    use: Use
    filled: Filled
    records: Records


def views(
    declared: Sequence[Table], profile: Profile, store: Store, local: bool
) -> tuple[list[View], list[CellRuns]]:
    """Return every table, and every cell of them that is run at the profile."""
    made, shown = [], []
    for table in declared:
        filled = fill.shown(fill.fill_all(table, profile, store), table, profile, local)
        view, cells = _Builder(table, profile, filled, local).view()
        made.append(view)
        shown += cells
    return made, shown


def signed(value: float, digits: int = 1) -> str:
    """Format a difference with its sign and a true minus; without a sign if it rounds to 0."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", "−")


def identifier(*parts: str) -> str:
    """Return letters, digits and hyphens, for an id in the page and its URL."""
    words = re.sub(r"\W+", "-", " ".join(parts).replace("+", " plus "), flags=re.ASCII)
    return words.strip("-").lower()


@dataclass(frozen=True)
class _Builder:
    """Builder of one table's view."""

    table: Table
    profile: Profile
    filled: Sequence[Filled]
    local: bool  # local runs, not the reference's

    def view(self) -> tuple[View, list[CellRuns]]:
        table, made = self.table, lay_out(self.table, self.profile, self.filled, self.local)
        runs = [f for f in self.filled if fill.is_run(table, self.profile, f.cell)]
        blocks = tuple(
            Block(block.title, tuple(self._row(line) for line in block.lines if line.is_first))
            for block in made.blocks
        )
        seeds = self._seeds(runs)
        others = {seed for f in runs for seed in self._records(f)} - {*seeds}
        verdicts = agreement.lines(self.filled) if self.local and runs else []
        view = View(
            id=table.name,
            title=table.paper_title,
            caption=table.caption,
            heading=table.heading,
            mark_names=table.mark_names,
            columns=tuple(column.name for column in table.columns),
            gaps=frozenset(c.name for c in table.columns if c != FPS),
            has_runs=bool(runs),
            blocks=blocks,
            footnotes=made.footnotes,
            notes=(*made.notes, *verdicts),
            command=command(table, self.profile, seeds),
            command_note="a row that stands in other tables too has the seeds of those"
            if others
            else "",
        )
        return view, [CellRuns(self._use(f), f, self._records(f)) for f in runs]

    def _seeds(self, runs: Sequence[Filled]) -> list[int]:
        """Return the seeds of most rows of some group: rows shared with other tables may have more.

        Only the paper's rows count, for which the command is.
        """
        papers = [f for f in runs if not f.cell.row.is_extra]
        found: set[int] = set()
        for group in self.table.groups:
            cells = [f for f in papers if f.cell.group == group]
            count = Counter(seed for f in cells for seed in self._records(f))
            found |= {seed for seed, n in count.items() if 2 * n > len(cells)}
        return sorted(found)

    @property
    def _source(self) -> str:
        return "local" if self.local else "reference"

    def _records(self, filled: Filled) -> Records:
        return filled.records(self._source)

    def _row(self, line: Line) -> Row:
        """Return the row of its first printed line."""
        filled, row = line.filled, line.filled.cell.row
        run = fill.is_run(self.table, self.profile, filled.cell)
        return Row(
            id=self._use(filled).id if run else "",
            name=row.name,
            mark=line.mark,
            marks=row.marks,
            is_extra=row.is_extra,
            is_baseline=filled.base is None and self._is_baseline(filled),
            seeds=str(len(self._records(filled)) or ""),
            numbers=tuple(self._numbers(column, filled, run) for column in self.table.columns),
        )

    def _is_baseline(self, cell: Filled) -> bool:
        others = (self.table.baseline_of(f.cell) for f in self.filled)
        return any(other == cell.cell for other in others)

    def _numbers(self, column: Column, cell: Filled, is_run: bool) -> Numbers:
        found = uncertainty.mean(self._records(cell), column.metric)
        differs = cell.difference(self._source, column.metric)
        value = cell.cell.published[column.name]
        other = cell.base.cell.published[column.name] if cell.base else None
        expected = None if value is None or other is None else value - other
        compared = column != FPS
        gap: Gap | None = None
        if compared and not self.profile.is_small:  # the paper's own data: levels compare
            if found and value is not None:
                gap = Gap(found.mean - value, None)
        elif compared and expected is not None and differs is not None:
            ends = differs.interval
            gap = Gap(differs.value - expected, ends and (ends[1] - ends[0]) / 2)
        starred = column.name in cell.cell.row.starred
        paper = "" if cell.cell.row.is_extra else published(value, column, starred)
        return Numbers(
            name=column.name,
            paper=paper,
            paper_value=value,
            paper_delta=signed(expected) if compared and expected is not None else "",
            ours=(mean(found.mean, None, column.digits) if found else NONE) if is_run else "",
            spread=plus_minus(found.spread, column.digits) if is_run and found else "",
            ours_value=found.mean if found else None,
            ours_delta=signed(differs.value) if compared and differs else "",
            gap=gap,
        )

    def _use(self, filled: Filled) -> Use:
        cell, base = filled.cell, filled.base
        factors: list[tuple[str, str, str]] = []
        if base and base.cell.experiment and cell.experiment:
            here, there = asdict(cell.experiment), asdict(base.cell.experiment)
            found = diff.differences(here, there)
            factors = [(d.path, setting(d.a), setting(d.b)) for d in found]
        return Use(
            id=identifier("cell", self.table.name, cell.group.name, cell.row.key),
            table=self.table.paper_title,
            row=", ".join(filter(None, (cell.row.key, cell.group.name)))
            + (" (not in the paper)" if cell.row.is_extra else ""),
            baseline=base.cell.row.key if base else "",
            factors=tuple(factors),
        )


def command(table: Table, profile: Profile, seeds: Sequence[int]) -> str:
    """Return the command that trains a table's rows at these seeds; empty if none can."""
    if not table.runs_at(profile.name):
        return ""
    parts = [f"make reproduce-{table.name}"]
    parts += [] if profile.name == "laptop" else [f"PROFILE={profile.name}"]
    parts += [f'SEEDS="{" ".join(map(str, seeds))}"'] if seeds and list(seeds) != [0] else []
    parts += ["DATA=/path/to/coco"] if profile.dataset is None else []
    parts += [f"GPUS={profile.gpus}"] if profile.gpus > 1 else []
    return " ".join(parts)
