"""Correction of the p-values of claims' checks, for verdicts that hold for all claims at once.

A check has two one-sided p-values: ``holds``, small if the value is clearly inside the claim's
bounds, and ``fails``, small if it is clearly outside. Three corrections are applied in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Verdict = Literal["supported", "refuted", "within noise", "untested"]
Bounds = tuple[float, float]
LEVEL = 0.05
METHOD = (
    "Each bound of a check is tested by a one-sided t test, two bounds by two (Schuirmann 1987). "
    "A claim is supported if all its checks hold: the largest of their p-values is its own "
    "(intersection-union, Berger 1982). It is refuted if one check fails: the smallest p-value "
    "times the number of its checks (Bonferroni). The smaller of the two is doubled, since either "
    "may be concluded, and over all claims tested at a profile these are corrected by Holm (1979): "
    f"the chance of one wrong verdict or more is {LEVEL:.0%} at most. What is true by definition "
    "has no p-value and is not counted. Intervals are of 95 % each, not corrected."
)
SOURCES = (
    "Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680",
    "Berger, Technometrics 24 (1982) 295-300",
    "Holm, Scandinavian Journal of Statistics 6 (1979) 65-70",
)


class Tested(Protocol):
    """Value whose distance from a bound can be tested: ``uncertainty.Estimate``."""

    def p_above(self, bound: float) -> float: ...

    def p_below(self, bound: float) -> float: ...


@dataclass(frozen=True)
class P:
    """P-values for a statement holding, and for it failing; both 1 if nothing is known."""

    holds: float
    fails: float


def of_check(estimate: Tested, bounds: Bounds) -> P:
    """Test whether a value lies between its bounds; an infinite bound needs no test.

    Inside both is an intersection-union test of two one-sided tests. Outside either is
    Bonferroni over the two.

    Source: Schuirmann, "A Comparison of the Two One-Sided Tests Procedure and the Power Approach
    for Assessing the Equivalence of Average Bioavailability" (1987).
    """
    low, high = bounds
    inside, outside = [], []
    if np.isfinite(low):
        inside.append(estimate.p_above(low))
        outside.append(estimate.p_below(low))
    if np.isfinite(high):
        inside.append(estimate.p_below(high))
        outside.append(estimate.p_above(high))
    return P(all_hold(inside), any_holds(outside))


def all_hold(ps: Sequence[float]) -> float:
    """Return the p-value for all of several statements: the largest; 0 for none, which is true.

    No correction is needed: to conclude wrongly that all hold, one that does not must have passed
    its own test. Source: Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling"
    (1982).
    """
    return max(ps, default=0.0)


def any_holds(ps: Sequence[float]) -> float:
    """Return the p-value for at least one of several statements, by Bonferroni; 1 for none."""
    return min(1.0, len(ps) * min(ps)) if ps else 1.0


def of_claim(checks: Sequence[P], complete: bool) -> P:
    """Return a claim's p-values from its checks'; if not ``complete``, it can only fail."""
    return P(
        all_hold([p.holds for p in checks]) if complete else 1.0,
        any_holds([p.fails for p in checks]),
    )


def two_sided(p: P) -> float:
    """Return the p-value of a claim whose verdict may be either: the smaller one, doubled.

    Holm's procedure on these makes directional errors no more often than its level if the tests
    are independent. Source: Shaffer, "Control of Directional Errors with Stagewise Multiple Test
    Procedures", Annals of Statistics 8 (1980).
    """
    return min(1.0, 2 * min(p.holds, p.fails))


def holm(ps: Sequence[float]) -> list[float]:
    """Return corrected p-values, in the given order: reject those of at most the level.

    The k-th smallest of m, times m - k + 1, and no smaller than the one before it. The probability
    of rejecting any true hypothesis is at most the level, under any dependence of the tests.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    order = np.argsort(ps, kind="stable")
    factors = np.arange(len(ps), 0, -1)
    rising = np.maximum.accumulate(np.asarray(ps, dtype=float)[order] * factors)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(rising, 1.0)
    return corrected.tolist()


def verdict(p: P, corrected: float, level: float = LEVEL) -> Verdict:
    """Return the verdict on a tested claim."""
    if corrected > level:
        return "within noise"
    return "supported" if p.holds < p.fails else "refuted"
