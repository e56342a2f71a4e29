"""Table 1: the study on QFL."""

from experiments.declare import AP, AP50, AP75, Row, Table
from gfl.experiment import Experiment

TABLE_1C = Table(
    name="table-1c",
    caption="Varying β for QFL based on ATSS",
    mark_names=(),
    columns=(AP, AP50, AP75),
    baseline="2",
    rows=tuple(
        Row(f"{beta:g}", Experiment(quality="joint", beta=beta), published)
        for beta, published in (
            (0.0, (37.6, 55.4, 40.3)),
            (1.0, (39.0, 58.1, 41.7)),
            (2.0, (39.9, 58.5, 43.0)),
            (2.5, (39.7, 58.1, 42.7)),
            (4.0, (38.2, 55.4, 41.6)),
        )
    ),
)
