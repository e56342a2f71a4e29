"""COCO's twelve metrics of a set of detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gfl.data.annotations import in_normal_form, read
from gfl.data.json_values import Found, is_in, is_number, read_json, some
from gfl.errors import UserError
from gfl.records.record import METRICS

GROUND_TRUTH = "the ground truth"  # in messages, if it is not from a file


def coco_metrics(
    ground_truth: Path | Mapping[str, Any], detections: Path | Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Return COCO's twelve box metrics, in percentage points, under the names of METRICS.

    The ground truth is an annotation file, or the content of one. Detections are as in COCO's
    result files: image_id, category_id, bbox (x, y, width, height in pixels) and score. A metric
    without ground-truth objects is None, where pycocotools gives -1; without any detection the
    others are 0.

    Raises UserError, before evaluating, for input on which pycocotools would fail or miscount.
    """
    if isinstance(ground_truth, Path):
        dataset = read(ground_truth)
    else:
        dataset = in_normal_form(ground_truth, GROUND_TRUTH)
    found = _sound(detections, dataset)
    objects = [dict(one) for one in dataset["annotations"]]  # pycocotools writes into them
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        # Built here because pycocotools' loadRes fails on an empty list and changes its input.
        truth, results = (_coco(dataset | {"annotations": each}) for each in (objects, found))
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = (float(value) for value in evaluation.stats)
    return {
        name: None if value == -1 else 100 * value
        for name, value in zip(METRICS, metrics, strict=True)
    }


def class_metrics(
    ground_truth: Path, detections: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Return the twelve metrics of each class alone, by its name, in the file's order.

    The overall AP is the mean over classes that have objects.

    Raises UserError as ``coco_metrics`` does.
    """
    dataset = read(ground_truth)
    _sound(detections, dataset)  # includes those of classes not in the file
    metrics = {}
    for category in dataset["categories"]:
        boxes = [a for a in dataset["annotations"] if a["category_id"] == category["id"]]
        truth = dataset | {"categories": [category], "annotations": boxes}
        mine = [found for found in detections if found.get("category_id") == category["id"]]
        metrics[category["name"]] = coco_metrics(truth, mine)
    return metrics


def sound(dataset: Any, detections: Path | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return detections as pycocotools' annotations, numbered from 1.

    Raises UserError, of one line per problem, for input on which pycocotools would fail or
    miscount: violations of ``gfl.data.annotations``' normal form, numbers that are not finite,
    unknown images or categories.
    """
    if (normal_form := in_normal_form(dataset, GROUND_TRUTH)) is not dataset:
        raise UserError(f"{GROUND_TRUTH} is not in normal form")
    return _sound(detections, normal_form)


def _coco(dataset: Any) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _sound(
    detections: Path | Sequence[Mapping[str, Any]], dataset: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return detections as pycocotools' annotations, or raise a UserError with the problems."""
    where = detections if isinstance(detections, Path) else "the detections"
    listed: Any = read_json(detections) if isinstance(detections, Path) else detections
    if not isinstance(listed, Sequence) or not all(isinstance(d, Mapping) for d in listed):
        raise UserError(f"{where} cannot be evaluated: not a list of objects, one a detection")
    images = {image["id"] for image in dataset["images"]}
    categories = {category["id"] for category in dataset["categories"]}
    sound: list[dict[str, Any]] = []
    problems: Found = defaultdict(list)
    for position, detection in enumerate(listed):
        image, category = detection.get("image_id"), detection.get("category_id")
        score, box = detection.get("score"), detection.get("bbox")
        box = list(box) if isinstance(box, Iterable) else []
        if not is_in(image, images):
            problems["unknown image_id"].append(image)
        if not is_in(category, categories):
            problems["unknown category_id"].append(category)
        if not is_number(score):
            problems["score that is not a finite number, at position"].append(position)
        if len(box) != 4 or not all(map(is_number, box)) or min(box[2:]) < 0:
            problems["bbox that is not x, y, width, height, at position"].append(position)
        elif not problems:
            sound.append({
                "id": position + 1, "image_id": image, "category_id": category, "iscrowd": 0,
                "bbox": [float(x) for x in box], "area": float(box[2]) * float(box[3]),
                "score": float(score),
            })  # fmt: skip
    if problems:
        reasons = [f"{len(which)} x {what}: {some(which)}" for what, which in problems.items()]
        raise UserError("\n  ".join([f"{where} cannot be evaluated:", *reasons]))
    return sound
