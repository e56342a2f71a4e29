"""Which detections and which objects of an image overlap, and by how much, as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask

MOST = 100  # detections of a category in an image that count


@dataclass(frozen=True)
class Truth:
    """The objects of a data set, in the order of its annotations."""

    image: np.ndarray  # [G] ids
    category: np.ndarray  # [G] ids
    box: np.ndarray  # [G, 4] float64: x, y, width, height
    crowd: np.ndarray  # [G] bool

    @classmethod
    def of(cls, dataset: Mapping[str, Any]) -> Truth:
        """Those of an annotation file's content."""
        several = dataset["annotations"]
        return cls(
            _ids(several, "image_id"),
            _ids(several, "category_id"),
            _boxes(several),
            np.array([bool(one.get("iscrowd")) for one in several], bool),
        )

    @cached_property
    def by_image(self) -> dict[int, np.ndarray]:
        """The objects' positions, by the id of their image."""
        return _grouped(self.image)


@dataclass(frozen=True)
class Found:
    """Detections in the order in which AP counts them: falling scores, of equal ones by image."""

    image: np.ndarray  # [D] ids
    category: np.ndarray  # [D] ids
    box: np.ndarray  # [D, 4] float64: x, y, width, height
    row: np.ndarray  # [D] its position among the given detections

    @classmethod
    def of(
        cls, image: np.ndarray, category: np.ndarray, box: np.ndarray, score: np.ndarray
    ) -> Found:
        """Put them in that order, and leave out what is beyond MOST in an image and category."""
        order = by_score(image, score)
        order = order[_rank(image[order], category[order]) < MOST]
        return cls(image[order], category[order], box[order].astype(float), order)

    @classmethod
    def results(cls, detections: Sequence[Mapping[str, Any]]) -> Found:
        """Those of COCO's results."""
        score = np.array([one["score"] for one in detections], float)
        image, category = (_ids(detections, name) for name in ("image_id", "category_id"))
        return cls.of(image, category, _boxes(detections), score)


def by_score(image: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The order of falling scores, of equal ones by image; of one image as they were."""
    return np.lexsort((image, -score))  # stable


@dataclass(frozen=True)
class Pairs:
    """Detections and objects of one image that overlap, by detection, then by object."""

    of: np.ndarray  # [P] the detection's position
    to: np.ndarray  # [P] the object's
    iou: np.ndarray  # [P]; of a crowd the share of the detection that it covers

    def __getitem__(self, those: np.ndarray) -> Pairs:
        return Pairs(self.of[those], self.to[those], self.iou[those])


def overlaps(truth: Truth, found: Found) -> Pairs:
    """Those of all images."""
    of: list[np.ndarray] = [np.zeros(0, int)]
    to: list[np.ndarray] = [np.zeros(0, int)]
    ious: list[np.ndarray] = [np.zeros(0)]
    for image, here in _grouped(found.image).items():
        there = truth.by_image.get(image)
        if there is None:
            continue
        # pycocotools' own, for the same bits on every machine.
        iou: Any = mask.iou(found.box[here], truth.box[there], truth.crowd[there].tolist())
        rows, columns = np.nonzero(iou)
        of.append(here[rows])
        to.append(there[columns])
        ious.append(iou[rows, columns])
    pairs = Pairs(np.concatenate(of), np.concatenate(to), np.concatenate(ious))
    return pairs[np.argsort(pairs.of, kind="stable")]


def match(pairs: Pairs, size: int) -> np.ndarray:
    """Each detection's object, -1 where it has none: by falling score, the best that is free.

    Of objects that overlap it equally, the last, as pycocotools has it.
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
    """Each detection's highest IoU and the first object that has it; 0 and -1: it has none."""
    highest, at = np.zeros(size), np.full(size, -1)
    np.maximum.at(highest, pairs.of, pairs.iou)
    those = pairs[np.flatnonzero(pairs.iou == highest[pairs.of])[::-1]]  # the first is set last
    at[those.of] = those.to
    return highest, at


def _rank(image: np.ndarray, category: np.ndarray) -> np.ndarray:
    """The place of each detection among those of its image and category, from 0."""
    order = np.lexsort((category, image))  # stable
    starts = np.ones(len(order), bool)
    starts[1:] = (np.diff(image[order]) != 0) | (np.diff(category[order]) != 0)
    at = np.arange(len(order))
    rank = np.empty(len(order), int)
    rank[order] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return rank


def _grouped(image: np.ndarray) -> dict[int, np.ndarray]:
    """The positions of each image's rows, rising."""
    if not len(image):
        return {}
    order = np.argsort(image, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image[order])) + 1)
    return {int(image[group[0]]): group for group in groups}


def _ids(several: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([one[name] for one in several], np.int64)


def _boxes(several: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([one["bbox"] for one in several], float).reshape(-1, 4)
