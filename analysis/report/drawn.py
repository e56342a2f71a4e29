"""SVG coordinates of the page's own drawings: loss curves, and intervals on a scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gfl.records.record import RunRecord

SMOOTH = 12  # averaged points of a curve: a step's batch is small
POINTS = 80  # limit of a curve's points


@dataclass(frozen=True)
class Tick:
    """Label and its place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """Training loss of a row's runs, a line per seed."""

    width: int
    height: int
    left: int  # of the axes
    bottom: int
    lines: tuple[str, ...]  # points of a polyline
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    text: str  # alt text


def curve(records: Mapping[int, RunRecord], width: int = 320, height: int = 120) -> Curve | None:
    """Return the curve of runs by seed; None if no run has one."""
    losses = {seed: _losses(record) for seed, record in records.items()}
    losses = {seed: points for seed, points in losses.items() if len(points) > 1}
    if not losses:
        return None
    left, bottom, top = 30, height - 18, 6
    span = width - left - 6
    last = max(float(points[-1, 0]) for points in losses.values())
    step = _step(max(float(points[:, 1].max()) for points in losses.values()), 4)
    most = step * math.ceil(max(float(p[:, 1].max()) for p in losses.values()) / step - 1e-9)

    def place(points: np.ndarray) -> str:
        x = left + span * points[:, 0] / last
        y = bottom - (bottom - top) * points[:, 1] / most
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

    ends = ", ".join(f"{points[-1, 1]:.2f} (seed {s})" for s, points in losses.items())
    starts = max(float(points[0, 1]) for points in losses.values())
    levels = [step * i for i in range(round(most / step) + 1)]
    marks = [_step(last, 3) * i for i in range(4)]
    return Curve(
        width, height, left, bottom,
        lines=tuple(place(points) for points in losses.values()),
        x=tuple(Tick(left + span * v / last, f"{v:,.0f}") for v in marks if v <= last),
        y=tuple(Tick(bottom - (bottom - top) * v / most, f"{v:g}") for v in levels),
        text=f"Training loss over {last:.0f} iterations, from {starts:.2f} down to {ends}.",
    )  # fmt: skip


def _losses(record: RunRecord) -> np.ndarray:
    """Return iteration and loss, smoothed and thinned out."""
    pairs = [(p["iter"], p["loss"]) for p in record.curve if p.get("loss") is not None]
    points = np.array(pairs, dtype=float).reshape(-1, 2)
    if len(points) < 2:
        return points
    sums = np.cumsum(np.concatenate([[0.0], points[:, 1]]))
    index = np.arange(len(points))
    low = np.maximum(index - SMOOTH // 2, 0)
    high = np.minimum(index + SMOOTH // 2, len(points))
    points[:, 1] = (sums[high] - sums[low]) / (high - low)
    every = math.ceil(len(points) / POINTS)
    return np.concatenate([points[:-1:every], points[-1:]])


def _step(most: float, count: int) -> float:
    """Return a round step, at most ``count`` of which make up ``most``: 1, 2 or 5 and zeros."""
    if not most > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / count))
    return next(power * f for f in (1, 2, 5, 10) if power * f * count >= most * (1 - 1e-9))


@dataclass(frozen=True)
class Scale:
    """Interval of numbers on a strip of pixels."""

    low: float
    high: float
    width: int = 200

    def x(self, value: float) -> float:
        """Return the x coordinate of a number, clipped to the scale."""
        share = (value - self.low) / (self.high - self.low)
        return round(4 + (self.width - 8) * min(max(share, 0.0), 1.0), 1)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Return the round numbers within."""
        step = _step(self.high - self.low, 4)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return tuple(Tick(self.x(step * (first + i)), f"{step * (first + i):g}".replace("-", "−"))
                     for i in range(count))  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """One check: the claim, the paper's number, the result and its uncertainty."""

    width: int
    claimed: tuple[float, float]  # the range that the claim allows
    zero: float | None
    printed: float | None
    value: float | None
    interval: tuple[float, float] | None


def scale(values: Iterable[float | None]) -> Scale | None:
    """Return a scale that covers all of these and, if it is near, 0."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if low > 0 and low < 2 * (high - low):
        low = 0.0
    if high < 0 and -high < 2 * (high - low):
        high = 0.0
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return Scale(low - room, high + room)


def strip(
    on: Scale,
    bounds: tuple[float, float],
    printed: float | None,
    value: float | None,
    interval: tuple[float, float] | None,
) -> Strip:
    """Place a check on a scale, which ends an infinite bound."""
    return Strip(
        width=on.width,
        claimed=(on.x(bounds[0]), on.x(bounds[1])),
        zero=on.x(0.0) if on.low <= 0 <= on.high else None,
        printed=None if printed is None else on.x(printed),
        value=None if value is None else on.x(value),
        interval=None if interval is None else (on.x(interval[0]), on.x(interval[1])),
    )
