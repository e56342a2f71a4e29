"""Rows that are not the paper's, by the table that they are shown under.

They are run, recorded, promoted and compared as the paper's rows are, without published numbers,
and are part of no claim, figure, order of rows or count. A row that the paper prints belongs in
``table1.py`` to ``table4.py``.
"""

from experiments.tables.declare import Row
from gfl.experiment import Experiment

ROWS: dict[str, tuple[Row, ...]] = {
    # Between the paper's 2.5 and 4.
    "table-1c": (Row("3", Experiment(quality="joint", beta=3.0)),),
}
