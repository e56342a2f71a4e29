"""How far the columns of a table spread over seeds beside AP: behind ``verdict_on_paper.COLUMNS``.

``python -m cli.spread`` prints it, of the committed records of the laptop profile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from analysis.library import Library
from analysis.stats.uncertainty import seed_noise
from cli.options import guarded
from experiments import profiles
from experiments.tables.table1 import SIX
from gfl import terminal
from gfl.records.record import RunRecord, Store
from gfl.terminal import say


def over_seeds(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return the standard deviation over seeds of each column, pooled over rows, AP.

    Raises:
        ValueError: no row has two seeds.
    """
    rows: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        slug = record.id.rsplit("-s", 1)[0]
        rows.setdefault(slug, {})[record.seed] = record
    found = {}
    for column in SIX:
        noise = seed_noise(
            {seed: x for seed, r in row.items() if (x := r.metrics[column.metric]) is not None}
            for row in rows.values()
        )
        if noise is None:
            raise ValueError("no row has two seeds, so nothing spreads over them")
        found[column.name] = noise.spread
    return found


def beside_ap(spreads: dict[str, float]) -> dict[str, float]:
    """Return each column's spread over AP's, in tenths and at least 1."""
    return {name: max(1.0, round(spread / spreads["AP"], 1)) for name, spread in spreads.items()}


def reference(store: Store) -> list[RunRecord]:
    """The committed records of the laptop profile, without the sweeps'."""
    records = Library(store).records(profiles.LAPTOP)
    return [record for record in records if record.seed != profiles.TUNING_SEED]


def main() -> int:
    return guarded("cli.spread", _print)


def _print() -> int:
    records = reference(Store(Path("runs"), Path("results")))
    spreads = over_seeds(records)
    for name, factor in beside_ap(spreads).items():
        say(f"{name:5} {spreads[name]:.3f}  {factor:.1f}")
    return 0


if __name__ == "__main__":
    terminal.as_utf8()
    sys.exit(main())
