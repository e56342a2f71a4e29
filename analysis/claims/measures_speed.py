"""Inference time with and without the joint representation and distributions, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.claims.evidence import Evidence
from analysis.claims.measuring import Measurement, Quantity
from gfl.errors import UserError


def _time(row: str) -> Quantity:
    def measure(evidence: Evidence) -> Measurement:
        raise UserError("no benchmark of the overhead is committed: python -m benchmarks.overhead")

    return measure


QUANTITIES: Mapping[str, Quantity] = {
    **{f"overhead-{row}": _time(row) for row in ("joint", "dfl", "gfl")},
    **{f"overhead-{host}-joint": _time(host) for host in ("foveabox", "retinanet", "ssd512")},
}
