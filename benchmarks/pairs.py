"""Measurements of a detector with an addition, beside the same detector without."""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95  # of the interval over rounds


@dataclass(frozen=True)
class Ratio:
    """Time with over time without: above 1, the addition costs."""

    ours: float  # seconds per picture, the median over rounds
    base: float
    ratio: float  # the median over rounds of each round's ratio
    low: float  # 95 % bootstrap interval over rounds
    high: float
    rounds: int


@dataclass(frozen=True)
class Line:
    """One pair at one network: its time, or one counted quantity."""

    what: str
    pair: str
    network: str
    image: str
    ours: float
    base: float
    ratio: float
    weights: str = ""  # of the timed detectors: trained, or random
    timed: Ratio | None = None
    boxes: tuple[float, float, float, float] | None = None  # candidates and detections, ours, base
