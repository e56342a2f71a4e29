"""Inference time with and without the joint representation and distributions.

From the committed benchmark, ``gfl bench overhead``: alternating detectors, on the profile's
network, with the weights of its runs if the benchmark had them.
"""

from __future__ import annotations

from scipy.special import ndtri

from analysis.measures.evidence import Evidence
from analysis.measures.quantity import Measure, Measurement, custom_quantity
from analysis.speed.record import Overhead, Time, benchmarks, paths
from analysis.stats.uncertainty import CONFIDENCE, Estimate
from gfl.errors import UserError
from gfl.files import sha256

PAIRS = {  # the baseline is centerness and Dirac deltas
    "joint": "ATSS's inference time with joint w/ QFL over that of plain ATSS",
    "dfl": "the same with General w/ DFL",
    "gfl": "the same with both",
    **{
        f"{host}-joint": f"{host}'s inference time with joint w/ QFL over its own without"
        for host in ("foveabox", "retinanet", "ssd512")
    },
}
WEIGHTS = ("trained", "random")  # in order of preference


def time_ratio(pair: str) -> Measure:
    """Return the quantity of a pair's time with over its time without."""

    def measure(evidence: Evidence) -> Measurement:
        found = [b for b in benchmarks(evidence.library.store) if isinstance(b, Overhead)]
        times = [time for one in found for time in timed(one, pair, evidence)]
        if not times:
            raise UserError(
                f"no benchmark of {pair} on the {evidence.profile.name} network is committed: "
                "make overhead"
            )
        time = max(times, key=lambda time: time.ratio)  # of several machines the slowest
        error = (time.high - time.low) / (2 * ndtri((1 + CONFIDENCE) / 2))
        estimate = Estimate.student(time.ratio, (), None, error**2, time.rounds - 1)
        how = (
            f"time of one picture of {time.image} px, {time.weights} weights, the median of "
            f"{time.rounds} rounds side by side; the interval is over rounds, on one machine"
        )
        return Measurement(time.ratio, (time.low, time.high), estimate, (), (), how)

    return measure


def timed(found: Overhead, pair: str, evidence: Evidence) -> list[Time]:
    """Return a pair's times on the profile's network, with trained weights if there are any."""
    times = [t for t in found.times if (t.pair, t.network) == (pair, evidence.profile.name)]
    by_weights = [[time for time in times if time.weights == weights] for weights in WEIGHTS]
    return next((some for some in by_weights if some), [])


def _benchmarks(evidence: Evidence) -> list[str]:
    """Return the checksums of the committed benchmarks."""
    return [sha256(path) for path in paths(evidence.library.store)]


for _pair, _definition in PAIRS.items():
    custom_quantity(f"overhead-{_pair}", _definition, inputs=_benchmarks)(time_ratio(_pair))
