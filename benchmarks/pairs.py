"""Measurements of a detector with something more, beside the same detector without."""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95  # of the interval over rounds


@dataclass(frozen=True)
class Ratio:
    """Time with over time without: above 1, it costs."""

    ours: float  # seconds a picture, the median over rounds
    base: float
    ratio: float  # the median over rounds of each round's
    low: float  # 95 % bootstrap interval over rounds
    high: float
    rounds: int


@dataclass(frozen=True)
class Line:
    """One pair at one network: its time, or one thing that is counted."""

    what: str
    pair: str
    network: str
    image: str
    ours: float
    base: float
    ratio: float
    weights: str = ""  # of what is timed: trained, or random
    timed: Ratio | None = None
    boxes: tuple[float, float, float, float] | None = None  # candidates and detections, ours, base
