"""Differences between two runs: factors, resolved settings, code, circumstances.

Two records with the same id differ only in the code and the circumstances. They are the local and
the reference record, or given as files, such as the kept record of a run that was trained again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments import matrix, profiles, stale, tuning
from experiments.matrix import Run
from experiments.tables import catalogue
from gfl import config
from gfl.errors import UserError
from gfl.records import digests
from gfl.records.record import RUN_ID, RecordError, RunRecord, Store

WIDEST = 56  # characters of a displayed value
ABSENT = "—"  # for a setting that only the other run has
LOCAL, REFERENCE = "local", "reference"  # places of records
WHOSE = {LOCAL: "the local record", REFERENCE: "the reference's record"}


@dataclass(frozen=True)
class Difference:
    """Factor or setting with its value in either run; ``ABSENT`` if it has none."""

    path: str
    a: Any
    b: Any


@dataclass(frozen=True)
class ComparedRun:
    """One of two compared runs: declared, or recorded in a file."""

    id: str
    profile: str
    seed: int
    cells: Sequence[str]
    record: RunRecord | None
    place: str  # of its record: LOCAL, REFERENCE or a file; empty without one
    run: Run | None  # None: given by its file

    @property
    def title(self) -> str:
        """Title of the run: its name, cells and the compared record's place."""
        cells = "; ".join(filter(None, [self.profile, ", ".join(self.cells)]))
        return f"{self.id}  ({cells})" + (
            f", {WHOSE.get(self.place, self.place)}" if self.place else ""
        )

    def content(self) -> dict[str, Any]:
        """Return the content for JSON."""
        named = {"id": self.id, "profile": self.profile, "seed": self.seed}
        named |= {"cells": list(self.cells)}
        return named | {"recorded": self.record is not None, "record": self.place}


@dataclass(frozen=True)
class Comparison:
    """Two runs and all their differences."""

    a: ComparedRun
    b: ComparedRun
    factors: Sequence[Difference]
    settings: Sequence[Difference]
    code: Sequence[Difference]  # digests by file; also empty if unknown
    code_unknown: str  # reason why they are unknown
    records: Sequence[Difference]  # also empty without a record

    def content(self) -> dict[str, Any]:
        """Return the content for JSON: the value at each path on each side, if it has one."""
        parts = {"factors": self.factors, "settings": self.settings}
        parts |= {"code": self.code, "records": self.records}
        found = {
            name: {
                d.path: {side: value for side, value in (("a", d.a), ("b", d.b)) if value != ABSENT}
                for d in differences
            }
            for name, differences in parts.items()
        }
        runs = {"a": self.a.content(), "b": self.b.content()}
        return runs | found | {"code_unknown": self.code_unknown}

    def lines(self) -> list[str]:
        """Return lines for a person."""
        found = [f"a: {self.a.title}", f"b: {self.b.title}", ""]
        lacking = [name for name, side in zip("ab", (self.a, self.b), strict=True)
                   if side.record is None]  # fmt: skip
        if self.a.id == self.b.id:
            if lacking or self.a.place == self.b.place:
                return [*found, "no difference: a and b are one run"]
            found += ["one run: no factor or setting differs"]
        else:
            found += _section("factors", self.factors)
            found += ["", *_section("resolved settings", self.settings)]
        if lacking:
            which = "neither has" if len(lacking) == 2 else f"{lacking[0]} has not"
            return [*found, "", f"records: {which} been finished, locally or in the reference"]
        unknown = f"code: not compared; {self.code_unknown}"
        found += ["", *([unknown] if self.code_unknown else _section("code", self.code))]
        return [*found, "", *_section("records", self.records)]


def compare(a: ComparedRun, b: ComparedRun, store: Store) -> Comparison:
    """Compare two runs, or two records of one run.

    Raises:
        UserError: a file's run is not declared, and the other is another run.
    """
    factors: list[Difference] = []
    settings: list[Difference] = []
    if a.id == b.id:
        a, b = _apart(a, b, store)
    else:
        runs = [_declared(each, store) for each in (a, b)]
        factors = differences(*map(_factors, runs))
        settings = differences(*(config.build(r.experiment, r.profile, r.seed) for r in runs))
    code: list[Difference] = []
    records: list[Difference] = []
    unknown = ""
    if a.record and b.record:
        code, unknown = _code(a.record, b.record)
        records = differences(_made(a.record), _made(b.record))
    return Comparison(a, b, factors, settings, code, unknown, records)


