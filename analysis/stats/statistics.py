"""Statistics of rows grouped by image: rank correlation, calibration error, intervals, fronts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from analysis.stats.uncertainty import CONFIDENCE, RESAMPLES, SEED, Estimate

BINS = 10
INTERVAL = f"{CONFIDENCE:.0%} bootstrap interval over images ({RESAMPLES} resamples)"


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return Spearman's correlation as a function of the rows' weights; NaN if one is constant.

    Pearson's correlation of the ranks. With integer weights it equals that of repeated rows: a
    row's rank is the mean rank of its copies and ties.

    Source: Spearman, "The Proof and Measurement of Association between Two Things", American
    Journal of Psychology 15 (1904).
    """
    ranks = [np.unique(values, return_inverse=True)[1] for values in (x, y)]

    def weighted(weights: np.ndarray) -> float:
        total = weights.sum()
        a, b = (_midranks(index, weights) - (total + 1) / 2 for index in ranks)
        norm = np.sqrt(_sum(weights, a, a) * _sum(weights, b, b))
        return float(_sum(weights, a, b) / norm) if norm > 0 else float("nan")

    return weighted


def _midranks(index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return each row's rank; ``index`` numbers its value among the distinct values, ascending."""
    of_value = np.bincount(index, weights=weights)
    return (np.cumsum(of_value) - (of_value - 1) / 2)[index]


def _sum(*factors: np.ndarray) -> float:
    # Not by BLAS: its threads would get in the way of the other processes, at seven times the cost.
    return float(np.einsum("i,i,i", *factors))


@dataclass(frozen=True)
class Reliability:
    """Predicted against true, by bins of the predicted; means are NaN in an empty bin."""

    edges: np.ndarray
    count: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


def calibration_error(gaps: np.ndarray, count: np.ndarray | float) -> np.ndarray:
    """Return the expected calibration error, Σ_bins n/N · |mean predicted - mean true|.

    ``gaps``, last axis: a bin's sum of predicted - true; ``count`` rows in all.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI 2015, for probabilities and labels 0 or 1; here the label is an IoU, in [0, 1].
    """
    return np.abs(gaps).sum(-1) / count


def bin_of(predicted: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin of each prediction in [0, 1]; bins include their lower edge, the last both."""
    return np.clip((predicted * bins).astype(int), 0, bins - 1)


def reliability(predicted: np.ndarray, true: np.ndarray, bins: int = BINS) -> Reliability:
    """Return means by ``bins`` bins of equal width over [0, 1]."""
    index = bin_of(predicted, bins)
    count = np.bincount(index, minlength=bins)
    some = np.where(count > 0, count, np.nan)
    means = (np.bincount(index, weights=v, minlength=bins) / some for v in (predicted, true))
    return Reliability(np.linspace(0, 1, bins + 1), count, *means)


def over_images(image: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Estimate:
    """Return a statistic of rows with the percentile interval of resampling their images.

    ``image`` is each row's; ``statistic`` takes the rows' weights, [rows]: how often each is drawn.
    Rows of one image are not independent, so images are resampled, with replacement, and not rows.
    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7
    (1979).
    """
    images, at = np.unique(image, return_inverse=True)
    random = np.random.Generator(np.random.PCG64(SEED))
    draws = (random.integers(len(images), size=len(images)) for _ in range(RESAMPLES))
    values = [statistic(np.bincount(draw, minlength=len(images))[at]) for draw in draws]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Estimate(statistic(np.ones(len(image), dtype=int)), (float(low), float(high)))


def share(hits: np.ndarray) -> Estimate:
    """Return the share of hits with its Wilson score interval, which has a width at 0 and at 1.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22 (1927). Assumes independent hits.
    """
    n, p = len(hits), float(np.mean(hits))
    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Keep rounding from moving an end past the share itself, at 0 and at 1.
    low, high = min((middle - half) / scale, p), max((middle + half) / scale, p)
    return Estimate(p, (float(max(low, 0.0)), float(min(high, 1.0))))


def pareto(cost: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return a mask of the Pareto-optimal points: no other costs as little and gains as much.

    Equal points are all kept. The front in order of cost is an ascending staircase.
    """
    no_more = cost[None, :] <= cost[:, None]
    no_less = gain[None, :] >= gain[:, None]
    strictly = (cost[None, :] < cost[:, None]) | (gain[None, :] > gain[:, None])
    beaten = no_more & no_less & strictly
    return np.asarray(~beaten.any(1))
