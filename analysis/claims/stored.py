"""``claims.json``: the verdicts stored, and read back as the same objects."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.claims import verdict_on_paper as printed
from analysis.claims import wording
from analysis.claims.registration import Registered
from analysis.claims.verdict_on_paper import CheckOnPaper, VerdictOnPaper
from analysis.claims.verdict_on_runs import CheckOnRuns, VerdictOnRuns
from analysis.claims.verdicts import AtProfile, SeedNoise, Verdicts, checksum
from analysis.library import Source
from analysis.stats.correction import LEVEL, METHOD, SOURCES, P
from experiments.claims.declare import Claim, Quote, TextCheck
from experiments.profiles import get as profile_of
from gfl.errors import UserError
from gfl.records.record import LOCAL_SUFFIX, RecordError, Store, read_json, rebuild

SCHEMA = 1


def as_json(verdicts: Verdicts) -> str:
    """Return the content of all verdicts, with numbers at a stated precision."""
    content = {
        "schema": SCHEMA,
        "correction": METHOD,
        "sources": SOURCES,
        "level": LEVEL,
        "noise_of_the_paper": printed.TEXT,
        "precision": wording.PRECISION,
        "profiles": {name: _profile(at) for name, at in verdicts.profiles.items()},
        "claims": [_claim(claim, verdicts) for claim in verdicts.claims],
        "text_checks": [
            asdict(check) | {"one": _quote(check.one), "other": _quote(check.other)}
            for check in verdicts.text_checks
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _profile(at: AtProfile) -> dict[str, Any]:
    return {
        "records": dict(at.records),
        "seed_noise": _noise(at.noise),
        "seed_noise_of_all": _noise(at.noise_of_all),
        "tested": at.tested,
        "registered": at.registered and asdict(at.registered),
    }


def _noise(by_metric: Mapping[str, SeedNoise]) -> dict[str, Any]:
    return {
        metric: {
            "spread": _rounded(found.spread),
            "freedom": found.freedom,
            "rows": found.rows,
            "bartlett_p": _rounded(found.bartlett),
        }
        for metric, found in by_metric.items()
    }


def _quote(quote: Quote) -> dict[str, str]:
    return {"text": quote.text, "place": quote.place}


def _claim(claim: Claim, verdicts: Verdicts) -> dict[str, Any]:
    return {
        "id": claim.id,
        "says": claim.says,
        "refuted_by": claim.refuted_by,
        "note": claim.note,
        "quotes": [_quote(quote) for quote in claim.quotes],
        "printed": _on_paper(verdicts.on_paper[claim.id]),
        "ours": {name: _on_runs(at.on_runs[claim.id]) for name, at in verdicts.profiles.items()},
    }


def _on_paper(found: VerdictOnPaper) -> dict[str, Any]:
    checks = [
        {
            "label": check.label,
            "value": _rounded(check.value),
            "low": _rounded(check.bounds[0]),
            "high": _rounded(check.bounds[1]),
            "state": check.state,
        }
        for check in found.checks
    ]
    return {"verdict": found.verdict, "where": found.where, "checks": checks}


def _on_runs(found: VerdictOnRuns) -> dict[str, Any]:
    deciding = found.deciding
    return {
        "verdict": found.verdict,
        "why": found.why,
        "deciding": None if deciding is None else found.checks.index(deciding),
        "p": _rounded(found.p, wording.P_DIGITS),
        "p_corrected": _rounded(found.p_corrected, wording.P_DIGITS),
        "checks": [_check(check) for check in found.checks],
    }


def _check(check: CheckOnRuns) -> dict[str, Any]:
    low, high = check.interval or (None, None)
    return {
        "label": check.label,
        "value": _rounded(check.value),
        "low": _rounded(low),
        "high": _rounded(high),
        "bounds": [_rounded(bound) for bound in check.bounds],
        "p_holds": _rounded(check.p.holds if check.p else None, wording.P_DIGITS),
        "p_fails": _rounded(check.p.fails if check.p else None, wording.P_DIGITS),
        "seeds": list(check.seeds),
        "runs": list(check.runs),
        "how": check.how,
        "missing": check.missing,
    }


def _rounded(value: float | None, digits: int = wording.DIGITS) -> float | None:
    """Round, with None for what JSON cannot represent: no value, no bound."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits) + 0.0  # not -0.0


