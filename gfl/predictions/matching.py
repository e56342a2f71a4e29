"""Image-by-image matching of detections with objects: pycocotools' decisions, stored."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int8, Int32
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from gfl.training.evaluate import sound

UNMATCHED, FOUND, IGNORED = 0, 1, 2  # IGNORED: matched to a crowd or to an object of another area
AREAS = tuple(Params("bbox").areaRngLbl)  # all, small, medium, large
THRESHOLDS = len(Params("bbox").iouThrs)  # 0.50, 0.55, ..., 0.95
# The six recalls of METRICS: area, and limit of detections per image and class.
RECALLS = (
    ("all", 1), ("all", 10), ("all", 100), ("small", 100), ("medium", 100), ("large", 100),
)  # fmt: skip


@dataclass(frozen=True)
class Ranked:
    """A class's detections in the order of its precision-recall curves: by falling score.

    Ties stand as in pycocotools: in the order of the images' ids, and within an image in the given
    order.
    """

    image: Int32[np.ndarray, " N"]  # index into Matches.images
    score: np.ndarray  # [N]
    inside: Bool[np.ndarray, "A N"]  # whether the box's own area is in the range
    match: Int8[np.ndarray, "A T N"]  # UNMATCHED, FOUND or IGNORED

    def __len__(self) -> int:
        return len(self.image)

    def taken(self, order: Int[np.ndarray, " N"]) -> Ranked:
        return Ranked(
            self.image[order], self.score[order], self.inside[:, order], self.match[..., order]
        )


@dataclass(frozen=True)
class Matches:
    """All that the twelve metrics need, for any weighting of the images.

    A are the areas of AREAS, T the IoU thresholds, F the recalls of RECALLS.
    """

    images: np.ndarray  # [I] ids, ascending
    categories: np.ndarray  # [C] ids, ascending
    objects: Int32[np.ndarray, "A I C"]  # counted ones: no crowds, and of the area
    recalled: Int32[np.ndarray, "F I C"]  # those found, summed over the thresholds
    ranked: tuple[Ranked, ...]  # one per class


@dataclass(frozen=True)
class Judged:
    """Outcome for each detection, in the given order.

    Omits those beyond the 100 per image and class that pycocotools considers.
    """

    images: np.ndarray  # [I] ids, ascending
    categories: np.ndarray  # [C] ids, ascending
    objects: Int32[np.ndarray, "A I C"]  # as in Matches
    category: np.ndarray  # index into categories
    detections: Ranked  # of all classes
    row: Int[np.ndarray, " N"]  # index into the given detections

    def matches(self) -> Matches:
        """Order each class's detections for its curves, and count the found ones."""
        ranked = []
        recalled = np.zeros((len(RECALLS), *self.objects.shape[1:]), dtype=np.int32)
        for column in range(len(self.categories)):
            in_order = self.of_class(column)
            recalled[:, :, column] = _recalled(in_order, len(self.images))
            by_score = np.argsort(-in_order.score, kind="mergesort")  # pycocotools' order of ties
            ranked.append(in_order.taken(by_score))
        return Matches(self.images, self.categories, self.objects, recalled, tuple(ranked))

    def of_class(self, column: int) -> Ranked:
        """Return a class's detections by image, and within one by falling score."""
        mine = self.detections.taken(np.flatnonzero(self.category == column))
        return mine.taken(np.lexsort((-mine.score, mine.image)))  # stable, as pycocotools'


