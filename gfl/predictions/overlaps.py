"""Overlaps of detections and objects in an image, as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask

from gfl.predictions import schema

MOST = 100  # counted detections of a category in an image


@dataclass(frozen=True)
class Truth:
    """Objects of a data set, in the order of its annotations."""

    image: np.ndarray  # [G] ids
    category: np.ndarray  # [G] ids
    box: np.ndarray  # [G, 4] float64: x, y, width, height
    area: np.ndarray  # [G] px², as annotated
    crowd: np.ndarray  # [G] bool

    @classmethod
    def of(cls, dataset: Mapping[str, Any]) -> Truth:
        """Return the objects of an annotation file's content."""
        several = dataset["annotations"]
        return cls(
            _ids(several, "image_id"),
            _ids(several, "category_id"),
            _boxes(several),
            np.array([one["area"] for one in several], float),
            np.array([bool(one.get("iscrowd")) for one in several], bool),
        )

    @cached_property
    def by_image(self) -> dict[int, np.ndarray]:
        """Return the objects' indices, by the id of their image."""
        return _grouped(self.image)


@dataclass(frozen=True)
class Found:
    """Detections in the order in which AP counts them: by falling score, ties by image."""

    image: np.ndarray  # [D] ids
    category: np.ndarray  # [D] ids
    box: np.ndarray  # [D, 4] float64: x, y, width, height
    score: np.ndarray  # [D]
    row: np.ndarray  # [D] index into the given detections

    @classmethod
    def of(
        cls, image: np.ndarray, category: np.ndarray, box: np.ndarray, score: np.ndarray
    ) -> Found:
        """Sort the detections, and drop those beyond MOST in an image and category."""
        order = by_score(image, score)
        order = order[rank(image[order], category[order]) < MOST]
        return cls(image[order], category[order], box[order].astype(float), score[order], order)

    @classmethod
    def results(cls, detections: Sequence[Mapping[str, Any]]) -> Found:
        """Return the detections of COCO's results."""
        score = np.array([one["score"] for one in detections], float)
        image, category = (_ids(detections, name) for name in ("image_id", "category_id"))
        return cls.of(image, category, _boxes(detections), score)

    @classmethod
    def stored(cls, columns: Mapping[str, np.ndarray]) -> Found:
        """Return the detections of stored columns, to the bit those of ``schema.results``."""
        image, category = (columns[name].astype(np.int64) for name in ("image_id", "category_id"))
        return cls.of(image, category, schema.boxes(columns), columns["score"].astype(float))


def by_score(image: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the order of falling scores, ties by image, within an image as given."""
    return np.lexsort((image, -score))  # stable


@dataclass(frozen=True)
class Pairs:
    """Overlapping detections and objects of one image, by detection, then by object."""

    of: np.ndarray  # [P] the detection's index
    to: np.ndarray  # [P] the object's
    iou: np.ndarray  # [P]; for a crowd, the fraction of the detection that it covers

    def __getitem__(self, those: np.ndarray) -> Pairs:
        return Pairs(self.of[those], self.to[those], self.iou[those])


def overlaps(truth: Truth, found: Found) -> Pairs:
    """Return the overlaps in all images."""
    of: list[np.ndarray] = [np.zeros(0, int)]
    to: list[np.ndarray] = [np.zeros(0, int)]
    ious: list[np.ndarray] = [np.zeros(0)]
    for image, here in _grouped(found.image).items():
        there = truth.by_image.get(image)
        if there is None:
            continue
        # pycocotools' own, for identical bits on every machine.
        iou: Any = mask.iou(found.box[here], truth.box[there], truth.crowd[there].tolist())
        rows, columns = np.nonzero(iou)
        of.append(here[rows])
        to.append(there[columns])
        ious.append(iou[rows, columns])
    pairs = Pairs(np.concatenate(of), np.concatenate(to), np.concatenate(ious))
    return pairs[np.argsort(pairs.of, kind="stable")]


def match(pairs: Pairs, size: int) -> np.ndarray:
    """Return each detection's object, -1 if none: by falling score, the best that is free.

    Of objects with equal overlap, the last, as in pycocotools.
    """
    taken = np.full(size, -1)
    gone: set[int] = set()
    pairs = pairs[np.lexsort((-pairs.to, -pairs.iou, pairs.of))]
    matched = -1
    for detection, thing in zip(pairs.of.tolist(), pairs.to.tolist(), strict=True):
        if detection != matched and thing not in gone:
            taken[detection] = thing
            gone.add(thing)
            matched = detection
    return taken


def best(pairs: Pairs, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each detection's highest IoU and the first object with it; 0 and -1 if none."""
    highest, at = np.zeros(size), np.full(size, -1)
    np.maximum.at(highest, pairs.of, pairs.iou)
    those = pairs[np.flatnonzero(pairs.iou == highest[pairs.of])[::-1]]  # the first is set last
    at[those.of] = those.to
    return highest, at


def rank(image: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Return the rank of each detection among those of its image and category, from 0."""
    order = np.lexsort((category, image))  # stable
    starts = np.ones(len(order), bool)
    starts[1:] = (np.diff(image[order]) != 0) | (np.diff(category[order]) != 0)
    at = np.arange(len(order))
    rank = np.empty(len(order), int)
    rank[order] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return rank


def _grouped(image: np.ndarray) -> dict[int, np.ndarray]:
    """Return the indices of each image's rows, ascending."""
    if not len(image):
        return {}
    order = np.argsort(image, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image[order])) + 1)
    return {int(image[group[0]]): group for group in groups}


def _ids(several: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([one[name] for one in several], np.int64)


def _boxes(several: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([one["bbox"] for one in several], float).reshape(-1, 4)
