"""AP50 lost to each kind of error (``analysis.errors``), with replicates over images."""

from __future__ import annotations

import numpy as np

from analysis.errors.tide import after
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import OfRun, Replicated, evaluated, quantity
from analysis.stats.resampling import evaluate
from experiments.named import DFL, IOU_BRANCH, PLAIN, QFL
from gfl.experiment import Experiment
from gfl.predictions.error_kinds import FOREGROUND, Sorted
from gfl.predictions.matching import AREAS, FOUND, THRESHOLDS, Matches, Ranked
from gfl.records.record import METRICS

HOW = "AP50 without the errors of that kind less AP50, as TIDE has it (analysis.errors)"


def lost_to(kind: str) -> OfRun:
    """Return the measure of AP50's gain by a kind's oracle."""

    def lost(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        with_all, without = (ap50_without(evidence, experiment, seed, k) for k in (None, kind))
        return without[0] - with_all[0], without[1] - with_all[1]

    return lost


def ap50_without(
    evidence: Evidence, experiment: Experiment, seed: int, kind: str | None
) -> Replicated:
    """Return a run's AP50 after a kind's oracle, evaluated once for all kinds."""

    def sort() -> Sorted:
        return evidence.library.errors(experiment, evidence.profile, seed, FOREGROUND)

    def evaluate_it() -> Replicated:
        judged = evidence.once(("errors", experiment, seed), sort)
        return ap50(matches_of(judged, evidence.images, kind), evidence.weights)

    return evidence.once(("ap50", experiment, seed, kind), evaluate_it)


def matches_of(judged: Sorted, images: np.ndarray, without: str | None) -> Matches:
    """Return the detections that an oracle leaves, as matches that determine only AP50."""
    keep, true, category, objects = after(judged, without)
    categories = np.unique(judged.objects.category)
    counts = np.zeros((len(AREAS), len(images), len(categories)), dtype=np.int32)
    at = np.searchsorted(images, judged.objects.image)
    counts[0, at, np.searchsorted(categories, judged.objects.category)] = objects
    ranked = []
    for one in categories:
        some = keep & (category == one)
        match = np.zeros((len(AREAS), THRESHOLDS, some.sum()), dtype=np.int8)
        match[0, 0] = np.where(true[some], FOUND, 0)
        inside = np.zeros((len(AREAS), some.sum()), dtype=bool)
        inside[0] = True
        place = np.searchsorted(images, judged.image[some]).astype(np.int32)
        ranked.append(Ranked(place, np.zeros(len(place)), inside, match))
    recalled = np.zeros((len(METRICS) - 6, *counts.shape[1:]), dtype=np.int32)
    return Matches(images, categories, counts, recalled, tuple(ranked))


def ap50(matches: Matches, weights: np.ndarray) -> Replicated:
    """Return AP50 in percent, and that of every weighting of the images."""
    every = np.concatenate([np.ones((1, weights.shape[1]), dtype=int), weights])
    metrics = evaluate(matches, every)[:, METRICS.index("AP50")]
    return float(metrics[0]), metrics[1:]


quantity("background-error-joint-minus-iou-branch", QFL, HOW, minus=IOU_BRANCH, seeds=evaluated)(
    lost_to("background")
)
quantity("localisation-error-dfl-minus-dirac", DFL, HOW, minus=PLAIN, seeds=evaluated)(
    lost_to("localisation")
)
