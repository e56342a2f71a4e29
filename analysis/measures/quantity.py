"""Declaration and measurement of a quantity: a value, its replicates over images, its runs.

A decorator on the measuring function declares a quantity: ``quantity`` if it measures a single run,
``custom_quantity`` if it combines runs in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.measures.evidence import Evidence
from analysis.stats import uncertainty
from analysis.stats.statistics import rank_correlation
from analysis.stats.uncertainty import Estimate
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.predictions.schema import DETECTIONS, LOCATIONS

if TYPE_CHECKING:
    from analysis.stats.correction import Tested

ONE_TRAINING = (
    "measured on one training, and how far another seed's would be from it is not known: it takes "
    "two seeds or more"
)


@dataclass(frozen=True)
class Measurement:
    """Value of a quantity, and its uncertainty.

    ``tested`` is None for what holds by definition.
    """

    value: float
    interval: tuple[float, float] | None
    tested: Tested | None
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    how: str  # what was measured on what, in one line
    lacking: str = ""  # why it decides nothing

    @classmethod
    def of(
        cls, estimate: Estimate, runs: Iterable[str], seeds: Sequence[int], how: str = ""
    ) -> Measurement:
        """Make a measurement of an estimate; with one seed and unknown noise it decides nothing."""
        lacking = ONE_TRAINING if estimate.variance_seeds is None else ""
        runs = tuple(dict.fromkeys(runs))
        return cls(estimate.value, estimate.interval, estimate, runs, tuple(seeds), how, lacking)


@dataclass(frozen=True)
class Seen:
    """Highest observation: what was seen exists, what was not seen may exist."""

    highest: float
    most: float = 1.0  # the possible maximum

    def p_above(self, bound: float) -> float:
        """Return 0 if something above the bound was seen."""
        return 0.0 if self.highest > bound else 1.0

    def p_below(self, bound: float) -> float:
        """Return 0 if nothing can exceed the bound."""
        return 0.0 if bound >= self.most else 1.0


Measure = Callable[[Evidence], Measurement]
Replicated = tuple[float, np.ndarray]  # a value, and that of each resample of the images
OfRun = Callable[[Evidence, Experiment, int], Replicated]  # on an experiment's run of a seed
Seeds = Callable[[Evidence, Sequence[Experiment]], Sequence[int]]


def _nothing(evidence: Evidence) -> Any:
    return None


@dataclass(frozen=True)
class Quantity:
    """Number that no table prints, declared where it is measured.

    ``experiments`` are those whose runs it is measured on; ``inputs`` returns its other
    dependencies, as JSON content. Both are part of the cache key (``measures.kept``).
    """

    name: str
    experiments: tuple[Experiment, ...]
    measure: Measure = field(repr=False, compare=False)
    module: str  # of the measuring function
    inputs: Callable[[Evidence], Any] = field(default=_nothing, repr=False, compare=False)


QUANTITIES: dict[str, Quantity] = {}  # by name; ``measures.kept`` imports all modules


def declare(one: Quantity) -> None:
    """Register a quantity by its name.

    Raises:
        ValueError: another has this name.
    """
    if one.name in QUANTITIES:
        raise ValueError(f"{one.module}: {QUANTITIES[one.name].module} has a quantity {one.name!r}")
    QUANTITIES[one.name] = one


def quantity(
    name: str,
    of: Experiment,
    over: str,
    *,
    minus: Experiment | None = None,
    seeds: Seeds | None = None,
) -> Callable[[OfRun], OfRun]:
    """Declare the quantity that a function measures on a run of ``of``, less that of ``minus``.

    ``over`` describes the sample, for the verdict; ``seeds`` finds those whose runs have the
    files that the function reads, by default ``located``.
    """

    def decorate(of_run: OfRun) -> OfRun:
        measure = measured(of, of_run, over, seeds or located, minus)
        declare(Quantity(name, (of, minus) if minus else (of,), measure, of_run.__module__))
        return of_run

    return decorate


def custom_quantity(
    name: str,
    *experiments: Experiment,
    inputs: Callable[[Evidence], Any] = _nothing,
) -> Callable[[Measure], Measure]:
    """Declare the quantity that a function measures on all runs of some experiments."""

    def decorate(measure: Measure) -> Measure:
        declare(Quantity(name, experiments, measure, measure.__module__, inputs))
        return measure

    return decorate


def of_sums(
    evidence: Evidence,
    image_id: np.ndarray,
    columns: Sequence[np.ndarray],
    combine: Callable[[np.ndarray], np.ndarray],
) -> Replicated:
    """Return a statistic of sums over rows, with its replicates.

    ``columns`` are numbers per row; ``combine`` computes the statistic from their sums, on the last
    axis. Rows of one image are resampled together.
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

    A row's weight is the number of times its image is drawn.
    """
    at = np.searchsorted(evidence.images, image_id)
    replicates = [statistic(weights[at]) for weights in evidence.weights]
    return statistic(np.ones(len(at), dtype=int)), np.array(replicates)


def ranked(
    evidence: Evidence, experiment: Experiment, seed: int, one: str, other: str, flag: str
) -> Replicated:
    """Return Spearman's correlation of two columns over the locations with a flag, ranked once."""

    def correlation() -> Replicated:
        frame = evidence.locations(experiment, seed).frame
        frame = frame.loc[frame[flag]]
        ranks = rank_correlation(frame[one].to_numpy(), frame[other].to_numpy())
        return of_weights(evidence, frame.image_id.to_numpy(), ranks)

    return evidence.once(("ranked", experiment, seed, one, other, flag), correlation)


def mean(evidence: Evidence, image_id: np.ndarray, values: np.ndarray) -> Replicated:
    """Return the mean over rows; of booleans, their share."""
    columns = [values, np.ones(len(values))]
    return of_sums(evidence, image_id, columns, lambda s: s[..., 0] / s[..., 1])


def located(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its locations."""
    return _common(evidence, experiments, LOCATIONS)


def detected(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its detections."""
    return _common(evidence, experiments, DETECTIONS)


def evaluated(evidence: Evidence, experiments: Sequence[Experiment]) -> list[int]:
    """Return the seeds at which every experiment has its matches, or their sources."""
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
    """Return the weighted sum of runs' quantities, seed by seed, on the same resamples.

    The seed noise is estimated from the seeds available. With one seed it is unknown, and nothing
    is decided.
    """
    values = [
        {seed: of_run(evidence, experiment, seed) for seed in seeds}
        for _, experiment, of_run in terms
    ]
    estimate = uncertainty.contrast([factor for factor, _, _ in terms], values)
    if estimate is None:
        raise UserError("its runs have no seed in common")
    runs = (evidence.record(e, seed).id for _, e, _ in terms for seed in seeds)
    return Measurement.of(estimate, runs, seeds, how)


def seen(
    evidence: Evidence, highest: float, experiment: Experiment, seeds: Sequence[int], how: str
) -> Measurement:
    """Return the highest value in an experiment's runs: not an estimate, so without interval."""
    runs = tuple(evidence.record(experiment, seed).id for seed in seeds)
    return Measurement(highest, None, Seen(highest), runs, tuple(seeds), how)


def measured(
    of: Experiment,
    of_run: OfRun,
    how: str,
    seeds: Seeds = located,
    minus: Experiment | None = None,
) -> Measure:
    """Return the measurement of a quantity of one experiment, less that of another if given."""
    terms = [(1.0, of, of_run)] + ([(-1.0, minus, of_run)] if minus else [])

    def measure(evidence: Evidence) -> Measurement:
        return combined(evidence, terms, seeds(evidence, [e for _, e, _ in terms]), how)

    return measure
