"""COCO's twelve metrics of a run, and those of bootstrap samples of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pandas as pd

    from gfl.predictions.matching import Matches

RESAMPLES = 1000
SEED = 0  # of the weights, common to all runs, so that all differences are paired


@dataclass(frozen=True)
class Replicates:
    """A run's twelve metrics, in percent and METRICS' order, and those of resampled images.

    Runs whose replicates share a ``draw`` were evaluated on the same images under the same
    weights, so their difference, row by row, is a paired one.
    """

    metrics: Float[np.ndarray, " 12"]  # NaN if the data set has no such object
    resampled: Float[np.ndarray, "R 12"]
    draw: str  # hash of the images' ids and of the weights


def replicate(matches: Matches, rng: np.random.Generator, count: int = RESAMPLES) -> Replicates:
    """Evaluate a run on its images and on ``count`` bootstrap samples of them.

    Generators with the same seed give every run on the same images the same samples.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7
    (1979). Images are the sampling unit: their objects and detections stay together.
    """
    from analysis.stats.resampling import evaluate, resamples  # pycocotools: tables need none

    images = len(matches.images)
    weights = resamples(images, count, rng)
    metrics = evaluate(matches, np.concatenate([np.ones((1, images), dtype=int), weights]))
    ids = matches.images.astype("<i8").tobytes() + weights.astype("<i8").tobytes()
    return Replicates(metrics[0], metrics[1:], hashlib.sha256(ids).hexdigest()[:16])


def of_matches(matches: Matches) -> Replicates:
    """Evaluate a run on the samples shared by all runs."""
    return replicate(matches, np.random.default_rng(SEED))


def of_detections(dataset: Mapping[str, Any], detections: pd.DataFrame) -> Replicates:
    """Match detections to objects once, then evaluate them as ``of_matches``."""
    from gfl.predictions import schema
    from gfl.predictions.matching import match

    columns = {str(name): detections[name].to_numpy() for name in detections}
    return of_matches(match(dataset, schema.results(columns)))
