"""Distances of distributions and their peaks, by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, wasserstein_distance

from analysis.measures.densities import (
    PEAK_MASS,
    VALLEY,
    Atoms,
    entropy,
    gap,
    truth,
    two_peaks,
    wasserstein,
)


def atoms(at: list[float], mass: list[float]) -> Atoms:
    return Atoms.of([(at, mass)])


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (([2.0], [1.0]), ([5.0], [1.0]), 3.0),
        (([0.0, 1.0], [0.5, 0.5]), ([0.5], [1.0]), 0.5),  # half a bin of discretization
        (([0.0, 4.0], [0.5, 0.5]), ([0.0, 4.0], [0.25, 0.75]), 1.0),  # a quarter, four away
        (([0.0, 4.0], [0.5, 0.5]), ([2.0], [1.0]), 2.0),  # the mean is right, and 2 away
        (([1.0, 2.0, 3.0], [0.2, 0.5, 0.3]), ([1.0, 2.0, 3.0], [0.2, 0.5, 0.3]), 0.0),
    ],
)
def test_wasserstein_by_hand(one, other, distance):
    assert wasserstein(atoms(*one), atoms(*other)) == pytest.approx([distance])
    assert wasserstein(atoms(*other), atoms(*one)) == pytest.approx([distance])


def test_wasserstein_is_scipys():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(20, 5)), random.normal(size=(20, 9))
    p, q = random.dirichlet(np.ones(5), 20), random.dirichlet(np.ones(9), 20)
    expected = [wasserstein_distance(*row) for row in zip(a, b, p, q, strict=True)]
    assert wasserstein(Atoms(a, p), Atoms(b, q)) == pytest.approx(expected, abs=1e-12)


def test_rows_of_unequal_length_are_filled_up_with_nothing():
    several = Atoms.of([([1.0], [1.0]), ([1.0, 3.0], [0.5, 0.5])])
    assert several.mass.sum(1) == pytest.approx([1, 1])
    assert wasserstein(several, Atoms.points(np.array([1.0, 1.0]))) == pytest.approx([0, 1])


def test_a_normal_distribution_is_near_its_atoms():
    """W1 of N(0, 1) to a point at its mean is sqrt(2/pi), and to N(d, 1) it is d."""
    zero, one = np.zeros(1), np.ones(1)
    unit = Atoms.normal(zero, one)
    assert wasserstein(unit, Atoms.points(zero)) == pytest.approx(
        [math.sqrt(2 / math.pi)], abs=0.01
    )
    assert wasserstein(unit, Atoms.normal(zero + 0.7, one)) == pytest.approx([0.7])
    sample = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    assert wasserstein_distance(sample, unit.at[0]) == pytest.approx(0.024, abs=5e-4)
    assert unit.deviation == pytest.approx([1], abs=0.02)


def test_the_median_is_the_nearest_point():
    lopsided = atoms([4.0, 0.0], [0.7, 0.3])
    assert lopsided.median == pytest.approx([4.0])
    assert wasserstein(lopsided, Atoms.points(lopsided.median)) == pytest.approx([1.2])


def test_bins_take_an_atom_linearly():
    binned = atoms([1.25, 3.0], [0.4, 0.6]).on_bins(4, 1.0)
    assert binned == pytest.approx(np.array([[0, 0.3, 0.1, 0.6, 0]]))
    assert atoms([9.0], [1.0]).on_bins(4, 1.0) == pytest.approx(np.array([[0, 0, 0, 0, 1.0]]))
    assert atoms([3.0], [1.0]).on_bins(4, 2.0) == pytest.approx(np.array([[0, 0.5, 0.5, 0, 0]]))


def test_truth_of_each_type():
    assert truth({"type": "point", "at": 3.5}) == ([3.5], [1.0])
    assert truth({"type": "modes", "at": [3, 9], "p": [0.3, 0.7]}) == ([3, 9], [0.3, 0.7])
    blurred = atoms(*truth({"type": "gaussian", "mean": 10.0, "sigma": 2.0}))
    assert blurred.mean == pytest.approx([10])
    assert blurred.deviation == pytest.approx([2], rel=0.02)
    with pytest.raises(ValueError, match="known: point, modes, gaussian"):
        truth({"type": "uniform"})


def test_gap():
    assert gap({"type": "modes", "at": [9, 3], "p": [0.3, 0.7]}) == 6
    assert math.isnan(gap({"type": "point", "at": 3}))


@pytest.mark.parametrize(
    ("p", "depth"),
    [
        ([0, 0.5, 0.5, 0], 0),  # a single side between two bins
        ([0, 1, 0, 0], 0),
        ([0.25, 0.25, 0.25, 0.25], 0),
        ([0.5, 0.0, 0.5, 0.0], 0.5),
        ([0.25, 0.25, 0.0, 0.25, 0.25], 0.25),  # two sides, each between two bins
        ([0.4, 0.2, 0.4, 0.0], 0),  # the valley is just half as high: not less than half
        ([0.4, 0.19, 0.41, 0.0], 0.21),
        ([0.91, 0.0, 0.09, 0.0], 0),  # too light to be a peak
        ([0.5, 0.0, 0.2, 0.0, 0.3], 0.3),  # of three, the two deepest
    ],
)
def test_two_peaks_by_hand(p, depth):
    assert (PEAK_MASS, VALLEY) == (0.1, 0.5)  # what the cases are made for
    assert two_peaks(np.array(p)) == pytest.approx(depth)


def test_entropy_in_bits():
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([1, 0])
