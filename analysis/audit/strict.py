"""Strict audit: ``results/`` compared with what the committed records give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from analysis.audit import ahead, artefacts, records, truth
from analysis.audit.findings import Finding
from analysis.pool import Reporter, lasting, quiet
from experiments.profiles import PROFILES, get
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, Store


def recorded(store: Store) -> list[Profile]:
    """Return the profiles with committed records, or artefacts of records, as they were run."""
    found = []
    for name in PROFILES:
        ids = store.reference_ids(name)
        first = next((r for id in ids if (r := store.reference(name, id))), None)
        made = (store.results / "tables" / name).glob("table-*")
        if ids or any(f"{LOCAL_SUFFIX}." not in path.name for path in made):
            found.append(get(name, first.profile.get("gpus") if first else None))
    return found


def as_it_stands(store: Store) -> Store:
    """Return the committed results alone, with records accepted whatever their checksums.

    A number altered in a record is then reported where it appears, and not only as a missing
    record.
    """
    nobodys = store.results / "runs of nobody"
    # Messages about damaged records are findings already.
    return Store(nobodys, store.results, report=quiet, mend=False, verify=False)


def find(
    store: Store, report: Reporter, data: Path | None = None, full: bool = False
) -> Iterator[Finding]:
    """Compare everything committed with the records, and report each difference.

    Also compare stored matches with the ground truth in ``data``, COCO's folder, if given. With
    ``full`` pycocotools evaluates every run, and not a sample.
    """
    store = as_it_stands(store)
    report("published numbers")
    yield from artefacts.published(store)
    with processes(store):
        for profile in recorded(store):
            measure(profile, store, report)
            yield from of_profile(profile, store, report, full)
        yield from held(store, report, data)
        yield from artefacts.claims(store, report)


def processes(store: Store) -> AbstractContextManager[None]:
    """Keep worker processes for all profiles' records."""
    return lasting(sum(len(store.reference_ids(profile.name)) for profile in recorded(store)))


def measure(profile: Profile, store: Store, report: Reporter) -> None:
    """Measure what claims and artefacts read, in several processes; nothing that is damaged."""
    report(f"{profile.name}: measurements")
    with suppress(UserError):  # whoever reads it says so
        ahead.make(profile, store, report)


def check_data(store: Store, data: Path | None) -> None:
    """Raise a UserError, at once, if ``data`` lacks the ground truth of a profile's matches."""
    if data is not None:
        for profile in recorded(store):
            truth.check(profile, data)


def held(store: Store, report: Reporter, data: Path | None) -> Iterator[Finding]:
    """Check every profile's matches, except on embedded data, against the truth in ``data``."""
    for profile in recorded(store):
        yield from truth.held(profile, store, data, report)


def of_profile(
    profile: Profile, store: Store, report: Reporter, full: bool = False
) -> Iterator[Finding]:
    """Compare everything made from a single profile's records with these."""
    checks = {
        "the records' checksums": _checksums(profile, store),
        "tables": artefacts.tables(profile, store),
        "sweeps": artefacts.tuning(profile, store),
        "detection errors": artefacts.errors(profile, store),
        "figures": artefacts.figures(profile, store),
        "metrics of the records": records.evidence(profile, store, report, full),
    }
    for what, findings in checks.items():
        report(f"{profile.name}: {what}")
        yield from findings


def _checksums(profile: Profile, store: Store) -> Iterator[Finding]:
    cells = records.standing_for(profile, store)
    yield from records.checksums(store.results / "runs" / profile.name, cells)
    yield from records.checksums(store.results / "tuning" / profile.name)
