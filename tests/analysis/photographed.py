"""Finished runs at photos that nobody trained: files as runs leave them, of three photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import recorded

from experiments.matrix import Run, plan
from experiments.profiles import PHOTOS
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.predictions import matches, schema
from gfl.predictions.matches import Evaluated
from gfl.predictions.schema import DETECTION_COLUMNS, LOCATION_COLUMNS, SIDES, Predictions
from gfl.records.record import Store

IMAGES = (139, 285, 632)
SIZE = (640, 480)  # of the originals
SCALE = 0.5  # of the prepared ones, 320 x 240
STRIDE = 8
# Annotation ids and boxes in px of the originals, xyxy: a wide one and a high one an image.
OBJECTS = {
    gt: (image, (64.0 * k + 96, 64.0, 64.0 * k + 352, 400.0))
    for gt, (image, k) in enumerate(((i, k) for i in IMAGES for k in (0, 2)), start=1)
}
UNMATCHED = 6  # an object without a positive
PIXEL = (250, 5, 250)  # RGB of every photograph: no figure has this colour


def dataset() -> dict[str, Any]:
    """The ground truth; besides the objects there is a crowd, which is none."""
    boxes = {gt: (image, box, 0) for gt, (image, box) in OBJECTS.items()}
    boxes[90] = (IMAGES[0], (0.0, 0.0, 40.0, 40.0), 1)
    return {
        "images": [
            {"id": i, "file_name": f"{i:012}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for i in IMAGES
        ],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": gt, "image_id": image, "category_id": 1, "iscrowd": crowd,
             "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            for gt, (image, (x1, y1, x2, y2), crowd) in boxes.items()
        ],
    }  # fmt: skip


def write_photographs(root: Path) -> Path:
    """Write the originals where COCO has them, all of one colour."""
    (root / "val2017").mkdir(parents=True)
    pixels = np.full((SIZE[1], SIZE[0], 3), PIXEL[::-1], np.uint8)
    for image in IMAGES:
        cv2.imwrite(str(root / "val2017" / f"{image:012}.jpg"), pixels)
    return root


def fill(store: Store, reference: bool = True) -> list[Run]:
    """Write the runs that the tables declare, at seed 0, with their predictions."""
    runs = plan(catalogue.TABLES.values(), PHOTOS, [0])
    for run in runs:
        if reference:
            path = store.reference_path(PHOTOS.name, run.id)
            folder = store.reference_predictions(PHOTOS.name, run.id)
        else:
            folder = store.run_dir(PHOTOS.name, run.id)
            path = folder / "record.json"
        for parent in (path.parent, folder):
            parent.mkdir(parents=True, exist_ok=True)
        made = predicted(run)
        sums = schema.write(made, folder)
        found = schema.results(made.detections)
        sums |= matches.write(Evaluated.of(dataset(), found), folder)
        curve = [{"iter": i, "loss": 1 / (1 + i)} for i in range(5)]
        recorded.of(run, predictions=sums, commit="c0ffee" * 6, curve=curve).save(path)
    return runs


def predicted(run: Run) -> Predictions:
    """The predictions of a run: each object found ten times, and nothing where none is."""
    random = np.random.default_rng(0)
    n = run.experiment.n if run.experiment.boxes == "general" else None
    rows = list(_locations(run.experiment, random))
    locations = {
        name: np.array([row[name] for row in rows], kind) for name, kind in LOCATION_COLUMNS.items()
    }
    p = None
    if n is not None:
        bins = run.experiment.delta * np.arange(n + 1)
        means = np.stack([locations[f"mean_{side}"] for side in SIDES], 1)[..., None]
        width = random.uniform(0.3, 1.2, means.shape)
        density = np.exp(-(((bins - means) / width) ** 2))
        p = np.round(255 * density / density.max(-1, keepdims=True)).astype(np.uint8)
    with_locations = run.experiment.host in ("atss", "fcos")
    return Predictions(
        run.id, n, run.experiment.delta if n else None, _detections(random),
        locations if with_locations else None, p if with_locations else None,
    )  # fmt: skip


def _detections(random: np.random.Generator) -> dict[str, np.ndarray]:
    rows = []
    for gt, (image, box) in OBJECTS.items():
        for score, off in 5 * [(0.9, 4), (0.3, 60)]:
            x1, y1, x2, y2 = np.array(box) + off
            rows.append(
                {"image_id": image, "category_id": 1, "score": score - random.uniform(0, 0.1),
                 "class_score": score, "quality_score": np.nan, "x1": x1, "y1": y1, "x2": x2,
                 "y2": y2, "iou": 0.9 if off == 4 else 0.4, "gt_id": gt}
            )  # fmt: skip
    rows.sort(key=lambda row: (row["image_id"], -row["score"]))
    return {
        name: np.array([r[name] for r in rows], kind) for name, kind in DETECTION_COLUMNS.items()
    }


def _locations(experiment: Experiment, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Five positives in each object but one, and ten locations of the background an image."""
    for image in IMAGES:
        for gt, (of, box) in OBJECTS.items():
            if of != image or gt == UNMATCHED:
                continue
            x1, y1, x2, y2 = np.array(box) * SCALE
            for i in range(5):
                x = STRIDE * np.floor((x1 + x2) / 2 / STRIDE) + STRIDE * (i - 2)
                y = STRIDE * np.floor((y1 + y2) / 2 / STRIDE)
                distances = np.array([x - x1, y - y1, x2 - x, y2 - y]) / STRIDE
                yield _row(
                    experiment, random, image_id=image, x=x, y=y, gt_id=gt, positive=True,
                    class_score=0.6 + 0.05 * i, quality=0.9, iou=0.7 + 0.05 * i,
                    centerness=0.1 * i + 0.1 + gt / 100, target=distances,
                )  # fmt: skip
        for _ in range(10):
            x, y = STRIDE * random.integers(1, 30, 2)
            yield _row(
                experiment, random, image_id=image, x=x, y=y, gt_id=-1, positive=False,
                class_score=random.uniform(0, 0.2), quality=random.uniform(0.2, 0.95),
                iou=random.uniform(0, 0.09), centerness=np.nan, target=np.full(4, np.nan),
            )  # fmt: skip


def _row(experiment: Experiment, random: np.random.Generator, **values: Any) -> dict[str, Any]:
    target, quality = values.pop("target"), values.pop("quality")
    branch = experiment.quality in ("iou-branch", "centerness-branch")
    score = values["class_score"] * (quality if branch else 1)
    row = {"level": 1, "stride": STRIDE, "category_id": 1, "sampled": not values["positive"]}
    row |= {"quality_score": quality if branch else np.nan, "score": score}
    for k, side in enumerate(SIDES):
        mean = target[k] + random.uniform(-0.3, 0.3) if values["positive"] else 2.0
        row |= {f"target_{side}": target[k], f"mean_{side}": mean, f"sigma_{side}": np.nan}
        if experiment.boxes == "gaussian":
            row[f"sigma_{side}"] = 0.5
    return row | values
