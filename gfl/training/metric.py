"""COCO's twelve metrics inside mmengine's validation loop, unrounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from gfl.training.evaluate import coco_metrics


@METRICS.register_module()
class ExactCocoMetric(CocoMetric):
    """mmdet's COCO metric, which rounds to three digits, with the values of ``evaluate``.

    Only predicted images count: a capped run evaluates a few.
    """

    default_prefix = ""  # plain names for the metrics

    def __init__(self, ann_file: str, collect_dir: str | None = None) -> None:
        super().__init__(ann_file=ann_file, metric="bbox")
        self.collect_dir = collect_dir  # not a parameter of mmdet's metric
        self.detections: list[dict[str, Any]] = []  # of the last evaluation, as COCO's results

    def compute_metrics(
        self, results: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    ) -> dict[str, float | None]:
        """Return the twelve metrics in percent, under ``gfl.training.evaluate.METRICS``."""
        api: Any = self._coco_api
        meta: Any = self.dataset_meta
        truth = api.dataset
        categories = api.get_cat_ids(cat_names=meta["classes"])
        predictions = [prediction for _, prediction in results]
        self.detections = [
            {
                "image_id": prediction["img_id"],
                "category_id": categories[label],
                "bbox": [float(x) for x in (*box[:2], *(box[2:] - box[:2]))],
                "score": float(score),
            }
            for prediction in predictions
            for box, score, label in zip(
                prediction["bboxes"], prediction["scores"], prediction["labels"], strict=True
            )
        ]
        images = {prediction["img_id"] for prediction in predictions}
        evaluated = truth | {
            "images": [image for image in truth["images"] if image["id"] in images],
            "annotations": [a for a in truth["annotations"] if a["image_id"] in images],
        }
        return coco_metrics(evaluated, self.detections)
