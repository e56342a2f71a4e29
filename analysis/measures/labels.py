"""Of Fig. 5(c), 8 and 9: the labels of quality and the regression targets of ATSS's positives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.figures.fig9 import LOW
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Quantity,
    Replicated,
    combined,
    detected,
    located,
    mean,
    of_sums,
    of_weights,
    rank_correlation,
    share,
    single,
)
from experiments.tables.table3 import GFL
from gfl.experiment import Experiment
from gfl.shapes.side_labels import SIDES

CENTERNESS = Experiment(quality="centerness-branch")
IOU_BRANCH = Experiment(quality="iou-branch")
VERY_LOW = 0.1  # a centerness label under it approaches 0
TENTH = 0.1  # of the objects: those of the lowest centerness labels
FOUND = 0.5  # IoU at which a detection finds an object
OF_GFL = "over all positives of the GFL run on the validation images"


def positives(evidence: Evidence, experiment: Experiment, seed: int) -> pd.DataFrame:
    """The positive locations of a run."""
    frame = evidence.locations(experiment, seed).frame
    return frame.loc[frame.positive]


def _above(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    return share(evidence, frame.image_id.to_numpy(), frame.iou.to_numpy() > LOW)


def _apart(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    return mean(evidence, frame.image_id.to_numpy(), _labels(frame, "iou", "centerness"))


def _labels(frame: pd.DataFrame, one: str, other: str) -> np.ndarray:
    return frame[one].to_numpy(float) - frame[other].to_numpy(float)


def _effect(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    iou, centerness = frame.iou.to_numpy(float), frame.centerness.to_numpy(float)
    columns = [np.ones(len(iou)), iou, iou**2, centerness, centerness**2]
    return of_sums(evidence, frame.image_id.to_numpy(), columns, effect_size)


def effect_size(sums: np.ndarray) -> np.ndarray:
    """Return Cohen's d for groups of one size: the means' difference over the pooled deviation.

    ``sums``, last axis: the count, and of both groups the sums of values and of their squares.
    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), section 2.2.
    """
    n, a, aa, b, bb = np.moveaxis(sums, -1, 0)
    variances = aa / n - (a / n) ** 2 + bb / n - (b / n) ** 2
    return (a - b) / n / np.sqrt(variances / 2)


def _low(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    low = (frame.centerness.to_numpy() < LOW).astype(float) - (frame.iou.to_numpy() < LOW)
    return mean(evidence, frame.image_id.to_numpy(), low)


def _very_low(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    return share(evidence, frame.image_id.to_numpy(), frame.centerness.to_numpy() < VERY_LOW)


def _objects_low(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    objects = positives(evidence, experiment, seed).groupby("gt_id").agg(
        image_id=("image_id", "first"), centerness=("centerness", "max"), iou=("iou", "max")
    )  # fmt: skip
    low = (objects.centerness.to_numpy() < LOW).astype(float) - (objects.iou.to_numpy() < LOW)
    return mean(evidence, objects.image_id.to_numpy(), low)


def _predicted(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    correlation = rank_correlation(frame.centerness.to_numpy(), frame.quality_score.to_numpy())
    return of_weights(evidence, frame.image_id.to_numpy(), correlation)


def _recall(evidence: Evidence) -> Measurement:
    """Labels and their tenth are the same in every run: they depend on the assignment alone."""
    frame = positives(evidence, CENTERNESS, located(evidence, [CENTERNESS])[0])
    objects = frame.groupby("gt_id").agg(image=("image_id", "first"), best=("centerness", "max"))
    lowest = objects.loc[objects.best <= objects.best.quantile(TENTH)]

    def found(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        detections = evidence.library.detections(experiment, evidence.profile, seed)
        hit = detections.loc[detections.iou >= FOUND, "gt_id"].unique()
        return share(evidence, lowest.image.to_numpy(), lowest.index.isin(hit))

    terms = [(1.0, CENTERNESS, found), (-1.0, IOU_BRANCH, found)]
    how = (
        f"{len(lowest):,} objects; found: a detection of their class with IoU {FOUND} or more is "
        "among an image's 100"
    )
    return combined(evidence, terms, detected(evidence, [CENTERNESS, IOU_BRANCH]), how)


def _targets_above(strides: float) -> OfRun:
    def above(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        targets = frame[[f"target_{side}" for side in SIDES]].to_numpy()
        return mean(evidence, frame.image_id.to_numpy(), (targets > strides).mean(1))

    return above


QUANTITIES: Mapping[str, Quantity] = {
    "iou-label-above-0.4": single(GFL, _above, OF_GFL),
    "label-mean-iou-minus-centerness": single(GFL, _apart, OF_GFL),
    "label-effect-size": single(GFL, _effect, OF_GFL),
    "label-below-0.4-centerness-minus-iou": single(GFL, _low, OF_GFL),
    "centerness-label-below-0.1": single(GFL, _very_low, OF_GFL),
    "objects-below-0.4-centerness-minus-iou": single(
        GFL, _objects_low, "over the objects that have positives in the GFL run"
    ),
    "centerness-label-prediction-spearman": single(
        CENTERNESS, _predicted, "over all positives of the centerness-branch's run"
    ),
    "recall-low-centerness-minus-iou-branch": _recall,
    "targets-above-12": single(GFL, _targets_above(12), "over the four targets of all positives"),
    "targets-above-16": single(GFL, _targets_above(16), "over the four targets of all positives"),
}
