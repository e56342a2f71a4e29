"""Which predictions belong to the reference: every run's detections, and what figures draw.

Figures draw the locations of one row of a kind: seed 0 of ATSS.
"""

from __future__ import annotations

from experiments.table2 import GAUSSIAN
from experiments.table3 import GFL
from gfl.experiment import Experiment
from gfl.predictions import DETECTIONS, LOCATIONS

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


def committed(experiment: Experiment, seed: int) -> tuple[str, ...]:
    """The files of a run's predictions that belong to the reference.

    Its detections, of which everything that the record says can be computed again; its locations,
    three times as large, only where figures draw them.
    """
    return (DETECTIONS, LOCATIONS) if is_shown(experiment, seed) else (DETECTIONS,)


def is_shown(experiment: Experiment, seed: int) -> bool:
    """Whether figures draw this run's locations."""
    return seed == SEED and experiment in SHOWN
