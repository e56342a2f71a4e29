"""COCO's twelve metrics of a re-weighted set of images, from matches made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pycocotools.cocoeval import Params

from experiments.queue.machine import usable_cores
from gfl.predictions.matching import AREAS, FOUND, IGNORED, RECALLS, THRESHOLDS, Matches, Ranked

RECALL_LEVELS = Params("bbox").recThrs  # 0, 0.01, ..., 1, with numpy's rounding
_EPSILON = np.spacing(1)  # added by pycocotools to a precision's denominator
_CHUNK = 1 << 18  # array elements processed at once: 2 MB
AP50, AP75 = 0, 5  # indices among the IoU thresholds


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

    def work(column: int) -> None:
        ranked = matches.ranked[column]
        areas = [_Area.of(ranked, area) for area in range(len(AREAS))]
        step = max(1, _CHUNK // max(1, len(ranked)))
        for start in range(0, R, step):
            rows = slice(start, start + step)
            weight = weights[rows].take(ranked.image, axis=1)
            for number, area in enumerate(areas):
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
class _Sums:
    """Sums of weights over some detections, and the number of them up to given others."""

    of: np.ndarray  # positions, ascending
    sign: np.ndarray | None = None

    def __call__(self, weight: np.ndarray) -> np.ndarray:
        """Return the sums, [R, len(of) + 1], starting at 0."""
        sums = np.zeros((len(weight), len(self.of) + 1))
        chosen = weight if len(self.of) == weight.shape[1] else weight.take(self.of, axis=1)
        if self.sign is not None:
            chosen = chosen * self.sign
        np.cumsum(chosen, axis=1, out=sums[:, 1:])
        return sums

    def up_to(self, positions: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.of, positions, side="right")


@dataclass(frozen=True)
class _Curve:
    """Positions of the found detections of a class, an area and a threshold."""

    found: np.ndarray  # [k] positions among the class's detections
    inside: np.ndarray  # [k] number of detections of the area up to there
    odd: _Sums  # those counted though they are not of the area (+1), or the reverse (-1)
    odd_inside: np.ndarray  # [k] number of them up to there


@dataclass(frozen=True)
class _Area:
    """A class's ten curves in an area."""

    counted: _Sums
    curves: tuple[_Curve, ...]

    @classmethod
    def of(cls, ranked: Ranked, area: int) -> _Area:
        inside = ranked.inside[area]
        counted = _Sums(np.flatnonzero(inside))
        curves = []
        for match in ranked.match[area]:
            # An unmatched detection counts if it is inside, a matched one if its object counts.
            sign = ((match == FOUND) & ~inside).astype(float) - ((match == IGNORED) & inside)
            odd = _Sums(np.flatnonzero(sign), sign[sign != 0])
            found = np.flatnonzero(match == FOUND)
            curves.append(_Curve(found, counted.up_to(found), odd, odd.up_to(found)))
        return cls(counted, tuple(curves))

    def precisions(self, weight: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Return average precision by threshold and resample, [T, R], for weights [R, N]."""
        result = np.zeros((len(self.curves), len(weight)))
        sums = self.counted(weight) if any(len(curve.found) for curve in self.curves) else weight
        objects = np.where(objects > 0, objects, 1)[:, None]  # where there are none, it is not read
        for curve, out in zip(self.curves, result, strict=True):
            if len(curve.found) == 0:
                continue
            found = weight.take(curve.found, axis=1)
            np.cumsum(found, axis=1, out=found)
            counted = sums.take(curve.inside, axis=1)
            if len(curve.odd.of):
                counted += curve.odd(weight).take(curve.odd_inside, axis=1)
            counted += _EPSILON
            precision = np.divide(found, counted, out=counted)
            backwards = precision[:, ::-1]
            np.maximum.accumulate(backwards, axis=1, out=backwards)
            found /= objects
            reached = _reached(found)
            reached[:, 1:] -= reached[:, :-1].copy()
            np.einsum("rk,rk->r", reached, precision, out=out)
        return result / len(RECALL_LEVELS)


def _reached(recall: np.ndarray) -> np.ndarray:
    """Count the recall levels that are at most ``recall``.

    The levels are 0.01 apart: those below the nearest are reached, those above it are not, and the
    nearest itself is compared as in pycocotools' binary search.
    """
    nearest = np.rint(recall * (len(RECALL_LEVELS) - 1))
    level = RECALL_LEVELS.take(nearest.astype(np.intp), mode="clip")
    nearest += level <= recall
    return nearest
