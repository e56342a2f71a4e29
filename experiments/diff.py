"""What differs between two runs: their factors, their resolved settings, how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments import matrix, profiles, tables, tuning
from experiments.matrix import Run
from gfl import config
from gfl.errors import UserError
from gfl.record import RUN_ID, RunRecord, Store

WIDEST = 56  # characters of a value that are shown to a person
ABSENT = "—"  # a setting that only the other run has


@dataclass(frozen=True)
class Difference:
    """A factor or setting, and its value on either side; ``ABSENT`` where it has none."""

    path: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Comparison:
    """Two runs and all that differs between them."""

    a: Run
    b: Run
    factors: Sequence[Difference]
    settings: Sequence[Difference]
    records: Sequence[Difference]  # empty, too, where there is no record
    recorded: tuple[bool, bool]

    def content(self) -> dict[str, Any]:
        """For programs: a path to its value on each side, absent where there is none."""
        parts = {"factors": self.factors, "settings": self.settings, "records": self.records}
        found = {
            name: {
                d.path: {side: value for side, value in (("a", d.a), ("b", d.b)) if value != ABSENT}
                for d in differences
            }
            for name, differences in parts.items()
        }
        runs = zip("ab", (self.a, self.b), self.recorded, strict=True)
        return {side: _named(run) | {"recorded": there} for side, run, there in runs} | found

    def lines(self) -> list[str]:
        """For a person."""
        found = [f"a: {_title(self.a)}", f"b: {_title(self.b)}", ""]
        if self.a.id == self.b.id and self.a.profile == self.b.profile:
            return [*found, "no difference: a and b are one run"]
        found += _section("factors", self.factors)
        found += ["", *_section("resolved settings", self.settings)]
        if all(self.recorded):
            return [*found, "", *_section("records", self.records)]
        lacking = [side for side, there in zip("ab", self.recorded, strict=True) if not there]
        which = "neither has" if len(lacking) == 2 else f"{lacking[0]} has not"
        return [*found, "", f"records: {which} been finished here or in the reference"]


def compare(a: Run, b: Run, store: Store) -> Comparison:
    """Hold two runs side by side."""
    resolved = [config.build(run.experiment, run.profile, run.seed) for run in (a, b)]
    records = [_record(run, store) for run in (a, b)]
    made = [_made(record) for record in records if record]
    return Comparison(
        a,
        b,
        factors=differences(_factors(a), _factors(b)),
        settings=differences(*resolved),
        records=differences(*made) if len(made) == 2 else [],
        recorded=(records[0] is not None, records[1] is not None),
    )


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """What differs between two nested mappings, by dotted path, in the order of the first."""
    left, right = dict(_flat(a)), dict(_flat(b))
    paths = dict.fromkeys([*left, *right])
    pairs = ((path, left.get(path, ABSENT), right.get(path, ABSENT)) for path in paths)
    return [Difference(path, x, y) for path, x, y in pairs if x != y]


def find(name: str, profile: str, seed: int, gpus: int, store: Store) -> Run:
    """The one run that is meant: by ``laptop:`` and a name before it, a name, or an id.

    An id is looked up in ``profile`` first, then in every other, the sweeps' too.

    Raises:
        UserError: there is none, or the name is of several.
    """
    head, colon, rest = name.partition(":")
    if colon:
        profile, name = profiles.get(head).name, rest
    if match := RUN_ID.fullmatch(name):
        names = [profile] if colon else dict.fromkeys([profile, *profiles.PROFILES])
        for run in _every(names, int(match["seed"]), gpus, store):
            if run.id == name:
                return run
    return matrix.single(name, profiles.get(profile, gpus), [seed])


def _every(names: Sequence[str] | Mapping, seed: int, gpus: int, store: Store) -> Iterator[Run]:
    """The runs of these profiles at a seed, on as many devices as said or as is usual."""
    for name in names:
        for count in dict.fromkeys((gpus, profiles.PROFILES[name].gpus)):
            try:
                profile = profiles.get(name, count)
            except UserError:  # its batch cannot be shared by so many
                continue
            if seed != profiles.TUNING_SEED:
                yield from matrix.plan(tables.TABLES.values(), profile, [seed])
            elif name in tuning.SWEEPS:
                yield from tuning.runs(profile, store)


def _factors(run: Run) -> dict[str, Any]:
    return asdict(run.experiment) | {"profile": run.profile.name, "seed": run.seed}


def _record(run: Run, store: Store) -> RunRecord | None:
    name = run.profile.name
    return store.own(name, run.id) or store.reference(name, run.id)


def _made(record: RunRecord) -> dict[str, Any]:
    return {
        "state": record.state,
        "commit": record.commit,
        "uncommitted changes": record.dirty,
        "versions": record.versions,
        "hardware": record.hardware,
        "AP": record.metrics.get("AP"),
    }


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        inner = list(value.items())
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in value):
        inner = list(enumerate(value))
    else:
        yield path, list(value) if isinstance(value, tuple) else value
        return
    for key, each in inner:
        yield from _flat(each, f"{path}.{key}" if path else str(key))


def _named(run: Run) -> dict[str, Any]:
    named = {"id": run.id, "profile": run.profile.name, "seed": run.seed}
    return named | {"cells": list(run.rows)}


def _title(run: Run) -> str:
    return f"{run.id}  ({run.profile.name}; {', '.join(run.rows)})"


def _section(name: str, found: Sequence[Difference]) -> list[str]:
    if not found:
        return [f"{name}: no difference"]
    rows = [(d.path, _text(d.a), _text(d.b)) for d in found]
    widths = [max(len(row[i]) for row in [*rows, ("", "a", "b")]) for i in range(2)]
    head = f"  {'':{widths[0]}}  {'a':{widths[1]}}  b"
    lines = [f"  {path:{widths[0]}}  {a:{widths[1]}}  {b}" for path, a, b in rows]
    return [f"{name}: {len(found)} differ{'s' if len(found) == 1 else ''}", head, *lines]


def _text(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
