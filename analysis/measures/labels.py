"""Quantities of Fig. 5(c), 8 and 9: labels of quality and regression targets of positives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from analysis.measures.best_positives import of_sides
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Replicated,
    combined,
    custom_quantity,
    detected,
    located,
    mean,
    of_sums,
    quantity,
    ranked,
)
from experiments.named import GFL, IOU_BRANCH, PLAIN
from gfl.experiment import Experiment

LOW = 0.4  # the paper: most IoU labels are above it
VERY_LOW = 0.1  # below it, a centerness label approaches 0
TENTH = 0.1  # fraction of objects with the lowest centerness labels
FOUND = 0.5  # IoU at which a detection finds an object
OF_GFL = "over all positives of the GFL run on the validation images"


def positives(evidence: Evidence, experiment: Experiment, seed: int) -> pd.DataFrame:
    """Return the positive locations of a run."""
    frame = evidence.locations(experiment, seed).frame
    return frame.loc[frame.positive]


def _low(frame: pd.DataFrame) -> np.ndarray:
    """Return 1 where centerness alone is under 0.4, -1 where the IoU alone is, else 0."""
    return (frame.centerness.to_numpy() < LOW).astype(float) - (frame.iou.to_numpy() < LOW)


def _targets_above(strides: float, frame: pd.DataFrame) -> np.ndarray:
    """Return the share of each positive's four distances that are above a number of strides."""
    return (of_sides(frame, "target") > strides).mean(1)


def over_positives(value: Callable[[pd.DataFrame], np.ndarray]) -> OfRun:
    """Return the mean over the positives of a number, or a truth, of each."""

    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        return mean(evidence, frame.image_id.to_numpy(), value(frame))

    return of_run


quantity("iou-label-above-0.4", GFL, OF_GFL)(
    over_positives(lambda frame: frame.iou.to_numpy() > LOW)
)
quantity("label-mean-iou-minus-centerness", GFL, OF_GFL)(
    over_positives(lambda frame: frame.iou.to_numpy(float) - frame.centerness.to_numpy(float))
)
quantity("label-below-0.4-centerness-minus-iou", GFL, OF_GFL)(over_positives(_low))
quantity("centerness-label-below-0.1", GFL, OF_GFL)(
    over_positives(lambda frame: frame.centerness.to_numpy() < VERY_LOW)
)
for _strides in (12, 16):
    quantity(f"targets-above-{_strides}", GFL, "over the four targets of all positives")(
        over_positives(partial(_targets_above, _strides))
    )


@quantity("label-effect-size", GFL, OF_GFL)
def _effect(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    iou, centerness = frame.iou.to_numpy(float), frame.centerness.to_numpy(float)
    columns = [np.ones(len(iou)), iou, iou**2, centerness, centerness**2]
    return of_sums(evidence, frame.image_id.to_numpy(), columns, effect_size)


def effect_size(sums: np.ndarray) -> np.ndarray:
    """Return Cohen's d for groups of equal size: the means' difference over the pooled deviation.

    ``sums``, last axis: the count, and for both groups the sums of values and of their squares.
    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), section 2.2.
    """
    n, a, aa, b, bb = np.moveaxis(sums, -1, 0)
    variances = aa / n - (a / n) ** 2 + bb / n - (b / n) ** 2
    return (a - b) / n / np.sqrt(variances / 2)


@quantity(
    "objects-below-0.4-centerness-minus-iou",
    GFL,
    "over the objects that have positives in the GFL run",
)
def _objects_low(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure ``_low`` of the objects, by the highest label among an object's positives."""
    objects = positives(evidence, experiment, seed).groupby("gt_id").agg(
        image_id=("image_id", "first"), centerness=("centerness", "max"), iou=("iou", "max")
    )  # fmt: skip
    return mean(evidence, objects.image_id.to_numpy(), _low(objects))


@quantity(
    "centerness-label-prediction-spearman",
    PLAIN,
    "over all positives of the centerness-branch's run",
)
def _predicted(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure Spearman's correlation of the centerness label and the predicted centerness."""
    return ranked(evidence, experiment, seed, "centerness", "quality_score", "positive")


@custom_quantity("recall-low-centerness-minus-iou-branch", PLAIN, IOU_BRANCH)
def _recall(evidence: Evidence) -> Measurement:
    """Measure the recall of the objects whose highest centerness label is in the lowest tenth.

    Labels and their tenth are equal in every run, set by the assignment.
    """
    frame = positives(evidence, PLAIN, located(evidence, [PLAIN])[0])
    objects = frame.groupby("gt_id").agg(image=("image_id", "first"), best=("centerness", "max"))
    lowest = objects.loc[objects.best <= objects.best.quantile(TENTH)]

    def found(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        detections = evidence.library.detections(experiment, evidence.profile, seed)
        hit = detections.loc[detections.iou >= FOUND, "gt_id"].unique()
        return mean(evidence, lowest.image.to_numpy(), lowest.index.isin(hit))

    terms = [(1.0, PLAIN, found), (-1.0, IOU_BRANCH, found)]
    how = (
        f"{len(lowest):,} objects; found: a detection of their class with IoU {FOUND} or more is "
        "among an image's 100"
    )
    return combined(evidence, terms, detected(evidence, [PLAIN, IOU_BRANCH]), how)
