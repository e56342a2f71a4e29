"""Stale runs: trained by other code of ``gfl/`` or other package versions than the current ones.

A run's id hashes its configuration, not the code: after a loss is edited, the id is unchanged and
the record belongs to another loss. Records name their code since schema 3; for older ones git does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from experiments import checkout
from gfl import escape
from gfl.records import digests
from gfl.records.digests import THEN, Code
from gfl.records.record import Request, RunRecord

Made = RunRecord | Request  # both name the code that made them
AGAIN = "--again (make: AGAIN=1)"


class Today:
    """Current code and versions, which would train a run now; determined once."""

    @cached_property
    def code(self) -> Code:
        return digests.code()

    @cached_property
    def versions(self) -> Mapping[str, str]:
        return digests.versions()


@dataclass(frozen=True)
class Staleness:
    """Differences between the code and versions that trained a run and the current ones."""

    files: Sequence[str] = ()  # changed, new or gone since
    versions: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # then and now
    unknown: str = ""  # why the code cannot be compared; empty if it was

    def __bool__(self) -> bool:
        """Return True if a difference is known."""
        return bool(self.files or self.versions)

    @property
    def is_current(self) -> bool:
        """Return True if it is known that nothing differs."""
        return not (self or self.unknown)

    def sentence(self, made: Made) -> str:
        """Describe it: ``trained by 4179fea; gfl/losses.py has changed since``."""
        trained = f"trained by {by(made)}"
        if self.versions:
            others = [f"{name} {then} (here {now})" for name, (then, now) in self.versions.items()]
            trained += f" with {escape.some(others)}"
        if self.files:
            return f"{trained}; {changes(self.files)} since"
        if self.unknown:
            return f"{trained}; whether gfl/ has changed since is unknown: {self.unknown}"
        return trained

    def content(self) -> dict[str, Any]:
        """Return the content for JSON; ``stale`` is null if unknown."""
        versions = {name: {"then": a, "now": b} for name, (a, b) in self.versions.items()}
        return {
            "stale": None if self.unknown and not self else bool(self),
            "changed_files": list(self.files),
            "changed_versions": versions,
            "unknown": self.unknown,
        }


def compare(made: Made, today: Today) -> Staleness:
    """Compare the code and versions that trained a run with the current ones."""
    then, unknown = code_of(made)
    files = () if then is None else tuple(digests.changed(then, today.code))
    shared = [name for name in made.versions if name in today.versions]
    pairs = {name: (made.versions[name], today.versions[name]) for name in shared}
    versions = {name: pair for name, pair in pairs.items() if _release(name, *pair)}
    return Staleness(files, versions, unknown)


def code_of(made: Made) -> tuple[Code | None, str]:
    """Return the digests of the code that trained a run, or None and why they are unknown."""
    if made.code:
        return made.code, ""
    if made.commit is None:
        return None, "its record names no commit"
    if made.dirty:
        return None, "it was uncommitted code"
    if (found := checkout.code_at(made.commit)) is None:
        return None, "that commit is not in this repository"
    return found, ""


def by(made: Made) -> str:
    """Name the code that trained a run: ``4179fea``, ``4179fea with changes``."""
    if made.commit is None:
        return "code without a commit"
    return made.commit[:7] + (" with changes" if made.dirty else "")


def advice(found: Iterable[tuple[str, Made, Staleness]]) -> list[str]:
    """Describe the origin of the given runs, by name, that may not be current.

    Runs with the same reason share a line, with the option that retrains them.
    """
    said: dict[str, list[str]] = {}
    for name, made, staleness in found:
        if not staleness.is_current:
            said.setdefault(staleness.sentence(made), []).append(name)
    return [
        f"{escape.some(names, separator='; ')}: {what}; {anew(len(names))}"
        for what, names in said.items()
    ]


def anew(runs: int) -> str:
    """Name the option that retrains a number of runs."""
    return f"{AGAIN} trains {'it' if runs == 1 else 'them'} anew"


def changes(files: Sequence[str]) -> str:
    """Describe changed files: ``gfl/losses.py has changed``.

    Of many, those come first that differ from the commit: what was just edited is always named.
    """
    edited = checkout.uncommitted()
    first = [f"{file} (not committed)" for file in files if file in edited]
    named = [*first, *(file for file in files if file not in edited)]
    some = escape.some(named, max(escape.MOST_NAMED, len(first)))
    return f"{some} {'has' if len(files) == 1 else 'have'} changed"


def mixed(made: Made) -> list[str]:
    """Return the files and packages that changed between a run's start and a resumption."""
    return [name for name, value in {**made.code, **made.versions}.items() if THEN in value]


def _release(package: str, then: str, now: str) -> bool:
    """Return whether two versions are different releases.

    Builds (2.11.0+cpu) and Python's patch releases, though recorded, are not distinguished.
    """
    if THEN in then:
        return True
    a, b = (version.partition("+")[0] for version in (then, now))
    return a.split(".")[:2] != b.split(".")[:2] if package == "python" else a != b
