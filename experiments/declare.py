"""What a table of the paper is made of: columns, groups, rows, and the numbers it prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gfl.experiment import Experiment, Host


@dataclass(frozen=True)
class Column:
    """A figure that the paper prints for a cell: ``metric`` is a record's key for it."""

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
    """A row as printed: ``published`` in reading order, one number a group and column.

    ``experiment`` is None where the paper took the row from others and no run is declared.
    """

    name: str  # as printed
    experiment: Experiment | None
    published: tuple[float | None, ...]
    marks: tuple[str, ...] = ()
    note: str = ""  # a footnote: what of the row is inferred and not in the paper
    baseline: str | None = None  # the row that its differences are taken to; None: the table's
    label: str = ""  # its name on the command line, where other rows are printed with the same
    starred: tuple[str, ...] = ()  # the columns whose figure carries the table's star

    @property
    def key(self) -> str:
        """The name that no other row of the table has."""
        return self.label or self.name


@dataclass(frozen=True)
class Group:
    """A group of columns for one detector: the row's experiment on another ``host``."""

    name: str
    host: Host | None = None  # None: the row's own


@dataclass(frozen=True)
class Cell:
    """Where a row meets a group: one experiment and the figures published for it."""

    row: Row
    group: Group
    experiment: Experiment | None
    published: dict[str, float | None]  # by column name

    @property
    def key(self) -> str:
        """The name that no other cell of the table has."""
        return "/".join(filter(None, (self.row.key, self.group.name)))


@dataclass(frozen=True)
class Table:
    """A table, or a lettered part of one, declared as the paper prints it."""

    name: str  # "table-3", "table-1a"
    caption: str
    mark_names: tuple[str, ...]  # the columns left of the figures, beside the row's name
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str | None  # the row that differences are taken to; None: each row names its own
    groups: tuple[Group, ...] = (Group(""),)
    note: str = ""
    heading: str = ""  # what the rows' names are: "Type", "n"
    star: str = ""  # what a star after a figure means
    profiles: tuple[str, ...] | None = None  # the only ones that its rows run at; None: all

    def __post_init__(self) -> None:
        width = len(self.groups) * len(self.columns)
        for row in self.rows:
            if len(row.published) != width or len(row.marks) != len(self.mark_names):
                raise ValueError(f"{self.name}, {row.name}: {width} figures are printed in a row")
        keys = [row.key for row in self.rows]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.name}: two rows have one name, so one needs a label")
        for key in {self.baseline, *(row.baseline for row in self.rows)} - {None, *keys}:
            raise ValueError(f"{self.name}: no row is named {key!r}")

    @property
    def title(self) -> str:
        return self.name.replace("-", " ").capitalize()

    def runs_at(self, profile: str) -> bool:
        """Whether the rows are run at a profile of this name."""
        return self.profiles is None or profile in self.profiles

    def baseline_of(self, cell: Cell) -> Cell | None:
        """The cell that ``cell``'s differences are taken to; None where it is one itself."""
        key = cell.row.baseline or self.baseline
        if key is None or key == cell.row.key:
            return None
        return next(c for c in self.cells() if c.row.key == key and c.group == cell.group)

    def cells(self) -> Iterator[Cell]:
        """Row by row, group by group."""
        names = [column.name for column in self.columns]
        for row in self.rows:
            for i, group in enumerate(self.groups):
                experiment = row.experiment
                if experiment is not None and group.host is not None:
                    experiment = replace(experiment, host=group.host)
                numbers = row.published[i * len(names) :][: len(names)]
                yield Cell(row, group, experiment, dict(zip(names, numbers, strict=True)))
