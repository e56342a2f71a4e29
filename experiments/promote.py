"""Promotion of local runs to the reference committed under ``results/``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from experiments import checkout, stale
from experiments.committed_predictions import committed
from experiments.matrix import Run, check_writable, plan
from experiments.profiles import REHEARSALS, TUNING_SEED
from experiments.tables.declare import Table
from gfl.errors import UserError
from gfl.escape import counted, some
from gfl.experiment import Profile
from gfl.files import discard, replacing, whole_folder
from gfl.predictions import schema
from gfl.records.record import RunRecord, Store, seeds_of


@dataclass(frozen=True)
class Outcome:
    """Lines for promoted runs, and for rejected ones with the reason."""

    promoted: tuple[str, ...]
    refused: tuple[str, ...]


def objection(record: RunRecord) -> str | None:
    """Return the reason why a record may not become the reference; None if it may."""
    if record.max_iters is not None:  # copied here by hand: a capped run has its own folder
        return f"capped after {record.max_iters} iterations"
    if not record.is_finished:
        return record.state + (f": {record.message}" if record.message else "")
    if record.commit is None:
        return "made outside a git checkout of this project: no commit says by which code"
    if others := stale.mixed(record):
        return f"trained in parts, by several versions of {some(others)}"
    if record.dirty:
        return f"made by uncommitted code, or by two commits (last {record.commit[:8]})"
    if not checkout.has_commit(record.commit):
        return checkout.problem() or f"its commit {record.commit[:8]} is not in this repository"
    return None


def promote(tables: Iterable[Table], profile: Profile, store: Store) -> Outcome:
    """Copy the records of finished, uncapped runs of a clean commit, at any seed.

    With the predictions that belong to the reference (``experiments.committed_predictions``).

    Raises:
        UserError: there is no local run of these tables, or the results cannot be written.
    """
    check_writable(store.results / "runs" / profile.name)
    promoted, refused = [], []
    seeds = [s for s in seeds_of(store.local_ids(profile.name)) if s != TUNING_SEED]
    for run in plan(tables, profile, seeds):
        record = store.local(profile.name, run.id)
        if record is None:
            continue
        if why := objection(record) or _rehearsal(profile):
            refused.append(f"{run.id}: {why}")
            continue
        try:
            promoted += _promote(run, record, store)
        except UserError as err:
            refused.append(f"{run.id}: {err}")
    if not promoted and not refused:
        why = other_gpus(profile, store) or f"no {profile.name} run is recorded in {store.runs}"
        raise UserError(f"nothing to promote: {why}")
    return Outcome(tuple(promoted), tuple(refused))


def _rehearsal(profile: Profile) -> str | None:
    if profile.name in REHEARSALS:
        return f"the {profile.name} profile only checks that everything runs: it reproduces nothing"
    return None


def _promote(run: Run, record: RunRecord, store: Store) -> list[str]:
    """Make a record and its predictions the reference; return messages.

    Raises:
        UserError: its predictions do not match the record.
    """
    profile, id = run.profile.name, run.id
    _settle(profile, id, store)  # what a promotion that was killed has left
    before, path = store.reference(profile, id), store.reference_path(profile, id)
    if before is not None and not record.predictions:
        # Not made locally: the predictions of the same record stay.
        record = before if replace(before, predictions={}) == record else record
    if record.predictions:
        lines = _with_predictions(run, record, store) if record is not before else []
    else:
        again = f"gfl predict {id} --profile {profile}"
        lines = [f"without predictions: {again} makes them"]
        if before != record:
            record.save(path)
        if (folder := store.predictions_path(profile, id)).is_dir():  # of the previous record
            shutil.rmtree(folder)
            lines.append(f"removed: {folder}/ (of the run before; this one was not predicted for)")
    verb = "new" if before is None else "replaced"
    if before is not None and replace(before, predictions=record.predictions) == record:
        verb = "unchanged" if before == record else "now with predictions"
    return [f"{verb}: {path} (AP {record.metrics['AP']:.1f})", *lines]


def _with_predictions(run: Run, record: RunRecord, store: Store) -> list[str]:
    """Save a record as the reference, with copies of its predictions; return messages.

    Of one that fails, as on a full disk, or is killed, whenever, either the previous record is left
    with the previous predictions or the new one with the new ones
    (``Store.reference_predictions``).
    """
    source = store.run_dir(run.profile.name, run.id)
    target = store.predictions_path(run.profile.name, run.id)
    path = store.reference_path(run.profile.name, run.id)
    if not schema.verified(source, record.predictions):
        again = f"gfl predict {run.id} --profile {run.profile.name}"
        raise UserError(f"its predictions are missing or damaged; {again} makes them anew")
    names = committed(run.experiment, run.profile, run.seed)
    checksums = {name: sha for name, sha in record.predictions.items() if name in names}
    present = {path.name for path in target.glob("*")}
    if schema.verified(target, checksums) and present == checksums.keys():
        record.save(path)
        return []
    check_writable(target.parent)
    with whole_folder(store.staged_predictions(run.profile.name, run.id)) as copies:
        for name in checksums:
            with (source / name).open("rb") as read, replacing(copies / name) as written:
                shutil.copyfileobj(read, written)
        if not schema.verified(copies, checksums):
            raise UserError(
                f"{target}: what was copied there does not match the record's checksums"
            )
    try:
        record.save(path)
    finally:
        _settle(run.profile.name, run.id, store)
    return [f"copied: {target}/ ({', '.join(checksums)})"]


def _settle(profile: str, id: str, store: Store) -> None:
    """Give staged predictions their name if they are the record's, else delete them."""
    staged, target = store.staged_predictions(profile, id), store.predictions_path(profile, id)
    if store.reference_predictions(profile, id) == staged:
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    discard(staged)


def other_gpus(profile: Profile, store: Store) -> str:
    """Report runs of the profile recorded for another number of GPUS; empty if there are none."""
    local = ((store.local, id) for id in store.local_ids(profile.name))
    reference = ((store.reference, id) for id in store.reference_ids(profile.name))
    by_id = {id: record for read, id in (*reference, *local) if (record := read(profile.name, id))}
    gpus = (record.profile.get("gpus", profile.gpus) for record in by_id.values())
    counts = Counter(n for n in gpus if n != profile.gpus)
    return "; ".join(
        f"{counted(count, f'{profile.name} run is', f'{profile.name} runs are')} recorded for "
        f"GPUS={n}: say GPUS={n}"
        for n, count in sorted(counts.items())
    )
