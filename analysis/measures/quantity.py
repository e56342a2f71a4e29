"""What every measured quantity is made of: a value, its replicates over images, its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.measures.evidence import Evidence
from analysis.stats import uncertainty
from analysis.stats.correction import Tested
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.predictions.schema import DETECTIONS, LOCATIONS

ONE_TRAINING = (
    "measured on one training, and how far another seed's would be from it is not known: it takes "
    "two seeds or more"
)


@dataclass(frozen=True)
class Measurement:
    """A quantity's value, and how far to trust it.

    ``tested`` is None of what is so by definition.
    """

    value: float
    interval: tuple[float, float] | None
    tested: Tested | None
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    how: str  # what was measured on what, in a line
    lacking: str = ""  # why it decides nothing


@dataclass(frozen=True)
class Seen:
    """The highest of what was looked at: what is seen is there, what is not seen may be."""

    highest: float
    most: float = 1.0  # that there can be at all

    def p_above(self, bound: float) -> float:
        """0 if something above the bound was seen."""
        return 0.0 if self.highest > bound else 1.0

    def p_below(self, bound: float) -> float:
        """0 if nothing can be above the bound."""
        return 0.0 if bound >= self.most else 1.0


Quantity = Callable[[Evidence], Measurement]
Replicated = tuple[float, np.ndarray]  # a value, and that of each resample of the images
OfRun = Callable[[Evidence, Experiment, int], Replicated]  # of an experiment's run of a seed


def of_sums(
    evidence: Evidence,
    image_id: np.ndarray,
    columns: Sequence[np.ndarray],
    combine: Callable[[np.ndarray], np.ndarray],
) -> Replicated:
    """Return a statistic that sums over rows decide, with its replicates.

    ``columns`` are numbers of the rows; ``combine`` makes the statistic of their sums, the last
    axis. What is in one image is drawn together.
    """
    at, size = np.searchsorted(evidence.images, image_id), len(evidence.images)
    sums = np.stack(
        [np.bincount(at, weights=np.asarray(c, float), minlength=size) for c in columns], axis=-1
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may lack all of a kind
        return float(combine(sums.sum(0))), combine(evidence.weights @ sums)


def of_weights(
    evidence: Evidence, image_id: np.ndarray, statistic: Callable[[np.ndarray], float]
) -> Replicated:
    """Return a statistic of weighted rows, with its replicates; it is called once for each.

    A row has the weight of its image: how often that is drawn.
    """
    at = np.searchsorted(evidence.images, image_id)
    replicates = [statistic(weights[at]) for weights in evidence.weights]
    return statistic(np.ones(len(at), dtype=int)), np.array(replicates)


def share(evidence: Evidence, image_id: np.ndarray, hits: np.ndarray) -> Replicated:
    """Return the share of rows that are hits."""
    return of_sums(evidence, image_id, [hits, np.ones(len(hits))], lambda s: s[..., 0] / s[..., 1])


def mean(evidence: Evidence, image_id: np.ndarray, values: np.ndarray) -> Replicated:
    """Return the mean over rows."""
    return share(evidence, image_id, values)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return Spearman's correlation as a function of the rows' weights.

    With whole weights it is that of rows repeated so often: a row's rank is the mean of its
    copies' ranks and of its ties'.
    """
    ranks = [np.unique(values, return_inverse=True)[1] for values in (x, y)]

    def weighted(weights: np.ndarray) -> float:
        total = weights.sum()
        a, b = (_midranks(index, weights) - (total + 1) / 2 for index in ranks)
        wa, wb = weights * a, weights * b
        norm = np.sqrt((wa @ a) * (wb @ b))
        return float(wa @ b / norm) if norm > 0 else float("nan")

    return weighted


def _midranks(index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rank of each row; ``index`` numbers its value among the different values, rising."""
    of_value = np.bincount(index, weights=weights)
    return (np.cumsum(of_value) - (of_value - 1) / 2)[index]


def located(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its locations."""
    return _common(evidence, experiments, LOCATIONS)


def detected(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its detections."""
    return _common(evidence, experiments, DETECTIONS)


def evaluated(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its matches, or what they are made of."""
    return _common(evidence, experiments, *evidence.library.deciding(evidence.profile))


def _common(evidence: Evidence, experiments: Sequence[Experiment], *files: str) -> list[int]:
    """Return the common seeds.

    Raises:
        UserError: there is none; names the runs of seed 0 that lack a file.
    """
    seeds = set.intersection(*(set(evidence.records.get(e, ())) for e in experiments))
    found = [seed for seed in sorted(seeds) if _has(evidence, experiments, seed, files)]
    if not found:
        evidence.library.need(experiments, evidence.profile, files=files)
    return found


def _has(
    evidence: Evidence, experiments: Sequence[Experiment], seed: int, files: Sequence[str]
) -> bool:
    try:
        evidence.library.need(experiments, evidence.profile, (seed,), files=files)
    except UserError:
        return False
    return True


def combined(
    evidence: Evidence,
    terms: Sequence[tuple[float, Experiment, OfRun]],
    seeds: Sequence[int],
    how: str,
) -> Measurement:
    """Return the sum of runs' quantities with factors, seed by seed, on the same resamples.

    The noise of seeds is that of the seeds at hand. Of one seed none is known, so that nothing is
    decided.
    """
    values = [
        {seed: of_run(evidence, experiment, seed) for seed in seeds}
        for _, experiment, of_run in terms
    ]
    estimate = uncertainty.contrast([factor for factor, _, _ in terms], values)
    if estimate is None:
        raise UserError("its runs have no seed in common")
    runs = dict.fromkeys(evidence.record(e, seed).id for _, e, _ in terms for seed in seeds)
    lacking = ONE_TRAINING if estimate.variance_seeds is None else ""
    return Measurement(
        estimate.value, estimate.interval, estimate, tuple(runs), tuple(seeds), how, lacking
    )


def seen(
    evidence: Evidence, highest: float, experiment: Experiment, seeds: Sequence[int], how: str
) -> Measurement:
    """Return the highest of what an experiment's runs have: no interval, it is no estimate."""
    runs = tuple(evidence.record(experiment, seed).id for seed in seeds)
    return Measurement(highest, None, Seen(highest), runs, tuple(seeds), how)


def difference(
    one: Experiment,
    other: Experiment,
    of_run: OfRun,
    how: str,
    seeds: Callable[[Evidence, Sequence[Experiment]], Sequence[int]] = located,
) -> Quantity:
    """Return the quantity of one experiment minus that of another."""

    def measure(evidence: Evidence) -> Measurement:
        terms = [(1.0, one, of_run), (-1.0, other, of_run)]
        return combined(evidence, terms, seeds(evidence, [one, other]), how)

    return measure


def single(
    experiment: Experiment,
    of_run: OfRun,
    how: str,
    seeds: Callable[[Evidence, Sequence[Experiment]], Sequence[int]] = located,
) -> Quantity:
    """Return the quantity of one experiment."""

    def measure(evidence: Evidence) -> Measurement:
        return combined(evidence, [(1.0, experiment, of_run)], seeds(evidence, [experiment]), how)

    return measure
