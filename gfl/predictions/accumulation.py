"""COCO's twelve metrics of matched detections: pycocotools' accumulation, a whole curve at once.

Each number is computed as pycocotools computes it, and summed in the same order, so that they are
equal to the last bit.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from pycocotools.cocoeval import Params

from gfl.predictions.matching import AREAS, FOUND, RECALLS, THRESHOLDS, UNMATCHED, Judged, Ranked
from gfl.records.record import METRICS

RECALL_LEVELS = Params("bbox").recThrs  # 0, 0.01, ..., 1, with numpy's rounding
AP50, AP75 = 0, 5  # indices among the IoU thresholds
ABSENT = -1.0  # a class without objects


def accumulated(judged: Judged) -> dict[str, float | None]:
    """Return the twelve metrics, in percentage points, by name; None where there are no objects."""
    classes = range(len(judged.categories))
    precision = np.full((len(AREAS), THRESHOLDS, len(RECALL_LEVELS), len(classes)), ABSENT)
    recall = np.full((len(RECALLS), THRESHOLDS, len(classes)), ABSENT)
    for column in classes:
        by_image = judged.of_class(column)
        place = np.arange(len(by_image)) - np.searchsorted(by_image.image, by_image.image)
        order = np.argsort(-by_image.score, kind="mergesort")  # pycocotools' order of ties
        for area, count in enumerate(judged.objects[..., column].sum(1)):
            if count and len(judged.images):
                precision[area, :, :, column] = _precision(by_image.taken(order), area, count)
        for number, (name, most) in enumerate(RECALLS):
            area = AREAS.index(name)
            if count := judged.objects[area, :, column].sum():
                found = (by_image.match[area] == FOUND)[:, place < most]
                recall[number, :, column] = found.sum(1) / count
    parts = [precision[0], precision[0, AP50], precision[0, AP75], *precision[1:], *recall]
    return dict(zip(METRICS, map(_mean, parts), strict=True))


def _precision(ranked: Ranked, area: int, count: int) -> Float[np.ndarray, "T R"]:
    """Return the precision of a class with ``count`` objects in an area at each recall level."""
    match = ranked.match[area]
    found, wrong = match == FOUND, (match == UNMATCHED) & ranked.inside[area]
    hits, misses = (np.cumsum(one, axis=1).astype(float) for one in (found, wrong))
    precision = hits / (misses + hits + np.spacing(1))
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.zeros((THRESHOLDS, len(RECALL_LEVELS)))
    for threshold, recall in enumerate(hits / count):
        at = np.searchsorted(recall, RECALL_LEVELS, side="left")
        within = at < len(recall)
        reached[threshold, within] = falling[threshold, at[within]]
    return reached


def _mean(values: np.ndarray) -> float | None:
    """Return the mean over the classes that have objects, in percent."""
    there = values[values > ABSENT]
    return 100 * float(np.mean(there)) if len(there) else None
