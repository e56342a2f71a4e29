"""Distributions of where a side of a box lies: how far apart two are, and how many peaks one has.

A distribution is a row of atoms: positions and the mass at each. Many are compared at once, one a
row; rows of fewer atoms are filled up with atoms without mass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

NORMAL_ATOMS = 64  # that stand for a normal distribution: its W1 to them is 0.024 sigma
PEAK_MASS = 0.1  # the least of a bin that is a peak
VALLEY = 0.5  # of the lower peak: some bin between two peaks has less


@dataclass(frozen=True)
class Atoms:
    """Distributions, one a row: ``at`` and ``mass`` are [rows, atoms]; a row's mass sums to 1."""

    at: np.ndarray
    mass: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Atoms:
        """Make rows of unequal length, each positions and masses, into one array."""
        width = max((len(at) for at, _ in rows), default=1)
        at, mass = np.zeros((len(rows), width)), np.zeros((len(rows), width))
        for i, (positions, masses) in enumerate(rows):
            at[i] = positions[0]
            at[i, : len(positions)] = positions
            mass[i, : len(masses)] = masses
        return cls(at, mass)

    @classmethod
    def points(cls, at: np.ndarray) -> Atoms:
        """All the mass of each row at one position: the Dirac delta."""
        return cls(at[:, None], np.ones((len(at), 1)))

    @classmethod
    def normal(cls, mean: np.ndarray, sigma: np.ndarray) -> Atoms:
        """Normal distributions, as atoms of equal mass at the quantiles between them."""
        at = mean[:, None] + sigma[:, None] * _normal_quantiles()
        return cls(at, np.full(at.shape, 1 / NORMAL_ATOMS))

    @property
    def mean(self) -> np.ndarray:
        return (self.at * self.mass).sum(1)

    @property
    def deviation(self) -> np.ndarray:
        """Each row's standard deviation."""
        return np.sqrt((np.square(self.at - self.mean[:, None]) * self.mass).sum(1))

    @property
    def median(self) -> np.ndarray:
        """The point from which each row is least far away, by the Wasserstein-1 distance."""
        order = np.argsort(self.at, 1, kind="stable")
        share = np.cumsum(np.take_along_axis(self.mass, order, 1), 1)
        middle = np.argmax(share >= 0.5 - 1e-9, 1)
        return np.take_along_axis(self.at, order, 1)[np.arange(len(order)), middle]

    def on_bins(self, n: int, delta: float) -> np.ndarray:
        """Return each row on bins 0, delta, ... n delta: [rows, n + 1], what DFL aims at.

        The mass of an atom is split linearly between the two bins beside it, the minimum of Eq. 6;
        the expectation of Eq. 6 over labels drawn from these atoms has this minimum. Atoms outside
        count as at the nearest end.
        """
        position = np.clip(self.at / delta, 0, n)
        left = np.minimum(position.astype(int), n - 1)
        part = position - left
        binned = np.zeros((len(position), n + 1))
        rows = np.arange(len(position))[:, None]
        np.add.at(binned, (rows, left), self.mass * (1 - part))
        np.add.at(binned, (rows, left + 1), self.mass * part)
        return binned


def _normal_quantiles() -> np.ndarray:
    return ndtri((np.arange(NORMAL_ATOMS) + 0.5) / NORMAL_ATOMS)


def truth(distribution: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return the atoms of a label's distribution as the annotation has it, px of the image."""
    kind = distribution["type"]
    if kind == "point":
        return [distribution["at"]], [1.0]
    if kind == "modes":
        return list(distribution["at"]), list(distribution["p"])
    if kind == "gaussian":
        at = distribution["mean"] + distribution["sigma"] * _normal_quantiles()
        return list(at), [1 / NORMAL_ATOMS] * NORMAL_ATOMS
    raise ValueError(f"unknown distribution {kind!r}; known: point, modes, gaussian")


def wasserstein(one: Atoms, other: Atoms) -> np.ndarray:
    """Return the Wasserstein-1 distance of each row to its partner, in the positions' unit.

    The integral of |F - G| over the line, F and G being the cumulated masses; exact for atoms.
    Source: Vallender, "Calculation of the Wasserstein distance between probability distributions
    on the line", Theory of Probability and Its Applications 18 (1974).
    """
    at = np.concatenate([one.at, other.at], 1)
    mass = np.concatenate([one.mass, -other.mass], 1)
    order = np.argsort(at, 1, kind="stable")
    at, mass = np.take_along_axis(at, order, 1), np.take_along_axis(mass, order, 1)
    return (np.abs(np.cumsum(mass, 1)[:, :-1]) * np.diff(at, axis=1)).sum(1)


@dataclass(frozen=True)
class Peaks:
    """The two foremost peaks of a P(x): their bins, and the depth of the valley between them."""

    first: int
    second: int
    depth: float  # the lower peak's mass less the valley's


def two_peaks(p: np.ndarray) -> Peaks | None:
    """Return the deepest pair of peaks of a distribution over bins, None where there is but one.

    Two bins are peaks where each has ``PEAK_MASS`` or more and some bin between them has less than
    ``VALLEY`` of the lower of the two. So two neighbouring bins, which is what a single side
    between them gives, are never two peaks, and peaks are two bins apart or more.
    """
    best: Peaks | None = None
    heavy = np.flatnonzero(p >= PEAK_MASS)
    for i, first in enumerate(heavy):
        for second in heavy[i + 1 :]:
            if second - first < 2:
                continue
            lower, valley = min(p[first], p[second]), p[first + 1 : second].min()
            depth = float(lower - valley)
            if valley < VALLEY * lower and (best is None or depth > best.depth):
                best = Peaks(int(first), int(second), depth)
    return best


def entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy of each distribution along the last axis, in bits."""
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(-1)


def gap(distribution: Mapping[str, Any]) -> float:
    """Return how far apart the two right answers of a side are, px; NaN where there are not two."""
    if distribution["type"] != "modes":
        return math.nan
    first, second = distribution["at"]
    return abs(first - second)
