"""``gfl spread``: seed spread of metrics relative to AP's, for ``verdict_on_paper.COLUMNS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.options import Folders
from experiments import profiles
from experiments.tables.catalogue import FACTORIAL
from experiments.tables.table1 import SIX
from gfl.errors import UserError
from gfl.records.record import Store
from gfl.terminal import say

if TYPE_CHECKING:
    from analysis.measures.evidence import Records


def over_seeds(records: Records) -> dict[str, float]:
    """Return the standard deviation over seeds of each column, pooled over rows, AP.

    Raises:
        UserError: no row has two seeds.
    """
    from analysis.measures.evidence import noise  # imports pandas, not needed for --help

    if not (pooled := noise(records)):
        raise UserError("no row has two seeds, so nothing spreads over them")
    return {column.name: pooled[column.metric].spread for column in SIX}


def beside_ap(spreads: dict[str, float]) -> dict[str, float]:
    """Return each column's spread relative to AP's, in tenths and at least 1."""
    return {name: max(1.0, round(spread / spreads["AP"], 1)) for name, spread in spreads.items()}


def reference(store: Store) -> Records:
    """Return the committed records of Tables 1 to 3 at the laptop profile."""
    from analysis.library import Library
    from analysis.measures.evidence import recorded

    return recorded(Library(store), profiles.LAPTOP, FACTORIAL)


def spread(*, folders: Folders = Folders()) -> int:
    """Print each metric's standard deviation over seeds, by AP's, in the laptop reference."""
    spreads = over_seeds(reference(folders.store(mend=False)))
    for name, factor in beside_ap(spreads).items():
        say(f"{name:5} {spreads[name]:.3f}  {factor:.1f}")
    return 0
