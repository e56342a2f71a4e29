"""Quantities of Fig. 3 and 5(b): learned distributions compared with the labels' own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.measures.best_positives import RULE, best, of_sides
from analysis.measures.densities import Atoms
from analysis.measures.evidence import Evidence
from analysis.measures.labels import positives
from analysis.measures.quantity import (
    OfRun,
    Replicated,
    mean,
    of_sums,
    of_weights,
    quantity,
)
from analysis.measures.sides import sides
from analysis.stats.statistics import rank_correlation
from experiments.named import DFL, GAUSSIAN, GENERAL, GFL, PLAIN
from gfl.experiment import Experiment
from gfl.shapes.side_labels import AMBIGUOUS, SHARP, SIDES

WIDE_GAP = 2.0  # strides between two modes: from here on two peaks are at least two bins apart
AT_BEST = f"sides at {RULE}"
ALL_SIDES = "over the four sides of all positives"


def _sides(evidence: Evidence, experiment: Experiment, seed: int) -> pd.DataFrame:
    """Return a side per row, with the facts about each from ``measures.sides``."""

    def make() -> pd.DataFrame:
        found = best(evidence.library, experiment, evidence.profile, seed)
        return sides(experiment.slug, found)

    return evidence.once(("sides", experiment, seed), make)


def _between(column: str, one: Callable, other: Callable) -> OfRun:
    """Return a column's mean over some sides minus that over others."""

    def apart(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = _sides(evidence, experiment, seed)
        values = frame[column].to_numpy(float)
        some, rest = (np.asarray(pick(frame), float) for pick in (one, other))
        columns = [values * some, some, values * rest, rest]
        return of_sums(
            evidence,
            frame.image_id.to_numpy(),
            columns,
            lambda s: s[..., 0] / s[..., 1] - s[..., 2] / s[..., 3],
        )

    return apart


def _of_kind(kind: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: frame.kind == kind


def _ambiguous(frame: pd.DataFrame) -> pd.Series:
    return frame.kind.isin(AMBIGUOUS)


def _two_modes(frame: pd.DataFrame) -> pd.Series:
    return frame.gap_strides.notna()


def _far_modes(frame: pd.DataFrame) -> pd.Series:
    return frame.gap_strides >= WIDE_GAP


def _distance(which: Callable[[pd.DataFrame], pd.Series]) -> OfRun:
    """Return the mean Wasserstein-1 distance of learned and true distribution of sides, px."""

    def distance(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        frame = _sides(evidence, experiment, seed)
        frame = frame.loc[which(frame)]
        return mean(evidence, frame.image_id.to_numpy(), frame.wasserstein_px.to_numpy(float))

    return distance


@quantity("spread-truth-spearman", GFL, AT_BEST)
def _spread_truth(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure the rank correlation of P(x)'s width and that of where the side may lie."""
    frame = _sides(evidence, experiment, seed)
    learned, true = (frame[f"{w}deviation_strides"].to_numpy() for w in ("", "true_"))
    correlation = rank_correlation(learned, np.round(true, 9))  # equal ones become ties
    return of_weights(evidence, frame.image_id.to_numpy(), correlation)


@quantity("spread-error-spearman", GFL, ALL_SIDES)
def spread_error(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure the rank correlation of P(x)'s width and the error of its mean, once a run."""
    key = "spread-error", experiment, seed
    return evidence.once(key, lambda: _spread_error(evidence, experiment, seed))


def _spread_error(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    located = evidence.locations(experiment, seed)
    assert located.p is not None
    assert located.delta is not None
    rows = located.frame.positive.to_numpy(bool)
    frame = located.frame.loc[rows]
    error = np.abs(of_sides(frame, "mean").astype(float) - of_sides(frame, "target"))
    correlation = rank_correlation(widths(located.p[rows], located.delta).ravel(), error.ravel())
    return of_weights(evidence, np.repeat(frame.image_id.to_numpy(), len(SIDES)), correlation)


def widths(p: np.ndarray, delta: float) -> np.ndarray:
    """Return the standard deviation of each distribution over bins, strides.

    Not as E[x²] - E[x]², which leaves only rounding error if all mass is on one bin, and ranks
    are made from it.
    """
    rows = p.reshape(-1, p.shape[-1])
    bins = np.broadcast_to(np.arange(p.shape[-1]) * delta, rows.shape)
    return Atoms(bins, rows).deviation.reshape(p.shape[:-1])


@quantity("nearest-mass-dfl-minus-general", DFL, ALL_SIDES, minus=GENERAL)
def _nearest_mass(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure the mean mass of the two bins beside the target."""
    located = evidence.locations(experiment, seed)
    assert located.p is not None
    assert located.delta is not None
    rows = located.frame.positive.to_numpy(bool)
    targets = of_sides(located.frame.loc[rows], "target").astype(float)
    mass = nearest_mass(located.p[rows], targets, located.delta)
    return mean(evidence, located.frame.image_id.to_numpy()[rows], mass.mean(1))


def nearest_mass(p: np.ndarray, target: np.ndarray, delta: float) -> np.ndarray:
    """Return P(y_i) + P(y_i+1) of the bins beside each target, Eq. 6; beyond, the last two."""
    left = np.clip((target / delta).astype(int), 0, p.shape[-1] - 2)[..., None]
    return (np.take_along_axis(p, left, -1) + np.take_along_axis(p, left + 1, -1))[..., 0]


@quantity("positive-iou-dfl-minus-dirac", DFL, "over all positives", minus=PLAIN)
def _iou(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
    """Measure the mean IoU of the decoded boxes."""
    frame = positives(evidence, experiment, seed)
    return mean(evidence, frame.image_id.to_numpy(), frame.iou.to_numpy(float))


for _kind in AMBIGUOUS:
    quantity(f"spread-{_kind}-minus-sharp", GFL, AT_BEST)(
        _between("deviation_strides", _of_kind(_kind), _of_kind(SHARP))
    )

quantity("distance-dfl-minus-dirac", DFL, AT_BEST, minus=PLAIN)(_distance(_ambiguous))
quantity("distance-dfl-minus-gaussian", DFL, AT_BEST, minus=GAUSSIAN)(_distance(_ambiguous))
quantity("distance-two-modes-dfl-minus-gaussian", DFL, AT_BEST, minus=GAUSSIAN)(
    _distance(_two_modes)
)
quantity("two-peaked-at-two-modes", DFL, AT_BEST)(
    _between("two_peaked", _far_modes, _of_kind(SHARP))
)
