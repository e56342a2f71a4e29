"""Runs behind the page: each row's once, with every place that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.report.drawn import Curve, curve
from analysis.report.table_views import CellRuns, Use
from analysis.tables.fill import commit
from analysis.text import number, setting
from experiments.queue.estimates import duration
from gfl.escape import counted
from gfl.experiment import Profile, at_scale
from gfl.records.record import RunRecord

# Metrics of a record shown in its row; the recalls are left to the record itself.
METRICS = ("AP", "AP50", "AP75", "APS", "APM", "APL")
NAMES = {"APS": "AP_S", "APM": "AP_M", "APL": "AP_L"}


@dataclass(frozen=True)
class Run:
    """One run, from its record."""

    id: str
    seed: int
    metrics: tuple[str, ...]  # of METRICS
    fps: str
    commit: str
    machine: str
    started: str
    took: str


@dataclass(frozen=True)
class Card:
    """All seeds of one experiment."""

    id: str
    slug: str
    factors: tuple[tuple[str, str], ...]
    runs: tuple[Run, ...]
    uses: tuple[Use, ...]
    curve: Curve | None


@dataclass(frozen=True)
class Environment:
    """Versions and machines of the runs: each value, and its number of runs."""

    versions: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    hardware: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    commits: tuple[tuple[str, int], ...]
    runs: int
    seconds: str
    first: str
    last: str


def cards(found: Iterable[CellRuns], profile: Profile) -> list[Card]:
    """Return a card per experiment of a profile, in the order of first appearance in the tables."""
    cells: dict[str, list[CellRuns]] = {}
    for cell in found:
        experiment = cell.filled.cell.experiment
        assert experiment is not None
        cells.setdefault(at_scale(experiment, profile).slug, []).append(cell)
    return [_card(slug, several) for slug, several in cells.items()]


def _card(slug: str, cells: Sequence[CellRuns]) -> Card:
    records = {seed: r for cell in cells for seed, r in cell.records.items()}
    records = dict(sorted(records.items()))
    first = next(iter(records.values()), None)
    factors = first.experiment if first else {}
    return Card(
        id=f"run-{slug}",
        slug=slug,
        factors=tuple((str(name), setting(value)) for name, value in factors.items()),
        runs=tuple(_run(record) for record in records.values()),
        uses=tuple(cell.use for cell in cells),
        curve=curve(records),
    )


def _run(record: RunRecord) -> Run:
    values = [record.metrics.get(name) for name in METRICS]
    return Run(
        id=record.id,
        seed=record.seed,
        metrics=tuple(number(v, ".2f") for v in values),
        fps=number(record.fps),
        commit=commit(record),
        machine=machine(record),
        started=record.started[:10],
        took=duration(record.seconds),
    )


def machine(record: RunRecord) -> str:
    """Describe the machine: ``cpu: AMD EPYC, 1 thread``, or a GPU's name and number."""
    hardware = record.hardware
    device, threads = str(hardware.get("device", "cpu")), hardware.get("threads")
    if device != "cpu":
        return f"{hardware.get('devices', 1)} × {device}"
    text = f"CPU {hardware.get('cpu', '?')}"
    return text if threads is None else f"{text}, {counted(threads, 'thread')}"


def environment(records: Sequence[RunRecord]) -> Environment:
    """Count the records' versions and machines."""
    starts = sorted(record.started for record in records)
    return Environment(
        versions=_counted([record.versions for record in records]),
        hardware=_counted([record.hardware for record in records]),
        commits=tuple(sorted(Counter(map(commit, records)).items())),
        runs=len(records),
        seconds=duration(sum(record.seconds for record in records)),
        first=starts[0][:10] if starts else "",
        last=starts[-1][:10] if starts else "",
    )


def _counted(
    found: Sequence[Mapping[str, object]],
) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    names = dict.fromkeys(name for one in found for name in one)
    counts = ((name, Counter(setting(one.get(name, "—")) for one in found)) for name in names)
    return tuple((str(name), tuple(sorted(count.items()))) for name, count in counts)
