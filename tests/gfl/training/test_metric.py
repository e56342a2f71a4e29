"""The validation loop's metric on COCO's published fixture, fed as mmdet feeds it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

import gfl.register  # noqa: F401
from gfl.training.metric import ExactCocoMetric

PUBLISHED = {
    "AP": 50.5, "AP50": 69.7, "AP75": 57.3, "APS": 58.6, "APM": 51.9, "APL": 50.1,
    "AR1": 38.7, "AR10": 59.4, "AR100": 59.5, "ARS": 64.0, "ARM": 56.6, "ARL": 56.4,
}  # fmt: skip


def evaluate(
    truth: Path, detections: list[dict], images: list[int], file: Path | None = None
) -> dict[str, float | None]:
    """Evaluate detections that are labelled in the order of ``truth``, on another file if given."""
    dataset = json.loads(truth.read_text())
    label = {category["id"]: i for i, category in enumerate(dataset["categories"])}
    found = defaultdict(list)
    for detection in detections:
        found[detection["image_id"]].append(detection)
    metric = ExactCocoMetric(ann_file=str(file or truth))
    metric.dataset_meta = {"classes": [c["name"] for c in dataset["categories"]]}
    for image in images:
        boxes = np.array([d["bbox"] for d in found[image]], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sample = {
            "img_id": image,
            "ori_shape": (1, 1),
            "pred_instances": {
                "bboxes": torch.from_numpy(boxes),
                "scores": torch.tensor([d["score"] for d in found[image]], dtype=torch.float64),
                "labels": torch.tensor([label[d["category_id"]] for d in found[image]]),
            },
        }
        metric.process({}, [sample])
    return metric.evaluate(size=len(images))


@pytest.fixture
def fixture(shared: Path) -> tuple[Path, list[dict]]:
    folder = shared / "data" / "coco-eval-100"
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    return folder / "instances_val2014_100.json", results


def test_gives_the_twelve_published_metrics(fixture: tuple[Path, list[dict]]) -> None:
    truth, detections = fixture
    images = [image["id"] for image in json.loads(truth.read_text())["images"]]
    metrics = evaluate(truth, detections, images)
    assert {name: round(value, 1) for name, value in metrics.items()} == PUBLISHED


def test_other_ids_and_another_order_of_categories_change_no_figure(
    fixture: tuple[Path, list[dict]], tmp_path: Path
) -> None:
    truth, detections = fixture
    content = json.loads(truth.read_text())
    images = [image["id"] for image in content["images"]]
    for one in content["categories"]:
        one["id"] = 100 - one["id"]  # 1 to 90: 10 to 99, in reverse
    for one in content["annotations"]:
        one["category_id"] = 100 - one["category_id"]
    content["categories"] = content["categories"][3:] + content["categories"][:3]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    metrics = evaluate(truth, detections, images)
    assert evaluate(truth, detections, images, other) == pytest.approx(metrics, abs=1e-9)


def test_counts_only_the_images_that_were_predicted(tmp_path: Path) -> None:
    box = {"bbox": [10, 10, 20, 20], "category_id": 1, "area": 400, "iscrowd": 0}
    dataset = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in (1, 2)],
        "annotations": [box | {"id": 1, "image_id": 1}, box | {"id": 2, "image_id": 2}],
        "categories": [{"id": 1, "name": "disc"}],
    }
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(dataset))
    detections = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9}]
    assert evaluate(truth, detections, [1])["AP"] == pytest.approx(100)
    assert evaluate(truth, detections, [1, 2])["AP"] == pytest.approx(50.495, abs=1e-3)