def read(path: Path, source: Source = "reference") -> Verdicts:
    """Return the verdicts that ``as_json`` wrote, at the stored precision of numbers.

    Omits what the file lacks: a claim's declared checks, and the measurements for ``scales.md``.

    Raises:
        RecordError: the file is not JSON, or not written by ``as_json``.
        FileNotFoundError: it is missing.
    """
    content = read_json(path)
    if (schema := content.get("schema")) != SCHEMA:
        raise RecordError(f"schema {schema!r}, this code reads {SCHEMA}")
    try:
        return _trial(content, source)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise RecordError(repr(err)) from err


def of_records(
    store: Store, source: Source, profiles: Collection[str], shown: Collection[str] = ()
) -> Verdicts:
    """Read the last audit's verdicts, which must be of the records here.

    ``profiles`` are those whose records matter; ``shown`` are ids that must have been judged.

    Raises:
        UserError: there are none, they are of other records, or not written by audit.
    """
    path = store.results / f"claims{LOCAL_SUFFIX if source == 'local' else ''}.json"
    again = f"make audit{' STORE=local' if source == 'local' else ''} writes it anew"
    try:
        verdicts = read(path, source)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: {again}") from None
    except RecordError as err:
        raise UserError(f"{path} is not what audit writes ({err}): {again}") from err
    for name in profiles:
        judged = verdicts.profiles[name].records if name in verdicts.profiles else {}
        if wrong := [id for id in judged if judged[id] != checksum(store, source, name, id)]:
            raise UserError(f"{path} is of other records of {', '.join(sorted(wrong))}: {again}")
        if new := sorted({*shown} - judged.keys()):
            raise UserError(f"{path} does not try {', '.join(new)}: {again}")
    return verdicts


def _trial(content: Mapping[str, Any], source: Source) -> Verdicts:
    claims = content["claims"]
    printed = {one["id"]: _read_on_paper(one["printed"]) for one in claims}
    at = {
        name: _read_profile(name, at, {one["id"]: one["ours"][name] for one in claims})
        for name, at in content["profiles"].items()
    }
    texts = tuple(rebuild(TextCheck, one) for one in content["text_checks"])
    return Verdicts(source, tuple(map(_read_claim, claims)), texts, printed, at)


def _read_claim(one: Mapping[str, Any]) -> Claim:
    quotes = tuple(rebuild(Quote, quote) for quote in one["quotes"])
    return Claim(one["id"], quotes, one["says"], one["refuted_by"], (), one["note"])


def _read_profile(name: str, at: Mapping[str, Any], ours: Mapping[str, Any]) -> AtProfile:
    noise, noise_of_all = (_read_noise(at[key]) for key in ("seed_noise", "seed_noise_of_all"))
    registered = at["registered"] and rebuild(Registered, at["registered"])
    on_runs = {id: _read_on_runs(found) for id, found in ours.items()}
    profile = profile_of(name)
    return AtProfile(
        profile, at["records"], noise, on_runs, registered=registered, noise_of_all=noise_of_all
    )


def _read_noise(by_metric: Mapping[str, Any]) -> dict[str, SeedNoise]:
    return {
        metric: SeedNoise(one["spread"], one["freedom"], one["rows"], one["bartlett_p"])
        for metric, one in by_metric.items()
    }


def _read_on_paper(found: Mapping[str, Any]) -> VerdictOnPaper:
    checks = tuple(
        CheckOnPaper(one["label"], one["value"], _bounds(one["low"], one["high"]), one["state"])
        for one in found["checks"]
    )
    return VerdictOnPaper(found["verdict"], found["where"], checks)


def _read_on_runs(found: Mapping[str, Any]) -> VerdictOnRuns:
    checks = tuple(map(_read_check, found["checks"]))
    return VerdictOnRuns(
        found["verdict"], found["why"], checks, found["p"], found["p_corrected"], found["deciding"]
    )


def _read_check(one: Mapping[str, Any]) -> CheckOnRuns:
    return CheckOnRuns(
        label=one["label"],
        bounds=_bounds(*one["bounds"]),
        value=one["value"],
        interval=None if one["low"] is None else (one["low"], one["high"]),
        p=None if one["p_holds"] is None else P(one["p_holds"], one["p_fails"]),
        seeds=tuple(one["seeds"]),
        runs=tuple(one["runs"]),
        missing=one["missing"],
        how=one["how"],
    )


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    """Return bounds, with None as an infinite end."""
    return -math.inf if low is None else low, math.inf if high is None else high
