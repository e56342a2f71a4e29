"""Declared tables filled from records, and what stands where nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.speed.systems import Ratio, recorded
from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate
from experiments.profiles import TUNING_SEED
from experiments.tables.declare import AP, FPS, Cell, Table
from gfl.config import schedule_of
from gfl.experiment import AnyExperiment, Profile, at_scale
from gfl.records.record import RUN_ID, RunRecord, Store, run_id, seeds_of

Records = Mapping[int, RunRecord]  # by seed; finished runs only


@dataclass(frozen=True)
class Filled:
    """Cell with the records that supply it."""

    cell: Cell
    reference: Records
    local: Records
    remarks: tuple[str, ...]  # local runs that are not results, and why
    speed: Ratio | None = None  # of the committed benchmark of systems, side by side
    base: Filled | None = None  # that its differences refer to; None: it is a baseline itself

    def records(self, source: str) -> Records:
        """Return the records of one of ``sources``."""
        return self.reference if source == "reference" else self.local

    def difference(self, source: str, metric: str = AP.metric) -> Estimate | None:
        """Return a metric's difference to the baseline; None without one, or a common seed."""
        if self.base is None:
            return None
        return uncertainty.difference(self.records(source), self.base.records(source), metric)


def fill(table: Table, profile: Profile, store: Store) -> list[Filled]:
    """Look up the records of every cell of the paper's, at every recorded seed."""
    return _fill(table, table.cells(), profile, store)


def fill_all(table: Table, profile: Profile, store: Store) -> list[Filled]:
    """Look up the records of every cell, the paper's first."""
    return _fill(table, table.all_cells(), profile, store)


def with_baselines(table: Table, filled: Sequence[Filled]) -> list[Filled]:
    """Return the cells, each with the one of them that its differences refer to."""
    by_key = {one.cell.key: one for one in filled}
    bases = ((one, table.baseline_of(one.cell)) for one in filled)
    return [replace(one, base=by_key.get(base.key) if base else None) for one, base in bases]


def shown(
    filled: Sequence[Filled], table: Table, profile: Profile, with_local: bool
) -> list[Filled]:
    """Leave out additional rows that could have a reference and have none.

    They are shown beside local runs only: a committed table does not change because a row is
    declared, but because it is recorded.
    """
    return [
        f
        for f in filled
        if with_local
        or f.reference
        or not f.cell.row.is_extra
        or not is_run(table, profile, f.cell)
    ]


def _fill(table: Table, cells: Iterable[Cell], profile: Profile, store: Store) -> list[Filled]:
    speeds = recorded(store, profile.name) if table.anchor else None
    found = []
    for cell in cells:
        if cell.experiment is None or not table.runs_at(profile.name):
            found.append(Filled(cell, {}, {}, ()))
            continue
        speed = speeds.ratio(cell.key) if speeds and cell.key in speeds.subjects else None
        experiment = at_scale(cell.experiment, profile)
        found.append(replace(_filled(cell, experiment, profile, store), speed=speed))
    return with_baselines(table, found)


def _filled(cell: Cell, experiment: AnyExperiment, profile: Profile, store: Store) -> Filled:
    reference: dict[int, RunRecord] = {}
    local: dict[int, RunRecord] = {}
    remarks = []
    for seed, id in _runs(experiment, profile, store):
        if (record := store.reference(profile.name, id)) and record.is_finished:
            reference[seed] = record
        record = store.local(profile.name, id)
        if record and record.is_finished:
            local[seed] = record
        elif record:
            remarks.append(f"{name(cell)}, seed {seed}: {record.state}: {record.message}")
    unfinished = (f"{name(cell)}, {what}" for what in _unfinished(experiment, profile, store))
    return Filled(cell, reference, local, (*remarks, *unfinished))


def is_run(table: Table, profile: Profile, cell: Cell) -> bool:
    """Return True if the cell can have a run at this profile at all."""
    return cell.experiment is not None and table.runs_at(profile.name)


def sources(with_local: bool) -> tuple[str, ...]:
    """Return the sources of records: the reference and, if requested, the local runs."""
    return ("reference", "local") if with_local else ("reference",)


def published_difference(cell: Filled, base: Filled | None) -> float | None:
    """Return the paper's ΔAP, in AP's digits; None without a baseline or a published number."""
    value, other = (c.cell.published.get(AP.name) if c else None for c in (cell, base))
    return None if value is None or other is None else round(value - other, AP.digits)


def published_ratio(cell: Filled, table: Table) -> float | None:
    """Return the paper's FPS in those of the table's anchor; None where it prints none."""
    anchor = next(c for c in table.cells() if c.key == table.anchor).published[FPS.name]
    speed = None if cell.cell.row.is_extra else cell.cell.published[FPS.name]
    return None if speed is None or anchor is None else speed / anchor


def made_by(records: Iterable[RunRecord]) -> str:
    """Return the commits and machines of records, in one line."""
    records = list(records)
    commits = sorted({commit(record) for record in records})
    devices = [(r.hardware.get("device", "cpu"), r.hardware.get("cpu", "?")) for r in records]
    machines = sorted({str(cpu if device == "cpu" else device) for device, cpu in devices})
    torch = sorted({r.versions.get("torch", "?") for r in records})
    return f"commit {', '.join(commits)}; torch {', '.join(torch)}; {', '.join(machines)}"


def commit(record: RunRecord, digits: int = 10) -> str:
    """Return the code's commit, abbreviated, and whether the code differed from it."""
    return (record.commit or "none")[:digits] + (" with changes" if record.dirty else "")


def _runs(experiment: AnyExperiment, profile: Profile, store: Store) -> list[tuple[int, str]]:
    """Return seed and id of every run of an experiment with a record, local or in the reference."""
    ids = store.ids(profile.name, experiment.slug)
    seeds = [seed for seed in seeds_of(ids) if seed != TUNING_SEED]
    named = [(seed, run_id(experiment, profile, seed)) for seed in seeds]
    return [(seed, id) for seed, id in named if id in ids]


def _unfinished(experiment: AnyExperiment, profile: Profile, store: Store) -> Iterator[str]:
    """Yield local runs without a record of the whole run, with their progress."""
    for folder in sorted((store.runs / profile.name).glob(f"{experiment.slug}-s*")):
        id, _, cap = folder.name.partition("-capped")
        match = RUN_ID.fullmatch(id)
        seed = int(match["seed"]) if match else TUNING_SEED
        if seed == TUNING_SEED or id != run_id(experiment, profile, seed):
            continue
        if cap.isdigit() and store.local(profile.name, id, int(cap)):
            yield f"seed {seed}: a trial of {cap} iterations, not a result"
        elif not cap and store.is_begun(folder) and store.local(profile.name, id) is None:
            epochs = store.epochs_done(folder)
            of = schedule_of(experiment, profile).epochs
            yield f"seed {seed}: not finished, {epochs} of {of} epochs trained"


def name(cell: Cell) -> str:
    """Return a cell's readable name: its group and its row."""
    return " ".join(filter(None, (cell.group.name, cell.row.key)))
