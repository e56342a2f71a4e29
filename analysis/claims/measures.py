"""Quantities that no table prints, measured on what runs predicted; claims name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.claims.correction import Tested
from analysis.claims.evidence import Evidence


@dataclass(frozen=True)
class Measurement:
    """A quantity's value, and how far to trust it.

    ``tested`` is None of what is exact: an identity, or a count that no other images would change.
    """

    value: float
    interval: tuple[float, float] | None
    tested: Tested | None
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    how: str  # what was measured on what, in a line


Quantity = Callable[[Evidence], Measurement]

QUANTITIES: Mapping[str, Quantity] = {}
