"""A value and its uncertainty, always returned together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gfl.records.record import RunRecord

CONFIDENCE = 0.95
RESAMPLES = 1000  # of a bootstrap
SEED = 0  # of their weights, common to all runs, so that all differences are paired
METHOD = (
    f"in brackets its {CONFIDENCE:.0%} confidence interval: Student's t with n-1 degrees of "
    "freedom over the differences seed by seed, which takes them to be normally distributed"
)


@dataclass(frozen=True)
class SeedMean:
    """Mean over seeds; ``spread`` is their standard deviation, None for a single one."""

    mean: float
    spread: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Estimate:
    """Value with its 95 % interval, and the basis of the interval.

    ``interval`` is None if unknown: a difference of one pair of runs does not show what another
    seed would give. If the variances of seeds and images are known, the error over the standard
    error is assumed to follow Student's t with ``freedom`` degrees, and bounds can be tested.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: tuple[int, ...] = ()  # common to all terms
    variance_seeds: float | None = None  # None: one seed, and unknown seed noise
    variance_images: float = 0.0
    freedom: float | None = None  # None: only the interval is known, not the distribution

    @classmethod
    def student(
        cls,
        value: float,
        seeds: tuple[int, ...],
        variance_seeds: float | None,
        variance_images: float,
        freedom: float,
    ) -> Estimate:
        """Make an estimate with the two-sided interval from its variances."""
        half = _quantile(freedom) * math.sqrt((variance_seeds or 0.0) + variance_images)
        interval = value - half, value + half
        return cls(value, interval, seeds, variance_seeds, variance_images, freedom)

    @property
    def low(self) -> float:
        """Lower end of the interval; NaN if unknown."""
        return math.nan if self.interval is None else self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the interval; NaN if unknown."""
        return math.nan if self.interval is None else self.interval[1]

    @property
    def sign(self) -> int:
        """Sign of the value: 1, 0 or -1."""
        return (self.value > 0) - (self.value < 0)

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    def __neg__(self) -> Estimate:
        turned = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return replace(self, value=-self.value, interval=turned)

    @property
    def error(self) -> float:
        """Standard error, from the known variances."""
        return math.sqrt((self.variance_seeds or 0.0) + self.variance_images)

    def p_above(self, bound: float) -> float:
        """Return the p-value of "the true value is at most ``bound``": small if clearly above.

        Raises:
            ValueError: the variances are unknown.
        """
        return self._tail(self.value - bound)

    def p_below(self, bound: float) -> float:
        """Return the p-value of "the true value is at least ``bound``": small if clearly below.

        Raises:
            ValueError: the variances are unknown.
        """
        return self._tail(bound - self.value)

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        if self.freedom is None:
            raise ValueError("an estimate without variances cannot be tested")
        if math.isinf(distance) or self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stdtr(self.freedom, -distance / self.error))


def seed_mean(values: Mapping[int, float]) -> SeedMean | None:
    """Return the mean of values by seed with their standard deviation (n - 1); None if empty."""
    if not values:
        return None
    numbers = list(values.values())
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    return SeedMean(statistics.fmean(numbers), spread, tuple(values))


def paired(ours: Mapping[int, float], base: Mapping[int, float]) -> Estimate | None:
    """Return the mean of ours minus base over their common seeds, with its 95 % interval.

    Runs of one seed share their data order and, as far as their layers agree, their initial
    weights, so differences are taken per seed: d̄ ± t(0.975, n - 1)·s_d/√n, with s_d the standard
    deviation of the n differences d. Seeds missing on one side do not count. None without a
    common seed.

    Source: Student, "The Probable Error of a Mean", Biometrika 6 (1908); as a formula,
    NIST/SEMATECH e-Handbook of Statistical Methods, sections 1.3.5.2 and 7.3.1.
    """
    differences = {seed: ours[seed] - base[seed] for seed in sorted(ours.keys() & base.keys())}
    found = seed_mean(differences)
    if found is None:
        return None
    if found.spread is None:
        return Estimate(found.mean, None, found.seeds)
    n = len(found.seeds)
    half = _quantile(n - 1) * found.spread / math.sqrt(n)
    interval = found.mean - half, found.mean + half
    return Estimate(found.mean, interval, found.seeds, found.spread**2 / n, freedom=n - 1)


def of_median(values: np.ndarray) -> Estimate:
    """Return the median of independent values, such as rounds, with its percentile interval.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7
    (1979).
    """
    random = np.random.default_rng(SEED)
    drawn = values[random.integers(len(values), size=(RESAMPLES, len(values)))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Estimate(float(np.median(values)), (float(low), float(high)))


def values(records: Mapping[int, RunRecord], metric: str) -> dict[int, float]:
    """Return a metric, or the ``fps``, by seed, from the records that have it."""
    found = {s: r.fps if metric == "fps" else r.metrics.get(metric) for s, r in records.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def mean(records: Mapping[int, RunRecord], metric: str) -> SeedMean | None:
    """Return the mean of a metric over the seeds that have it."""
    return seed_mean(values(records, metric))


def difference(
    records: Mapping[int, RunRecord], base: Mapping[int, RunRecord], metric: str = "AP"
) -> Estimate | None:
    """Return the mean of a metric's differences, seed by seed, over the common seeds."""
    return paired(values(records, metric), values(base, metric))


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a metric over seeds, and its degrees of freedom."""

    spread: float
    freedom: int


def seed_noise(values: Iterable[Mapping[int, float]]) -> Noise | None:
    """Return the pooled standard deviation over seeds within rows; None unless a row has two.

    s² = Σ_rows Σ_seeds (x - x̄_row)² / Σ_rows (n_row - 1), assuming it is the same in all rows:
    two or three seeds alone say little.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 7.4.3, where it is the mean
    square of the error of a one-way layout.
    """
    squares, freedom = 0.0, 0
    for row in values:
        if len(row) > 1:
            mean = statistics.fmean(row.values())
            squares += math.fsum((x - mean) ** 2 for x in row.values())
            freedom += len(row) - 1
    return Noise(math.sqrt(squares / freedom), freedom) if freedom else None


def contrast(
    factors: Sequence[float],
    runs: Sequence[Mapping[int, tuple[float, np.ndarray]]],
    noise: Noise | None = None,
) -> Estimate | None:
    """Return Σ factor·metric, its mean over the common seeds, with both kinds of variance.

    A term is {seed: (metric, its R replicates)}, all replicates under the same weights; a row that
    enters twice is one term with the sum of its factors. Over the n common seeds, with d_s the
    contrast of seed s and d*_s its R replicates:

        value = mean_s d_s
        v_images = variance over the R resamples of mean_s d*_s
        v_seeds = Σ factor²·noise.spread²/n, or without noise s_d²/n, s_d² the variance of the d_s
        variance = v_images + v_seeds,
        freedom = variance² / (v_images²/(R - 1) + v_seeds²/f),  f = noise.freedom, or n - 1

    The sum is the law of total variance, seeds within images. Written as two crossed random
    effects, x_si = μ + a_s + b_i + e_si, the mean has the variance σ_a²/n + σ_b²/I + σ_e²/(nI):
    the spread of seeds on the same images includes the first and the last term, the bootstrap the
    last two. So the last is counted twice, and the interval is slightly conservative. The pooled
    noise also assumes independent rows of one seed; correlation due to their common seed makes the
    interval conservative, too.

    One seed without noise has no v_seeds: then ``variance_seeds`` is None and the interval applies
    to these models alone. None without a common seed.

    Sources: Searle, Casella and McCulloch, Variance Components (1992), on crossed random effects;
    Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys 2021, on
    seeds and data as the sources of variance; Owen and Eckles, "Bootstrapping Data Arrays of
    Arbitrary Order", Annals of Applied Statistics 6 (2012), on the double count; Satterthwaite, "An
    Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2 (1946), on
    the degrees of freedom.

    Raises ValueError if the numbers of factors and terms differ.
    """
    if len(factors) != len(runs) or not runs:
        raise ValueError(f"{len(factors)} factors for {len(runs)} terms")
    seeds = tuple(sorted(set.intersection(*(set(run) for run in runs))))
    if not seeds:
        return None
    terms = list(zip(factors, runs, strict=True))
    by_seed = [math.fsum(f * run[seed][0] for f, run in terms) for seed in seeds]
    samples = sum(f * np.asarray(run[seed][1]) for f, run in terms for seed in seeds)
    images, freedom_images = variance_of(np.asarray(samples) / len(seeds))
    n = len(seeds)
    if noise is not None:
        of_seeds = math.fsum(f * f for f in factors) * noise.spread**2 / n
        freedom_seeds = noise.freedom
    elif n > 1:
        of_seeds, freedom_seeds = statistics.variance(by_seed) / n, n - 1
    else:
        of_seeds, freedom_seeds = None, 1
    freedom = _satterthwaite((images, freedom_images), (of_seeds or 0.0, freedom_seeds))
    return Estimate.student(statistics.fmean(by_seed), seeds, of_seeds, images, freedom)


def variance_of(samples: np.ndarray) -> tuple[float, int]:
    """Return the variance over the resamples that have the metric, and its degrees of freedom."""
    known = samples[~np.isnan(samples)]
    if len(known) < 2:
        raise ValueError(f"{len(known)} resamples have the metric; a variance needs two")
    return float(np.var(known, ddof=1)), len(known) - 1


def _satterthwaite(*parts: tuple[float, int]) -> float:
    below = math.fsum(variance**2 / freedom for variance, freedom in parts)
    if below == 0:
        return float(max(freedom for _, freedom in parts))
    return math.fsum(variance for variance, _ in parts) ** 2 / below


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit  # takes a third of a second, not needed for a single seed

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
