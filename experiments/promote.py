"""Making this machine's runs the reference that is committed under ``results/``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from experiments.declare import Table
from experiments.matrix import check_writable, plan
from experiments.profiles import TUNING_SEED
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.record import RUN_ID, RunRecord, Store


@dataclass(frozen=True)
class Outcome:
    """A line for each run that became the reference, and for each that may not, with why."""

    promoted: tuple[str, ...]
    refused: tuple[str, ...]


def objection(record: RunRecord) -> str | None:
    """Why a record may not be the reference; None if it may."""
    if record.state != "finished":
        return record.state + (f": {record.message}" if record.message else "")
    if record.max_iters is not None:
        return f"capped after {record.max_iters} iterations"
    if record.commit is None:
        return "made outside a git checkout: no commit says by which code"
    if record.dirty:
        return f"made by uncommitted code, or by two commits (last {record.commit[:8]})"
    return None


def promote(shown: Iterable[Table], profile: Profile, store: Store) -> Outcome:
    """Copy the records of finished, uncapped runs of a clean commit, whatever their seed.

    Raises:
        UserError: this machine has no run of these tables, or the results cannot be written.
    """
    check_writable(store.results / "runs" / profile.name)
    promoted, refused = [], []
    for run in plan(shown, profile, _seeds(profile, store)):
        record = store.own(profile.name, run.id)
        if record is None:
            continue
        if why := objection(record):
            refused.append(f"{run.id}: {why}")
            continue
        before = store.reference(profile.name, run.id)
        path = store.reference_path(profile.name, run.id)
        if before != record:
            record.save(path)
        verb = "new" if before is None else "unchanged" if before == record else "replaced"
        promoted.append(f"{verb}: {path} (AP {record.metrics['AP']:.1f})")
    if not promoted and not refused:
        raise UserError(f"nothing to promote: no {profile.name} run is recorded in {store.runs}")
    return Outcome(tuple(promoted), tuple(refused))


def _seeds(profile: Profile, store: Store) -> list[int]:
    names = (path.parent.name for path in (store.runs / profile.name).glob("*/record.json"))
    seeds = {int(m["seed"]) for name in names if (m := RUN_ID.fullmatch(name))}
    return sorted(seeds - {TUNING_SEED})
