"""A number and its uncertainty, always returned together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95
METHOD = (
    f"in brackets its {CONFIDENCE:.0%} confidence interval: Student's t with n-1 degrees of "
    "freedom over the differences seed by seed, which takes them to be normally distributed"
)


@dataclass(frozen=True)
class Figure:
    """A mean over seeds; ``spread`` is their standard deviation, None of a single one."""

    mean: float
    spread: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of a difference, and its confidence interval.

    ``interval`` is None of a single pair: one seed says nothing of what another would give.
    """

    mean: float
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]  # that both sides have

    @property
    def sign(self) -> int:
        """Of the mean: 1, 0 or -1."""
        return (self.mean > 0) - (self.mean < 0)

    @property
    def is_clear(self) -> bool:
        """The interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def text(self) -> str:
        """``+0.8 [-1.3, +2.9]``, or the mean alone where no interval is known."""
        mean = f"{self.mean:+.1f}"
        return (
            f"{mean} [{self.interval[0]:+.1f}, {self.interval[1]:+.1f}]" if self.interval else mean
        )

    def __neg__(self) -> Difference:
        turned = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Difference(-self.mean, turned, self.seeds)


def figure(values: Mapping[int, float]) -> Figure | None:
    """The mean of values by seed with their standard deviation (n - 1); None of no value."""
    if not values:
        return None
    numbers = list(values.values())
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Figure(statistics.fmean(numbers), spread, tuple(values))


def paired(ours: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """The mean of ours minus base over the seeds that both have, with its 95 % interval.

    Runs of one seed share their data order, and as far as their layers agree their initial
    weights, so the seed's differences are taken first: d̄ ± t(0.975, n - 1)·s_d/√n, with s_d the
    standard deviation of the n differences d. Seeds that one side lacks do not count. None where
    no seed is common.

    Source: Student, "The Probable Error of a Mean", Biometrika 6 (1908); as a formula,
    NIST/SEMATECH e-Handbook of Statistical Methods, sections 1.3.5.2 and 7.3.1.
    """
    differences = {seed: ours[seed] - base[seed] for seed in sorted(ours.keys() & base.keys())}
    found = figure(differences)
    if found is None:
        return None
    if found.spread is None:
        return Difference(found.mean, None, found.seeds)
    n = len(found.seeds)
    half = _quantile(n - 1) * found.spread / math.sqrt(n)
    return Difference(found.mean, (found.mean - half, found.mean + half), found.seeds)


def _quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # a third of a second, and a single seed needs none

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
