"""Parts of a claim: sentences of the paper, and conditions on numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from experiments.tables import catalogue
from experiments.tables.declare import Cell, Table

Bounds = tuple[float, float]
ABOVE: Bounds = (0.0, math.inf)  # a better metric: the whole statement is the sign
BELOW: Bounds = (-math.inf, 0.0)
ON_COCO: tuple[str, ...] = ("photos",)  # profiles on COCO's images, beside the paper's own


@dataclass(frozen=True)
class Quote:
    """Sentence of the paper, or part of one, verbatim, and its place."""

    text: str
    place: str  # "Abstract", "Section 4", "Table 3, caption"
    paper: bool = True  # False: from a source that ``place`` names


@dataclass(frozen=True)
class At:
    """Printed number: a column of a table's cell."""

    table: str  # "table-1a"
    cell: str  # its key: "joint w/ QFL/ATSS", "both"
    column: str = "AP"

    @property
    def declared(self) -> Table:
        """Return the declared table."""
        return catalogue.find(self.table)

    @property
    def found(self) -> Cell:
        """Return the declared cell.

        Raises:
            KeyError: no table has it, or such a column.
        """
        for cell in self.declared.cells():
            if cell.key == self.cell and self.column in cell.published:
                return cell
        raise KeyError(f"{self.table} has no number {self.column} of {self.cell!r}")

    @property
    def published(self) -> float | None:
        """Return the printed number; None for n/a.

        Raises:
            KeyError: no table has it.
        """
        return self.found.published[self.column]

    @property
    def number(self) -> float:
        """Return the printed number, for statements that require one.

        Raises:
            KeyError: no table has it.
            ValueError: the paper prints n/a.
        """
        if (value := self.published) is None:
            raise ValueError(f"{self.table}, {self.cell}: no {self.column} is published")
        return value


@dataclass(frozen=True)
class Contrast:
    """Weighted sum of printed numbers, and the claim's bounds on it.

    ``bounds`` apply at the paper's own scale. A sentence that states a size ("1 AP") carries over
    to other data only in part, mostly its sign: ``elsewhere`` are the bounds there, and ``at``
    those of profiles with their own. An interaction has four terms, an equivalence two finite
    bounds. ``paper_only``: for metrics that our runs have but that mean nothing there, such as a
    speed measured alongside other work.
    """

    label: str  # what is compared, short: "joint − IoU-branch, ATSS, AP"
    terms: tuple[tuple[float, At], ...]
    bounds: Bounds = ABOVE
    elsewhere: Bounds | None = None  # None: unchanged
    at: Mapping[str, Bounds] = field(default_factory=dict)
    paper_only: bool = False


@dataclass(frozen=True)
class Measured:
    """Quantity that no table prints: ``analysis.measures`` declares it under this name.

    ``published`` is the paper's number, from the text or a figure's legend, None if it can only be
    seen; ``off`` its possible error, at least its rounding. ``runs_only``: on our runs it replaces
    a contrast that covers the paper.
    """

    label: str
    quantity: str
    bounds: Bounds
    published: float | None = None
    elsewhere: Bounds | None = None
    at: Mapping[str, Bounds] = field(default_factory=dict)
    off: float = 0.0
    runs_only: bool = False


@dataclass(frozen=True)
class Identity:
    """Property of the equations, computed by ``analysis.claims.identities`` without runs."""

    label: str
    name: str
    bounds: Bounds


Check = Contrast | Measured | Identity


@dataclass(frozen=True)
class Claim:
    """Empirical statement of the paper. It holds if all of its checks do."""

    id: str  # "joint-beats-all"
    quotes: tuple[Quote, ...]  # every sentence that states it, the clearest first
    says: str  # the tested statement, in one line
    refuted_by: str  # a refuting outcome, in one line
    checks: tuple[Check, ...]
    note: str = ""  # gap between the words and the checks
    # Profiles whose data cannot decide the claim, with the reason.
    blind: Mapping[str, str] = field(default_factory=dict)


def above(label: str, better: At, worse: At) -> Contrast:
    """Contrast in which ``better`` is higher."""
    return Contrast(label, ((1.0, better), (-1.0, worse)))


def better(table: str, row: str, than: str, host: str = "", column: str = "AP") -> Contrast:
    """Contrast in which one row of a table is above another, on a detector if it has several."""
    one, other = (At(table, "/".join(filter(None, (name, host))), column) for name in (row, than))
    return above(", ".join(filter(None, (f"{row} − {than}", host, column))), one, other)


def within(label: str, one: At, other: At, margin: float, on_shapes: float) -> Contrast:
    """Contrast of at most ``margin`` between two numbers; ``on_shapes`` applies to drawn images."""
    terms, bounds = ((1.0, one), (-1.0, other)), (-margin, margin)
    return Contrast(label, terms, bounds, (-on_shapes, on_shapes), dict.fromkeys(ON_COCO, bounds))


Finding = Literal["agree", "disagree", "unclear"]


@dataclass(frozen=True)
class TextCheck:
    """Comparison of two places in the paper on one subject.

    The second may be elsewhere, for instance in the authors' code. ``finding`` is computed from the
    declared numbers where possible.
    """

    id: str
    one: Quote
    other: Quote
    finding: Finding
    why: str
