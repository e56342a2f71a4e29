"""Making this machine's runs the reference that is committed under ``results/``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.declare import Table
from experiments.matrix import check_writable, plan
from experiments.profiles import TUNING_SEED
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.record import RunRecord, Store, seeds_of


@dataclass(frozen=True)
class Outcome:
    """A line for each run that became the reference, and for each that may not, with why."""

    promoted: tuple[str, ...]
    refused: tuple[str, ...]


def objection(record: RunRecord) -> str | None:
    """Why a record may not be the reference; None if it may."""
    if record.max_iters is not None:  # copied here by hand: a capped run has its own folder
        return f"capped after {record.max_iters} iterations"
    if record.state != "finished":
        return record.state + (f": {record.message}" if record.message else "")
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
    seeds = [s for s in seeds_of(store.own_ids(profile.name)) if s != TUNING_SEED]
    for run in plan(shown, profile, seeds):
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
        why = other_gpus(profile, store) or f"no {profile.name} run is recorded in {store.runs}"
        raise UserError(f"nothing to promote: {why}")
    return Outcome(tuple(promoted), tuple(refused))


def other_gpus(profile: Profile, store: Store) -> str:
    """Say which runs of the profile are recorded for another number of GPUS; empty: none."""
    own = ((store.own, id) for id in store.own_ids(profile.name))
    reference = ((store.reference, id) for id in store.reference_ids(profile.name))
    by_id = {id: record for read, id in (*reference, *own) if (record := read(profile.name, id))}
    gpus = (record.profile.get("gpus", profile.gpus) for record in by_id.values())
    counts = Counter(n for n in gpus if n != profile.gpus)
    return "; ".join(
        f"{count} {profile.name} run{' is' if count == 1 else 's are'} recorded for GPUS={n}: "
        f"say GPUS={n}"
        for n, count in sorted(counts.items())
    )
