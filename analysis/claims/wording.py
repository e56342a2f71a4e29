"""Wording of verdicts and their numbers, shared by terminal and files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from analysis.claims.registration import Registered, claims_on
from analysis.claims.verdict_on_runs import CheckOnRuns, VerdictOnRuns
from analysis.claims.verdicts import AtProfile, SeedNoise, Verdicts
from analysis.stats.correction import LEVEL, METHOD, Bounds, Verdict

PRINTED: tuple[str, ...] = ("holds", "holds in part", "does not hold", "not decidable")
OURS: tuple[Verdict, ...] = ("supported", "refuted", "within noise", "untested")
# Verdicts and findings after a count of one and of several; the others do not vary.
COUNTED = {
    "holds": ("holds", "hold"),
    "holds in part": ("holds in part", "hold in part"),
    "does not hold": ("does not hold", "do not hold"),
    "not decidable": ("is not decidable", "are not decidable"),
    "agree": ("agrees", "agree"),
    "disagree": ("disagrees", "disagree"),
    "unclear": ("is unclear", "are unclear"),
}
DIGITS, P_DIGITS = 4, 4  # of numbers in the JSON; of p-values everywhere
EXACT_DIGITS = 9  # for results of equations
PRECISION = (
    f"numbers are rounded to {DIGITS} decimals, p-values to {P_DIGITS}, so that the last digits of "
    "a machine's arithmetic do not show"
)


def number(value: float | None, digits: int = 2, signed: bool = True) -> str:
    """Format a number: ``+0.83``; a dash for None; never ``-0.00``."""
    if value is None:
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    value = round(value, DIGITS)  # as in the JSON, from which the report is made
    rounded = round(value, digits) + 0.0
    if digits > 2 and value and not rounded:  # a small share is not zero
        digits, rounded = DIGITS, value
    return f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"


def number_of_any_size(value: float, signed: bool = True) -> str:
    """Format ``+0.83``, or ``1e-05`` if two decimals would hide it; 0 for 0 up to noise."""
    value = round(value, EXACT_DIGITS) + 0.0
    if value == 0:
        return "0"
    return number(value, 2, signed) if abs(value) >= 0.005 else f"{value:.1g}"


def p_value(p: float | None) -> str:
    """Format a p-value: ``0.0123``, ``< 0.0001``."""
    if p is None:
        return "—"
    least = 10.0**-P_DIGITS
    return f"< {least:.{P_DIGITS}f}" if p < least else f"{p:.{P_DIGITS}f}"


def bounds(pair: Bounds) -> str:
    """Format bounds: ``above 0``, ``at most 0.5``, ``-0.5 to +0.5``, ``0`` if both round to it."""
    low, high = pair
    if math.isinf(low) and math.isinf(high):
        return "any"
    if math.isinf(high):
        return f"above {low:.6g}"
    if math.isinf(low):
        return f"below {high:.6g}"
    if max(abs(low), abs(high)) < 0.01:
        return "0"
    return f"{low:.6g} to {high:.6g}"


def effect(check: CheckOnRuns) -> str:
    """Format ``+0.83 [+0.31, +1.35]``, a value with its interval, or an identity's value."""
    if check.value is None:
        return "—"
    digits, signed = form(check.label, bool(check.how))
    value = number(check.value, digits, signed)
    if check.is_exact or check.interval is None:
        value = number_of_any_size(check.value, signed=False)
    if check.interval is None:
        return value
    low, high = (number(end, digits, signed) for end in check.interval)
    return f"{value} [{low}, {high}]"


def form(label: str, measured: bool) -> tuple[int, bool]:
    """Return a check's number of decimals, and whether its sign is shown.

    A quantity measured in a run, such as a correlation or a share, is small, and its sign matters
    only if it is a difference of two.
    """
    return (3, " − " in label) if measured else (2, True)


def ps(found: VerdictOnRuns) -> str:
    """Format `` (p 0.0123, corrected 0.1)``; empty if nothing was tested."""
    if found.p is None:
        return ""
    return f" (p {p_value(found.p)}, corrected {p_value(found.p_corrected)})"


def because(why: str) -> str:
    """End a sentence, with the reason if there is one: ``: no run.``."""
    return f": {why.rstrip('.')}." if why else "."


