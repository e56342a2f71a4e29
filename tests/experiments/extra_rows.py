"""A row of one's own for each table of the paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.tables import catalogue
from experiments.tables.declare import Row, Table
from gfl.experiment import Experiment

QFL_3 = Experiment(quality="joint", beta=3.5)
GFL = Experiment(quality="joint", boxes="general", dfl=True)
OWN = {
    "table-1a": Row("joint, β = 3.5", QFL_3, note="Between the paper's values."),
    "table-1b": Row("RetinaNet, β = 3.5", replace(QFL_3, host="retinanet"), baseline="RetinaNet"),
    "table-1c": Row("3.5", QFL_3),
    "table-2a": Row("General to 8", Experiment(boxes="general", y_n=8.0)),
    "table-2b": Row("20", replace(GFL, y_n=20.0), marks=("1",)),
    "table-2c": Row("8", replace(GFL, delta=8.0), marks=("16",)),
    "table-3": Row("QFL, β = 3.5", QFL_3, marks=("✓", "")),
    "table-4": Row(
        "GFL",
        replace(GFL, backbone="r101"),
        marks=("R-101", "12", "", "–"),
        label="GFL R-101 1x",
        baseline="GFL R-101",
    ),
}


def declare(name: str, patch: pytest.MonkeyPatch, *rows: Row) -> Table:
    """Declare rows under a table, in place of those that are there; by default its own of OWN."""
    table = replace(catalogue.PAPERS[name], extra=rows or (OWN[name],))
    patch.setitem(catalogue.TABLES, name, table)
    return table
