"""Readings of the claims, registered before a profile's first run that could decide one.

``results/registered/<profile>.json`` holds the profile, the number of seeds per table, and each
claim's reading: its checks with their bounds, and what its data cannot show. It is written once,
while no run of a table is recorded; every audit reports later changes of a reading, and the claims
added since.
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
from gfl.experiment import Profile
from gfl.files import write_text
from gfl.records.record import RunRecord, Store, read_json

FOLDER = "registered"


@dataclass(frozen=True)
class Registration:
    """Content of a profile's file."""

    written: str  # UTC, ISO 8601, to the minute
    profile: Mapping[str, Any]
    seeds: Mapping[str, int]  # per table
    readings: Mapping[str, Any]  # by claim


@dataclass(frozen=True)
class Registered:
    """Registration compared with the current state."""

    written: str
    first: str  # start of a table's first run
    changed: tuple[str, ...]  # registered readings that differ today, or are gone
    added: tuple[str, ...] = ()  # claims declared since, whose readings are not registered


def path(store: Store, profile: str) -> Path:
    """Return the path of a profile's registration."""
    return store.results / FOLDER / f"{profile}.json"


def register(profile: Profile, store: Store) -> Path:
    """Write the current state.

    Raises:
        UserError: the profile has no number of seeds, its runs have begun, or it is registered.
    """
    if profile.name not in SEEDS:
        raise UserError(f"{profile.name}: its number of seeds is not declared (profiles.SEEDS)")
    runs = [store.local(profile.name, id) for id in store.local_ids(profile.name)]
    runs += [store.reference(profile.name, id) for id in store.reference_ids(profile.name)]
    if of_tables := [run for run in runs if run and run.seed != TUNING_SEED]:
        raise UserError(
            f"{profile.name}: a run was recorded before ({first_start(of_tables)}): what is "
            "registered now would not come first"
        )
    into = path(store, profile.name)
    if into.exists():
        raise UserError(f"{into}: registered before; to settle it anew, delete it in a commit")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    made = Registration(now, _plain(asdict(profile)), SEEDS[profile.name], readings(profile))
    return write_text(into, json.dumps(asdict(made), indent=1, ensure_ascii=False) + "\n")


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
    return Registered(
        written=registration.written,
        first=first_start(records),
        changed=tuple(changes(registration, profile)),
        added=tuple(id for id in readings(profile) if id not in registration.readings),
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


def first_start(records: Sequence[RunRecord]) -> str:
    """Return the earliest start of the runs, UTC."""
    starts = (datetime.fromisoformat(record.started).astimezone(UTC) for record in records)
    return min(starts).strftime("%Y-%m-%d %H:%M")


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
