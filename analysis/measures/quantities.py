"""Registry of all quantities that claims may name."""

from __future__ import annotations

from analysis.measures import distributions, errors, labels, scores, speed  # noqa: F401  declare
from analysis.measures.quantity import QUANTITIES, Quantity
from gfl.errors import did_you_mean

__all__ = ["QUANTITIES", "find"]


def find(name: str) -> Quantity:
    """Return the quantity of a name.

    Raises:
        KeyError: there is none; suggests the nearest.
    """
    if name not in QUANTITIES:
        raise KeyError(f"no quantity {name!r}{did_you_mean(name, QUANTITIES)}")
    return QUANTITIES[name]