def measured(checks: Iterable[CheckOnRuns]) -> list[str]:
    """Describe how quantities were measured, a line each."""
    how: dict[str, list[str]] = {}
    for check in checks:
        if check.how:
            how.setdefault(check.how, []).append(check.label)
    if len(how) == 1:
        return [f"Measured: {text}." for text in how]
    return [f"{'; '.join(of)}: {text}." for text, of in how.items()]


def runs(checks: Iterable[CheckOnRuns]) -> list[str]:
    """Return the runs of checks, each once."""
    return list(dict.fromkeys(run for check in checks for run in check.runs))


def seeds(check: CheckOnRuns) -> str:
    """List the seeds: ``0 1 2``."""
    return " ".join(map(str, check.seeds)) or "—"


def counts(verdicts: Iterable[str], order: Iterable[str]) -> str:
    """Format counts: ``21 supported, 3 refuted, ...``, ``1 holds, 2 hold in part, ...``."""
    found = Counter(verdicts)
    words = {name: COUNTED.get(name, (name, name))[found[name] != 1] for name in order}
    return ", ".join(f"{found[name]} {said}" for name, said in words.items())


def summary(verdicts: Verdicts) -> list[str]:
    """Return the counts, a line each: the paper's own numbers, then every profile's runs."""
    paper = counts((found.verdict for found in verdicts.on_paper.values()), PRINTED)
    lines = [f"{len(verdicts.claims)} claims. By the paper's own numbers: {paper}."]
    for name, at in verdicts.profiles.items():
        ours = counts((found.verdict for found in at.on_runs.values()), OURS)
        lines.append(f"By the runs of the {name} profile: {ours}.")
    findings = counts((c.finding for c in verdicts.text_checks), ("agree", "disagree", "unclear"))
    lines.append(f"{len(verdicts.text_checks)} checks of the text against itself: {findings}.")
    return lines


def method(profiles: Iterable[AtProfile]) -> str:
    """Describe the correction, with its number of claims at each profile."""
    tested = ", ".join(f"{at.tested} claims at {at.profile.name}" for at in profiles)
    return f"{METHOD} Tested at {LEVEL:.0%}: {tested}."


def registered(at: AtProfile) -> str:
    """State whether the claims' readings preceded the runs, which changed, which were added."""
    name, found = at.profile.name, at.registered
    if found is None:
        return f"The readings at {name} were not registered before its runs."
    since = f"changed since: {', '.join(found.changed)}" if found.changed else "unchanged since"
    added = f"; claims added since: {', '.join(found.added)}" if found.added else ""
    of, their = "The readings", "its first recorded run"
    if found.table:
        of, their = f"Readings on {found.table} alone", "the first run that decides one"
    when = f"{their} ({found.first} UTC)" if found.first else f"{their}: there is none yet"
    return (
        f"{of} at {name} were registered on {found.written} UTC, {_order(found)} {when}, and are "
        f"{since}{added}."
    )


def _order(found: Registered) -> str:
    return "before" if not found.first or found.written <= found.first else "NOT before"


def registered_reading(claim: str, at: AtProfile) -> str:
    """State whether one claim's reading preceded the runs of a profile."""
    found = at.registered
    if found is None or claim not in {one.id for one in claims_on(found.table)}:
        return "was not registered before its runs"
    if claim in found.added:
        return "was added after its registration"
    changed = ", and changed since" if claim in found.changed else ""
    return f"was registered on {found.written} UTC, {_order(found)} its first run{changed}"


def of_seeds(at: AtProfile) -> str:
    """Describe the seed noise and its source, and that of Table 4's comparisons if it differs."""
    if not at.noise_of_all:
        return "No row has runs of several seeds: intervals are of the images alone."
    if at.noise == at.noise_of_all:
        pools = [_pool("rows that have several", at.noise)]
    else:
        pools = [_pool("rows of Tables 1 to 3 that have several", at.noise)] if at.noise else []
        pools.append(f"for comparisons with Table 4's rows {_pool('such rows', at.noise_of_all)}")
    return f"Standard deviation over seeds, {'; '.join(pools)}. Rows of one seed take it too."


def _pool(rows: str, noise: Mapping[str, SeedNoise]) -> str:
    some = next(iter(noise.values()))
    spreads = ", ".join(f"{name} {found.spread:.2f}" for name, found in noise.items())
    tests = ", ".join(f"{n} {found.bartlett:.2g}" for n, found in noise.items() if found.bartlett)
    return (
        f"pooled over the {some.rows} {rows} ({some.freedom} degrees of freedom): {spreads} (that "
        f"they spread equally, by Bartlett's test: p = {tests})"
    )
