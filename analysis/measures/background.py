"""Background among a run's stored locations, and the quality predicted there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gfl.predictions.schema import BACKGROUND_SCORE

NOWHERE = 0.1  # IoU with every object is below this for a background location's predicted box


def background(frame: pd.DataFrame, *, one_an_image: bool = False) -> pd.DataFrame:
    """Return the background locations of Fig. 2(a), in the file's order.

    Not positive, a class score under 0.3, and a predicted box with less than 0.1 IoU with any
    object. ``one_an_image``: the one with the highest predicted quality in each image, the first of
    equals, by falling quality.
    """
    some = ~frame.positive & (frame.class_score < BACKGROUND_SCORE) & (frame.iou < NOWHERE)
    found = frame.loc[some]
    if not one_an_image:
        return found
    falling = found.sort_values("quality_score", ascending=False, kind="stable")
    return falling.drop_duplicates("image_id")


def predicted_quality(frame: pd.DataFrame) -> np.ndarray:
    """Return the predicted quality; for the joint representation it is the class score itself."""
    return frame.quality_score.fillna(frame.class_score).to_numpy(float)
