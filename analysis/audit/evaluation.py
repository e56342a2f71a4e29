"""COCO's twelve metrics of many runs by our own evaluator; pycocotools evaluates a sample of them.

Ours computes pycocotools' numbers to the last bit; ``--full`` holds it to that on every run.
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

Metrics = Mapping[str, float | None]
SHARE = 10  # of so many runs, pycocotools evaluates one


def sample(ids: Sequence[str]) -> set[str]:
    """Draw the runs that pycocotools evaluates, a tenth: by the commit, without one at random."""
    commit, _ = code_state()
    return set(random.Random(commit).sample(sorted(ids), -(-len(ids) // SHARE)))


class Evaluator:
    """Both evaluators, on one ground truth, which pycocotools indexes once."""

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self._dataset = dataset
        self._judge: Any = None

    def metrics(self, columns: Mapping[str, np.ndarray], by_pycocotools: bool) -> Metrics:
        """Return the metrics of stored detections, as ``gfl.training.evaluate.coco_metrics``.

        Raises:
            UserError: they cannot be evaluated.
        """
        from gfl.predictions.accumulation import accumulated  # imports pycocotools, slow
        from gfl.predictions.matching import judge_stored

        if by_pycocotools:
            return self._by_pycocotools(schema.results(columns))
        return accumulated(judge_stored(self._dataset, columns))

    def _by_pycocotools(self, found: Sequence[Mapping[str, Any]]) -> Metrics:
        from pycocotools.coco import COCO

        from gfl.training.evaluate import coco_metrics

        if self._judge is None:
            self._judge = COCO()
            self._judge.dataset = self._dataset
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                self._judge.createIndex()
        return coco_metrics(self._judge, found)
