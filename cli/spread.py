"""``gfl spread``: seed spread of metrics relative to AP's, for ``verdict_on_paper.COLUMNS``."""

from __future__ import annotations

from collections.abc import Iterable

from cli.options import Folders
from experiments import profiles
from experiments.tables.table1 import SIX
from gfl.errors import UserError
from gfl.records.record import RunRecord, Store
from gfl.terminal import say


def over_seeds(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return the standard deviation over seeds of each column, pooled over rows, AP.

    Raises:
        UserError: no row has two seeds.
    """
    from analysis.stats.uncertainty import seed_noise  # imports scipy, not needed for --help

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
            raise UserError("no row has two seeds, so nothing spreads over them")
        found[column.name] = noise.spread
    return found


def beside_ap(spreads: dict[str, float]) -> dict[str, float]:
    """Return each column's spread relative to AP's, in tenths and at least 1."""
    return {name: max(1.0, round(spread / spreads["AP"], 1)) for name, spread in spreads.items()}


def reference(store: Store) -> list[RunRecord]:
    """Return the committed records of the laptop profile, without the sweeps'."""
    from analysis.library import Library  # imports pandas, slow and not needed for --help

    records = Library(store).records(profiles.LAPTOP)
    return [record for record in records if record.seed != profiles.TUNING_SEED]


def spread(*, folders: Folders = Folders()) -> int:
    """Print each metric's standard deviation over seeds, by AP's, in the laptop reference."""
    spreads = over_seeds(reference(folders.store(mend=False)))
    for name, factor in beside_ap(spreads).items():
        say(f"{name:5} {spreads[name]:.3f}  {factor:.1f}")
    return 0
