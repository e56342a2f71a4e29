"""Inference time with and without the joint representation and distributions.

From the committed benchmark, ``gfl bench overhead``: alternating detectors, on the profile's
network, with the weights of its runs if the benchmark had them.
"""

from __future__ import annotations

import csv
from pathlib import Path

from scipy.special import ndtri

from analysis.measures.evidence import Evidence
from analysis.measures.quantity import Measure, Measurement, custom_quantity
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
FILES = "overhead-*.csv"
WEIGHTS = ("trained", "random")  # in order of preference


def time_ratio(pair: str) -> Measure:
    """Return the quantity of a pair's time with over its time without."""

    def measure(evidence: Evidence) -> Measurement:
        rows = [row for path in _files(evidence) for row in timed(path, pair, evidence)]
        if not rows:
            raise UserError(
                f"no benchmark of {pair} on the {evidence.profile.name} network is committed: "
                "make overhead"
            )
        row = max(rows, key=lambda row: float(row["ratio"]))  # of several machines the slowest
        value, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
        error = (high - low) / (2 * ndtri((1 + CONFIDENCE) / 2))
        estimate = Estimate.student(value, (), None, error**2, int(row["rounds"]) - 1)
        how = (
            f"time of one picture of {row['image']} px, {row['weights']} weights, the median of "
            f"{row['rounds']} rounds side by side; the interval is over rounds, on one machine"
        )
        return Measurement(value, (low, high), estimate, (), (), how)

    return measure


def _files(evidence: Evidence) -> list[Path]:
    return sorted((evidence.library.store.results / "benchmarks").glob(FILES))


def timed(path: Path, pair: str, evidence: Evidence) -> list[dict[str, str]]:
    """Return a pair's times on the profile's network, with trained weights if there are any."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["what"], row["pair"], row["network"])
            == ("seconds", pair, evidence.profile.name)
        ]
    by_weights = [[row for row in rows if row["weights"] == weights] for weights in WEIGHTS]
    return next((some for some in by_weights if some), [])


def _benchmarks(evidence: Evidence) -> list[str]:
    """Return the checksums of the committed benchmarks."""
    return [sha256(path) for path in _files(evidence)]


for _pair, _definition in PAIRS.items():
    custom_quantity(f"overhead-{_pair}", _definition, inputs=_benchmarks)(time_ratio(_pair))
