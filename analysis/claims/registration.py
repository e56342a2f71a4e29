"""Readings of the claims, registered before a profile's first run that could decide one.

``results/registered/<profile>.json`` holds the profile, the number of seeds per table, and each
claim's reading: its checks with their bounds, and what its data cannot show. It is written once,
while no run of a table is recorded; every audit reports later changes of a reading, and the claims
added since. A table that gets runs after the others is registered alone: the claims that only its
rows decide, while none of their contrasts has runs on both sides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.claims.verdict_on_runs import bounds_at
from experiments.claims import CLAIMS
from experiments.claims.declare import Check, Claim, Contrast, Measured
from experiments.profiles import SEEDS, TUNING_SEED
from gfl.errors import UserError
from gfl.experiment import Profile, at_scale
from gfl.files import write_text
from gfl.records.record import RunRecord, Store, read_json

FOLDER = "registered"


@dataclass(frozen=True)
class Registration:
    """Content of a profile's file."""

    written: str  # UTC, ISO 8601, to the minute
    profile: Mapping[str, Any]
    seeds: Mapping[str, int]  # per table, or row
    readings: Mapping[str, Any]  # by claim
    table: str = ""  # whose claims these are; empty: all


@dataclass(frozen=True)
class Registered:
    """Registration compared with the current state."""

    written: str
    first: str  # start of the first run that decides a registered claim; empty: there is none yet
    changed: tuple[str, ...]  # registered readings that differ today, or are gone
    added: tuple[str, ...] = ()  # claims declared since, whose readings are not registered
    table: str = ""  # whose claims are registered; empty: all


def path(store: Store, profile: str) -> Path:
    """Return the path of a profile's registration."""
    return store.results / FOLDER / f"{profile}.json"


def register(profile: Profile, store: Store, table: str = "") -> Path:
    """Write the current readings, of all claims or of those on one table.

    Raises:
        UserError: the profile has no number of seeds, its runs have begun, or it is registered; no
            claim is on the table alone.
    """
    if profile.name not in SEEDS:
        raise UserError(f"{profile.name}: its number of seeds is not declared (profiles.SEEDS)")
    claims = claims_on(table)
    if not claims:
        raise UserError(f"{table}: no claim is decided by its rows alone")
    runs = [store.local(profile.name, id) for id in store.local_ids(profile.name)]
    runs += [store.reference(profile.name, id) for id in store.reference_ids(profile.name)]
    of_tables = [run for run in runs if run and run.seed != TUNING_SEED]
    if first := _first(table, profile, of_tables):
        raise UserError(
            f"{profile.name}: a run was recorded before ({first}): what is registered now would "
            "not come first"
        )
    into = path(store, profile.name)
    if into.exists():
        raise UserError(f"{into}: registered before; to settle it anew, delete it in a commit")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    today = readings(profile)
    settled = {claim.id: today[claim.id] for claim in claims}
    made = Registration(now, _plain(asdict(profile)), SEEDS[profile.name], settled, table)
    return write_text(into, json.dumps(asdict(made), indent=1, ensure_ascii=False) + "\n")


def claims_on(table: str) -> list[Claim]:
    """Return the claims that the rows of a table alone decide; all for no table."""
    return [claim for claim in CLAIMS if not table or all(_is_on(c, table) for c in claim.checks)]


def _is_on(check: Check, table: str) -> bool:
    return isinstance(check, Contrast) and all(at.table == table for _, at in check.terms)


def _first(table: str, profile: Profile, records: Sequence[RunRecord]) -> str:
    """Return the start of the first run that decides a claim, UTC; empty if there is none.

    Of a table that is registered alone, the first run that completes a contrast.
    """
    if not table:
        return _minute(min(record.start for record in records)) if records else ""
    starts: dict[str, datetime] = {}
    for record in records:
        slug, start = record.id.partition(f"-s{record.seed}-")[0], record.start
        starts[slug] = min(start, starts.get(slug, start))
    complete = []
    for check in [c for claim in claims_on(table) for c in claim.checks if isinstance(c, Contrast)]:
        cells = [at.found.experiment for _, at in check.terms]
        slugs = [at_scale(one, profile).slug if one else "" for one in cells]
        if all(slug in starts for slug in slugs):
            complete.append(max(starts[slug] for slug in slugs))
    return _minute(min(complete)) if complete else ""


def read(store: Store, profile: str) -> Registration | None:
    """Return a profile's registration, if there is one.

    Raises:
        UserError: the file is damaged.
    """
    into = path(store, profile)
    if not into.is_file():
        return None
    try:
        return Registration(**read_json(into))
    except TypeError as err:
        raise UserError(f"{into}: not a registration ({err})") from None


def beside(
    registration: Registration, profile: Profile, records: Sequence[RunRecord]
) -> Registered:
    """Return a registration compared with current readings and the profile's runs."""
    today = [claim.id for claim in claims_on(registration.table)]
    return Registered(
        written=registration.written,
        first=_first(registration.table, profile, records),
        changed=tuple(changes(registration, profile)),
        added=tuple(id for id in today if id not in registration.readings),
        table=registration.table,
    )


def changes(registration: Registration, profile: Profile) -> Iterator[str]:
    """Name everything registered that differs today: the profile, the seeds, claims' readings."""
    if registration.profile != _plain(asdict(profile)):
        yield "the profile"
    if dict(registration.seeds) != dict(SEEDS.get(profile.name, {})):
        yield "the number of seeds"
    today = readings(profile)
    yield from (id for id, reading in registration.readings.items() if reading != today.get(id))


def readings(profile: Profile) -> dict[str, Any]:
    """Return each claim's reading at a profile, as it reads back from JSON."""
    return _plain({claim.id: _reading(claim, profile.name) for claim in CLAIMS})


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def _reading(claim: Claim, profile: str) -> dict[str, Any]:
    return {
        "says": claim.says,
        "refuted_by": claim.refuted_by,
        "blind": claim.blind.get(profile, ""),
        "checks": [_check(check, profile) for check in claim.checks],
    }


def _check(check: Check, profile: str) -> dict[str, Any]:
    low, high = (None if math.isinf(b) else b for b in bounds_at(check, profile))
    found: dict[str, Any] = {"label": check.label, "low": low, "high": high}
    if isinstance(check, Contrast):
        terms = [[factor, at.table, at.cell, at.column] for factor, at in check.terms]
        return found | {"terms": terms, "paper_only": check.paper_only}
    return found | {"quantity": check.quantity if isinstance(check, Measured) else check.name}


def _plain(content: Any) -> Any:
    return json.loads(json.dumps(content))
