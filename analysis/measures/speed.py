"""Inference time with and without the joint representation and distributions; systems' speeds.

From the committed benchmarks. ``gfl bench overhead``: alternating detectors, on the profile's
network, with the weights of its runs if the benchmark had them. ``gfl bench speed``: all systems of
Table 4 in rounds, at the profile's size.
"""

from __future__ import annotations

from scipy.special import ndtri

from analysis.measures.evidence import Evidence
from analysis.measures.quantity import Measure, Measurement, custom_quantity
from analysis.speed import systems
from analysis.speed.record import Overhead, Time, benchmarks, paths
from analysis.stats.uncertainty import CONFIDENCE, Estimate
from experiments.tables.table4 import SOTA, TABLE
from gfl.errors import UserError
from gfl.files import sha256

# ATSS with joint w/ QFL, with General w/ DFL and with both, over plain ATSS; others over their own.
PAIRS = ("joint", "dfl", "gfl", "foveabox-joint", "retinanet-joint", "ssd512-joint")
WEIGHTS = ("trained", "random")  # in order of preference


def time_ratio(pair: str) -> Measure:
    """Return the quantity of a pair's inference time with over its time without."""

    def measure(evidence: Evidence) -> Measurement:
        found = [b for b in benchmarks(evidence.library.store) if isinstance(b, Overhead)]
        times = [time for one in found for time in timed(one, pair, evidence)]
        if not times:
            raise UserError(
                f"no benchmark of {pair} on the {evidence.profile.name} network is committed: "
                "make overhead"
            )
        time = max(times, key=lambda time: time.ratio)  # of several machines the slowest
        how = (
            f"time of one picture of {time.image} px, {time.weights} weights, the median of "
            f"{time.rounds} rounds side by side; the interval is over rounds, on one machine"
        )
        return _of_rounds(time.ratio, time.low, time.high, time.rounds, how)

    return measure


def speed_ratio(row: str) -> Measure:
    """Return the quantity of a system's speed in that of the benchmark's anchor.

    From image to detections, at batch 1.
    """

    def measure(evidence: Evidence) -> Measurement:
        if not TABLE.runs_at(evidence.profile.name):
            raise UserError(f"{TABLE.title} has no systems at the {evidence.profile.name} profile")
        speeds = systems.recorded(evidence.library.store, evidence.profile.name)
        found = speeds.ratio(row) if speeds and row in speeds.subjects else None
        if speeds is None or found is None:
            raise UserError(
                f"no benchmark of {row} at the {evidence.profile.name} profile is committed: "
                f"gfl bench speed --profile {evidence.profile.name}"
            )
        how = (
            f"speed in that of {speeds.anchor}, the median of {found.rounds} rounds side by side; "
            "the interval is over rounds, on one machine"
        )
        return _of_rounds(found.value, found.low, found.high, found.rounds, how)

    return measure


def _of_rounds(value: float, low: float, high: float, rounds: int, how: str) -> Measurement:
    """Return the measurement of a median over rounds, tested by its interval's standard error."""
    error = (high - low) / (2 * ndtri((1 + CONFIDENCE) / 2))
    estimate = Estimate.student(value, (), None, error**2, rounds - 1)
    return Measurement(value, (low, high), estimate, (), (), how)


def timed(found: Overhead, pair: str, evidence: Evidence) -> list[Time]:
    """Return a pair's times on the profile's network, with trained weights if there are any."""
    times = [t for t in found.times if (t.pair, t.network) == (pair, evidence.profile.name)]
    by_weights = [[time for time in times if time.weights == weights] for weights in WEIGHTS]
    return next((some for some in by_weights if some), [])


def _benchmarks(evidence: Evidence) -> list[str]:
    """Return the checksums of the committed benchmarks."""
    return [sha256(path) for path in paths(evidence.library.store)]


def _speeds(evidence: Evidence) -> list[str]:
    """Return the checksums of the committed speeds of systems at the profile."""
    found = systems.paths(evidence.library.store, evidence.profile.name)
    return [sha256(path) for path in found]


for _pair in PAIRS:
    custom_quantity(f"overhead-{_pair}", inputs=_benchmarks)(time_ratio(_pair))

for _row in SOTA:
    custom_quantity(f"speed-{_row}", inputs=_speeds)(speed_ratio(_row))
