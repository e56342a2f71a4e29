"""Corrections by hand, and how often they are wrong where there is nothing to find."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from analysis.stats.correction import (
    LEVEL,
    P,
    all_hold,
    any_holds,
    holm,
    of_check,
    of_claim,
    two_sided,
    verdict,
)

PS = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@dataclass
class Normal:
    """An estimate with a standard error of 1."""

    value: float

    def p_above(self, bound: float) -> float:
        return float(ndtr(bound - self.value))

    def p_below(self, bound: float) -> float:
        return float(ndtr(self.value - bound))


def test_holms_corrected_values_by_hand() -> None:
    # 0.01 x 4; 0.015 x 3; 0.02 x 2 = 0.04 is raised to the one before it; 0.5 x 1.
    assert holm([0.5, 0.01, 0.02, 0.015]) == pytest.approx([0.5, 0.04, 0.045, 0.045])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]) == []


@given(PS)
def test_holm_is_between_no_correction_and_bonferronis(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(p <= c <= min(1.0, len(ps) * p) + 1e-12 for p, c in zip(ps, corrected, strict=True))
    ranked = [c for _, c in sorted(zip(ps, corrected, strict=True))]
    assert ranked == sorted(ranked)


def test_all_hold_takes_the_largest_and_any_bonferronis_smallest() -> None:
    assert all_hold([0.01, 0.2, 0.03]) == 0.2
    assert any_holds([0.01, 0.2, 0.03]) == pytest.approx(0.03)
    assert any_holds([0.9, 0.8]) == 1.0
    assert (all_hold([]), any_holds([])) == (0.0, 1.0)


def test_one_bound_is_one_test() -> None:
    p = of_check(Normal(1.5), (0.0, math.inf))
    assert p.holds == pytest.approx(ndtr(-1.5))
    assert p.fails == pytest.approx(ndtr(1.5))


def test_two_bounds_are_two_one_sided_tests() -> None:
    inside = of_check(Normal(0.5), (-2.0, 2.0))
    assert inside.holds == pytest.approx(ndtr(-1.5))  # of the nearer bound
    assert inside.fails == 1.0
    outside = of_check(Normal(5.0), (-2.0, 2.0))
    assert outside.holds == pytest.approx(ndtr(3.0))
    assert outside.fails == pytest.approx(2 * ndtr(-3.0))


def test_a_statement_without_bounds_says_nothing_and_holds() -> None:
    assert of_check(Normal(3.0), (-math.inf, math.inf)) == P(0.0, 1.0)


def test_where_nothing_has_width_a_claim_can_only_fail_or_be_within_noise() -> None:
    """Bounds that are one point: nothing is ever shown to be exactly there."""
    for value in (-4.0, 0.0, 4.0):
        p = of_check(Normal(value), (0.0, 0.0))
        assert p.holds >= 0.5
        assert verdict(p, two_sided(p)) == ("within noise" if value == 0 else "refuted")


def test_an_incomplete_claim_cannot_be_supported() -> None:
    clear, failed = P(1e-6, 1.0), P(1.0, 1e-6)
    assert of_claim([clear], complete=False).holds == 1.0
    assert of_claim([clear, failed], complete=False).fails == pytest.approx(2e-6)
    assert of_claim([clear, clear], complete=True) == P(1e-6, 1.0)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (P(0.001, 0.999), "supported"),
        (P(0.999, 0.001), "refuted"),
        (P(0.03, 0.97), "within noise"),  # clear on one side, not where either may be said
    ],
)
def test_the_verdict_is_the_side_that_is_clear(p: P, said: str) -> None:
    assert verdict(p, two_sided(p)) == said


def test_one_wrong_verdict_in_twenty_trials_at_most() -> None:
    """Claims whose every estimate lies on its bound: neither may be said, however many."""
    rng = np.random.default_rng(0)
    wrong, trials = 0, 2000
    for _ in range(trials):
        estimates = rng.normal(size=(6, 2))
        ps = [
            two_sided(of_claim([of_check(Normal(x), (0.0, math.inf)) for x in row], complete=True))
            for row in estimates
        ]
        wrong += min(holm(ps)) <= LEVEL
    assert wrong / trials <= LEVEL


def test_wrong_verdicts_stay_rare_where_other_claims_are_clear() -> None:
    """Half of the claims are true beyond doubt, the other half lie on their bound."""
    rng = np.random.default_rng(1)
    wrong, trials = 0, 2000
    for _ in range(trials):
        values = [*rng.normal(9.0, size=5), *rng.normal(size=5)]
        found = [of_check(Normal(x), (0.0, math.inf)) for x in values]
        corrected = holm([two_sided(p) for p in found])
        said = [verdict(p, c) for p, c in zip(found, corrected, strict=True)]
        assert said[:5] == ["supported"] * 5
        wrong += set(said[5:]) != {"within noise"}
    assert wrong / trials <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / trials)
