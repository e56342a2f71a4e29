"""Verdict on a claim from this project's runs: the result of each check, and of all together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.claims.identities import IDENTITIES
from analysis.measures.evidence import Evidence
from analysis.measures.kept import find, measure
from analysis.measures.quantity import Measurement
from analysis.pool import Reporter, quiet
from analysis.stats import correction, uncertainty
from analysis.stats.correction import Bounds, P, Verdict
from experiments.claims.declare import Check, Claim, Contrast, Identity
from experiments.profiles import PAPER_SCALE
from experiments.tables.declare import FPS
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, at_scale

SPEED = (
    "the FPS in records were measured after each training, whatever else the machine did then, "
    "and not side by side"
)


@dataclass(frozen=True)
class CheckOnRuns:
    """One check on the runs of a profile."""

    label: str
    bounds: Bounds  # the claim's, at this profile
    value: float | None = None
    interval: tuple[float, float] | None = None
    p: P | None = None  # None: not tested, or exact
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    missing: str = ""  # why it is not tested, and the command that helps
    how: str = ""  # of a quantity: the measurement

    @property
    def is_exact(self) -> bool:
        """True if known without a test."""
        return self.value is not None and self.p is None and not self.missing

    @property
    def is_inside(self) -> bool:
        """True if the value is between the bounds, whether significantly or not.

        A single bound is excluded: 0 is not above 0.
        """
        if self.value is None:
            return False
        low, high = self.bounds
        if math.isinf(low) or math.isinf(high):
            return low < self.value < high
        return low <= self.value <= high


@dataclass(frozen=True)
class VerdictOnRuns:
    """Verdict on a claim from the runs of a profile."""

    verdict: Verdict
    why: str
    checks: tuple[CheckOnRuns, ...]
    p: float | None = None  # None: nothing was tested
    p_corrected: float | None = None  # for all claims tested at the profile
    decided_by: int | None = None  # index of the check, where stored; p-values are stored rounded

    @property
    def deciding(self) -> CheckOnRuns | None:
        """Check that decides the verdict: the least certain, or the one that fails.

        None if it is untested.
        """
        if self.decided_by is not None:
            return self.checks[self.decided_by]
        if self.verdict == "untested":
            return None
        tested = [check for check in self.checks if check.p]
        if not tested:
            return next((check for check in self.checks if check.is_exact), None)
        if self.verdict == "refuted":
            return min(tested, key=lambda check: check.p.fails if check.p else 1.0)
        return max(tested, key=lambda check: check.p.holds if check.p else 0.0)

    @property
    def is_of_equations(self) -> bool:
        """True if decided without an estimate: computed equations need no run."""
        return bool(self.checks) and all(c.is_exact and not c.runs for c in self.checks)


def judge_all(
    claims: Sequence[Claim], evidence: Evidence, report: Reporter = quiet
) -> dict[str, VerdictOnRuns]:
    """Return every claim's verdict at a profile, by its id."""
    checks: dict[str, tuple[CheckOnRuns, ...]] = {}
    for done, claim in enumerate(claims, 1):
        checks[claim.id] = tuple(judge_check(check, evidence) for check in _ours(claim))
        if done % 10 == 0:
            report(f"{evidence.profile.name}: {done} of {len(claims)} claims")
    return decide(checks, {c.id: c.blind.get(evidence.profile.name, "") for c in claims})


def judge_check(check: Check, evidence: Evidence) -> CheckOnRuns:
    """Return the runs' result for a check, or why there is none."""
    empty = CheckOnRuns(check.label, bounds_at(check, evidence.profile.name))
    try:
        if isinstance(check, Identity):
            return replace(empty, value=IDENTITIES[check.name](), how="of the equations alone")
        if isinstance(check, Contrast):
            found = _contrast(check, evidence)
        else:
            found = measure(find(check.quantity), evidence)
    except UserError as err:
        return replace(empty, missing=str(err))
    tested = None if found.lacking else found.tested
    return replace(
        empty,
        value=found.value,
        interval=found.interval,
        p=None if tested is None else correction.of_check(tested, empty.bounds),
        missing=found.lacking,
        seeds=found.seeds,
        runs=found.runs,
        how=found.how,
    )


def _ours(claim: Claim) -> list[Check]:
    """Return the checks that our runs could show, or all if there are none."""
    some = [c for c in claim.checks if not (isinstance(c, Contrast) and c.paper_only)]
    return some or list(claim.checks)


def bounds_at(check: Check, profile: str) -> Bounds:
    """Return the claim's bounds at a profile's data."""
    if isinstance(check, Identity) or profile == PAPER_SCALE:
        return check.bounds
    return check.at.get(profile, check.elsewhere or check.bounds)


def decide(
    checks: Mapping[str, tuple[CheckOnRuns, ...]], blind: Mapping[str, str]
) -> dict[str, VerdictOnRuns]:
    """Return the claims' verdicts from their checks, corrected for the number of tests.

    ``blind`` gives reasons for claims that a profile's data cannot decide.
    """
    ps = {
        id: correction.of_claim([c.p for c in some if c.p], not any(c.missing for c in some))
        for id, some in checks.items()
        if any(c.p for c in some) and not blind.get(id) and not _exactly_outside(some)
    }
    corrected = correction.holm([correction.two_sided(p) for p in ps.values()])
    family = {id: (p, c) for (id, p), c in zip(ps.items(), corrected, strict=True)}
    return {
        id: _verdict(some, blind.get(id, ""), *family.get(id, (None, None)))
        for id, some in checks.items()
    }


def _exactly_outside(checks: Sequence[CheckOnRuns]) -> CheckOnRuns | None:
    return next((check for check in checks if check.is_exact and not check.is_inside), None)


