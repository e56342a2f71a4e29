"""Matching of detections with objects in all images at once, by pycocotools' decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int8, Int32
from pycocotools.cocoeval import Params

from gfl.data.json_values import LARGEST
from gfl.predictions import schema
from gfl.predictions.overlaps import Found, Pairs, Truth, overlaps, rank
from gfl.training.evaluate import sound

UNMATCHED, FOUND, IGNORED = 0, 1, 2  # IGNORED: matched to a crowd or to an object of another area
AREAS = tuple(Params("bbox").areaRngLbl)  # all, small, medium, large
IOUS = Params("bbox").iouThrs  # 0.50, 0.55, ..., 0.95, with numpy's rounding
THRESHOLDS = len(IOUS)
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

    Every decision is COCOeval.evaluateImg's; overlaps are pycocotools' own numbers.
    """
    sound(dataset, detections)
    return _judged(dataset, Found.results(detections))


def judge_stored(dataset: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Judged:
    """Return ``judge`` of stored columns, which are checked and matched without a list of them."""
    # Checked one by one only for the reasons to give.
    sound(dataset, [] if _are_sound(dataset, columns) else schema.results(columns))
    return _judged(dataset, Found.stored(columns))


def _are_sound(dataset: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> bool:
    """Return whether every detection is one that ``sound`` accepts."""
    boxes, score = schema.boxes(columns), columns["score"]
    return bool(
        np.isin(columns["image_id"], ids_of(dataset["images"])).all()
        and np.isin(columns["category_id"], ids_of(dataset["categories"])).all()
        and (np.abs(score) < LARGEST).all()  # not of NaN
        and (np.abs(boxes) < LARGEST).all()
        and (boxes[:, 2:] >= 0).all()
    )


def _judged(dataset: Mapping[str, Any], found: Found) -> Judged:
    """Return ``judge``'s outcome of sound detections."""
    truth = Truth.of(dataset)
    images, categories = ids_of(dataset["images"]), ids_of(dataset["categories"])
    ignored = truth.crowd | ~_in_areas(truth.area)
    given = np.argsort(found.row)
    image, category = found.image[given], found.category[given]
    detections = Ranked(
        np.searchsorted(images, image).astype(np.int32),
        found.score[given],
        _in_areas(found.box[given, 2] * found.box[given, 3]),
        _matched(truth, found, overlaps(truth, found), ignored)[..., given],
    )
    return Judged(
        images,
        categories,
        _objects(truth, ~ignored, images, categories),
        np.searchsorted(categories, category),
        detections,
        found.row[given],
    )


def ids_of(listed: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the ids of images or categories, ascending."""
    return np.array(sorted(one["id"] for one in listed), dtype=np.int64)


def _in_areas(area: np.ndarray) -> Bool[np.ndarray, "A N"]:
    """Return whether each area, in px², is in the range of each of AREAS."""
    low, high = np.array(Params("bbox").areaRng, float).T[..., None]
    return (low <= area) & (area <= high)


def _objects(
    truth: Truth, counted: np.ndarray, images: np.ndarray, categories: np.ndarray
) -> Int32[np.ndarray, "A I C"]:
    """Count the objects of each area, image and category."""
    objects = np.zeros((len(AREAS), len(images), len(categories)), dtype=np.int32)
    area, which = np.nonzero(counted)
    at = np.searchsorted(images, truth.image), np.searchsorted(categories, truth.category)
    np.add.at(objects, (area, at[0][which], at[1][which]), 1)
    return objects


def _matched(
    truth: Truth, found: Found, pairs: Pairs, ignored: Bool[np.ndarray, "A G"]
) -> Int8[np.ndarray, "A T N"]:
    """Match the detections of each image and class by falling score, all images in step.

    A detection gets the object of highest overlap that counts in the area and is free; if there is
    none, an ignored one, of which a crowd is always free. Of equal overlaps the last object wins.
    """
    match = np.full((len(AREAS), THRESHOLDS, len(found.image)), UNMATCHED, np.int8)
    taken = np.zeros((len(AREAS), THRESHOLDS, len(truth.image)), bool)
    for turn in _turns(truth, found, pairs):
        first = np.flatnonzero(np.diff(turn.of, prepend=-1))  # of each detection's pairs
        free = (turn.iou >= IOUS[:, None]) & ~taken[..., turn.to]
        # A detection's pairs ascend in preference, and any that counts comes after all ignored.
        preference = np.arange(1, len(turn.of) + 1) + len(turn.of) * ~ignored[:, None, turn.to]
        best = np.maximum.reduceat(np.where(free, preference, 0), first, axis=-1)
        area, threshold, which = np.nonzero(best)
        chosen = best[area, threshold, which]
        to = turn.to[(chosen - 1) % len(turn.of)]
        match[area, threshold, turn.of[first][which]] = np.where(
            chosen > len(turn.of), FOUND, IGNORED
        )
        taken[area, threshold, to] = ~truth.crowd[to]
    return match


def _turns(truth: Truth, found: Found, pairs: Pairs) -> Iterator[Pairs]:
    """Yield the candidates of each image's and class's best detection, of its second, and so on.

    By detection, then by rising preference.
    """
    same = truth.category[pairs.to] == found.category[pairs.of]
    pairs = pairs[same & (pairs.iou >= IOUS[0])]
    pairs = pairs[np.lexsort((pairs.to, pairs.iou, pairs.of))]
    able, at = np.unique(pairs.of, return_inverse=True)
    turn = rank(found.image[able], found.category[able])[at]
    order = np.argsort(turn, kind="stable")
    if len(order):
        for these in np.split(order, np.flatnonzero(np.diff(turn[order])) + 1):
            yield pairs[these]


def _recalled(in_order: Ranked, images: int) -> np.ndarray:
    """Count the found objects by entry of RECALLS and image, summed over the thresholds."""
    first = np.searchsorted(in_order.image, in_order.image)  # first of each detection's image
    rank = np.arange(len(in_order)) - first
    found = (in_order.match == FOUND).sum(1)  # [A, N]
    return np.array([
        np.bincount(in_order.image, np.where(rank < most, found[AREAS.index(area)], 0), images)
        for area, most in RECALLS
    ])  # fmt: skip
