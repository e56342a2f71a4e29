"""Quantities that no table prints, measured on what runs predicted; claims name them."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.claims import (
    measures_distributions,
    measures_errors,
    measures_labels,
    measures_scores,
    measures_speed,
)
from analysis.claims.measuring import Quantity

QUANTITIES: Mapping[str, Quantity] = {
    **measures_labels.QUANTITIES,
    **measures_scores.QUANTITIES,
    **measures_distributions.QUANTITIES,
    **measures_errors.QUANTITIES,
    **measures_speed.QUANTITIES,
}
