"""The runs whose predictions the committed figures draw: seed 0 of ATSS, one row of a kind."""

from __future__ import annotations

from experiments.table2 import GAUSSIAN
from experiments.table3 import GFL
from gfl.experiment import Experiment

SEED = 0
SHOWN = (
    *(  # every way of using quality, Table 1a
        Experiment(quality=quality)
        for quality in (
            "none",
            "centerness-branch",
            "iou-branch",
            "centerness-guided",
            "iou-guided",
            "joint",
        )
    ),
    # every representation of a box, Table 2a
    GAUSSIAN,
    Experiment(boxes="general"),
    Experiment(boxes="general", dfl=True),
    GFL,
)


def is_shown(experiment: Experiment, seed: int) -> bool:
    """Whether figures draw this run, so that its predictions belong to the reference."""
    return seed == SEED and experiment in SHOWN
