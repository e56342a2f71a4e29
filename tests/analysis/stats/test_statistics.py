"""Rank correlation, calibration error, bootstrap and Pareto front, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr

from analysis.stats.statistics import (
    calibration_error,
    over_images,
    pareto,
    rank_correlation,
    reliability,
    share,
)
from analysis.stats.uncertainty import RESAMPLES, SEED


def spearman(x, y):
    """The rank correlation of rows that weigh the same."""
    return rank_correlation(x, y)(np.ones(len(x), dtype=int))


def test_spearman_with_ties_by_hand():
    """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)."""
    x, y = np.array([1, 2, 2, 3]), np.array([1, 4, 9, 16])
    assert spearman(x, y) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert spearman(x, -y) == pytest.approx(-4.5 / math.sqrt(4.5 * 5))
    assert spearman(x, x**3) == pytest.approx(1)


def test_spearman_is_scipys():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, 200), random.integers(0, 9, 200)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])


def test_spearman_of_a_constant_is_not_a_number():
    assert math.isnan(spearman(np.ones(3), np.arange(3)))
    assert math.isnan(spearman(np.ones(1), np.ones(1)))


def test_calibration_error_by_hand():
    """Bins [0, .5) and [.5, 1]: means .2/.4 of two, .9/.6 of three: (2*.2 + 3*.3) / 5."""
    predicted = np.array([0.1, 0.3, 0.9, 0.8, 1.0])
    true = np.array([0.4, 0.4, 0.6, 0.6, 0.6])
    found = reliability(predicted, true, bins=2)
    assert found.count.tolist() == [2, 3]
    assert found.predicted == pytest.approx([0.2, 0.9])
    assert found.true == pytest.approx([0.4, 0.6])
    gaps = found.count * (found.predicted - found.true)
    assert calibration_error(gaps, found.count.sum()) == pytest.approx(0.26)


def test_an_edge_belongs_to_the_bin_above_and_empty_bins_count_nothing():
    found = reliability(np.array([0.5, 0.5]), np.array([0.5, 0.5]), bins=4)
    assert found.count.tolist() == [0, 0, 2, 0]
    assert np.isnan(found.true[[0, 1, 3]]).all()
    assert calibration_error(np.nan_to_num(found.count * (found.predicted - found.true)), 2) == 0
    assert not reliability(np.empty(0), np.empty(0)).count.any()


def test_a_bootstrap_draws_images_and_not_rows():
    """Rows of an image are one observation: copying each row changes no interval."""
    values = np.random.default_rng(1).normal(size=40)
    image = np.arange(40)

    def mean_of(numbers):
        return lambda weights: float(weights @ numbers / weights.sum())

    once = over_images(image, mean_of(values))
    often = over_images(np.repeat(image, 5), mean_of(np.repeat(values, 5)))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))
    assert once.low < once.value < once.high
    spread = values.std() / math.sqrt(40)
    assert once.high - once.low == pytest.approx(2 * 1.96 * spread, rel=0.3)


def test_weights_are_how_often_an_images_rows_are_drawn():
    """The interval is that of rows which are copied as their image is drawn."""
    rng = np.random.default_rng(2)
    image = rng.permutation(np.repeat(np.arange(12) * 7, 5))
    x = rng.integers(0, 9, len(image))  # with ties
    y = x + rng.integers(0, 9, len(image))
    found = over_images(image, rank_correlation(x, y))
    random, copied = np.random.Generator(np.random.PCG64(SEED)), []
    for _ in range(RESAMPLES):
        rows = [np.flatnonzero(image == 7 * i) for i in random.integers(12, size=12)]
        copied.append(spearmanr(x[np.concatenate(rows)], y[np.concatenate(rows)]).statistic)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert (found.low, found.high) == pytest.approx(np.quantile(copied, [0.025, 0.975]))


def test_wilsons_interval_is_scipys_and_has_a_width_at_zero():
    for hits, n in ((0, 27), (3, 27), (27, 27)):
        found = share(np.arange(n) < hits)
        expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert found.value == hits / n
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert share(np.zeros(27)).high > 0.1


def test_pareto_front_by_hand():
    milliseconds = np.array([10, 20, 20, 30, 5, 10])
    ap = np.array([40, 42, 41, 41, 30, 40])
    assert pareto(milliseconds, ap).tolist() == [True, True, False, False, True, True]