def compared(name: str, profile: str, seed: int, gpus: int, store: Store) -> ComparedRun:
    """Return the run that a name means, as in ``find``, or of a record's file or folder.

    Raises:
        UserError: there is none.
    """
    path = Path(name)
    if (inner := path / "record.json").is_file():
        path = inner
    if path.suffix != ".json":
        return of_run(find(name, profile, seed, gpus, store), store)
    try:
        record = RunRecord.load(path)
    except (RecordError, OSError) as err:
        reason = err.strerror if isinstance(err, OSError) else err
        raise UserError(f"{path}: not a usable record ({reason})") from err
    of = str(record.profile.get("name", "?"))
    return ComparedRun(record.id, of, record.seed, (), record, str(path), None)


def of_run(run: Run, store: Store) -> ComparedRun:
    """Return a declared run with its local record or, failing that, the reference's."""
    name = run.profile.name
    local = store.local(name, run.id)
    record = local or store.reference(name, run.id)
    place = "" if record is None else LOCAL if local else REFERENCE
    return ComparedRun(run.id, name, run.seed, run.rows, record, place, run)


def _apart(a: ComparedRun, b: ComparedRun, store: Store) -> tuple[ComparedRun, ComparedRun]:
    """Return the local record and the reference's, if both exist, of a run named twice."""
    if a.run is None or b.run is None or a.place != LOCAL:
        return a, b
    reference = store.reference(b.profile, b.id)
    return a, replace(b, record=reference, place=REFERENCE if reference else "")


def _declared(named: ComparedRun, store: Store) -> Run:
    if named.run is not None:
        return named.run
    assert named.record is not None
    gpus = int(named.record.profile.get("gpus", 1))
    return find(f"{named.profile}:{named.id}", named.profile, named.seed, gpus, store)


def _code(a: RunRecord, b: RunRecord) -> tuple[list[Difference], str]:
    """Return the files of ``gfl/`` whose digests differ, or why these are unknown."""
    (left, no_left), (right, no_right) = stale.code_of(a), stale.code_of(b)
    if left is None or right is None:
        return [], "; ".join(
            f"of {s}: {why}" for s, why in (("a", no_left), ("b", no_right)) if why
        )
    paths = digests.changed(left, right)
    return [Difference(p, left.get(p, ABSENT), right.get(p, ABSENT)) for p in paths], ""


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Return the differences of two nested mappings, by dotted path, in the order of the first."""
    left, right = dict(_flat(a)), dict(_flat(b))
    paths = dict.fromkeys([*left, *right])
    pairs = ((path, left.get(path, ABSENT), right.get(path, ABSENT)) for path in paths)
    return [Difference(path, x, y) for path, x, y in pairs if x != y]


def find(name: str, profile: str, seed: int, gpus: int, store: Store) -> Run:
    """Return the run that a name means: ``laptop:`` and a name, a name, or an id.

    An id is looked up in ``profile`` first, then in every other, including the sweeps'.

    Raises:
        UserError: there is none, or several have the name.
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
    """Yield the runs of these profiles at a seed, on the given number of devices or the usual."""
    for name in names:
        for count in dict.fromkeys((gpus, profiles.PROFILES[name].gpus)):
            try:
                profile = profiles.get(name, count)
            except UserError:  # its batch cannot be divided among so many
                continue
            if seed != profiles.TUNING_SEED:
                yield from matrix.plan(catalogue.TABLES.values(), profile, [seed])
            elif name in tuning.SWEEPS:
                yield from tuning.runs(profile, store)


def _factors(run: Run) -> dict[str, Any]:
    return asdict(run.experiment) | {"profile": run.profile.name, "seed": run.seed}


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
