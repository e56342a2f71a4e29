"""Each object's best positive: learned distributions of its sides, beside the known ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.library import Library, Locations
from analysis.measures.densities import Atoms, gap, truth
from analysis.photographs import NotInData
from gfl.experiment import Experiment, Profile
from gfl.shapes.side_labels import SIDES

RULE = "an object's positive location of the highest score"
CORNERS = ("x1", "y1", "x2", "y2")  # of a box, each on one of SIDES
TOWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # direction of a distance from the location


@dataclass(frozen=True)
class Best:
    """Best positives in the order of their objects; arrays about sides are [objects, 4]."""

    frame: pd.DataFrame  # locations joined with ground_truth; x, y in px of the image
    stride: np.ndarray  # [objects], px of the image
    p: np.ndarray | None  # [objects, 4, n + 1]
    n: int | None
    delta: float | None

    @property
    def has_truth(self) -> bool:
        """Return True if the distributions of the sides are known, and not only their labels."""
        return f"distribution_{SIDES[0]}" in self.frame

    @property
    def kind(self) -> np.ndarray:
        """Kind of each side: sharp, blurred, shadow or occluded."""
        return of_sides(self.frame, "kind").astype(str)

    @property
    def gap_px(self) -> np.ndarray:
        """Distance between a side's two modes, px; NaN if it has one."""
        return np.array([[gap(d) for d in row] for row in self._labels()])

    @property
    def truth(self) -> Atoms:
        """Known distributions of the sides, px of the image; rows are objects times sides."""
        return Atoms.of([truth(d) for row in self._labels() for d in row])

    @property
    def learned(self) -> Atoms:
        """Predicted distributions of the sides, px of the image; rows as in ``truth``."""
        if self.p is not None and self.n is not None and self.delta is not None:
            bins = np.broadcast_to(np.arange(self.n + 1) * self.delta, self.p.shape)
            return self._placed(Atoms(bins.reshape(-1, self.n + 1), self.p.reshape(-1, self.n + 1)))
        mean, sigma = (of_sides(self.frame, w).astype(float).ravel() for w in ("mean", "sigma"))
        is_gaussian = bool(np.isfinite(sigma).all())
        return self._placed(Atoms.normal(mean, sigma) if is_gaussian else Atoms.points(mean))

    def distances(self, places: Atoms) -> Atoms:
        """Convert places in px of the image to distances from the locations, in strides."""
        at = (places.at - self._origin()) * np.tile(TOWARD, len(self.frame))[:, None]
        return Atoms(at / self._stride(), places.mass)

    def _placed(self, strides: Atoms) -> Atoms:
        """Convert distances in strides to places in px of the image."""
        toward = np.tile(TOWARD, len(self.frame))[:, None]
        return Atoms(self._origin() + toward * strides.at * self._stride(), strides.mass)

    def _origin(self) -> np.ndarray:
        return self.frame[["x", "y", "x", "y"]].to_numpy(float).reshape(-1, 1)

    def _stride(self) -> np.ndarray:
        return np.repeat(self.stride, 4)[:, None]

    def _labels(self) -> list[list[dict]]:
        return [[json.loads(text) for text in row] for row in of_sides(self.frame, "distribution")]


def best(library: Library, experiment: Experiment, profile: Profile, seed: int = 0) -> Best:
    """Return the best positive of every object that has one.

    Raises:
        MissingRuns: the run or its predictions are missing.
        NotInData: the data are not embedded, so their sides' distributions are unknown.
    """
    if profile.dataset is None:
        raise NotInData(f"the {profile.name} profile's data say nothing of where a side may lie")
    locations = library.locations(experiment, profile, seed)
    return best_of(locations, library.ground_truth(profile), _px(profile))


def best_labelled(
    library: Library, experiment: Experiment, profile: Profile, seed: int = 0
) -> Best:
    """Return the best positive of every object that has one, with its label; px of the input.

    The objects are those of the stored positives, so no ground truth is needed.

    Raises:
        MissingRuns: the run or its predictions are missing.
    """
    locations = library.locations(experiment, profile, seed)
    return best_of(locations, labels(locations.frame), px=1.0)


def labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the target boxes of locations' positives, one per object, px of the input."""
    own = frame.loc[frame.positive].drop_duplicates("gt_id")
    return own[["image_id", "gt_id", "category_id"]].join(corners(own, "target"))


def of_sides(frame: pd.DataFrame, what: str) -> np.ndarray:
    """Return the columns ``what`` of the four sides, [rows, 4]."""
    return frame[[f"{what}_{side}" for side in SIDES]].to_numpy()


def corners(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return the boxes, ``target`` or ``mean``, of locations: x1, y1, x2, y2, px of the input."""
    sides = zip(CORNERS, SIDES, TOWARD, strict=True)
    return pd.DataFrame(
        {
            corner: frame[corner[0]] + toward * frame.stride * frame[f"{what}_{side}"]
            for corner, side, toward in sides
        }
    )


def best_of(locations: Locations, objects: pd.DataFrame, px: float) -> Best:
    """Return the best positives among locations; ``px`` is network input px per px there.

    Ties go to the first in the file's order.
    """
    frame = locations.frame.reset_index(drop=True)
    positive = frame.loc[frame.positive].sort_values("score", ascending=False, kind="stable")
    first = positive.drop_duplicates("gt_id").sort_values("gt_id")
    p = None if locations.p is None else locations.p[first.index.to_numpy()]
    sides = objects.drop(columns=["image_id", "category_id"])
    joined = first.merge(sides, on="gt_id", validate="one_to_one", how="left")
    joined = joined.assign(x=joined.x / px, y=joined.y / px)
    stride = joined.stride.to_numpy(float) / px
    return Best(joined, stride, p, locations.n, locations.delta)


def _px(profile: Profile) -> float:
    assert profile.dataset is not None
    return min(profile.scale) / profile.dataset.image_size
