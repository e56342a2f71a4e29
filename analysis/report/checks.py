"""The checks of a claim: what the paper prints and what the runs gave, joined on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.claims import wording
from analysis.report.drawn import Scale, Strip, scale, strip
from gfl.records.record import RUN_ID

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]  # a check on the paper's side, and on ours

STATES = {
    "holds": "holds",
    "fails": "fails",
    "within noise": "within the paper’s noise",
    "not printed": "not printed",
}


@dataclass(frozen=True)
class Seeds:
    """The runs of one experiment that a check is made of."""

    slug: str
    seeds: tuple[str, ...]
    href: str  # empty where the page has no such runs


@dataclass(frozen=True)
class Check:
    """One comparison: the paper's figure and state, ours with its interval and p."""

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
    note: str  # what was measured, or why it was not


def joined(
    printed: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
    slugs: set[str],
    why: str,
) -> tuple[Scale | None, list[Check]]:
    """Both sides' checks, joined by label, on one scale."""
    ours_by = {one["label"]: one for one in ours}
    printed_by = {one["label"]: one for one in printed}
    pairs = [(printed_by.get(label, {}), ours_by.get(label, {}))
             for label in dict.fromkeys([*printed_by, *ours_by])]  # fmt: skip
    own = [scale(_numbers([pair])) for pair in pairs]
    on = scale(_numbers(pairs)) if _alike(pairs, own) else None
    checks = [
        _check(a, b, on or alone, slugs, why) for (a, b), alone in zip(pairs, own, strict=True)
    ]
    return on, checks


def _alike(pairs: Sequence[Pair], scales: Sequence[Scale | None]) -> bool:
    """Whether one scale serves all: a correlation beside 5 AP would be a point."""
    kinds = {bool(ours.get("how")) for _, ours in pairs}
    spans = [s.high - s.low for s in scales if s]
    return kinds == {False} or (len(kinds) == 1 and bool(spans) and max(spans) < 15 * min(spans))


def _numbers(pairs: Sequence[Pair]) -> Iterator[float]:
    """What must have room on a claim's scale."""
    for a, b in pairs:
        values = [a.get("value"), b.get("value"), b.get("low"), b.get("high"), *_bounds(a, b)]
        yield from (float(value) for value in values if value is not None)


def _bounds(a: Mapping[str, Any], b: Mapping[str, Any]) -> Sequence[float | None]:
    """Those of our runs where there are some: the paper's may be of its own scale."""
    return b.get("bounds") or (a.get("low"), a.get("high"))


def _check(
    a: Mapping[str, Any], b: Mapping[str, Any], on: Scale | None, slugs: set[str], why: str
) -> Check:
    value, low, high = b.get("value"), b.get("low"), b.get("high")
    interval = None if low is None or high is None else (float(low), float(high))
    bounds = _bounds(a, b)
    exact = value is not None and b.get("p_holds") is None and not b.get("missing")
    label = str(a.get("label", b.get("label", "")))
    digits, sign = wording.form(label, bool(b.get("how")))
    note = str(b.get("missing") or b.get("how") or "")
    return Check(
        label=label,
        printed=as_printed(a.get("value"), sign),
        state=STATES.get(a.get("state", ""), str(a.get("state", ""))),
        bounds=bounds_text(bounds),
        ours=of_any_size(value) if exact or interval is None else number(value, digits, sign),
        interval=""
        if interval is None
        else f"[{', '.join(number(end, digits, sign) for end in interval)}]",
        p_holds="exact" if exact else p_text(b.get("p_holds")),
        p_fails="exact" if exact else p_text(b.get("p_fails")),
        seeds=", ".join(map(str, b.get("seeds") or ())),
        runs=tuple(_by_experiment(b.get("runs") or (), slugs)),
        strip=None if on is None else strip(on, bounds, a.get("value"), value, interval),
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
    """A number as ``results/claims.md`` has it, with a true minus; nothing is a dash."""
    return wording.number(value, digits, sign).replace("-", "−")


def of_any_size(value: float | None) -> str:
    """A number that has no interval, as ``results/claims.md`` has it."""
    if value is None:
        return "—"
    return wording.number_of_any_size(value, signed=False).replace("-", "−")


def as_printed(value: float | None, sign: bool) -> str:
    """A number with the digits that it has: a difference of printed figures."""
    if value is None:
        return "—"
    text = f"{round(value, 4) + 0.0:{'+' if sign and value else ''}g}"
    return text.replace("-", "−")


def bounds_text(bounds: Sequence[float | None]) -> str:
    """What the claim asks of the number, in words."""
    low, high = bounds
    if low is not None and low == high:
        return f"{low:g}".replace("-", "−")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}".replace("-", "−")
    if low is not None:
        return f"above {low:g}".replace("-", "−")
    return "" if high is None else f"below {high:g}".replace("-", "−")


def p_text(p: float | None) -> str:
    """As printed in journals: no more digits than say something."""
    if p is None:
        return "—"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
