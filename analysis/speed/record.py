"""Records of benchmarks: what was measured, on which machine, in ``results/benchmarks``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from analysis.speed import systems
from gfl.errors import UserError
from gfl.records.record import RecordError, Store, read_json, rebuild, write_json

SCHEMA = 1


@dataclass(frozen=True)
class Machine:
    """Hardware and versions of a measurement."""

    device: str  # "cpu" or "cuda"
    gpu: str | None
    cpu: str
    cores: int
    threads: int
    torch: str
    commit: str
    busy: float | None  # processes competing for a core at the start, if the system reports it

    @property
    def slug(self) -> str:
        """File name: the hardware in lower case with hyphens."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        name = self.gpu or f"{self.cpu} {self.cores} cores {threads}"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Case:
    """Losses of our head beside stock mmdet's: medians, and stock / ours of pairs of turns."""

    head: str
    batch: int
    objects: int  # per image
    ours: float  # seconds
    stock: float
    ratio: float  # of a pair of turns, the median: above 1, ours is faster
    low: float  # quartiles of the ratio
    high: float
    ours_mib: float | None = None  # peak beyond the outputs; None if not measured
    stock_mib: float | None = None


@dataclass(frozen=True)
class Assignment:
    """Our assignment alone, which has no stock counterpart."""

    name: str  # ATSS or FCOS
    batch: int
    objects: int
    seconds: float
    mib: float | None = None


@dataclass(frozen=True)
class Loss:
    """Benchmark of ``gfl bench loss``."""

    machine: Machine
    image: tuple[int, int]  # height and width, px
    repeat: int  # turns of a case
    repeat_short: int  # turns of a case with few images
    cases: tuple[Case, ...]
    assignments: tuple[Assignment, ...]

    kind: ClassVar = "loss"

    @property
    def stem(self) -> str:
        return self.machine.slug


@dataclass(frozen=True)
class Time:
    """Time of a detector with an addition over that of the same detector without."""

    pair: str
    network: str  # a profile's name
    weights: str  # trained, or random
    image: str  # 128x128, px
    ours: float  # seconds per picture, the median over rounds
    base: float
    ratio: float  # the median over rounds of each round's ratio: above 1, the addition costs
    low: float  # 95 % bootstrap interval over rounds
    high: float
    rounds: int
    candidates: tuple[float, float]  # boxes that enter NMS, a picture: ours, base
    detections: tuple[float, float]


@dataclass(frozen=True)
class Count:
    """Parameters or multiply-adds of the same two detectors."""

    what: str
    pair: str
    network: str
    image: str
    ours: int
    base: int


@dataclass(frozen=True)
class Overhead:
    """Benchmark of ``gfl bench overhead``."""

    machine: Machine
    candidates: int  # scores of a picture that pass the threshold of random weights
    counts: tuple[Count, ...]
    times: tuple[Time, ...]

    kind: ClassVar = "overhead"

    @property
    def stem(self) -> str:
        return f"overhead-{self.machine.slug}"


@dataclass(frozen=True)
class Operator:
    """Steps of an operator, ours and torchvision's: medians, and stock / ours of pairs of turns."""

    name: str
    features: tuple[int, int, int, int]  # images, channels, height, width
    ours: float  # seconds
    stock: float
    ratio: float  # of a pair of turns, the median: above 1, ours is faster
    low: float  # quartiles of the ratio
    high: float


@dataclass(frozen=True)
class Operators:
    """Benchmark of ``gfl bench operators``."""

    machine: Machine
    repeat: int  # turns of an operator
    regions: int  # of RoIAlign
    operators: tuple[Operator, ...]

    kind: ClassVar = "operators"

    @property
    def stem(self) -> str:
        return f"operators-{self.machine.slug}"


@dataclass(frozen=True)
class Step:
    """A detector beside stock mmdet's with the same weights: stock / ours of pairs of turns."""

    detector: str  # GFL, ATSS or FCOS
    phase: str  # "training" or "inference"
    precision: str  # of ours: "bfloat16" or "float32"
    stock_precision: str  # "float32", or "mixed": mmengine's automatic mixed precision
    ours: float  # seconds per image, the median over rounds
    stock: float
    ratio: float  # the median over rounds of each round's ratio: above 1, ours is faster
    low: float  # 95 % bootstrap interval over rounds
    high: float
    rounds: int


@dataclass(frozen=True)
class Steps:
    """Benchmark of ``gfl bench step``."""

    machine: Machine
    profile: str  # whose network it is
    image: tuple[int, int]  # height and width, px
    batch: int  # images of a training step
    objects: int  # per image
    steps: tuple[Step, ...]

    kind: ClassVar = "step"

    @property
    def stem(self) -> str:
        return f"step-{self.profile}-{self.machine.slug}"


Benchmark = Loss | Overhead | Operators | Steps
KINDS: Mapping[str, type[Benchmark]] = {cls.kind: cls for cls in (Loss, Overhead, Operators, Steps)}


def save(found: Benchmark, folder: Path) -> Path:
    """Write a benchmark's record into a folder; return its path."""
    path = folder / f"{found.stem}.json"
    write_json(path, {"schema": SCHEMA, "kind": found.kind, **asdict(found)})
    return path


def load(path: Path) -> Benchmark:
    """Read a record back.

    Raises:
        UserError: the file is not such a record.
    """
    try:
        content = read_json(path)
        if (schema := content.pop("schema")) != SCHEMA:
            raise RecordError(f"schema {schema!r}, this code reads {SCHEMA}")
        return rebuild(KINDS[content.pop("kind")], content)
    except (RecordError, AttributeError, KeyError, TypeError, ValueError) as err:
        raise UserError(f"{path}: not a benchmark's record ({err})") from err


def paths(store: Store) -> list[Path]:
    """Return the files of the recorded benchmarks, but those of whole systems (``systems``)."""
    found = (store.results / "benchmarks").glob("*.json")
    return sorted(path for path in found if not path.name.startswith(systems.PREFIX))


def benchmarks(store: Store) -> Iterator[Benchmark]:
    """Yield the recorded benchmarks.

    Raises:
        UserError: a file is damaged.
    """
    yield from map(load, paths(store))
