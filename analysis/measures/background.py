"""The background among a run's stored locations, and the quality that is predicted there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gfl.predictions.schema import BACKGROUND_SCORE

NOWHERE = 0.1  # the predicted box of a background location overlaps every object by less than this


def background(frame: pd.DataFrame, *, one_an_image: bool = False) -> pd.DataFrame:
    """Return the locations of background, as Fig. 2(a) shows it, in the file's order.

    Not positive, a class score under 0.3, and a predicted box with less than 0.1 IoU with any
    object. ``one_an_image``: the one of the highest predicted quality in each image, the first of
    equals, by falling quality.
    """
    some = ~frame.positive & (frame.class_score < BACKGROUND_SCORE) & (frame.iou < NOWHERE)
    found = frame.loc[some]
    if not one_an_image:
        return found
    falling = found.sort_values("quality_score", ascending=False, kind="stable")
    return falling.drop_duplicates("image_id")


def predicted_quality(frame: pd.DataFrame) -> np.ndarray:
    """Return the predicted quality; of the joint representation it is the class score itself."""
    return frame.quality_score.fillna(frame.class_score).to_numpy(float)
