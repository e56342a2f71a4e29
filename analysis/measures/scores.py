"""Of Fig. 2: what predicted scores say of the true IoU, at positives and at background."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis.figures.fig2 import IOU_BRANCH, JOINT, NOWHERE
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import (
    Measurement,
    OfRun,
    Quantity,
    Replicated,
    difference,
    located,
    of_sums,
    of_weights,
    rank_correlation,
    seen,
    single,
)
from analysis.stats.statistics import BINS
from experiments.claims.figures import COUNTERPARTS, SETS
from gfl.experiment import Experiment
from gfl.hosts import dense
from gfl.predictions.schema import BACKGROUND_SCORE

FLAGS = {"positives": "positive", "random": "sampled"}  # the column of a set of locations
BACKGROUND = (
    f"background: not positive, class score under {BACKGROUND_SCORE}, and a predicted box with an "
    f"IoU under {NOWHERE} with every object; of the stored locations"
)
SCORE_THRESHOLD = dense("atss").score_threshold  # FCOS's too
EXISTS = "one that is seen is enough, and none seen is no proof that there is none"


def quality(frame: pd.DataFrame) -> np.ndarray:
    """The predicted quality; of the joint representation it is the class score itself."""
    return frame.quality_score.fillna(frame.class_score).to_numpy(float)


def _background(frame: pd.DataFrame) -> pd.DataFrame:
    """The stored background, with all of an image (``fig2.background`` has one of each)."""
    some = ~frame.positive & (frame.class_score < BACKGROUND_SCORE) & (frame.iou < NOWHERE)
    return frame.loc[some]


def _highest(evidence: Evidence) -> Measurement:
    seeds = located(evidence, [IOU_BRANCH])
    found = [_background(evidence.locations(IOU_BRANCH, s).frame).quality_score for s in seeds]
    value = max((float(some.max()) for some in found if len(some)), default=0.0)
    return seen(evidence, value, IOU_BRANCH, seeds, f"{BACKGROUND}; {EXISTS}")


def _promoted(evidence: Evidence) -> Measurement:
    seeds = located(evidence, [IOU_BRANCH])
    found = np.concatenate(
        [overtakes(evidence.locations(IOU_BRANCH, seed).frame) for seed in seeds]
    )
    how = f"{int(found.sum()):,} of {len(found):,} do; {BACKGROUND}; {EXISTS}"
    return seen(evidence, float(found.mean()), IOU_BRANCH, seeds, how)


def overtakes(frame: pd.DataFrame) -> np.ndarray:
    """Which stored background a positive of its image beats by class score and not by score.

    Both are of one category and get to NMS, which ranks within a category.
    """
    found = []
    positives = dict(iter(frame.loc[frame.positive].groupby("image_id")))
    for id, rows in _background(frame).groupby("image_id"):
        if id not in positives:
            found.append(np.zeros(len(rows), bool))
            continue
        other = positives[id]
        behind = rows.class_score.to_numpy()[:, None] < other.class_score.to_numpy()
        ahead = rows.score.to_numpy()[:, None] > other.score.to_numpy()
        alike = rows.category_id.to_numpy()[:, None] == other.category_id.to_numpy()
        get_there = rows.class_score.to_numpy()[:, None] >= SCORE_THRESHOLD  # so the other does too
        found.append((behind & ahead & alike & get_there).any(1))
    return np.concatenate([np.zeros(0, bool), *found])


def _unruly(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    frame = evidence.locations(experiment, seed).frame
    frame = frame.loc[frame.sampled]
    return of_weights(
        evidence, frame.image_id.to_numpy(), unruly(quality(frame), frame.positive.to_numpy(bool))
    )


def unruly(predicted: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], float]:
    """Negatives with a higher quality than the median positive, per positive, of weighted rows."""
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


def _separate(where: str) -> OfRun:
    """The rank correlation of class score and predicted quality."""

    def correlation(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = evidence.locations(experiment, seed).frame
        frame = frame.loc[frame[FLAGS[where]]]
        ranks = rank_correlation(frame.class_score.to_numpy(), frame.quality_score.to_numpy())
        return of_weights(evidence, frame.image_id.to_numpy(), ranks)

    return correlation


def _score_iou(where: str) -> OfRun:
    """The rank correlation of the score that ranks with the true IoU."""

    def correlation(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = evidence.locations(experiment, seed).frame
        frame = frame.loc[frame[FLAGS[where]]]
        ranks = rank_correlation(frame.score.to_numpy(), frame.iou.to_numpy())
        key = "score-iou", where, experiment, seed
        return evidence.once(key, lambda: of_weights(evidence, frame.image_id.to_numpy(), ranks))

    return correlation


def _scores_apart(evidence: Evidence) -> Measurement:
    seeds = located(evidence, [JOINT])
    frames = [evidence.locations(JOINT, seed).frame for seed in seeds]
    value = max(float((f.score - f.class_score).abs().max()) for f in frames)
    runs = tuple(evidence.record(JOINT, seed).id for seed in seeds)
    return Measurement(value, None, None, runs, tuple(seeds), "over all stored locations")


def _calibration(where: str) -> OfRun:
    """The expected calibration error of the quality against the true IoU, in ten bins."""

    def error(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = evidence.locations(experiment, seed).frame
        frame = frame.loc[frame[FLAGS[where]]]
        predicted, true = quality(frame), frame.iou.to_numpy(float)
        bin = np.clip((predicted * BINS).astype(int), 0, BINS - 1)
        # A row's gap counts in its bin; sums over a bin make its mean gap times its count.
        columns = [np.where(bin == k, predicted - true, 0.0) for k in range(BINS)]
        columns.append(np.ones(len(true)))
        return of_sums(
            evidence,
            frame.image_id.to_numpy(),
            columns,
            lambda sums: np.abs(sums[..., :-1]).sum(-1) / sums[..., -1],
        )

    return error


QUANTITIES: Mapping[str, Quantity] = {
    "background-quality-highest": _highest,
    "background-promoted": _promoted,
    "background-unruly": single(
        IOU_BRANCH, _unruly, "over the random sample of the IoU-branch's locations"
    ),
    "background-unruly-joint-minus-iou-branch": difference(
        JOINT, IOU_BRANCH, _unruly, "over the random sample of locations"
    ),
    **{
        f"class-quality-spearman-{where}": single(
            IOU_BRANCH, _separate(where), f"over {of} of the IoU-branch"
        )
        for where, of in SETS.items()
    },
    **{
        f"score-iou-spearman-joint-minus-{other}-{where}": difference(
            JOINT, Experiment(quality=other), _score_iou(where), f"over {of}"
        )
        for other in COUNTERPARTS
        for where, of in SETS.items()
    },
    "joint-scores-apart": _scores_apart,
    **{
        f"quality-calibration-joint-minus-iou-branch-{where}": difference(
            JOINT, IOU_BRANCH, _calibration(where), f"over {of}, {BINS} bins of equal width"
        )
        for where, of in SETS.items()
    },
}
