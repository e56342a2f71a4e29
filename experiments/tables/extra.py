"""Additional rows that are not in the paper, by the table they appear under.

They are run, recorded, promoted and compared like the paper's rows, without published numbers,
and are not part of any claim, figure, ranking or count. Rows that the paper prints belong in
``table1.py`` to ``table4.py``.
"""

from experiments.tables.declare import Row
from gfl.experiment import Experiment

ROWS: dict[str, tuple[Row, ...]] = {
    # Between the paper's 2.5 and 4.
    "table-1c": (Row("3", Experiment(quality="joint", beta=3.0)),),
}
