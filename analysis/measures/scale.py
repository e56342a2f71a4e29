"""Properties of a profile's data that decide what a quality estimate or a distribution can gain.

They belong to no claim and get no verdict: they explain why shapes and photographs disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.fig2 import IOU_BRANCH, JOINT
from analysis.measures.distributions import spread_error
from analysis.measures.errors import lost_to
from analysis.measures.evidence import Evidence
from analysis.measures.labels import positives
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Quantity,
    Replicated,
    evaluated,
    mean,
    of_sums,
    of_weights,
    rank_correlation,
    single,
)
from analysis.stats import uncertainty
from experiments.tables.table3 import GFL
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.shapes.side_labels import SIDES

PLAIN = Experiment()
NO_QUALITY = Experiment(quality="none")
QUALITIES = (
    ("none", "w/o quality branch", NO_QUALITY),
    ("centerness", "centerness-branch", PLAIN),
    ("iou-branch", "IoU-branch", IOU_BRANCH),
    ("joint", "joint w/ QFL", JOINT),
)
CROWD = 4  # objects of an image
POSITIVES = "positives of plain ATSS"


@dataclass(frozen=True)
class Property:
    """A quantity of the comparison, and how it is printed."""

    label: str
    measure: Quantity
    digits: int


def _metric(name: str) -> Quantity:
    """A metric of plain ATSS, over its seeds."""

    def measure(evidence: Evidence) -> Measurement:
        values = evidence.values(PLAIN, name)
        found = uncertainty.contrast([1.0], [values], evidence.noise.get(name))
        if found is None:
            evidence.library.need([PLAIN], evidence.profile, files=())
            raise UserError(f"no run of plain ATSS has {name}")
        runs = tuple(evidence.record(PLAIN, seed).id for seed in found.seeds)
        return Measurement(found.value, found.interval, found, runs, found.seeds, "plain ATSS")

    return measure


def _mean_of(values: Callable[[pd.DataFrame], np.ndarray]) -> OfRun:
    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        return mean(evidence, frame.image_id.to_numpy(), values(frame))

    return of_run


def _spread(column: str) -> OfRun:
    """The standard deviation among the positives of one object."""

    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        off = deviation(frame, column)
        freedom = 1 - 1 / frame.groupby("gt_id").iou.transform("size").to_numpy(float)
        return of_sums(
            evidence, frame.image_id.to_numpy(), [off**2, freedom],
            lambda sums: np.sqrt(sums[..., 0] / sums[..., 1]),
        )  # fmt: skip

    return of_run


def deviation(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return how far each positive is from the mean of its object's positives."""
    values = frame[column].astype(float)
    return (values - values.groupby(frame.gt_id).transform("mean")).to_numpy()


def _within(one: str, other: str, objects: tuple[float, float] = (1, math.inf)) -> OfRun:
    """Pearson's correlation among the positives of one object, pooled over objects.

    ``objects``: of images with so many objects that have positives, both ends included.
    """

    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        frame = frame.loc[frame.groupby("image_id").gt_id.transform("nunique").between(*objects)]
        a, b = deviation(frame, one), deviation(frame, other)
        return of_sums(
            evidence, frame.image_id.to_numpy(), [a * b, a * a, b * b],
            lambda sums: sums[..., 0] / np.sqrt(sums[..., 1] * sums[..., 2]),
        )  # fmt: skip

    return of_run


def _ranks(one: str, other: str) -> OfRun:
    """Spearman's correlation over all positives."""

    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = positives(evidence, experiment, seed)
        ranks = rank_correlation(frame[one].to_numpy(), frame[other].to_numpy())
        return of_weights(evidence, frame.image_id.to_numpy(), ranks)

    return of_run


