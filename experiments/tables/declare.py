"""Parts of a table of the paper: columns, groups, rows, and published numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Experiment, System
from gfl.hosts import HostName

EXTRA = "experiments/tables/extra.py"  # the file of additional rows


@dataclass(frozen=True)
class Column:
    """Column of printed numbers; ``metric`` is its key in a record."""

    name: str
    metric: str
    digits: int = 1


FPS = Column("FPS", "fps")
AP = Column("AP", "AP")
AP50 = Column("AP50", "AP50")
AP75 = Column("AP75", "AP75")
APS = Column("AP_S", "APS")
APM = Column("AP_M", "APM")
APL = Column("AP_L", "APL")


@dataclass(frozen=True)
class Row:
    """Row as printed: ``published`` in reading order, one number per group and column.

    ``experiment`` is None where the paper took the row from others and no run is declared. A number
    is None where the paper prints n/a; an additional row has none at all.
    """

    name: str  # as printed
    experiment: AnyExperiment | None
    published: tuple[float | None, ...] = ()
    marks: tuple[str, ...] = ()
    note: str = ""  # a footnote: what is inferred rather than given in the paper
    baseline: str | None = None  # the row its differences refer to; None: the table's
    label: str = ""  # its name on the command line, if other rows are printed with the same
    starred: tuple[str, ...] = ()  # the columns whose number carries the table's star

    @property
    def key(self) -> str:
        """Name that no other row of the table has."""
        return self.label or self.name

    @property
    def factors(self) -> Experiment | None:
        """Factors of an ablation's row; None for a system of Table 4."""
        return self.experiment if isinstance(self.experiment, Experiment) else None

    @property
    def is_extra(self) -> bool:
        """Return whether the row is an additional one of ``experiments.tables.extra``."""
        return not self.published


@dataclass(frozen=True)
class Group:
    """Group of columns for one detector: the row's experiment on another ``host``."""

    name: str
    host: HostName | None = None  # None: the row's own


@dataclass(frozen=True)
class Cell:
    """Row in a group: one experiment and its published numbers, if any."""

    row: Row
    group: Group
    experiment: AnyExperiment | None
    published: dict[str, float | None]  # by column name

    @property
    def key(self) -> str:
        """Name that no other cell of the table has."""
        return "/".join(filter(None, (self.row.key, self.group.name)))


