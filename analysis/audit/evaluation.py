"""COCO's twelve metrics of many runs by our own evaluator; pycocotools evaluates a sample of them.

Ours computes pycocotools' numbers to the last bit; ``--full`` holds it to that on every run.
"""

from __future__ import annotations

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


def metrics(
    dataset: Mapping[str, Any], columns: Mapping[str, np.ndarray], by_pycocotools: bool
) -> Metrics:
    """Return the metrics of stored detections, as ``gfl.training.evaluate.coco_metrics``.

    Raises:
        UserError: they cannot be evaluated.
    """
    from gfl.predictions.accumulation import accumulated  # imports pycocotools, slow
    from gfl.predictions.matching import judge_stored
    from gfl.training.evaluate import coco_metrics

    if by_pycocotools:
        return coco_metrics(dataset, schema.results(columns))
    return accumulated(judge_stored(dataset, columns))
