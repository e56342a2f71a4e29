"""Made-up records, and tables filled with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from recorded import record

from analysis.tables.fill import Filled, with_baselines
from experiments.tables.declare import Table
from gfl.records.record import METRICS, RunRecord

APs = Mapping[str, Sequence[float | None]]  # by row, and "FCOS row" in groups; None: no such seed
Fill = Callable[..., list[Filled]]


def a_record(seed: int, ap: float) -> RunRecord:
    return record(
        seed=seed, commit="c0ffee" * 6, versions={"torch": "2.11.0"},
        hardware={"cpu": "a processor"}, metrics=dict.fromkeys(METRICS, 50.0) | {"AP": ap},
        fps=10.0,
    )  # fmt: skip


@pytest.fixture
def fill() -> Fill:
    """Fills a table with APs by row and seed, the reference's and the local ones."""

    def records(aps: APs, name: str) -> dict[int, RunRecord]:
        found = enumerate(aps.get(name, ()))
        return {seed: a_record(seed, ap) for seed, ap in found if ap is not None}

    def filled(table: Table, reference: APs, local: APs | None = None) -> list[Filled]:
        cells = [(c, " ".join(filter(None, (c.group.name, c.row.key)))) for c in table.cells()]
        rows = [Filled(c, records(reference, n), records(local or {}, n), ()) for c, n in cells]
        return with_baselines(table, rows)

    return filled
