"""Predictions in the reference: those that determine every run's metrics, and those drawn.

Figures draw the locations of seed 0 of one ATSS row per kind. Claims measure three seeds, because
their measurements vary more between seeds than between images.
"""

from __future__ import annotations

from experiments.named import COUNTERPARTS, DFL, GAUSSIAN, GENERAL, GFL, IOU_BRANCH, PLAIN, QFL
from gfl.experiment import AnyExperiment, Experiment, Profile
from gfl.predictions.schema import DETECTIONS, LOCATIONS, MATCHES, OBJECTS, keeps_matches

SEEDS = (0, 1, 2)  # of the rows whose locations are measured; figures draw the first
FEWER_SEEDS = (0, 1)  # for larger files, as of photographs: the fewest that show a spread
# Every way of using quality in Table 1a, whose detections are drawn.
QUALITIES = (*(Experiment(quality=quality) for quality in COUNTERPARTS), QFL)
# For data that are not embedded: the three of them whose scores estimate a defined quality.
FEWER_QUALITIES = (PLAIN, IOU_BRANCH, QFL)
SHOWN = (*QUALITIES, GAUSSIAN, GENERAL, DFL, GFL)  # with every representation of a box, Table 2a


def with_detections(profile: Profile) -> tuple[Experiment, ...]:
    """Return the uses of quality whose final detections are drawn."""
    return FEWER_QUALITIES if keeps_matches(profile) else QUALITIES


def committed(experiment: AnyExperiment, profile: Profile, seed: int) -> tuple[str, ...]:
    """Return the prediction files of a run that belong to the reference.

    Detections, from which everything in the record can be recomputed; and locations, three times
    as large, only where figures draw or claims measure them. For data that are not embedded,
    matches replace detections, which are kept only where drawn; the distribution of the labels is
    unknown there, and with it the comparison that needs a Gaussian's locations.
    """
    if not keeps_matches(profile):
        files: tuple[str, ...] = (DETECTIONS,)
        return (*files, LOCATIONS) if seed in SEEDS and experiment in SHOWN else files
    files = (MATCHES, OBJECTS)
    if seed == SEEDS[0] and experiment in with_detections(profile):
        files = (*files, DETECTIONS)
    measured = seed in FEWER_SEEDS and experiment in SHOWN and experiment != GAUSSIAN
    return (*files, LOCATIONS) if measured else files
