"""Properties of a profile's data that limit the benefit of a quality estimate or distribution.

They belong to no claim and get no verdict: they explain disagreements of shapes and photographs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.measures.distributions import spread_error
from analysis.measures.errors import lost_to
from analysis.measures.evidence import Evidence
from analysis.measures.labels import over_positives, positives
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Quantity,
    Replicated,
    Seeds,
    evaluated,
    located,
    mean,
    measured,
    of_sums,
)
from analysis.measures.scores import ranks
from analysis.stats import uncertainty
from experiments.named import GFL, IOU_BRANCH, NO_QUALITY, PLAIN, QFL
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.shapes.side_labels import SIDES

QUALITIES = (
    ("none", "w/o quality branch", NO_QUALITY),
    ("centerness", "centerness-branch", PLAIN),
    ("iou-branch", "IoU-branch", IOU_BRANCH),
    ("joint", "joint w/ QFL", QFL),
)
CROWD = 4  # objects in an image
POSITIVES = "positives of plain ATSS"


@dataclass(frozen=True)
class Property:
    """Quantity for the comparison, and its format."""

    name: str  # cited in explanations
    label: str
    digits: int
    quantity: Quantity


def _metric(name: str) -> Property:
    """Return plain ATSS's value of a metric, over its seeds."""

    def measure(evidence: Evidence) -> Measurement:
        values = evidence.values(PLAIN, name)
        found = uncertainty.contrast([1.0], [values], evidence.noise.get(name))
        if found is None:
            evidence.library.need([PLAIN], evidence.profile, files=())
            raise UserError(f"no run of plain ATSS has {name}")
        runs = tuple(evidence.record(PLAIN, seed).id for seed in found.seeds)
        return Measurement(found.value, found.interval, found, runs, found.seeds, "plain ATSS")

    def noise(evidence: Evidence) -> list[float] | None:
        """Return the pooled noise, which other rows' runs also determine."""
        found = evidence.noise.get(name)
        return None if found is None else [found.spread, found.freedom]

    quantity = Quantity(f"scale-{name}", (PLAIN,), measure, __name__, noise)
    return Property(name.lower(), name, 1, quantity)


def _property(
    name: str,
    label: str,
    digits: int,
    of_run: OfRun,
    of: Experiment = PLAIN,
    over: str = POSITIVES,
    seeds: Seeds = located,
) -> Property:
    """Return a property measured on the runs of an experiment."""
    measure = measured(of, of_run, over, seeds)
    return Property(name, label, digits, Quantity(f"scale-{name}", (of,), measure, __name__))


def _spread(column: str) -> OfRun:
    """Return the standard deviation among the positives of one object."""

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
    """Return each positive's deviation from the mean of its object's positives."""
    values = frame[column].astype(float)
    return (values - values.groupby(frame.gt_id).transform("mean")).to_numpy()


def _within(one: str, other: str, objects: tuple[float, float] = (1, math.inf)) -> OfRun:
    """Return Pearson's correlation among the positives of one object, pooled over objects.

    ``objects``: range of the number of objects with positives in an image, both ends included.
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


def _picked(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = positives(evidence, experiment, seed)
    objects = lost_by_ranking(frame)
    return mean(evidence, objects.image_id.to_numpy(), objects.lost.to_numpy())


def lost_by_ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, an object per row, the IoU lost because its highest score is not its best box's.

    The IoU of the best box among the object's positives less that of the positive with the highest
    score, the first of equals. Columns: image_id, lost.
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
    return over_positives(lambda frame: frame[column].to_numpy(float))


LOST = "objects, in that row"
THAT_ROW = "positives of that row"
PROPERTIES = (
    _metric("AP"),
    _metric("AP50"),
    _metric("AP75"),
    *(
        _property(
            f"lost-{kind}", f"AP50 lost to {what}", 1, lost_to(kind), PLAIN, "plain ATSS", evaluated
        )
        for kind, what in (
            ("classification", "another class"),
            ("localisation", "badly placed boxes"),
            ("background", "detections of background"),
            ("missed", "missed objects"),
        )
    ),
    _property("iou", "IoU of a positive's box", 3, _of("iou")),
    _property("iou-spread", "its standard deviation within objects", 3, _spread("iou")),
    _property("centerness", "centerness label", 3, _of("centerness")),
    _property(
        "centerness-iou",
        "correlation of centerness label and IoU within objects",
        2,
        _within("centerness", "iou"),
    ),
    _property("class-score", "class score", 3, _of("class_score")),
    _property(
        "class-iou", "rank correlation of class score and IoU", 2, ranks("class_score", "iou")
    ),
    _property(
        "class-iou-within",
        "correlation of class score and IoU within objects",
        2,
        _within("class_score", "iou"),
    ),
    _property(
        "class-iou-alone",
        "the same in images of one object",
        2,
        _within("class_score", "iou", (1, 1)),
    ),
    _property(
        "class-iou-crowd",
        f"the same in images of {CROWD} objects or more",
        2,
        _within("class_score", "iou", (CROWD, math.inf)),
    ),
    *(
        _property(f"picked-{name}", f"IoU lost by ranking, {what}", 3, _picked, experiment, LOST)
        for name, what, experiment in QUALITIES
    ),
    _property(
        "picked-random",
        "IoU lost by picking at random",
        3,
        _at_random,
        over="objects, in plain ATSS",
    ),
    *(
        _property(
            f"score-iou-{name}",
            f"rank correlation of the score and IoU, {what}",
            2,
            ranks("score", "iou"),
            experiment,
            THAT_ROW,
        )
        for name, what, experiment in QUALITIES
    ),
    *(
        _property(
            f"score-iou-{name}-within",
            f"correlation of the score and IoU within objects, {what}",
            2,
            _within("score", "iou"),
            experiment,
            THAT_ROW,
        )
        for name, what, experiment in QUALITIES
    ),
    _property("off", "error of a side, strides", 2, over_positives(_off)),
    _property(
        "spread-error",
        "rank correlation of P(x)'s spread and the error of its mean",
        2,
        spread_error,
        GFL,
        "sides of the positives of GFL",
    ),
)
SCALE: Mapping[str, Property] = {property.name: property for property in PROPERTIES}
