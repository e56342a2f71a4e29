"""Which detection finds which object, image by image: pycocotools decides, this keeps it."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int8, Int32
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from gfl.evaluate import sound

UNMATCHED, FOUND, IGNORED = 0, 1, 2  # IGNORED: matched to a crowd or to an object of another size
AREAS = tuple(Params("bbox").areaRngLbl)  # all, small, medium, large
THRESHOLDS = len(Params("bbox").iouThrs)  # 0.50, 0.55, ..., 0.95
# The six recalls of METRICS: the area, and how many detections an image and class may have.
RECALLS = (
    ("all", 1), ("all", 10), ("all", 100), ("small", 100), ("medium", 100), ("large", 100),
)  # fmt: skip
MOST = max(Params("bbox").maxDets)


@dataclass(frozen=True)
class Ranked:
    """A class's detections in the order in which its curves are drawn: by falling score.

    Those of equal score stand as pycocotools has them: in the order of the images' ids, and within
    an image in the order in which they were given.
    """

    image: Int32[np.ndarray, " N"]  # its position in Matches.images
    score: np.ndarray  # [N]
    inside: Bool[np.ndarray, "A N"]  # the box's own area is in the range
    match: Int8[np.ndarray, "A T N"]  # UNMATCHED, FOUND or IGNORED

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Matches:
    """All that the twelve figures of any weighting of the images need.

    A are the areas of AREAS, T the thresholds of the IoU, F the recalls of RECALLS.
    """

    images: np.ndarray  # [I] ids, rising
    categories: np.ndarray  # [C] ids, rising
    objects: Int32[np.ndarray, "A I C"]  # that count: no crowds, and of the area
    recalled: Int32[np.ndarray, "F I C"]  # of them found, summed over the thresholds
    ranked: tuple[Ranked, ...]  # one a class


def match(dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Matches:
    """Match detections to the objects of a COCO data set, as pycocotools' evaluation does.

    Every decision is COCOeval.evaluate's own. It is run class by class, which changes nothing
    (classes never meet in it) and keeps the memory small. Neither argument is changed.

    Raises UserError as ``gfl.evaluate.coco_metrics`` does, with the same words.
    """
    found = sound(dataset, detections)
    images = np.array(sorted(image["id"] for image in dataset["images"]), dtype=np.int64)
    categories = np.array(sorted(c["id"] for c in dataset["categories"]), dtype=np.int64)
    objects = np.zeros((len(AREAS), len(images), len(categories)), dtype=np.int32)
    recalled = np.zeros((len(RECALLS), len(images), len(categories)), dtype=np.int32)
    truth_of, found_of = _by_class(dataset["annotations"]), _by_class(found)
    ranked = []
    for column, category in enumerate(categories.tolist()):
        # Copies: pycocotools writes into the objects.
        truth = [dict(annotation) for annotation in truth_of[category]]
        judged = _judged(images, category, truth, found_of[category])
        areas = {box["id"]: box["area"] for box in found_of[category]}
        ranked.append(_ranked(judged, areas))
        for image in range(len(images)):
            for area, of_area in enumerate(judged):
                if (one := of_area[image]) is not None:
                    objects[area, image, column] = np.count_nonzero(one["gtIgnore"] == 0)
            for figure, (area, most) in enumerate(RECALLS):
                if (one := judged[AREAS.index(area)][image]) is not None:
                    hits = _states(one)[:, :most] == FOUND
                    recalled[figure, image, column] = np.count_nonzero(hits)
    return Matches(images, categories, objects, recalled, tuple(ranked))


def _by_class(annotations: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    result: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        result[annotation["category_id"]].append(annotation)
    return result


def _judged(
    images: Int[np.ndarray, " I"], category: int, truth: list[Any], found: list[Any]
) -> list[list[dict[str, Any] | None]]:
    """Return evaluateImg's results, [areas][images]; None where an image has neither."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
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


def _states(one: Mapping[str, Any]) -> Int8[np.ndarray, "T N"]:
    """UNMATCHED, FOUND or IGNORED for each detection of an image, by its matches' ids."""
    matched = one["dtMatches"] != 0
    return (matched * np.where(one["dtIgnore"], IGNORED, FOUND)).astype(np.int8)


def _ranked(judged: list[list[dict[str, Any] | None]], areas: Mapping[int, float]) -> Ranked:
    everywhere = [(i, one) for i, one in enumerate(judged[0]) if one is not None]
    score = np.concatenate([np.empty(0), *(one["dtScores"] for _, one in everywhere)])
    counts = [len(one["dtScores"]) for _, one in everywhere]
    image = np.repeat(np.array([i for i, _ in everywhere], dtype=np.int32), counts)
    own = np.array([areas[d] for _, one in everywhere for d in one["dtIds"]], dtype=float)
    ranges = Params("bbox").areaRng
    inside = np.array([(own >= low) & (own <= high) for low, high in ranges])
    empty = np.empty((THRESHOLDS, 0), dtype=np.int8)
    states = [
        np.concatenate([empty, *(_states(one) for one in area if one is not None)], axis=1)
        for area in judged
    ]
    order = np.argsort(-score, kind="mergesort")  # pycocotools' order of ties
    return Ranked(image[order], score[order], inside[:, order], np.array(states)[..., order])