def _verdict(
    checks: tuple[CheckOnRuns, ...], blind: str, p: P | None, corrected: float | None
) -> VerdictOnRuns:
    if blind:
        return VerdictOnRuns("untested", blind, checks)
    lacking = [check for check in checks if check.missing]
    if p is None or corrected is None:
        return _untested_or_exact(checks, lacking)
    found = correction.verdict(p, corrected)
    if lacking and found != "refuted":
        found = "untested"
    why = _WHY[found](checks)
    if lacking and found == "refuted":
        why += f"; not tested: {_labels(lacking)}"
    return VerdictOnRuns(found, why, checks, correction.two_sided(p), corrected)


def _untested_or_exact(
    checks: tuple[CheckOnRuns, ...], lacking: Sequence[CheckOnRuns]
) -> VerdictOnRuns:
    if (wrong := _exactly_outside(checks)) is not None:
        return VerdictOnRuns("refuted", f"{wrong.label}: {wrong.value:g}, which is exact", checks)
    if lacking or not checks:
        return VerdictOnRuns("untested", _why_untested(checks), checks)
    return VerdictOnRuns("supported", "exact: nothing is estimated", checks)


def _why_supported(checks: Sequence[CheckOnRuns]) -> str:
    tested = [check for check in checks if check.p]
    if len(tested) == 1:
        return f"{tested[0].label} is clearly within the claim's bounds{_pooled(tested)}"
    weakest = max(tested, key=lambda check: check.p.holds if check.p else 0.0)
    return f"all {len(checks)} checks hold; the least sure is {weakest.label}{_pooled(tested)}"


def _why_refuted(checks: Sequence[CheckOnRuns]) -> str:
    worst = min((c for c in checks if c.p), key=lambda c: c.p.fails if c.p else 1.0)
    return f"{worst.label} is clearly outside the claim's bounds{_pooled([worst])}"


def _pooled(deciding: Sequence[CheckOnRuns]) -> str:
    """Report that a single seed decides, with noise estimated from other rows."""
    if any(len(check.seeds) == 1 for check in deciding):
        return "; rests on one seed, whose noise is taken from the rows that have several"
    return ""


def _why_noise(checks: Sequence[CheckOnRuns]) -> str:
    """Count the checks inside and outside their bounds, each alone, before any correction."""
    tested = [(check, check.p) for check in checks if check.p]
    holds = sum(p.holds <= correction.LEVEL for _, p in tested)
    fails = sum(p.fails <= correction.LEVEL for _, p in tested)
    if len(tested) == 1:
        check, _ = tested[0]
        return f"{check.label} is {'within' if check.is_inside else 'outside'}, not clearly"
    inside = sum(check.is_inside for check, _ in tested)
    return (
        f"{inside} of {len(tested)} checks are within the claim's bounds ({holds} clearly) and "
        f"{len(tested) - inside} outside ({fails} clearly), each taken alone"
    )


def _why_untested(checks: Sequence[CheckOnRuns]) -> str:
    """List the reasons, each once, with its checks."""
    if not checks:
        return "nothing that is measured here would show it"
    reasons: dict[str, list[CheckOnRuns]] = defaultdict(list)
    for check in checks:
        if check.missing:
            reasons[check.missing].append(check)
    if len(reasons) == 1 and all(check.missing for check in checks):
        return next(iter(reasons))
    return "; ".join(f"{_labels(some)}: {reason}" for reason, some in reasons.items())


_WHY = {
    "supported": _why_supported,
    "refuted": _why_refuted,
    "within noise": _why_noise,
    "untested": _why_untested,
}


def _labels(checks: Iterable[CheckOnRuns]) -> str:
    return ", ".join(check.label for check in checks)


def _contrast(check: Contrast, evidence: Evidence) -> Measurement:
    """Measure the check's sum of metrics on the runs of its cells.

    Raises:
        UserError: no runs of this profile can show it, or they are missing.
    """
    factors = _factors(check, evidence)
    metrics = {metric for _, metric in factors}
    needed = list(dict.fromkeys(experiment for experiment, _ in factors))
    seeds = evidence.seeds(needed)
    values = [evidence.values(experiment, metric) for experiment, metric in factors]
    noise = evidence.noise_among(needed, metrics.pop()) if len(metrics) == 1 else None
    estimate = uncertainty.contrast(list(factors.values()), values, noise)
    if estimate is None:
        raise UserError("no metric of its runs is defined: there is no such object")
    runs = (evidence.record(e, seed).id for e in needed for seed in seeds)
    return Measurement.of(estimate, runs, seeds)


def _factors(check: Contrast, evidence: Evidence) -> dict[tuple[AnyExperiment, str], float]:
    """Return the factor of each number in the check's sum; cells of the same run are merged.

    Raises:
        UserError: the check's cells have no runs at this profile.
    """
    profile = evidence.profile.name
    factors: dict[tuple[AnyExperiment, str], float] = defaultdict(float)
    for factor, at in check.terms:
        table, cell = at.declared, at.found
        if at.column == FPS.name:
            raise UserError(SPEED)
        if cell.experiment is None:
            raise UserError(f"the paper took {cell.row.key} ({table.title}) from others")
        if not table.runs_at(profile):
            only = " and ".join(table.profiles or ())
            raise UserError(f"the rows of {table.title} are run at the {only} profile only")
        column = next(column for column in table.columns if column.name == at.column)
        factors[at_scale(cell.experiment, evidence.profile), column.metric] += factor
    kept = {key: factor for key, factor in factors.items() if factor}
    if not kept:
        raise UserError("its rows are one and the same run")
    return kept
