"""COCO's twelve metrics of many runs, by hotcoco; pycocotools evaluates a sample of them.

hotcoco computes pycocotools' numbers to the last bit; ``--full`` holds it to that on every run.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.checkout import code_state
from gfl.predictions import schema
from gfl.records.record import METRICS

Metrics = Mapping[str, float | None]
SHARE = 10  # of so many runs, pycocotools evaluates one


def sample(ids: Sequence[str]) -> set[str]:
    """Draw the runs that pycocotools evaluates, a tenth: by the commit, without one at random."""
    commit, _ = code_state()
    return set(random.Random(commit).sample(sorted(ids), -(-len(ids) // SHARE)))


class Evaluator:
    """Both evaluators, on one ground truth, which each of them indexes once."""

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self._dataset = dataset
        self._fast: Any = None
        self._judge: Any = None

    def metrics(self, columns: Mapping[str, np.ndarray], by_pycocotools: bool) -> Metrics:
        """Return the metrics of stored detections, as ``gfl.training.evaluate.coco_metrics``.

        Raises:
            UserError: they cannot be evaluated.
        """
        if by_pycocotools or not self._is_sound(columns):
            return self._by_pycocotools(columns)
        import hotcoco

        if self._fast is None:
            parts = ("images", "categories", "annotations")
            self._fast = hotcoco.COCO({part: self._dataset[part] for part in parts})
        ids, categories = (columns[name].astype(float) for name in ("image_id", "category_id"))
        rows = [ids, *schema.boxes(columns).T, columns["score"].astype(float), categories]
        evaluation = hotcoco.COCOeval(self._fast, self._fast.load_res(np.stack(rows, 1)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.summarize()
        stats = zip(METRICS, map(float, evaluation.stats), strict=True)
        return {name: None if value == -1 else 100 * value for name, value in stats}

    def _by_pycocotools(self, columns: Mapping[str, np.ndarray]) -> Metrics:
        from pycocotools.coco import COCO

        from gfl.training.evaluate import coco_metrics

        if self._judge is None:
            self._judge = COCO()
            self._judge.dataset = self._dataset
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                self._judge.createIndex()
        return coco_metrics(self._judge, schema.results(columns))

    def _is_sound(self, columns: Mapping[str, np.ndarray]) -> bool:
        """Return whether hotcoco may evaluate them; pycocotools' wrapper says what is wrong."""
        known = {
            name: [one["id"] for one in self._dataset[part]]
            for name, part in (("image_id", "images"), ("category_id", "categories"))
        }
        boxes = schema.boxes(columns)
        return bool(
            len(boxes)
            and all(np.isin(columns[name], ids).all() for name, ids in known.items())
            and np.isfinite(boxes).all()
            and np.isfinite(columns["score"]).all()
            and (boxes[:, 2:] >= 0).all()
        )
