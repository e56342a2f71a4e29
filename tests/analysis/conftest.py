"""Made-up records, and tables filled with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from analysis.tables.fill import Filled, with_baselines
from experiments.tables.declare import Table
from gfl.records.record import METRICS, RunRecord

APs = Mapping[str, Sequence[float | None]]  # by row, and "FCOS row" in groups; None: no such seed
Fill = Callable[..., list[Filled]]


def a_record(seed: int, ap: float) -> RunRecord:
    values: dict[str, Any] = {
        "id": "", "experiment": {}, "profile": {}, "seed": seed, "commit": "c0ffee" * 6,
        "dirty": False, "versions": {"torch": "2.11.0"}, "hardware": {"cpu": "a processor"},
        "metrics": dict.fromkeys(METRICS, 50.0) | {"AP": ap}, "fps": 10.0, "curve": [],
        "evals": [], "seconds": 1.0, "images_per_second": 1.0, "max_iters": None,
        "state": "finished", "message": "", "started": "2020-01-01T00:00:00+00:00",
    }  # fmt: skip
    return RunRecord(**values)


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
