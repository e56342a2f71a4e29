"""Small COCO data sets and results for hypothesis, and pycocotools' own metrics of them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SMALL, MEDIUM = 32.0**2, 96.0**2  # the borders of the ranges of areas
# Sides with areas on the borders, just beside them, and well inside.
SIDES = ((32.0, 32.0), (31.0, 33.0), (96.0, 96.0), (96.0, 97.0), (20.0, 20.0), (120.0, 100.0))
AREAS = (SMALL, SMALL - 1e-9, SMALL + 1e-9, MEDIUM, MEDIUM - 1, MEDIUM + 1, 0.0, 1e10)
PLACES = (0.0, 4.0, 8.0, 60.0)
SCORES = (0.2, 0.5, 0.5000000001, 0.9)
MOST_IMAGES, MOST_CLASSES = 5, 3

boxes = st.builds(
    lambda x, y, sides: [x, y, *sides],
    st.sampled_from(PLACES), st.sampled_from(PLACES[:2]), st.sampled_from(SIDES),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn, ties: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A data set and results; without ``ties`` no score is twice in an image and class.

    Images and classes may have neither objects nor detections.
    """
    images, classes = draw(st.integers(1, MOST_IMAGES)), draw(st.integers(1, MOST_CLASSES))
    image, category = st.integers(1, images), st.integers(1, classes)
    objects = draw(
        st.lists(
            st.tuples(
                image, category, boxes,
                st.none() | st.sampled_from(AREAS), st.sampled_from([0, 0, 0, 1]),
            ),
            max_size=8,
        )
    )  # fmt: skip
    found = draw(
        st.lists(
            st.tuples(image, category, st.sampled_from(SCORES), boxes),
            max_size=24,
            unique_by=None if ties else lambda one: one[:3],
        )
    )
    dataset = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 300}
            for i in range(images, 0, -1)  # pycocotools sorts them
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(classes, 0, -1)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd,
             "area": box[2] * box[3] if area is None else area}
            for i, (image, category, box, area, crowd) in enumerate(objects, start=1)
        ],
    }  # fmt: skip
    detections = [
        {"image_id": image, "category_id": category, "score": score, "bbox": box}
        for image, category, score, box in found
    ]
    return dataset, detections


def judged(dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """pycocotools' twelve metrics in [0, 1]; NaN where it says -1."""
    evaluation = evaluated(dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats == -1, np.nan, evaluation.stats)


def evaluated(dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Any:
    """COCOeval after its matching; detections are numbered from 1."""
    truth: Any = COCO()
    truth.dataset = copy.deepcopy(dict(dataset))
    found: Any = COCO()
    found.dataset = truth.dataset | {
        "annotations": [
            {**one, "id": i, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
            for i, one in enumerate(detections, start=1)
        ]
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation: Any = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
    return evaluation


def repeated(
    dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], times: Mapping[int, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The data set and the results with every image as often as ``times`` says, side by side."""
    copies = [(image, 1000 * image + copy) for image, n in times.items() for copy in range(n)]

    def of(image: int, listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [one for one in listed if one["image_id"] == image]

    annotations = [
        {**one, "image_id": new}
        for image, new in copies
        for one in of(image, dataset["annotations"])
    ]
    return (
        {
            "images": [
                {**image, "id": new}
                for old, new in copies
                for image in dataset["images"]
                if image["id"] == old
            ],
            "categories": dataset["categories"],
            "annotations": [{**one, "id": i} for i, one in enumerate(annotations, start=1)],
        },
        [{**one, "image_id": new} for image, new in copies for one in of(image, detections)],
    )
