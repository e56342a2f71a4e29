"""The claims and their evidence, as ``make audit`` wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.checks import Check, joined, p_text
from analysis.report.drawn import Scale
from analysis.report.formulas import plain
from analysis.report.table_views import identifier
from gfl.errors import UserError
from gfl.records.record import RecordError, Store, read_json

SCHEMA = 1

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
class Claim:
    """A claim of the paper with both verdicts."""

    id: str
    name: str  # as results/claims.md has it
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
    lead: Check | None  # the check that the verdict on our runs hangs on

    @property
    def is_of_equations(self) -> bool:
        """Decided without an estimate: what is computed of the equations needs no run."""
        exact = [check.p_holds == "exact" and not check.runs for check in self.checks]
        return bool(exact) and all(exact)


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

    def by_equations(self, verdict: str) -> int:
        """How many claims have this verdict on our side by the equations alone."""
        return sum(claim.is_of_equations for claim in self.of(verdict))

    def of(self, verdict: str) -> list[Claim]:
        """The claims with this verdict on our runs."""
        return [claim for claim in self.claims if claim.ours.text == verdict]


def chip(text: str, known: Mapping[str, tuple[str, str]]) -> Chip:
    sign, kind = known.get(text, ("·", "open"))
    return Chip(text, sign, kind)


def read(
    path: Path, profile: str, store: Store, own: bool, shown: Collection[str], slugs: set[str]
) -> Trial:
    """Read the trial of a profile's records; ``shown`` are the ids of those in the tables.

    Raises:
        UserError: there is none, it is of other records, or it is not what audit writes.
    """
    audit = f"make audit{' STORE=runs' if own else ''} writes it anew"
    try:
        content = read_json(path)
        if (schema := content.get("schema")) != SCHEMA:
            raise RecordError(f"schema {schema!r}, this code reads {SCHEMA}")
        if other := _other_records(content, profile, store, own, shown):
            raise UserError(f"{path} {other}: {audit}")
        return _trial(content, profile, slugs)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: {audit}") from None
    except (RecordError, KeyError, TypeError, ValueError, AttributeError) as err:
        raise UserError(f"{path} is not what audit writes ({err!r}): {audit}") from err


def _other_records(
    content: Mapping[str, Any], profile: str, store: Store, own: bool, shown: Collection[str]
) -> str:
    """Say in what a trial is of other records than those at hand: changed, come or gone."""
    tried = content["profiles"].get(profile, {}).get("records", {})
    if wrong := [id for id in tried if tried[id] != _checksum(store, profile, id, own)]:
        return f"is of other records of {', '.join(sorted(wrong))}"
    new = sorted({*shown} - tried.keys())
    return f"does not try {', '.join(new)}" if new else ""


def _checksum(store: Store, profile: str, id: str, own: bool) -> str:
    folder = store.run_dir(profile, id) / "record.json"
    path = folder if own else store.reference_path(profile, id)
    try:
        return str(read_json(path).get("sha256", ""))
    except (RecordError, OSError):
        return ""


def _trial(content: Mapping[str, Any], profile: str, slugs: set[str]) -> Trial:
    here = content["profiles"].get(profile, {})
    claims = [claim(c, i, profile, slugs) for i, c in enumerate(content["claims"], 1)]
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


def claim(content: Mapping[str, Any], number: int, profile: str, slugs: set[str]) -> Claim:
    """Return a claim of ``claims.json`` as a profile's page shows it."""
    printed, ours = content["printed"], content["ours"].get(profile)
    found = ours or {"verdict": "untested", "why": "no run at this profile", "checks": []}
    why, deciding = found.get("why") or "", found["deciding"] if ours else None
    on, checks = joined(printed["checks"], found["checks"], slugs, why)
    lead = None if deciding is None else found["checks"][deciding]["label"]
    corrected = found.get("p_corrected")
    return Claim(
        id=identifier("claim", content["id"]),
        name=content["id"],
        number=number,
        says=content["says"],
        refuted_by=content["refuted_by"],
        note=content.get("note", ""),
        quotes=tuple(map(_quote, content["quotes"])),
        printed=chip(printed["verdict"], PRINTED),
        where=printed.get("where") or "",
        ours=chip(found["verdict"], OURS),
        why=why,
        p=p_text(found.get("p")),
        p_corrected=p_text(corrected),
        p_order="" if corrected is None else repr(float(corrected)),
        checks=tuple(checks),
        scale=on,
        lead=next((check for check in checks if check.label == lead), None),
    )


def _text_check(content: Mapping[str, Any]) -> TextCheck:
    return TextCheck(
        id=identifier("text", content["id"]),
        one=_quote(content["one"]),
        other=_quote(content["other"]),
        finding=chip(content["finding"], FINDINGS),
        why=plain(content.get("why", "")),
    )


def _quote(content: Mapping[str, str]) -> Quote:
    return Quote(plain(content["text"]), content["place"])
