"""COCO's twelve metrics of a run on resampled, that is re-weighted, images.

Its detections are matched to objects once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from analysis.stats.uncertainty import RESAMPLES, SEED, Estimate, variance_of
from experiments.queue.machine import usable_cores
from gfl.predictions.accumulation import AP50, AP75, RECALL_LEVELS
from gfl.predictions.matching import (
    AREAS,
    FOUND,
    IGNORED,
    RECALLS,
    THRESHOLDS,
    Matches,
    Ranked,
    judge_stored,
)
from gfl.records.record import METRICS

if TYPE_CHECKING:
    import pandas as pd

_EPSILON = np.spacing(1)  # added by pycocotools to a precision's denominator
_CHUNK = 1024  # weightings processed at once: a row of them, 8 kB, stays in the first cache


@dataclass(frozen=True)
class Replicates:
    """A run's twelve metrics, in percent and METRICS' order, and those of resampled images.

    Runs whose replicates share a ``draw`` were evaluated on the same images under the same
    weights, so their difference, row by row, is a paired one.
    """

    metrics: Float[np.ndarray, " 12"]  # NaN if the data set has no such object
    resampled: Float[np.ndarray, "R 12"]
    draw: str  # hash of the images' ids and of the weights

    def estimates(self) -> dict[str, Estimate]:
        """Return each metric with the uncertainty due to the images.

        The variance is that of the R replicates; the interval is the "standard" one, value ±
        t·standard error, with R - 1 degrees of freedom. It applies to this trained model: variation
        over seeds is not included. Metrics without objects in the images are omitted.

        Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 13.
        """
        return {
            metric: Estimate.student(float(value), (), None, *variance_of(samples))
            for metric, value, samples in zip(METRICS, self.metrics, self.resampled.T, strict=True)
            if not np.isnan(value)
        }


def replicate(matches: Matches, rng: np.random.Generator, count: int = RESAMPLES) -> Replicates:
    """Evaluate a run on its images and on ``count`` bootstrap samples of them.

    Generators with the same seed give every run on the same images the same samples. Images are the
    sampling unit: their objects and detections stay together.
    """
    images = len(matches.images)
    weights = resamples(images, count, rng)
    metrics = evaluate(matches, np.concatenate([np.ones((1, images), dtype=int), weights]))
    ids = matches.images.astype("<i8").tobytes() + weights.astype("<i8").tobytes()
    return Replicates(metrics[0], metrics[1:], hashlib.sha256(ids).hexdigest()[:16])


def of_matches(matches: Matches) -> Replicates:
    """Evaluate a run on the samples shared by all runs."""
    return replicate(matches, np.random.default_rng(SEED))


def of_detections(dataset: Mapping[str, Any], detections: pd.DataFrame) -> Replicates:
    """Match detections to objects once, then evaluate them as ``of_matches``."""
    columns = {str(name): detections[name].to_numpy() for name in detections}
    return of_matches(judge_stored(dataset, columns).matches())


def resamples(images: int, count: int, rng: np.random.Generator) -> Int[np.ndarray, "R I"]:
    """Draw ``count`` bootstrap samples of images, as the multiplicity of each image.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7
    (1979): the multiplicities of a bootstrap sample are multinomial.
    """
    return rng.multinomial(images, np.full(images, 1 / images), size=count)


def evaluate(
    matches: Matches, weights: Float[np.ndarray, "R I"] | Int[np.ndarray, "R I"],
    threads: int | None = None,
) -> Float[np.ndarray, "R 12"]:  # fmt: skip
    """Return the twelve metrics, in percent and METRICS' order, of every weighting of the images.

    An image of weight w counts as if it were w times in the data set. Weights of 1 give
    pycocotools' metrics. Integer weights give those of the data set with repeated images, except
    when detections of one image and class have equal scores and one of them is wrong: pycocotools
    then ranks copy after copy, while here all copies of a detection stay together. With fractional
    weights, a recall equal to a level may miss it by rounding. A metric without objects in the
    weighted images is NaN, where pycocotools gives -1.

    On the curve of a class, an area and a threshold only the found detections k matter, in the
    order of their scores: with recall r_k, precision p_k and c_k the number of the 101 recall
    levels that are at most r_k,

        AP = 1/101 Σ_k (c_k − c_(k−1)) max_(j ≥ k) p_j,    c_(−1) = 0,

    which is pycocotools' sum over the levels, each level assigned to the first k that reaches it.

    Raises ValueError for weights that have another shape, are negative or are not finite.
    """
    if weights.ndim != 2 or weights.shape[1] != len(matches.images):
        raise ValueError(f"weights of shape {weights.shape} for {len(matches.images)} images")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights must be finite and not negative")
    weights = np.ascontiguousarray(weights, dtype=float)
    objects = np.stack([weights @ counts for counts in matches.objects.astype(float)])  # [A R C]
    metrics = np.empty((len(weights), 12))
    metrics[:, :6] = _precisions(matches, weights, objects, threads or usable_cores())
    for metric, (area, _) in enumerate(RECALLS):
        found = weights @ matches.recalled[metric].astype(float)
        metrics[:, 6 + metric] = _mean(found / THRESHOLDS, objects[AREAS.index(area)], divide=True)
    return 100 * metrics


def _mean(values: np.ndarray, objects: np.ndarray, divide: bool = False) -> np.ndarray:
    """Return the mean over the classes that have objects; NaN if none has."""
    has = objects > 0
    shares = values / np.where(has, objects, 1) if divide else values
    classes = has.sum(1)
    total = np.where(has, shares, 0).sum(1)
    return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def _precisions(
    matches: Matches, weights: np.ndarray, objects: np.ndarray, threads: int
) -> np.ndarray:
    R, C = len(weights), len(matches.categories)
    curves = np.zeros((len(AREAS), THRESHOLDS, R, C))
    # An image a row: sums along a curve are then sums of rows, which are contiguous.
    by_image = [
        (rows, np.ascontiguousarray(weights[rows].T))
        for rows in (slice(start, start + _CHUNK) for start in range(0, R, _CHUNK))
    ]

    def work(column: int) -> None:
        ranked = matches.ranked[column]
        for number in range(len(AREAS)):
            area = _Area.of(ranked, number, len(matches.images))
            for rows, weight in by_image:
                curves[number, :, rows, column] = area.precisions(
                    weight, objects[number, rows, column]
                )

    by_size = sorted(range(C), key=lambda column: -len(matches.ranked[column]))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, by_size))
    every, *sized = (_mean(curves[a].mean(0), objects[a]) for a in range(len(AREAS)))
    half, tight = (_mean(curves[0, t], objects[0]) for t in (AP50, AP75))
    return np.stack([every, half, tight, *sized], axis=1)


@dataclass(frozen=True)
class _Curve:
    """Found detections of a class, an area and a threshold."""

    image: np.ndarray  # [k] their images' indices
    at: np.ndarray  # [k] their positions among the area's stops
    odd: csr_array | None  # [k, I] as _Area.inside: those counted though not of the area, or not


@dataclass(frozen=True)
class _Area:
    """A class's ten curves in an area.

    A stop is a detection that is found at some threshold: only there precision is needed.
    """

    inside: csr_array  # [stops, I] detections of the area since the previous stop, by image
    curves: tuple[_Curve, ...]

    @classmethod
    def of(cls, ranked: Ranked, area: int, images: int) -> _Area:
        inside, match = ranked.inside[area], ranked.match[area]
        stops = np.flatnonzero((match == FOUND).any(0))
        curves = []
        for at_threshold in match:
            found = np.flatnonzero(at_threshold == FOUND)
            # An unmatched detection counts if it is inside, a matched one if its object counts.
            sign = ((at_threshold == FOUND) & ~inside).astype(float)
            sign -= (at_threshold == IGNORED) & inside
            odd = _since(found, sign, ranked.image, images) if sign.any() else None
            curves.append(_Curve(ranked.image[found], np.searchsorted(stops, found), odd))
        return cls(_since(stops, inside.astype(float), ranked.image, images), tuple(curves))

    def precisions(self, weight: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Return average precision by threshold and resample, [T, R], for weights [I, R]."""
        result = np.zeros((len(self.curves), weight.shape[1]))
        counted = _summed(self.inside @ weight)
        objects = np.where(objects > 0, objects, 1)  # where there are none, it is not read
        most = max((len(curve.image) for curve in self.curves), default=0)
        scratch = np.empty((3, most, weight.shape[1]))
        for curve, out in zip(self.curves, result, strict=True):
            if len(curve.image) == 0:
                continue
            found, precision, reached = scratch[:, : len(curve.image)]
            weight.take(curve.image, axis=0, out=found, mode="clip")
            _summed(found)
            counted.take(curve.at, axis=0, out=precision, mode="clip")
            if curve.odd is not None:
                precision += _summed(curve.odd @ weight)
            precision += _EPSILON
            np.divide(found, precision, out=precision)
            for k in range(len(precision) - 1, 0, -1):
                np.maximum(precision[k - 1], precision[k], out=precision[k - 1])
            found /= objects
            _reached(found, reached)
            np.subtract(reached[1:], reached[:-1], out=found[1:])
            found[0] = reached[0]
            out[:] = np.einsum("kr,kr->r", found, precision)
        return result / len(RECALL_LEVELS)


def _since(stops: np.ndarray, value: np.ndarray, image: np.ndarray, images: int) -> csr_array:
    """Return the sums of detections' values by image, [stops, I], from each stop to the next.

    Detections after the last stop are left out.
    """
    which = np.flatnonzero(value)
    row = np.searchsorted(stops, which)
    which, row = which[row < len(stops)], row[row < len(stops)]
    return csr_array((value[which], (row, image[which])), shape=(len(stops), images))


def _summed(rows: np.ndarray) -> np.ndarray:
    """Sum up the rows, each with all before it, in place."""
    for k in range(1, len(rows)):
        np.add(rows[k - 1], rows[k], out=rows[k])
    return rows


def _reached(recall: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Count the recall levels that are at most ``recall``, into ``out``.

    The levels are 0.01 apart: those below the nearest are reached, those above it are not, and the
    nearest itself is compared as in pycocotools' binary search.
    """
    np.multiply(recall, len(RECALL_LEVELS) - 1, out=out)
    np.rint(out, out=out)
    level = RECALL_LEVELS.take(out.astype(np.intp), mode="clip")
    out += level <= recall
    return out
