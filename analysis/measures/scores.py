"""Quantities of Fig. 2: relation of predicted scores to true IoU, at positives and background."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.measures.background import NOWHERE, background, predicted_quality
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Replicated,
    custom_quantity,
    located,
    of_sums,
    of_weights,
    quantity,
    ranked,
    seen,
)
from analysis.stats.statistics import BINS, bin_of, calibration_error
from experiments.named import COUNTERPARTS, FLAGS, IOU_BRANCH, QFL, SETS
from gfl.experiment import Experiment
from gfl.hosts import dense
from gfl.predictions.schema import BACKGROUND_SCORE

BACKGROUND = (
    f"background: not positive, class score under {BACKGROUND_SCORE}, and a predicted box with an "
    f"IoU under {NOWHERE} with every object; of the stored locations"
)
SCORE_THRESHOLD = dense("atss").score_threshold  # FCOS's too
EXISTS = "one that is seen is enough, and none seen is no proof that there is none"


@custom_quantity("background-quality-highest", IOU_BRANCH)
def _highest(evidence: Evidence) -> Measurement:
    """Measure the highest IoU that the branch predicts at background, as in Fig. 2(a)."""
    seeds = located(evidence, [IOU_BRANCH])
    found = [background(evidence.locations(IOU_BRANCH, s).frame).quality_score for s in seeds]
    value = max((float(some.max()) for some in found if len(some)), default=0.0)
    return seen(evidence, value, IOU_BRANCH, seeds, f"{BACKGROUND}; {EXISTS}")


@custom_quantity("background-promoted", IOU_BRANCH)
def _promoted(evidence: Evidence) -> Measurement:
    """Measure the share of that background which overtakes a positive; see ``overtakes``."""
    seeds = located(evidence, [IOU_BRANCH])
    found = np.concatenate(
        [overtakes(evidence.locations(IOU_BRANCH, seed).frame) for seed in seeds]
    )
    how = f"{int(found.sum()):,} of {len(found):,} do; {BACKGROUND}; {EXISTS}"
    return seen(evidence, float(found.mean()), IOU_BRANCH, seeds, how)


def overtakes(frame: pd.DataFrame) -> np.ndarray:
    """Mark the stored background that outranks a positive of its image before NMS.

    The positive has the higher class score, the background the higher final score. Both are of one
    category and reach NMS, which ranks within a category.
    """
    found = []
    positives = dict(iter(frame.loc[frame.positive].groupby("image_id")))
    for id, rows in background(frame).groupby("image_id"):
        if id not in positives:
            found.append(np.zeros(len(rows), bool))
            continue
        other = positives[id]
        behind = rows.class_score.to_numpy()[:, None] < other.class_score.to_numpy()
        ahead = rows.score.to_numpy()[:, None] > other.score.to_numpy()
        alike = rows.category_id.to_numpy()[:, None] == other.category_id.to_numpy()
        get_there = rows.class_score.to_numpy()[:, None] >= SCORE_THRESHOLD  # and so has the other
        found.append((behind & ahead & alike & get_there).any(1))
    return np.concatenate([np.zeros(0, bool), *found])


@quantity("background-unruly", IOU_BRANCH, "over the random sample of the IoU-branch's locations")
@quantity(
    "background-unruly-joint-minus-iou-branch",
    QFL,
    "over the random sample of locations",
    minus=IOU_BRANCH,
)
def _unruly(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure the negatives of a higher quality than the median positive's, per positive."""
    frame = evidence.locations(experiment, seed).frame
    frame = frame.loc[frame.sampled]
    return of_weights(
        evidence,
        frame.image_id.to_numpy(),
        unruly(predicted_quality(frame), frame.positive.to_numpy(bool)),
    )


def unruly(predicted: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return, for weighted rows, the negatives above the median positive's quality per positive."""
    order = np.argsort(predicted[positive], kind="stable")
    rising, negative = predicted[positive][order], predicted[~positive]

    def weighted(weights: np.ndarray) -> float:
        of_positives = weights[positive][order]
        count = of_positives.sum()
        if not count:
            return float("nan")
        median = float(np.median(np.repeat(rising, of_positives)))
        return float(weights[~positive][negative > median].sum() / count)

    return weighted


def ranks(one: str, other: str, where: str = "positives") -> OfRun:
    """Return Spearman's correlation of two columns over a set of locations."""

    def correlation(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        return ranked(evidence, experiment, seed, one, other, FLAGS[where])

    return correlation


@custom_quantity("joint-scores-apart", QFL)
def _scores_apart(evidence: Evidence) -> Measurement:
    """Measure the greatest difference of the score that ranks and the class score."""
    seeds = located(evidence, [QFL])
    frames = [evidence.locations(QFL, seed).frame for seed in seeds]
    value = max(float((f.score - f.class_score).abs().max()) for f in frames)
    runs = tuple(evidence.record(QFL, seed).id for seed in seeds)
    return Measurement(value, None, None, runs, tuple(seeds), "over all stored locations")


def _calibration(where: str) -> OfRun:
    """Return the expected calibration error of the quality against the true IoU, in ten bins."""

    def error(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = evidence.locations(experiment, seed).frame
        frame = frame.loc[frame[FLAGS[where]]]
        predicted, true = predicted_quality(frame), frame.iou.to_numpy(float)
        bin = bin_of(predicted)
        # A row's gap counts in its bin; sums over a bin equal its mean gap times its count.
        columns = [np.where(bin == k, predicted - true, 0.0) for k in range(BINS)]
        columns.append(np.ones(len(true)))
        return of_sums(
            evidence,
            frame.image_id.to_numpy(),
            columns,
            lambda sums: calibration_error(sums[..., :-1], sums[..., -1]),
        )

    return error


for _where, _over in SETS.items():
    quantity(f"class-quality-spearman-{_where}", IOU_BRANCH, f"over {_over} of the IoU-branch")(
        ranks("class_score", "quality_score", _where)
    )
    quantity(
        f"quality-calibration-joint-minus-iou-branch-{_where}",
        QFL,
        f"over {_over}, {BINS} bins of equal width",
        minus=IOU_BRANCH,
    )(_calibration(_where))
    for _other in COUNTERPARTS:
        quantity(
            f"score-iou-spearman-joint-minus-{_other}-{_where}",
            QFL,
            f"over {_over}",
            minus=Experiment(quality=_other),
        )(ranks("score", "iou", _where))
