"""The claims and their evidence, as ``make audit`` wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.drawn import Scale, Strip, scale, strip
from analysis.report.sides import identifier
from gfl.errors import UserError
from gfl.record import RUN_ID, RecordError, Store, read_json

SCHEMA = 1
AUDIT = "make audit writes it anew"

# Every verdict with its sign, so that colour is never alone, and the class that colours it.
PRINTED = {
    "holds": ("✓", "good"),
    "holds in part": ("◐", "part"),
    "does not hold": ("✕", "bad"),
    "not decidable": ("?", "open"),
}
OURS = {
    "supported": ("✓", "good"),
    "refuted": ("✕", "bad"),
    "within noise": ("≈", "open"),
    "untested": ("–", "none"),
}
FINDINGS = {"agree": ("✓", "good"), "disagree": ("✕", "bad"), "unclear": ("?", "open")}
STATES = {
    "holds": "holds",
    "fails": "fails",
    "within noise": "within the paper’s noise",
    "not printed": "not printed",
}


@dataclass(frozen=True)
class Chip:
    """A verdict with its sign."""

    text: str
    sign: str
    kind: str  # good, part, bad, open, none


@dataclass(frozen=True)
class Quote:
    text: str
    place: str


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


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with both verdicts."""

    id: str
    number: int
    says: str
    refuted_by: str
    note: str
    quotes: tuple[Quote, ...]
    printed: Chip
    where: str  # in what it does not hold
    ours: Chip
    why: str
    p: str
    p_corrected: str
    p_order: str
    checks: tuple[Check, ...]
    scale: Scale | None
    lead: int  # the check that the verdict on our runs hangs on


@dataclass(frozen=True)
class TextCheck:
    """Two places of the paper that must agree."""

    id: str
    one: Quote
    other: Quote
    finding: Chip
    why: str


@dataclass(frozen=True)
class Trial:
    """The whole of ``results/claims.json`` at one profile."""

    claims: tuple[Claim, ...]
    text_checks: tuple[TextCheck, ...]
    correction: str
    noise_of_the_paper: str
    tested: int | None
    seed_noise: str

    def counts(self, side: str) -> list[tuple[Chip, int]]:
        """How often each verdict was given, in the order of the verdicts; zeros too."""
        known = PRINTED if side == "printed" else OURS
        found = Counter(getattr(claim, side).text for claim in self.claims)
        return [(chip(text, known), found[text]) for text in known]

    def crossed(self) -> list[tuple[Chip, list[int]]]:
        """Claims by their verdict on the paper's numbers and, across, on our runs."""
        found = Counter((claim.printed.text, claim.ours.text) for claim in self.claims)
        return [(chip(a, PRINTED), [found[a, b] for b in OURS]) for a in PRINTED]

    def of(self, verdict: str) -> list[Claim]:
        """The claims with this verdict on our runs."""
        return [claim for claim in self.claims if claim.ours.text == verdict]


def chip(text: str, known: Mapping[str, tuple[str, str]]) -> Chip:
    sign, kind = known.get(text, ("·", "open"))
    return Chip(text, sign, kind)


def read(path: Path, profile: str, store: Store, own: bool, slugs: set[str]) -> Trial:
    """Read the trial of a profile's records.

    Raises:
        UserError: there is none, it is of other records, or it is not what audit writes.
    """
    try:
        content = read_json(path)
        if (schema := content.get("schema")) != SCHEMA:
            raise RecordError(f"schema {schema!r}, this code reads {SCHEMA}")
        _check_records(content, profile, store, own, path)
        return _trial(content, profile, slugs)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: {AUDIT}") from None
    except (RecordError, KeyError, TypeError, ValueError, AttributeError) as err:
        raise UserError(f"{path} is not what audit writes ({err!r}): {AUDIT}") from err


def _check_records(
    content: Mapping[str, Any], profile: str, store: Store, own: bool, path: Path
) -> None:
    """Refuse a trial of records that have changed, come or gone since."""
    tried = content["profiles"].get(profile, {}).get("records", {})
    ids = (store.own_ids if own else store.reference_ids)(profile)
    found = {id: _checksum(store, profile, id, own) for id in ids}
    found = {id: checksum for id, checksum in found.items() if checksum}
    if wrong := sorted(id for id in tried if tried[id] != found.get(id)):
        raise UserError(f"{path} is of other records of {', '.join(wrong)}: {AUDIT}")
    if found and not tried:
        raise UserError(f"{path} does not try the {profile} profile: {AUDIT}")


def _checksum(store: Store, profile: str, id: str, own: bool) -> str:
    folder = store.run_dir(profile, id) / "record.json"
    path = folder if own else store.reference_path(profile, id)
    try:
        return str(read_json(path).get("sha256", ""))
    except (RecordError, OSError):
        return ""


def _trial(content: Mapping[str, Any], profile: str, slugs: set[str]) -> Trial:
    here = content["profiles"].get(profile, {})
    claims = [_claim(c, i, profile, slugs) for i, c in enumerate(content["claims"], 1)]
    return Trial(
        claims=tuple(claims),
        text_checks=tuple(map(_text_check, content["text_checks"])),
        correction=str(content["correction"]),
        noise_of_the_paper=str(content["noise_of_the_paper"]),
        tested=here.get("tested"),
        seed_noise=_noise(here.get("seed_noise")),
    )


