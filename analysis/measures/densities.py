"""Distributions of a side's position: distances between them, and their peaks.

A distribution is a row of atoms: positions and the mass at each. Many are compared at once, one per
row; shorter rows are padded with atoms without mass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

NORMAL_ATOMS = 64  # approximating a normal distribution: W1 error 0.024 sigma
NORMAL_QUANTILES = ndtri((np.arange(NORMAL_ATOMS) + 0.5) / NORMAL_ATOMS)
PEAK_MASS = 0.1  # least mass of a bin that is a peak
VALLEY = 0.5  # of the lower peak: some bin between two peaks has less than this


@dataclass(frozen=True)
class Atoms:
    """Distributions, one per row: ``at`` and ``mass`` are [rows, atoms]; a row's mass sums to 1."""

    at: np.ndarray
    mass: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Atoms:
        """Combine rows of unequal length, each positions and masses, into one array."""
        width = max((len(at) for at, _ in rows), default=1)
        at, mass = np.zeros((len(rows), width)), np.zeros((len(rows), width))
        for i, (positions, masses) in enumerate(rows):
            at[i] = positions[0]
            at[i, : len(positions)] = positions
            mass[i, : len(masses)] = masses
        return cls(at, mass)

    @classmethod
    def points(cls, at: np.ndarray) -> Atoms:
        """Return rows with all mass at one position: the Dirac delta."""
        return cls(at[:, None], np.ones((len(at), 1)))

    @classmethod
    def normal(cls, mean: np.ndarray, sigma: np.ndarray) -> Atoms:
        """Return normal distributions, as atoms of equal mass at the quantiles between them."""
        at = mean[:, None] + sigma[:, None] * NORMAL_QUANTILES
        return cls(at, np.full(at.shape, 1 / NORMAL_ATOMS))

    @property
    def mean(self) -> np.ndarray:
        return (self.at * self.mass).sum(1)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each row."""
        return np.sqrt((np.square(self.at - self.mean[:, None]) * self.mass).sum(1))

    @property
    def median(self) -> np.ndarray:
        """Point nearest to each row, by the Wasserstein-1 distance."""
        order = np.argsort(self.at, 1, kind="stable")
        share = np.cumsum(np.take_along_axis(self.mass, order, 1), 1)
        middle = np.argmax(share >= 0.5 - 1e-9, 1)
        return np.take_along_axis(self.at, order, 1)[np.arange(len(order)), middle]

    def on_bins(self, n: int, delta: float) -> np.ndarray:
        """Return each row on bins 0, delta, ... n delta: [rows, n + 1], DFL's optimum.

        An atom's mass is split linearly between the two adjacent bins, the minimum of Eq. 6; the
        expectation of Eq. 6 over labels drawn from these atoms has this minimum. Atoms outside
        are moved to the nearest end.
        """
        position = np.clip(self.at / delta, 0, n)
        left = np.minimum(position.astype(int), n - 1)
        part = position - left
        binned = np.zeros((len(position), n + 1))
        rows = np.arange(len(position))[:, None]
        np.add.at(binned, (rows, left), self.mass * (1 - part))
        np.add.at(binned, (rows, left + 1), self.mass * part)
        return binned


def truth(distribution: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return the atoms of a label's distribution from the annotation, px of the image."""
    kind = distribution["type"]
    if kind == "point":
        return [distribution["at"]], [1.0]
    if kind == "modes":
        return list(distribution["at"]), list(distribution["p"])
    if kind == "gaussian":
        at = distribution["mean"] + distribution["sigma"] * NORMAL_QUANTILES
        return list(at), [1 / NORMAL_ATOMS] * NORMAL_ATOMS
    raise ValueError(f"unknown distribution {kind!r}; known: point, modes, gaussian")


def wasserstein(one: Atoms, other: Atoms) -> np.ndarray:
    """Return the Wasserstein-1 distance of each row to its partner, in the positions' unit.

    The integral of |F - G| over the line, with F and G the cumulative masses; exact for atoms.
    Source: Vallender, "Calculation of the Wasserstein distance between probability distributions
    on the line", Theory of Probability and Its Applications 18 (1974).
    """
    at = np.concatenate([one.at, other.at], 1)
    mass = np.concatenate([one.mass, -other.mass], 1)
    order = np.argsort(at, 1, kind="stable")
    at, mass = np.take_along_axis(at, order, 1), np.take_along_axis(mass, order, 1)
    return (np.abs(np.cumsum(mass, 1)[:, :-1]) * np.diff(at, axis=1)).sum(1)


def two_peaks(p: np.ndarray) -> float:
    """Return the depth of the deepest valley between two peaks of a P(x), 0 if it has only one.

    The depth is the lower peak's mass less the valley's. Two bins are peaks if each has
    ``PEAK_MASS`` or more and some bin between them has less than ``VALLEY`` of the lower of the
    two. So two neighbouring bins, which a single side between them produces, are never two peaks,
    and peaks are at least two bins apart.
    """
    deepest = 0.0
    heavy = np.flatnonzero(p >= PEAK_MASS)
    for i, first in enumerate(heavy):
        for second in heavy[i + 1 :]:
            if second - first < 2:
                continue
            lower, valley = min(p[first], p[second]), p[first + 1 : second].min()
            if valley < VALLEY * lower:
                deepest = max(deepest, float(lower - valley))
    return deepest


def entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy of each distribution along the last axis, in bits."""
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(-1)


def gap(distribution: Mapping[str, Any]) -> float:
    """Return the distance between a side's two valid answers, px; NaN without two."""
    if distribution["type"] != "modes":
        return math.nan
    first, second = distribution["at"]
    return abs(first - second)
