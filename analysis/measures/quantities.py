"""Quantities that no table prints, measured on what runs predicted; claims name them."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.measures import distributions, errors, labels, scores, speed
from analysis.measures.quantity import Quantity

QUANTITIES: Mapping[str, Quantity] = {
    **labels.QUANTITIES,
    **scores.QUANTITIES,
    **distributions.QUANTITIES,
    **errors.QUANTITIES,
    **speed.QUANTITIES,
}