@dataclass(frozen=True)
class Table:
    """Table, or a lettered part of one, declared as the paper prints it.

    ``rows`` and ``cells`` are only the paper's, and so is everything derived from them: claims,
    figures, rankings of rows, published numbers. Additional rows are separate, in ``extra``.

    Raises:
        ValueError: a row does not fit the table, or has the name or the run of another.
    """

    name: str  # "table-3", "table-1a"
    caption: str
    mark_names: tuple[str, ...]  # the columns left of the numbers, beside the row's name
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str | None  # the row that differences refer to; None: each row names its own
    groups: tuple[Group, ...] = (Group(""),)
    note: str = ""
    heading: str = ""  # heading of the rows' names: "Type", "n"
    star: str = ""  # meaning of a star after a number
    missing: str = "no number is published"  # meaning of n/a
    profiles: tuple[str, ...] | None = None  # the only ones that run its rows; None: all
    anchor: str = ""  # the row in whose speed all rows' speeds are given, too
    extra: tuple[Row, ...] = ()  # additional rows (experiments.tables.extra)

    def __post_init__(self) -> None:
        width = len(self.groups) * len(self.columns)
        for row in self.rows:
            if all(number is None for number in row.published):
                raise ValueError(
                    f"{self.name}, row {row.key!r}: no number of it is published; a row that the "
                    f"paper does not print is declared in {EXTRA}"
                )
            if len(row.published) != width or len(row.marks) != len(self.mark_names):
                raise ValueError(
                    f"{self.name}, row {row.key!r}: published numbers: {len(row.published)}, "
                    f"expected {width}; marks: {len(row.marks)}, expected {len(self.mark_names)}"
                )
        keys = [row.key for row in self.rows]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.name}: two rows have one name, so one needs a label")
        for key in {self.baseline, *(row.baseline for row in self.rows)} - {None, *keys}:
            raise ValueError(f"{self.name}: no row is named {key!r}")
        for i, row in enumerate(self.extra):
            if why := self._objection(row, (*self.rows, *self.extra[:i])):
                raise ValueError(f"{EXTRA}: {self.name}, row {row.key!r} {why}")

    def _objection(self, row: Row, others: Sequence[Row]) -> str:
        """Explain why an additional row may not stand below others; empty if it may."""
        if not row.key.strip():
            return "has no name"
        if row.published:
            return "has published numbers: a row of the paper's is declared with its table"
        if row.experiment is None:
            return "has no experiment to run"
        if idle := row.experiment.out_of_effect():
            return f"sets a factor without effect: {idle}"
        if len(row.marks) != len(self.mark_names):
            return f"has {len(row.marks)} marks, not one for each of {', '.join(self.mark_names)}"
        if any(self._names(row) & self._names(other) for other in others):
            return "has the name of another row"
        keys = {other.key for other in (*self.rows, *self.extra)}
        if row.baseline is not None and row.baseline not in keys - {row.key}:
            return f"has the baseline {row.baseline!r}, which no other row is named"
        if self.profiles is None and _is_of_table_4(row.experiment):
            return "has a backbone or schedule of Table 4: it is declared under table-4"
        try:
            own = {cell.experiment.slug for cell in self._cells([row]) if cell.experiment}
        except UserError as err:
            return f"is impossible: {err}"
        for cell in self._cells(others):
            if cell.experiment is not None and cell.experiment.slug in own:
                return f"has the same settings as row {cell.key!r}"
        return ""

    def _names(self, row: Row) -> set[str]:
        """Return the names of a row and its cells."""
        return {row.key, *(f"{row.key}/{group.name}" for group in self.groups if group.name)}

    @property
    def title(self) -> str:
        return self.name.replace("-", " ").capitalize()

    @property
    def paper_title(self) -> str:
        """Title as the paper writes it: ``Table 1(a)``."""
        return re.sub("([a-z])$", r"(\1)", self.title)

    def runs_at(self, profile: str) -> bool:
        """Return whether the rows are run at a profile of this name."""
        return self.profiles is None or profile in self.profiles

    def baseline_of(self, cell: Cell) -> Cell | None:
        """Return the cell that ``cell``'s differences refer to; None if it is one itself."""
        key = cell.row.baseline or self.baseline
        if key is None or key == cell.row.key:
            return None
        return next(c for c in self.all_cells() if c.row.key == key and c.group == cell.group)

    def cells(self) -> Iterator[Cell]:
        """Iterate over the paper's cells, row by row, group by group."""
        return self._cells(self.rows)

    def extra_cells(self) -> Iterator[Cell]:
        """Iterate over the cells of the additional rows."""
        return self._cells(self.extra)

    def all_cells(self) -> Iterator[Cell]:
        """Iterate over the paper's cells, then the additional ones."""
        yield from self.cells()
        yield from self.extra_cells()

    def _cells(self, rows: Iterable[Row]) -> Iterator[Cell]:
        names = [column.name for column in self.columns]
        for row in rows:
            for i, group in enumerate(self.groups):
                experiment = row.experiment
                if isinstance(experiment, Experiment) and group.host is not None:
                    experiment = replace(experiment, host=group.host)
                published: dict[str, float | None] = dict.fromkeys(names)
                if not row.is_extra:
                    numbers = row.published[i * len(names) :][: len(names)]
                    published = dict(zip(names, numbers, strict=True))
                yield Cell(row, group, experiment, published)


def _is_of_table_4(experiment: AnyExperiment) -> bool:
    if isinstance(experiment, System):
        return True
    return (experiment.backbone, experiment.lasting) != ("r50", "1x")