def _noise(found: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The spread over seeds of each figure."""
    return ", ".join(f"{name} {one['spread']:.2f}" for name, one in (found or {}).items())


def _claim(content: Mapping[str, Any], number: int, profile: str, slugs: set[str]) -> Claim:
    printed, ours = content["printed"], content["ours"].get(profile)
    found = ours or {"verdict": "untested", "why": "no run at this profile", "checks": []}
    refuted = found["verdict"] == "refuted"
    on, checks, lead = _checks(printed["checks"], found["checks"], slugs, refuted)
    corrected = found.get("p_corrected")
    return Claim(
        id=identifier("claim", content["id"]),
        number=number,
        says=content["says"],
        refuted_by=content["refuted_by"],
        note=content.get("note", ""),
        quotes=tuple(Quote(q["text"], q["place"]) for q in content["quotes"]),
        printed=chip(printed["verdict"], PRINTED),
        where=printed.get("where") or "",
        ours=chip(found["verdict"], OURS),
        why=found.get("why") or "",
        p=p_text(found.get("p")),
        p_corrected=p_text(corrected),
        p_order="" if corrected is None else repr(float(corrected)),
        checks=tuple(checks),
        scale=on,
        lead=lead,
    )


def _checks(
    printed: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
    slugs: set[str],
    refuted: bool,
) -> tuple[Scale | None, list[Check], int]:
    """Both sides' checks, joined by label, on one scale, and which one decides."""
    ours_by = {one["label"]: one for one in ours}
    printed_by = {one["label"]: one for one in printed}
    pairs = [(printed_by.get(label, {}), ours_by.get(label, {}))
             for label in dict.fromkeys([*printed_by, *ours_by])]  # fmt: skip
    scales = [scale(_numbers([pair])) for pair in pairs]
    on = scale(_numbers(pairs)) if _alike(scales) else None
    checks = [_check(a, b, on or own, slugs) for (a, b), own in zip(pairs, scales, strict=True)]
    return on, checks, _deciding([b for _, b in pairs], refuted)


def _alike(scales: Sequence[Scale | None]) -> bool:
    """Whether one scale serves all: a correlation beside 5 AP would be a point."""
    spans = [s.high - s.low for s in scales if s]
    return bool(spans) and max(spans) < 15 * min(spans)


def _numbers(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[float]:
    """What must have room on a claim's scale."""
    for a, b in pairs:
        values = [a.get("value"), b.get("value"), b.get("low"), b.get("high"), *_bounds(a, b)]
        yield from (float(value) for value in values if value is not None)


def _bounds(a: Mapping[str, Any], b: Mapping[str, Any]) -> Sequence[float | None]:
    """Those of our runs where there are some: the paper's may be of its own scale."""
    return b.get("bounds") or (a.get("low"), a.get("high"))


def _deciding(ours: Sequence[Mapping[str, Any]], refuted: bool) -> int:
    """Which check is the least sure to hold, or that which fails; the first where none is tested.

    It is the one that ``results/claims.md`` shows of a claim.
    """
    tested = [i for i, one in enumerate(ours) if one.get("p_holds") is not None]
    if refuted:
        return min(tested, key=lambda i: ours[i]["p_fails"], default=0)
    return max(tested, key=lambda i: ours[i]["p_holds"], default=0)


def _check(a: Mapping[str, Any], b: Mapping[str, Any], on: Scale | None, slugs: set[str]) -> Check:
    value, low, high = b.get("value"), b.get("low"), b.get("high")
    interval = None if low is None or high is None else (float(low), float(high))
    bounds = _bounds(a, b)
    # What is measured in a run, a correlation or a share, is small and has no sign to show.
    digits, sign = (3, False) if b.get("how") else (2, True)
    return Check(
        label=str(a.get("label", b.get("label", ""))),
        printed=number(a.get("value"), digits, sign),
        state=STATES.get(a.get("state", ""), str(a.get("state", ""))),
        bounds=bounds_text(bounds),
        ours=number(value, digits, sign),
        interval=""
        if interval is None
        else f"[{', '.join(number(end, digits, sign) for end in interval)}]",
        p_holds=p_text(b.get("p_holds")),
        p_fails=p_text(b.get("p_fails")),
        seeds=", ".join(map(str, b.get("seeds") or ())),
        runs=tuple(_by_experiment(b.get("runs") or (), slugs)),
        strip=None if on is None else strip(on, bounds, a.get("value"), value, interval),
        note=str(b.get("missing") or b.get("how") or ""),
    )


def _by_experiment(runs: Sequence[str], slugs: set[str]) -> Iterator[Seeds]:
    found: dict[str, list[str]] = {}
    for run in runs:
        match = RUN_ID.fullmatch(run)
        found.setdefault(match["slug"] if match else run, []).append(match["seed"] if match else "")
    for slug, seeds in found.items():
        several = tuple(dict.fromkeys(filter(None, seeds)))
        yield Seeds(slug, several, f"#run-{slug}" if slug in slugs else "")


def _text_check(content: Mapping[str, Any]) -> TextCheck:
    one, other = content["one"], content["other"]
    return TextCheck(
        id=identifier("text", content["id"]),
        one=Quote(one["text"], one["place"]),
        other=Quote(other["text"], other["place"]),
        finding=chip(content["finding"], FINDINGS),
        why=content.get("why", ""),
    )


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus, and a plus if asked; nothing is a dash."""
    if value is None:
        return "—"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not float(text):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def bounds_text(bounds: Sequence[float | None]) -> str:
    """What the claim asks of the number, in words."""
    low, high = bounds
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
