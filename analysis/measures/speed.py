"""Inference time with and without the joint representation and distributions, side by side.

Of the committed benchmark, ``gfl bench overhead``: each detector in turn, on the network
of the profile, with the weights of its runs where the benchmark had them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from scipy.special import ndtri

from analysis.measures.evidence import Evidence
from analysis.measures.quantity import Measurement, Quantity
from analysis.stats.uncertainty import CONFIDENCE, Estimate
from gfl.errors import UserError

PAIRS = ("joint", "dfl", "gfl", "foveabox-joint", "retinanet-joint", "ssd512-joint")
FILES = "overhead-*.csv"
WEIGHTS = ("trained", "random")  # in order of preference


def time_ratio(pair: str) -> Quantity:
    """Return the quantity of a pair's time with over its time without."""

    def measure(evidence: Evidence) -> Measurement:
        folder = evidence.library.store.results / "benchmarks"
        rows = [row for path in sorted(folder.glob(FILES)) for row in timed(path, pair, evidence)]
        if not rows:
            raise UserError(
                f"no benchmark of {pair} on the {evidence.profile.name} network is committed: "
                "make overhead"
            )
        row = max(rows, key=lambda row: float(row["ratio"]))  # of several machines the slowest
        value, low, high = (float(row[name]) for name in ("ratio", "low", "high"))
        error = (high - low) / (2 * ndtri((1 + CONFIDENCE) / 2))
        estimate = Estimate(value, (), None, error**2, int(row["rounds"]) - 1)
        how = (
            f"time of one picture of {row['image']} px, {row['weights']} weights, the median of "
            f"{row['rounds']} rounds side by side; the interval is over rounds, on one machine"
        )
        return Measurement(value, (low, high), estimate, (), (), how)

    return measure


def timed(path: Path, pair: str, evidence: Evidence) -> list[dict[str, str]]:
    """The lines of a pair's time on the profile's network, of trained weights if there are some."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["what"], row["pair"], row["network"])
            == ("seconds", pair, evidence.profile.name)
        ]
    by_weights = [[row for row in rows if row["weights"] == weights] for weights in WEIGHTS]
    return next((some for some in by_weights if some), [])


QUANTITIES: Mapping[str, Quantity] = {f"overhead-{pair}": time_ratio(pair) for pair in PAIRS}
