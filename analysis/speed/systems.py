"""Record of Table 4's speeds: systems timed in rounds beside an anchor, and their ratios to it.

``gfl bench speed`` writes it after every round; whatever prints or draws speeds reads it. Seconds
are stored, and everything else is computed from them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.stats.uncertainty import of_median
from gfl.errors import UserError
from gfl.records.record import RecordError, Store, digest, read_json, rebuild, write_json

PREFIX = "systems-"  # of the records' names in results/benchmarks
SCHEMA = 1
TOLERANCE = 0.1  # by which a calibrated load may miss its target


@dataclass(frozen=True)
class Subject:
    """One system as it is timed: its size, and the load that its weights make.

    ``counts`` are means per picture: "proposals" that leave the RPN, "candidates" (scored boxes)
    that enter the last NMS, "regions" of a grid head, "detections". ``targets`` are those that were
    calibrated.
    """

    config: str  # digest of the model's settings
    kind: str  # "dense", "two-stage" or "corners"
    image: tuple[int, int]  # height and width of the padded input, px
    parameters: int
    multiply_adds: int  # of one picture, with the load
    counts: Mapping[str, float]
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """Name the first count that is not its target; empty if the timing counts."""
        for name, target in self.targets.items():
            found = self.counts.get(name, 0.0)
            if abs(found - target) > TOLERANCE * target:
                return f"{found:g} {name} instead of {target:g}"
        return ""


@dataclass(frozen=True)
class Round:
    """Seconds of each system on the same picture, in the order they were taken."""

    number: int
    picture: int
    anchor: tuple[float, float]  # at the start, and in the middle
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Ratio:
    """Speed in speeds of the anchor: the median over rounds, with its bootstrap interval."""

    value: float  # above 1, faster than the anchor
    low: float
    high: float
    rounds: int
    images_per_second: float  # the anchor's, times the ratio


@dataclass(frozen=True)
class Speeds:
    """Everything that one measurement wrote: ``setting`` tells machines and commits apart."""

    setting: Mapping[str, Any]
    anchor: str
    subjects: Mapping[str, Subject]
    rounds: tuple[Round, ...] = ()
    schema: int = SCHEMA

    def save(self, path: Path) -> Path:
        """Write the record atomically."""
        content = asdict(self)
        write_json(path, content | {"sha256": digest(content)})
        return path

    @classmethod
    def load(cls, path: Path) -> Speeds:
        """Read a record back.

        Raises:
            FileNotFoundError: it is missing.
            UserError: the file is not a complete and unchanged record of this schema.
        """
        try:
            content = read_json(path)
            checksum = content.pop("sha256", None)
            if content.get("schema") != SCHEMA:
                raise ValueError(f"schema {content.get('schema')!r}, this code reads {SCHEMA}")
            if checksum != digest(content):
                raise ValueError("its content does not match its checksum")
            return rebuild(cls, content)
        except (AttributeError, KeyError, RecordError, TypeError, ValueError) as err:
            raise UserError(f"{path}: not a record of speeds: {err}") from err

    def with_round(self, one: Round) -> Speeds:
        return replace(self, rounds=(*self.rounds, one))

    def done(self, names: Sequence[str]) -> int:
        """Return the number of rounds in which all of some systems were timed."""
        return sum(all(name in one.seconds for name in names) for one in self.rounds)

    def ratio(self, name: str) -> Ratio | None:
        """Return a system's speed; None if it has no round or its load was refused.

        Each round's ratio is to the mean of the anchor's two times in it, so that drift and other
        load of the machine cancel.
        """
        if name != self.anchor and self.subjects[name].refusal:
            return None
        rounds = [one for one in self.rounds if name in one.seconds or name == self.anchor]
        if not rounds:
            return None
        anchors = np.array([np.mean(one.anchor) for one in rounds])
        if name == self.anchor:
            return Ratio(1.0, 1.0, 1.0, len(rounds), float(1 / np.median(anchors)))
        ratios = anchors / np.array([one.seconds[name] for one in rounds])
        return self._ratio(ratios)

    def noise(self) -> Ratio | None:
        """Return the anchor's first time over its second: how far a ratio of equals is from 1."""
        if not self.rounds:
            return None
        ratios = np.array([one.anchor[0] / one.anchor[1] for one in self.rounds])
        return replace(self._ratio(ratios), images_per_second=1 / self._anchor())

    def _ratio(self, ratios: np.ndarray) -> Ratio:
        found = of_median(ratios)
        rate = found.value / self._anchor()
        return Ratio(found.value, found.low, found.high, len(ratios), rate)

    def _anchor(self) -> float:
        """Return the anchor's median seconds."""
        return float(np.median([np.mean(one.anchor) for one in self.rounds]))


def paths(store: Store, profile: str) -> list[Path]:
    """Return the files of the committed measurements at a profile."""
    return sorted((store.results / "benchmarks").glob(f"{PREFIX}{profile}-*.json"))


def recorded(store: Store, profile: str) -> Speeds | None:
    """Return the committed measurement at a profile; None without one. A CPU's before a GPU's.

    Raises:
        UserError: its file is damaged.
    """
    records = [Speeds.load(path) for path in paths(store, profile)]
    return min(records, key=lambda one: one.setting["device"], default=None)
