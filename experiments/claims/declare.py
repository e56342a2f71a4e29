"""What a claim is made of: sentences of the paper, and what must hold of which numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from experiments.tables import catalogue
from experiments.tables.declare import Cell

Bounds = tuple[float, float]
ABOVE: Bounds = (0.0, math.inf)  # a better figure: the whole statement is the sign
BELOW: Bounds = (-math.inf, 0.0)
ON_COCO: tuple[str, ...] = ("photos",)  # profiles of COCO's images, beside the paper's own


@dataclass(frozen=True)
class Quote:
    """A sentence of the paper, or a piece of one, word for word, and where it stands."""

    text: str
    place: str  # "Abstract", "Section 4", "Table 3, caption"
    paper: bool = True  # False: from somewhere else, which ``place`` names


@dataclass(frozen=True)
class At:
    """One printed figure: a column of a table's cell."""

    table: str  # "table-1a"
    cell: str  # its key: "joint w/ QFL/ATSS", "both"
    column: str = "AP"

    @property
    def found(self) -> Cell:
        """The declared cell.

        Raises:
            KeyError: no table has it.
        """
        _ = self.published  # which raises
        return next(c for c in catalogue.find(self.table).cells() if c.key == self.cell)

    @property
    def published(self) -> float | None:
        """What the paper prints there; None for its n/a.

        Raises:
            KeyError: no table has it.
        """
        table = catalogue.find(self.table)
        names = [column.name for column in table.columns]
        for row in table.rows:
            for i, group in enumerate(table.groups):
                key = "/".join(filter(None, (row.key, group.name)))
                if key == self.cell and self.column in names:
                    return row.published[i * len(names) + names.index(self.column)]
        raise KeyError(f"{self.table} has no figure {self.column} of {self.cell!r}")

    @property
    def number(self) -> float:
        """What the paper prints there, where a statement needs a number.

        Raises:
            KeyError: no table has it.
            ValueError: the paper prints n/a.
        """
        if (value := self.published) is None:
            raise ValueError(f"{self.table}, {self.cell}: no {self.column} is published")
        return value


@dataclass(frozen=True)
class Contrast:
    """A sum of printed figures with factors, and the bounds between which the claim has it.

    ``bounds`` are those of the paper's own scale. Where a sentence states a size ("1 AP"), what
    carries over to other data is less, mostly the sign: then ``elsewhere`` are the bounds there,
    and ``at`` those of a profile that has its own.
    An interaction is four terms, an equivalence two finite bounds. ``paper_only``: of figures that
    our runs have but that say nothing there, such as a speed taken beside other work.
    """

    label: str  # what is compared, short: "joint − IoU-branch, ATSS, AP"
    terms: tuple[tuple[float, At], ...]
    bounds: Bounds = ABOVE
    elsewhere: Bounds | None = None  # None: the same
    at: Mapping[str, Bounds] = field(default_factory=dict)
    paper_only: bool = False


@dataclass(frozen=True)
class Measured:
    """A quantity that no table prints: ``analysis.measures`` declares it under this name.

    ``published`` is what the paper says of it in words or in a figure's legend, None where it can
    only be seen; ``off`` how far that may be from the truth, its rounding at least. ``runs_only``:
    in our runs' place of what a contrast beside it has of the paper's.
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
    """A property of the equations: ``analysis.claims.identities`` computes it, no run is needed."""

    label: str
    name: str
    bounds: Bounds


Check = Contrast | Measured | Identity


@dataclass(frozen=True)
class Claim:
    """An empirical statement of the paper. It holds if all of its checks do."""

    id: str  # "joint-beats-all"
    quotes: tuple[Quote, ...]  # every sentence that says it, the clearest first
    says: str  # what is tested, in one line
    refuted_by: str  # what would refute it, in one line
    checks: tuple[Check, ...]
    note: str = ""  # what stands between the words and the checks
    # Profiles at which the data cannot show it either way, and why.
    blind: Mapping[str, str] = field(default_factory=dict)


def above(label: str, better: At, worse: At) -> Contrast:
    """``better`` has the higher figure."""
    return Contrast(label, ((1.0, better), (-1.0, worse)))


def within(label: str, one: At, other: At, margin: float, on_shapes: float) -> Contrast:
    """Two figures lie at most ``margin`` apart; ``on_shapes`` is the margin on drawn images."""
    terms, bounds = ((1.0, one), (-1.0, other)), (-margin, margin)
    return Contrast(label, terms, bounds, (-on_shapes, on_shapes), dict.fromkeys(ON_COCO, bounds))


Finding = Literal["agree", "disagree", "unclear"]


@dataclass(frozen=True)
class TextCheck:
    """Two places of the paper that speak of one thing, and whether they say the same.

    The second may stand elsewhere, in the authors' code for one. ``finding`` is computed from the
    declared figures where it can be.
    """

    id: str
    one: Quote
    other: Quote
    finding: Finding
    why: str