def _picked(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    objects = lost_by_ranking(frame)
    return mean(evidence, objects.image_id.to_numpy(), objects.lost.to_numpy())


def lost_by_ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, an object a row, the IoU lost since its highest score is not of its best box.

    The IoU of the best box among the object's positives less that of the positive whose score is
    highest, the first of equals. Columns: image_id, lost.
    """
    frame = frame.reset_index(drop=True)
    by_object = frame.groupby("gt_id")
    picked = frame.loc[by_object.score.idxmax()].set_index("gt_id")
    lost = by_object.iou.max() - picked.iou
    return pd.DataFrame({"image_id": picked.image_id, "lost": lost.astype(float)})


def _at_random(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    objects = frame.groupby("gt_id").agg(
        image_id=("image_id", "first"), best=("iou", "max"), mean=("iou", "mean")
    )
    lost = objects.best.to_numpy(float) - objects["mean"].to_numpy(float)
    return mean(evidence, objects.image_id.to_numpy(), lost)


def _off(frame: pd.DataFrame) -> np.ndarray:
    sides = [(frame[f"mean_{side}"] - frame[f"target_{side}"]).abs() for side in SIDES]
    return np.mean([side.to_numpy(float) for side in sides], axis=0)


def _of(column: str) -> OfRun:
    return _mean_of(lambda frame: frame[column].to_numpy(float))


LOST = "objects, in that row"
# By the name that an explanation cites it by.
SCALE: Mapping[str, Property] = {
    "ap": Property("AP", _metric("AP"), 1),
    "ap50": Property("AP50", _metric("AP50"), 1),
    "ap75": Property("AP75", _metric("AP75"), 1),
    **{
        f"lost-{kind}": Property(
            f"AP50 lost to {what}", single(PLAIN, lost_to(kind), "plain ATSS", evaluated), 1
        )
        for kind, what in (
            ("classification", "another class"),
            ("localisation", "badly placed boxes"),
            ("background", "detections of background"),
            ("missed", "missed objects"),
        )
    },
    "iou": Property("IoU of a positive's box", single(PLAIN, _of("iou"), POSITIVES), 3),
    "iou-spread": Property(
        "its standard deviation within objects",
        single(PLAIN, _spread("iou"), POSITIVES),
        3,
    ),
    "centerness": Property("centerness label", single(PLAIN, _of("centerness"), POSITIVES), 3),
    "centerness-iou": Property(
        "correlation of centerness label and IoU within objects",
        single(PLAIN, _within("centerness", "iou"), POSITIVES),
        2,
    ),
    "class-score": Property("class score", single(PLAIN, _of("class_score"), POSITIVES), 3),
    "class-iou": Property(
        "rank correlation of class score and IoU",
        single(PLAIN, _ranks("class_score", "iou"), POSITIVES),
        2,
    ),
    "class-iou-within": Property(
        "correlation of class score and IoU within objects",
        single(PLAIN, _within("class_score", "iou"), POSITIVES),
        2,
    ),
    "class-iou-alone": Property(
        "the same in images of one object",
        single(PLAIN, _within("class_score", "iou", (1, 1)), POSITIVES),
        2,
    ),
    "class-iou-crowd": Property(
        f"the same in images of {CROWD} objects or more",
        single(PLAIN, _within("class_score", "iou", (CROWD, math.inf)), POSITIVES),
        2,
    ),
    **{
        f"picked-{name}": Property(
            f"IoU lost by ranking, {what}", single(experiment, _picked, LOST), 3
        )
        for name, what, experiment in QUALITIES
    },
    "picked-random": Property(
        "IoU lost by picking at random",
        single(PLAIN, _at_random, "objects, in plain ATSS"),
        3,
    ),
    **{
        f"score-iou-{name}": Property(
            f"rank correlation of the score and IoU, {what}",
            single(experiment, _ranks("score", "iou"), "positives of that row"),
            2,
        )
        for name, what, experiment in QUALITIES
    },
    **{
        f"score-iou-{name}-within": Property(
            f"correlation of the score and IoU within objects, {what}",
            single(experiment, _within("score", "iou"), "positives of that row"),
            2,
        )
        for name, what, experiment in QUALITIES
    },
    "off": Property("error of a side, strides", single(PLAIN, _mean_of(_off), POSITIVES), 2),
    "spread-error": Property(
        "rank correlation of P(x)'s spread and the error of its mean",
        single(GFL, spread_error, "sides of the positives of GFL"),
        2,
    ),
}
