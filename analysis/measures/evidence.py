"""Runs of a profile, for measures and claims: records, and metrics with their replicates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from analysis.library import KEPT, Library, Locations
from analysis.pool import Reporter, quiet
from analysis.stats.replicates import replicates
from analysis.stats.resampling import Replicates, resamples
from analysis.stats.uncertainty import RESAMPLES, SEED, Noise, seed_noise, values
from experiments.profiles import TUNING_SEED
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Profile
from gfl.predictions.schema import DETECTIONS
from gfl.records.record import METRICS, RunRecord, seeds_of

if TYPE_CHECKING:
    from analysis.stats.replicates import Read

T = TypeVar("T")
Records = Mapping[AnyExperiment, Mapping[int, RunRecord]]
Seeded = Mapping[int, tuple[float, np.ndarray]]  # a metric and its replicates, by seed


@dataclass(frozen=True)
class Evidence:
    """Finished runs of a profile's tables, by experiment and seed."""

    library: Library
    profile: Profile
    records: Records
    metrics: Mapping[AnyExperiment, Mapping[int, Replicates]]  # of those with detections
    # Of a metric over seeds: pooled over the rows of Tables 1 to 3, and over all rows.
    noise: Mapping[str, Noise] = field(default_factory=dict)
    noise_of_all: Mapping[str, Noise] = field(default_factory=dict)
    _made: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def record(self, experiment: AnyExperiment, seed: int) -> RunRecord:
        return self.records[experiment][seed]

    def seeds(self, needed: Sequence[AnyExperiment]) -> list[int]:
        """Return the seeds that all experiments have.

        Raises:
            MissingRuns: there is none; names the missing runs of seed 0.
            UserError: there is none, though each has runs.
        """
        common = set.intersection(*(set(self.metrics.get(e, ())) for e in needed))
        if not common:
            self.library.need(needed, self.profile, files=self.library.deciding(self.profile))
            raise UserError(f"no seed is common to {', '.join(e.slug for e in needed)}")
        return sorted(common)

    def values(self, experiment: AnyExperiment, metric: str) -> Seeded:
        """Return a metric of an experiment by seed, with its replicates over the images."""
        at = METRICS.index(metric)
        runs = self.metrics.get(experiment, {})
        found = {s: (float(r.metrics[at]), r.resampled[:, at]) for s, r in runs.items()}
        return {s: some for s, some in found.items() if not np.isnan(some[0])}

    def noise_among(self, experiments: Iterable[AnyExperiment], metric: str) -> Noise | None:
        """Return the seed noise for a comparison: that of all rows if one is in Table 4 alone.

        Table 4's systems may spread far more than the variants of one detector, whose comparisons
        their runs leave as they are.
        """
        variants = self.once("variants", lambda: of_variants(self.records, self.profile))
        within = all(experiment in variants for experiment in experiments)
        return (self.noise if within else self.noise_of_all).get(metric)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of ``make``, called once per key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def locations(self, experiment: AnyExperiment, seed: int) -> Locations:
        """Return the locations of a run, read once.

        Raises:
            MissingRuns: they are missing.
            UserError: the file is damaged, or the run has another host.
        """
        key = "locations", experiment, seed
        return self.once(key, lambda: self.library.locations(experiment, self.profile, seed))

    @cached_property
    def images(self) -> np.ndarray:
        """Ids of the images that runs are evaluated on, ascending.

        Raises:
            UserError: they are not embedded, and no run has matches that name them.
        """
        if self.profile.dataset is not None:
            return np.arange(1, self.profile.dataset.val + 1)
        for experiment, runs in self.metrics.items():
            for seed in runs:
                return self.library.matches(experiment, self.profile, seed).images
        raise UserError(f"no run of the {self.profile.name} profile has matches: its images are "
                        "not known here")  # fmt: skip

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the replicates, [R, images]: how often each image is drawn."""
        return resamples(len(self.images), RESAMPLES, np.random.default_rng(SEED))


def gather(
    library: Library,
    profile: Profile,
    report: Reporter = quiet,
    among: Collection[AnyExperiment] | None = None,
) -> Evidence:
    """Read the runs that the tables declare at a profile; evaluate those not yet evaluated.

    Runs on data that are not embedded have replicates if their matches are stored. Only runs
    ``among`` some experiments are evaluated, if given; the noise is of all rows nevertheless.

    Raises:
        UserError: a file of detections or of matches is damaged.
    """
    records = recorded(library, profile)
    evaluated = {e: runs for e, runs in records.items() if among is None or e in among}
    metrics = _metrics(library, profile, evaluated, report)
    pooled = noise(of_variants(records, profile))
    return Evidence(library, profile, records, metrics, pooled, noise(records))


def of_variants(records: Records, profile: Profile) -> Records:
    """Return the records of the rows of Tables 1 to 3, which are variants of one detector."""
    variants = set(catalogue.experiments(profile, catalogue.FACTORIAL))
    return {experiment: runs for experiment, runs in records.items() if experiment in variants}


def noise(records: Records) -> dict[str, Noise]:
    """Return the standard deviation of each metric over seeds, pooled over rows with several."""
    pooled = {metric: seed_noise(by_seed(records, metric)) for metric in METRICS}
    return {metric: found for metric, found in pooled.items() if found is not None}


def by_seed(records: Records, metric: str) -> list[dict[int, float]]:
    """Return a metric's values by seed, a row per experiment."""
    return [values(runs, metric) for runs in records.values()]


def recorded(
    library: Library, profile: Profile, tables: Collection[str] = catalogue.PAPERS
) -> dict[AnyExperiment, dict[int, RunRecord]]:
    """Return the records of the rows of tables, by experiment and seed."""
    known = {record.id: record for record in library.records(profile)}
    seeds = [seed for seed in seeds_of(known) if seed != TUNING_SEED]
    found: dict[AnyExperiment, dict[int, RunRecord]] = {}
    for experiment in catalogue.experiments(profile, tables):
        runs = {seed: known.get(library.id(experiment, profile, seed)) for seed in seeds}
        there = {seed: record for seed, record in runs.items() if record is not None}
        if there:
            found[experiment] = there
    return found


def _metrics(
    library: Library, profile: Profile, records: Records, report: Reporter
) -> dict[AnyExperiment, dict[int, Replicates]]:
    there: list[tuple[AnyExperiment, int, str]] = []
    read: dict[str, Read] = {}
    for experiment, runs in records.items():
        for seed, record in runs.items():
            if not library.is_evaluated(record, profile):
                continue
            checksums, load = library.checksums(record, profile), library.detections
            if library.keeps_matches(record, profile):
                checksum, load = " ".join(checksums[name] for name in KEPT), library.matches
            else:
                checksum = checksums[DETECTIONS]
            there.append((experiment, seed, checksum))
            read[checksum] = partial(load, experiment, profile, seed)
    dataset = library.dataset(profile) if there and library.has_truth(profile) else None
    evaluated = replicates(dataset, read, report=report)
    found: dict[AnyExperiment, dict[int, Replicates]] = {}
    for experiment, seed, checksum in there:
        found.setdefault(experiment, {})[seed] = evaluated[checksum]
    return found
