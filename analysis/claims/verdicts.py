"""Verdicts on all claims: by the paper's numbers, and by the runs of every profile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from analysis.claims import registration
from analysis.claims.registration import Registered
from analysis.claims.verdict_on_paper import VerdictOnPaper, verdict
from analysis.claims.verdict_on_runs import VerdictOnRuns, judge_all
from analysis.library import Library, Source
from analysis.measures.evidence import Evidence, Records, by_seed, gather, of_variants
from analysis.measures.kept import measure
from analysis.measures.quantity import Measurement
from analysis.measures.scale import SCALE
from analysis.pool import Reporter, quiet
from analysis.stats.uncertainty import Noise
from experiments.claims import CLAIMS, TEXT_CHECKS
from experiments.claims.declare import Claim, TextCheck
from experiments.profiles import PROFILES
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import RecordError, Store, read_json

SHOWN_NOISE = ("AP", "AP50", "AP75", "APS", "APM", "APL")  # the metrics that tables print


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of a metric over seeds, pooled over the rows that have several."""

    spread: float
    freedom: int
    rows: int
    bartlett: float | None  # p of Bartlett's test for equal variances


@dataclass(frozen=True)
class AtProfile:
    """Verdicts on the runs of one profile, and their basis."""

    profile: Profile
    records: Mapping[str, str]  # SHA-256 of every record, by run id
    noise: Mapping[str, SeedNoise]  # by metric, over the rows of Tables 1 to 3
    on_runs: Mapping[str, VerdictOnRuns]  # by claim
    scale: Mapping[str, Measurement] = field(default_factory=dict)  # SCALE, if measurable
    registered: Registered | None = None
    noise_of_all: Mapping[str, SeedNoise] = field(default_factory=dict)  # with Table 4's rows

    @property
    def tested(self) -> int:
        """Number of claims that share the correction."""
        return sum(found.p is not None for found in self.on_runs.values())


@dataclass(frozen=True)
class Verdicts:
    """Every claim with its verdicts."""

    source: Source
    claims: tuple[Claim, ...]
    text_checks: tuple[TextCheck, ...]
    on_paper: Mapping[str, VerdictOnPaper]  # by claim
    profiles: Mapping[str, AtProfile]


def judge(store: Store, source: Source = "reference", report: Reporter = quiet) -> Verdicts:
    """Judge every claim by the paper's own numbers, and by the runs of every profile with some.

    Raises:
        UserError: a run's predictions are damaged.
    """
    library = Library(store, source)
    claims, printed = tuple(CLAIMS), {claim.id: verdict(claim) for claim in CLAIMS}
    found = {}
    for profile in PROFILES.values():
        if not library.records(profile):
            continue
        report(f"{profile.name}: the claims")
        evidence = gather(library, profile, report)
        if evidence.records:
            found[profile.name] = _at(evidence, store, claims, report)
    return Verdicts(source, claims, tuple(TEXT_CHECKS), printed, found)


def _at(evidence: Evidence, store: Store, claims: tuple[Claim, ...], report: Reporter) -> AtProfile:
    checksums = {
        record.id: checksum(store, evidence.library.source, evidence.profile.name, record.id)
        for runs in evidence.records.values()
        for record in runs.values()
    }
    on_runs = judge_all(claims, evidence, report)
    profile = evidence.profile
    noise = _noise(evidence.noise, of_variants(evidence.records, profile))
    noise_of_all = _noise(evidence.noise_of_all, evidence.records)
    settled = registration.read(store, profile.name)
    records = [record for runs in evidence.records.values() for record in runs.values()]
    registered = settled and registration.beside(settled, profile, records)
    checksums = dict(sorted(checksums.items()))
    scale = _scale(evidence)
    return AtProfile(profile, checksums, noise, on_runs, scale, registered, noise_of_all)


def _scale(evidence: Evidence) -> dict[str, Measurement]:
    """Return the measurable properties of a profile's data."""
    found = {}
    for name, property in SCALE.items():
        with suppress(UserError):
            found[name] = measure(property.quantity, evidence)
    return found


def checksum(store: Store, source: Source, profile: str, id: str) -> str:
    """Return the checksum that a record states; empty if it is missing or no record."""
    local, reference = store.run_dir(profile, id) / "record.json", store.reference_path(profile, id)
    try:
        return str(read_json(local if source == "local" else reference).get("sha256", ""))
    except (RecordError, OSError):
        return ""


def _noise(pooled: Mapping[str, Noise], records: Records) -> dict[str, SeedNoise]:
    found = {}
    for metric in SHOWN_NOISE:
        if (noise := pooled.get(metric)) is None:
            continue
        rows = [list(row.values()) for row in by_seed(records, metric) if len(row) > 1]
        found[metric] = SeedNoise(noise.spread, noise.freedom, len(rows), _bartlett(rows))
    return found


def _bartlett(rows: list[list[float]]) -> float | None:
    """Return the p-value of Bartlett's test that all rows have equal variance.

    Source: Bartlett, "Properties of Sufficiency and Statistical Tests", Proceedings of the Royal
    Society A 160 (1937); scipy.stats.bartlett.
    """
    from scipy.stats import bartlett

    if len(rows) < 2 or any(len(set(row)) < 2 for row in rows):
        return None
    return float(bartlett(*rows).pvalue)
