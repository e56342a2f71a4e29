"""The predictions of the reference: what decides every run's figures, and what is drawn.

Figures draw the locations of one row of a kind: seed 0 of ATSS. What claims measure on them is of
three seeds, because it differs between seeds by more than between images.
"""

from __future__ import annotations

from experiments.named import GAUSSIAN, GFL
from gfl.experiment import Experiment, Profile
from gfl.predictions.schema import DETECTIONS, LOCATIONS, MATCHES, OBJECTS, keeps_matches

SEEDS = (0, 1, 2)  # of the rows whose locations are measured; figures draw the first
FEWER_SEEDS = (0, 1)  # where files are larger, as of photographs: the fewest that tell their spread
# Every way of using quality, Table 1a: their detections are drawn.
QUALITIES = tuple(
    Experiment(quality=quality)
    for quality in (
        "none",
        "centerness-branch",
        "iou-branch",
        "centerness-guided",
        "iou-guided",
        "joint",
    )
)
# Of data that are not embedded: the three of them that predict what a score stands for.
FEWER_QUALITIES = tuple(
    Experiment(quality=quality) for quality in ("centerness-branch", "iou-branch", "joint")
)
SHOWN = (
    *QUALITIES,
    # every representation of a box, Table 2a
    GAUSSIAN,
    Experiment(boxes="general"),
    Experiment(boxes="general", dfl=True),
    GFL,
)


def with_detections(profile: Profile) -> tuple[Experiment, ...]:
    """The uses of quality whose final detections are drawn."""
    return FEWER_QUALITIES if keeps_matches(profile) else QUALITIES


def committed(experiment: Experiment, profile: Profile, seed: int) -> tuple[str, ...]:
    """The files of a run's predictions that belong to the reference.

    Its detections, of which everything that the record says can be computed again; its locations,
    three times as large, only where figures draw them or claims measure on them. Of data that are
    not embedded its matches do what detections do, and detections are kept where they are drawn;
    the distribution that labels are drawn from is not known there, which is what a Gaussian's
    locations are held to.
    """
    if not keeps_matches(profile):
        files: tuple[str, ...] = (DETECTIONS,)
        return (*files, LOCATIONS) if seed in SEEDS and experiment in SHOWN else files
    files = (MATCHES, OBJECTS)
    if seed == SEEDS[0] and experiment in with_detections(profile):
        files = (*files, DETECTIONS)
    measured = seed in FEWER_SEEDS and experiment in SHOWN and experiment != GAUSSIAN
    return (*files, LOCATIONS) if measured else files