def match(dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Matches:
    """Match detections to the objects of a COCO data set, as pycocotools' evaluation does.

    Raises UserError with the same messages as ``gfl.training.evaluate.coco_metrics``.
    """
    return judge(dataset, detections).matches()


def judge(dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Judged:
    """Return the outcome for each detection; see ``match``.

    Every decision is COCOeval.evaluate's own. It runs class by class, which changes nothing
    (classes never interact in it) and saves memory. Neither argument is changed.
    """
    found = sound(dataset, detections)
    images, categories = ids_of(dataset["images"]), ids_of(dataset["categories"])
    truth_of, found_of = _by_class(dataset["annotations"]), _by_class(found)
    objects = np.zeros((len(AREAS), len(images), len(categories)), dtype=np.int32)
    areas = np.array([box["area"] for box in found])
    parts: list[tuple[Ranked, np.ndarray]] = []
    for column, category in enumerate(categories.tolist()):
        # Copies, because pycocotools writes into the objects.
        truth = [dict(annotation) for annotation in truth_of[category]]
        judged = _judged(images, category, truth, found_of[category])
        objects[:, :, column] = [_objects(area) for area in judged]
        parts.append(_in_order(judged, areas))
    row = np.concatenate([np.zeros(0, int), *(rows for _, rows in parts)])
    category = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
    given = np.argsort(row)
    everything = _joined([ranked for ranked, _ in parts]).taken(given)
    return Judged(images, categories, objects, category[given], everything, row[given])


def ids_of(listed: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the ids of images or categories, ascending."""
    return np.array(sorted(one["id"] for one in listed), dtype=np.int64)


def _by_class(annotations: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    result: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        result[annotation["category_id"]].append(annotation)
    return result


def _judged(
    images: Int[np.ndarray, " I"], category: int, truth: list[Any], found: list[Any]
) -> list[list[dict[str, Any] | None]]:
    """Return evaluateImg's results, [areas][images]; None where an image has neither."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truth, found):
            side: Any = COCO()
            side.dataset = {
                "images": [{"id": image} for image in images.tolist()],
                "categories": [{"id": category}],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        evaluation: Any = COCOeval(sides[0], sides[1], "bbox")
        evaluation.evaluate()
    return [
        evaluation.evalImgs[area * len(images) : (area + 1) * len(images)]
        for area in range(len(AREAS))
    ]


def _in_order(
    judged: list[list[dict[str, Any] | None]], areas: np.ndarray
) -> tuple[Ranked, np.ndarray]:
    """Return a class's detections image by image, and their indices; ``areas`` are of all boxes."""
    everywhere = [(i, one) for i, one in enumerate(judged[0]) if one is not None]
    score = np.concatenate([np.empty(0), *(one["dtScores"] for _, one in everywhere)])
    counts = [len(one["dtScores"]) for _, one in everywhere]
    image = np.repeat(np.array([i for i, _ in everywhere], dtype=np.int32), counts)
    row = np.array([d - 1 for _, one in everywhere for d in one["dtIds"]], dtype=int)
    own = areas[row]
    inside = np.array([(own >= low) & (own <= high) for low, high in Params("bbox").areaRng])
    return Ranked(image, score, inside, np.array([_states(area) for area in judged])), row


def _joined(several: Sequence[Ranked]) -> Ranked:
    none = Ranked(
        np.zeros(0, np.int32),
        np.zeros(0),
        np.zeros((len(AREAS), 0), bool),
        np.zeros((len(AREAS), THRESHOLDS, 0), np.int8),
    )
    parts = [none, *several]
    return Ranked(*(np.concatenate([getattr(one, f.name) for one in parts], -1)
                    for f in fields(Ranked)))  # fmt: skip


def _states(area: list[dict[str, Any] | None]) -> Int8[np.ndarray, "T N"]:
    """Return UNMATCHED, FOUND or IGNORED for each: a match has a nonzero id, and may be ignored."""
    there = [one for one in area if one is not None]
    empty = np.empty((THRESHOLDS, 0))
    matched = np.concatenate([empty, *(one["dtMatches"] for one in there)], axis=1) != 0
    ignored = np.concatenate([empty, *(one["dtIgnore"] for one in there)], axis=1) != 0
    return (matched * np.where(ignored, IGNORED, FOUND)).astype(np.int8)


def _objects(area: list[dict[str, Any] | None]) -> list[int]:
    """Count the objects of each image that are not ignored."""
    return [0 if one is None else len(one["gtIgnore"]) - sum(one["gtIgnore"]) for one in area]


def _recalled(in_order: Ranked, images: int) -> np.ndarray:
    """Count the found objects by entry of RECALLS and image, summed over the thresholds."""
    first = np.searchsorted(in_order.image, in_order.image)  # first of each detection's image
    rank = np.arange(len(in_order)) - first
    found = (in_order.match == FOUND).sum(1)  # [A, N]
    return np.array([
        np.bincount(in_order.image, np.where(rank < most, found[AREAS.index(area)], 0), images)
        for area, most in RECALLS
    ])  # fmt: skip
