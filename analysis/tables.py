"""A declared table filled from records: each figure with its spread, each gap with its error."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.declare import Cell, Table
from experiments.profiles import TUNING_SEED
from gfl.experiment import Profile
from gfl.record import RUN_ID, RunRecord, Store, run_id, seeds_of

Records = Mapping[int, RunRecord]  # by seed; finished runs only


@dataclass(frozen=True)
class Figure:
    """A mean over seeds; ``spread`` is their standard deviation, None of a single one."""

    mean: float
    spread: float | None
    seeds: tuple[int, ...]

    @property
    def error(self) -> float | None:
        """The standard error of the mean."""
        return None if self.spread is None else self.spread / math.sqrt(len(self.seeds))


@dataclass(frozen=True)
class Filled:
    """A cell and the records that stand for it."""

    cell: Cell
    reference: Records
    own: Records
    remarks: tuple[str, ...]  # runs of this machine that are no results, and why


def fill(table: Table, profile: Profile, store: Store) -> list[Filled]:
    """Look up every cell's records, at every seed that has one."""
    filled = []
    for cell in table.cells():
        reference: dict[int, RunRecord] = {}
        own: dict[int, RunRecord] = {}
        remarks = []
        for seed, id in _runs(cell, profile, store):
            if (record := store.reference(profile.name, id)) and record.state == "finished":
                reference[seed] = record
            record = store.own(profile.name, id)
            if record and record.state == "finished":
                own[seed] = record
            elif record:
                remarks.append(f"{name(cell)}, seed {seed}: {record.state}: {record.message}")
        remarks += _unfinished(cell, profile, store)
        filled.append(Filled(cell, reference, own, tuple(remarks)))
    return filled


def figure(records: Records, metric: str) -> Figure | None:
    """The mean of a metric over the seeds that have it."""
    found = {s: v for s, r in records.items() if (v := _value(r, metric)) is not None}
    return _mean(found)


def gain(records: Records, baseline: Records, metric: str = "AP") -> Figure | None:
    """The mean over common seeds of the difference to the baseline: paired, seed by seed."""
    found = {}
    for seed in sorted(records.keys() & baseline.keys()):
        ours, base = _value(records[seed], metric), _value(baseline[seed], metric)
        if ours is not None and base is not None:
            found[seed] = ours - base
    return _mean(found)


def baseline_of(filled: Iterable[Filled], table: Table, cell: Cell) -> Filled:
    """The baseline row's cell in the same group of columns."""
    return next(
        other
        for other in filled
        if other.cell.row.name == table.baseline and other.cell.group == cell.group
    )


def made_by(records: Iterable[RunRecord]) -> str:
    """The commits and machines that records come from, in one line."""
    records = list(records)
    commits = sorted(
        {(r.commit or "none")[:10] + (" with changes" if r.dirty else "") for r in records}
    )
    devices = [(r.hardware.get("device", "cpu"), r.hardware.get("cpu", "?")) for r in records]
    machines = sorted({str(cpu if device == "cpu" else device) for device, cpu in devices})
    torch = sorted({r.versions.get("torch", "?") for r in records})
    return f"commit {', '.join(commits)}; torch {', '.join(torch)}; {', '.join(machines)}"


def _runs(cell: Cell, profile: Profile, store: Store) -> list[tuple[int, str]]:
    """Seed and id of every run of the cell that has a record, here or in the reference."""
    if cell.experiment is None:
        return []
    ids = store.ids(profile.name, cell.experiment.slug)
    seeds = [seed for seed in seeds_of(ids) if seed != TUNING_SEED]
    named = [(seed, run_id(cell.experiment, profile, seed)) for seed in seeds]
    return [(seed, id) for seed, id in named if id in ids]


def _unfinished(cell: Cell, profile: Profile, store: Store) -> list[str]:
    if cell.experiment is None:
        return []
    remarks = []
    for folder in sorted((store.runs / profile.name).glob(f"{cell.experiment.slug}-s*")):
        id, _, cap = folder.name.partition("-capped")
        match = RUN_ID.fullmatch(id)
        seed = int(match["seed"]) if match else TUNING_SEED
        if seed == TUNING_SEED or id != run_id(cell.experiment, profile, seed):
            continue
        which = f"{name(cell)}, seed {seed}"
        if cap.isdigit() and store.own(profile.name, id, int(cap)):
            remarks.append(f"{which}: a trial of {cap} iterations, not a result")
        elif (
            not cap
            and (epochs := store.epochs_done(folder))
            and store.own(profile.name, id) is None
        ):
            of = profile.schedule.epochs
            remarks.append(f"{which}: not finished, {epochs} of {of} epochs trained")
    return remarks


def name(cell: Cell) -> str:
    """The cell as a person calls it: its group and its row."""
    return " ".join(filter(None, (cell.group.name, cell.row.name)))


def _value(record: RunRecord, metric: str) -> float | None:
    return record.fps if metric == "fps" else record.metrics.get(metric)


def _mean(values: Mapping[int, float]) -> Figure | None:
    if not values:
        return None
    numbers = list(values.values())
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Figure(statistics.fmean(numbers), spread, tuple(values))
