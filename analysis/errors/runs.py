"""Errors by kind of every run of the declared tables, and QFL's and DFL's effect on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from analysis import cache
from analysis.errors.tide import SPECIAL, Errors, errors
from analysis.library import Library, MissingRuns
from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.tables import fill
from analysis.tables.notes import NOT_PAPERS
from experiments.named import DFL, GENERAL, GFL, NO_QUALITY, PLAIN, QFL
from experiments.tables.catalogue import TABLES
from experiments.tables.declare import Cell, Table
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Profile, at_scale
from gfl.predictions.error_kinds import FOREGROUND, KINDS, KINDS_AT

IOUS = KINDS_AT
ALL = (*KINDS, *SPECIAL)

# The question, the run with the change, and the run that lacks only that.
REPAIRS = (
    ("QFL: joint against centerness-branch", QFL, PLAIN),
    ("QFL: joint against no quality", QFL, NO_QUALITY),
    ("DFL: General w/ DFL against Dirac delta", DFL, PLAIN),
    ("DFL: General w/ DFL against General", DFL, GENERAL),
    ("DFL: General w/ DFL against Dirac delta, both with QFL", GFL, QFL),
    ("GFL: QFL and DFL against neither", GFL, PLAIN),
)


@dataclass
class Line:
    """One experiment, its rows in the tables, and its errors by IoU and seed."""

    experiment: AnyExperiment
    rows: list[str] = field(default_factory=list)
    found: dict[float, dict[int, Errors]] = field(default_factory=dict)

    def ap(self, iou: float) -> SeedMean | None:
        return uncertainty.seed_mean({seed: made.ap for seed, made in self._at(iou).items()})

    def gain(self, kind: str, iou: float) -> SeedMean | None:
        return uncertainty.seed_mean(self.gains(kind, iou))

    def count(self, kind: str, iou: float) -> SeedMean | None:
        return uncertainty.seed_mean(
            {seed: float(made.count[kind]) for seed, made in self._at(iou).items()}
        )

    def detections(self, iou: float) -> SeedMean | None:
        return uncertainty.seed_mean(
            {seed: float(made.detections) for seed, made in self._at(iou).items()}
        )

    def gains(self, kind: str, iou: float) -> dict[int, float]:
        """Return the gains by seed."""
        return {seed: made.gain[kind] for seed, made in self._at(iou).items()}

    def _at(self, iou: float) -> Mapping[int, Errors]:
        return self.found.get(iou, {})


@dataclass(frozen=True)
class Repair:
    """Difference between two runs in the cost of each kind of error, by kind and IoU."""

    name: str
    ours: AnyExperiment
    base: AnyExperiment
    gains: Mapping[tuple[float, str], Estimate]  # ours - base: below 0, it repairs

    def text(self, iou: float) -> str:
        """List the kinds with a significant change: their interval excludes 0."""
        clear = [(kind, self.gains[iou, kind]) for kind in ALL if (iou, kind) in self.gains]
        parts = [
            f"{kind} {'less' if d.value < 0 else 'more'} ({d.value:+.2f})"
            for kind, d in clear
            if d.is_clear
        ]
        if parts:
            return ", ".join(parts)
        return "none" if clear else "not recorded"


@dataclass(frozen=True)
class Report:
    """All lines of a profile, and runs with records but without detections."""

    lines: tuple[Line, ...]
    without: tuple[str, ...]

    def repairs(self) -> Iterator[Repair]:
        """Compare the pairs of ``REPAIRS``, seed by seed."""
        by = {line.experiment: line for line in self.lines}
        for name, ours, base in REPAIRS:
            if ours not in by or base not in by:
                continue
            found = {
                (iou, kind): uncertainty.paired(
                    by[ours].gains(kind, iou), by[base].gains(kind, iou)
                )
                for iou in IOUS
                for kind in ALL
            }
            yield Repair(name, ours, base, {at: d for at, d in found.items() if d is not None})


def gather(profile: Profile, library: Library) -> Report:
    """Classify the errors of every run of the declared tables with detections or matches.

    Raises:
        UserError: there is none.
    """
    lines: dict[AnyExperiment, Line] = {}
    without: list[str] = []
    for table in TABLES.values():
        for cell in fill.fill_all(table, profile, library.store):
            records = cell.records(library.source)
            if cell.cell.experiment is None or not records:
                continue
            experiment = at_scale(cell.cell.experiment, profile)
            if experiment not in lines:
                lines[experiment] = line(experiment, sorted(records), profile, library)
                without += [
                    records[seed].id
                    for seed in sorted(records)
                    if seed not in lines[experiment].found[FOREGROUND]
                ]
            lines[experiment].rows.append(row_name(table, cell.cell))
    having = tuple(line for line in lines.values() if line.found[FOREGROUND])
    if not having:
        where = "in the reference (--store local reads the local runs)"
        where = where if library.source == "reference" else "among the local runs"
        what = "detections" if library.has_truth(profile) else "matches"
        hint = "" if library.has_truth(profile) else (
            "; of detections they are made with --annotations .../instances_val2017.json, which "
            "the runs were evaluated against"
        )  # fmt: skip
        raise UserError(f"no run of the {profile.name} profile has {what} {where}{hint}")
    return Report(having, tuple(without))


def line(
    experiment: AnyExperiment, seeds: Sequence[int], profile: Profile, library: Library
) -> Line:
    """Classify the errors of an experiment's runs; seeds without detections are omitted."""
    sorted_out = Line(experiment, found={iou: {} for iou in IOUS})
    for seed in seeds:
        try:
            made = of_run(experiment, seed, profile, library)
        except MissingRuns:
            continue
        for iou in IOUS:
            sorted_out.found[iou][seed] = made[iou]
    return sorted_out


def of_run(
    experiment: AnyExperiment, seed: int, profile: Profile, library: Library
) -> dict[float, Errors]:
    """Classify the errors of a run at each IoU, or read them back if nothing changed.

    Raises:
        MissingRuns: the run has no detections or matches.
    """
    record = library.record(experiment, profile, seed)
    checksums = library.checksums(record, profile)
    entry = None
    if checksums and library.truth is None:
        inputs = [asdict(profile), checksums, IOUS]
        entry = cache.entry("errors.json", inputs, "analysis.errors.tide", "analysis.library")
        if (known := entry.json()) is not None:
            return {iou: Errors(**found) for iou, found in zip(IOUS, known, strict=True)}
    made = {iou: errors(library.errors(experiment, profile, seed, iou)) for iou in IOUS}
    if entry is not None and not any(math.isnan(found.ap) for found in made.values()):
        entry.keep_json([asdict(made[iou]) for iou in IOUS])
    return made


def row_name(table: Table, cell: Cell) -> str:
    """Return a cell's name: ``1a ATSS joint w/ QFL``, ``2b n 12``; marked if additional."""
    row = cell.row.key
    number = f"{table.heading} " if table.heading and row.replace(".", "").isdigit() else ""
    mark = NOT_PAPERS if cell.row.is_extra else ""
    return f"{table.name.removeprefix('table-')} {number}{fill.name(cell)}{mark}"
