"""Ranking of a table's rows compared with the paper's, with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from analysis.stats import uncertainty
from analysis.stats.uncertainty import CONFIDENCE, Estimate
from analysis.tables import fill
from analysis.tables.fill import Filled, Records
from analysis.text import signed
from gfl.escape import counted

CLEARLY = (
    f"Clearly: the {CONFIDENCE:.0%} interval of that pair's difference, taken as ΔAP's is, "
    "excludes 0. Of pairs with nothing but noise between them one in twenty is clearly one way or "
    "the other."
)
PAPERS_OWN = "The paper prints one number a row and no spread: its own order is not certain either."


@dataclass(frozen=True)
class Pair:
    """Two rows that the paper distinguishes, and our result for their difference."""

    better: str  # in the paper
    worse: str
    published: float  # AP of the better one minus the other's: above 0
    found: Estimate  # the same difference here

    @property
    def text(self) -> str:
        """Describe a reversed pair, starting with the better row here."""
        here = signed(-self.found.value, (-self.found).interval)
        return f"{self.worse} over {self.better} {here}, paper {-self.published:+.1f}"


@dataclass(frozen=True)
class Order:
    """Ranking by AP of the rows with results, and its agreement with the paper's."""

    ranking: str  # "both > QFL > DFL = none"
    rows: int
    of: int  # rows that can have results
    pairs: tuple[Pair, ...]

    @property
    def has_verdict(self) -> bool:
        """True if some pair has enough seeds for an interval."""
        return any(pair.found.interval for pair in self.pairs)

    @property
    def text(self) -> str:
        """Return one line: the ranking, then the number of reversed pairs and the clear ones."""
        some = "" if self.rows == self.of else f" ({self.rows} of {self.of} rows)"
        return f"{self.ranking}{some}. {self._counts()}."

    def _counts(self) -> str:
        if not self.pairs:
            return "No pair that the paper tells apart"
        signs = [pair.found.sign for pair in self.pairs]
        said = f"{signs.count(1)} of {counted(len(signs), 'pair')} as in the paper"
        equal = f", {signs.count(0)} equal" if 0 in signs else ""
        if not self.has_verdict:
            return f"{said}, {signs.count(-1)} reversed{equal}; one seed: no verdict"
        clear = [pair for pair in self.pairs if pair.found.is_clear]
        against = [pair.text for pair in clear if pair.found.sign < 0]
        said += f" ({len(clear) - len(against)} clearly), {signs.count(-1)} reversed"
        if -1 in signs:
            said += f" ({len(against)} clearly{': ' if against else ''}{'; '.join(against)})"
        single = sum(pair.found.interval is None for pair in self.pairs)
        unsure = f"; {counted(single, 'pair')} with one seed: no verdict" if single else ""
        return said + equal + unsure


def order(cells: Sequence[tuple[Filled, Records]]) -> Order | None:
    """Compare the ranking of rows with the paper's; None if fewer than two have results.

    ``cells`` are those of one group of columns, each with its records from one source. Rows are
    ranked by mean AP over their own seeds; a pair is judged over the common seeds. Rows with equal
    AP in the paper are a tie, which nothing can reverse; rows without an AP in the paper are
    omitted.
    """
    cells = [(cell, records) for cell, records in cells if _published(cell) is not None]
    known = [(cell, records) for cell, records in cells if uncertainty.mean(records, "AP")]
    if len(known) < 2:
        return None
    found = [(cell.cell.row.key, _ap(records)) for cell, records in known]
    return Order(_ranking(found), len(known), len(cells), tuple(_pairs(known)))


def published(cells: Sequence[Filled]) -> str:
    """Return the paper's ranking by AP, of the rows with an AP."""
    aps = [(cell.cell.row.key, _published(cell)) for cell in cells]
    return _ranking([(name, ap) for name, ap in aps if ap is not None])


def _pairs(known: Sequence[tuple[Filled, Records]]) -> Iterator[Pair]:
    for one, other in combinations(known, 2):
        if not (gap := fill.published_difference(one[0], other[0])):
            continue
        (cell, records), (base, base_records) = (one, other) if gap > 0 else (other, one)
        found = uncertainty.difference(records, base_records)
        if found is not None:
            yield Pair(cell.cell.row.key, base.cell.row.key, abs(gap), found)


def _published(cell: Filled) -> float | None:
    return cell.cell.published["AP"]


def _ap(records: Records) -> float:
    found = uncertainty.mean(records, "AP")
    assert found is not None
    return found.mean


def _ranking(rows: Sequence[tuple[str, float]]) -> str:
    """Format a ranking, ``a > b = c``, from the best."""
    best_first = sorted(rows, key=lambda row: -row[1])
    ranked = best_first[0][0]
    for (_, before), (name, value) in pairwise(best_first):
        ranked += f" {'=' if value == before else '>'} {name}"
    return ranked
