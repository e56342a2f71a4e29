"""Checks of a claim: the paper's numbers and the runs' results, joined on one scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.claims import wording
from analysis.claims.verdict_on_paper import CheckOnPaper
from analysis.claims.verdict_on_runs import CheckOnRuns
from analysis.report.drawn import Scale, Strip, scale, strip
from analysis.stats.correction import Bounds
from analysis.text import NONE
from gfl.records.record import RUN_ID

STATES = {
    "holds": "holds",
    "fails": "fails",
    "within noise": "within the paper’s noise",
    "not printed": "not printed",
}


@dataclass(frozen=True)
class Seeds:
    """Runs of one experiment that a check uses."""

    slug: str
    seeds: tuple[str, ...]
    href: str  # empty if the page has no such runs


@dataclass(frozen=True)
class Row:
    """One check as text: the paper's value and state, ours with its interval and p-values."""

    label: str
    printed: str
    state: str
    bounds: str
    ours: str
    interval: str
    p_holds: str
    p_fails: str
    seeds: str
    runs: tuple[Seeds, ...]
    strip: Strip | None
    note: str  # what was measured, or why not


@dataclass(frozen=True)
class Pair:
    """A check on the paper's side and on ours; one may be missing."""

    on_paper: CheckOnPaper | None
    on_runs: CheckOnRuns | None

    @property
    def label(self) -> str:
        one = self.on_paper or self.on_runs
        return "" if one is None else one.label

    @property
    def is_measured(self) -> bool:
        return self.on_runs is not None and bool(self.on_runs.how)

    @property
    def bounds(self) -> Bounds:
        """Bounds of our runs if there are any: the paper's may apply only to its own scale."""
        one = self.on_runs or self.on_paper
        return (-math.inf, math.inf) if one is None else one.bounds

    @property
    def published(self) -> float | None:
        return None if self.on_paper is None else self.on_paper.value

    def numbers(self) -> Iterator[float]:
        """Yield the numbers that a scale must cover."""
        ours = self.on_runs
        ends = (ours.interval if ours else None) or (None, None)
        values = (self.published, ours.value if ours else None, *ends, *self.bounds)
        yield from (value for value in values if value is not None)


def joined(
    printed: Sequence[CheckOnPaper], ours: Sequence[CheckOnRuns], slugs: set[str], why: str
) -> tuple[Scale | None, list[Row]]:
    """Join both sides' checks by label, on one scale."""
    ours_by = {one.label: one for one in ours}
    printed_by = {one.label: one for one in printed}
    labels = dict.fromkeys([*printed_by, *ours_by])
    pairs = [Pair(printed_by.get(label), ours_by.get(label)) for label in labels]
    own = [scale(pair.numbers()) for pair in pairs]
    on = scale(n for pair in pairs for n in pair.numbers()) if _alike(pairs, own) else None
    rows = [_row(pair, on or alone, slugs, why) for pair, alone in zip(pairs, own, strict=True)]
    return on, rows


def _alike(pairs: Sequence[Pair], scales: Sequence[Scale | None]) -> bool:
    """Return True if one scale suits all: beside 5 AP, a correlation would be a point."""
    kinds = {pair.is_measured for pair in pairs}
    spans = [s.high - s.low for s in scales if s]
    return kinds == {False} or (len(kinds) == 1 and bool(spans) and max(spans) < 15 * min(spans))


def _row(pair: Pair, on: Scale | None, slugs: set[str], why: str) -> Row:
    ours = pair.on_runs or CheckOnRuns(pair.label, (-math.inf, math.inf))
    value, interval, published = ours.value, ours.interval, pair.published
    digits, sign = wording.form(pair.label, pair.is_measured)
    ends = () if interval is None else (number(end, digits, sign) for end in interval)
    holds, fails = (ours.p.holds, ours.p.fails) if ours.p else (None, None)
    state = pair.on_paper.state if pair.on_paper else ""
    note = ours.missing or ours.how
    is_whole = ours.is_exact or interval is None
    return Row(
        label=pair.label,
        printed=as_printed(published, sign),
        state=STATES.get(state, state),
        bounds=true_minus(wording.bounds(pair.bounds)),
        ours=of_any_size(value) if is_whole else number(value, digits, sign),
        interval="" if interval is None else f"[{', '.join(ends)}]",
        p_holds="exact" if ours.is_exact else p_text(holds),
        p_fails="exact" if ours.is_exact else p_text(fails),
        seeds=", ".join(map(str, ours.seeds)),
        runs=tuple(_by_experiment(ours.runs, slugs)),
        strip=None if on is None else strip(on, pair.bounds, published, value, interval),
        note="" if note in why else note,
    )


def _by_experiment(runs: Sequence[str], slugs: set[str]) -> Iterator[Seeds]:
    found: dict[str, list[str]] = {}
    for run in runs:
        match = RUN_ID.fullmatch(run)
        found.setdefault(match["slug"] if match else run, []).append(match["seed"] if match else "")
    for slug, seeds in found.items():
        several = tuple(dict.fromkeys(filter(None, seeds)))
        yield Seeds(slug, several, f"#run-{slug}" if slug in slugs else "")


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Format a number as in ``results/claims.md``, with a true minus; None is a dash."""
    return true_minus(wording.number(value, digits, sign))


def of_any_size(value: float | None) -> str:
    """Format a number without an interval, as in ``results/claims.md``."""
    return NONE if value is None else true_minus(wording.number_of_any_size(value, signed=False))


def as_printed(value: float | None, sign: bool) -> str:
    """Format a number with its own digits, for a difference of printed numbers."""
    if value is None:
        return NONE
    return true_minus(f"{round(value, 4) + 0.0:{'+' if sign and value else ''}g}")


def true_minus(text: str) -> str:
    """Return text with a minus in place of each hyphen."""
    return text.replace("-", "−")


def p_text(p: float | None) -> str:
    """Format a p-value as in journals: with significant digits only."""
    if p is None:
        return NONE
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
