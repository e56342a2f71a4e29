"""Warnings under a printed table about runs trained by code other than the current one.

Only on the terminal and in local files: committed files must not depend on the author's working
tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.tables.fill import Filled, name
from experiments import stale
from experiments.stale import Staleness, Today
from gfl import escape
from gfl.records.record import RunRecord

Found = tuple[str, RunRecord, Staleness]  # a run's name, its record, the differences


def lines(filled: Sequence[Filled], with_local: bool) -> list[str]:
    """Return a line for the reference, and one per remark on the local runs."""
    today = Today()
    said = list(_of_reference(_found(filled, "reference", today)))
    if with_local:
        local = stale.advice(_found(filled, "local", today))
        said += [f"Local, {line}." for line in local]
    return said


def _found(filled: Sequence[Filled], source: str, today: Today) -> list[Found]:
    return [
        (f"{name(cell.cell)}, seed {seed}", record, stale.compare(record, today))
        for cell in filled
        for seed, record in sorted(cell.records(source).items())
    ]


def _of_reference(found: Sequence[Found]) -> Iterator[str]:
    """Return one line for all stale runs: the reference has many commits, and needs no action."""
    stales = [each for each in found if each[2]]
    if stales:
        files = dict.fromkeys(path for _, _, s in stales for path in s.files)
        versions = dict.fromkeys(
            f"{package} {then} (here {now})"
            for _, _, s in stales
            for package, (then, now) in s.versions.items()
        )
        commits = dict.fromkeys(stale.by(record) for _, record, _ in stales)
        trained = f"Reference, {_which(stales, found)}: trained by {escape.some(list(commits))}"
        trained += f" with {escape.some(list(versions))}" if versions else ""
        yield f"{trained}; {stale.changes(sorted(files))} since." if files else f"{trained}."
    unknown = [each for each in found if each[2].unknown]
    if unknown:
        reasons = dict.fromkeys(s.unknown for _, _, s in unknown)
        yield (
            f"Reference, {_which(unknown, found)}: whether gfl/ has changed since is "
            f"unknown ({escape.some(list(reasons), separator='; ')})."
        )


def _which(some: Sequence[Found], found: Sequence[Found]) -> str:
    if len(some) == len(found):
        return "1 run" if len(found) == 1 else f"all {len(found)} runs"
    return escape.some([name for name, _, _ in some], separator="; ")
