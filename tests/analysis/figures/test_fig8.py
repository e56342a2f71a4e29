import numpy as np
import pandas as pd
import pytest

from analysis.figures import fig8
from analysis.figures.fig8 import chosen


def positives(library, *changes):
    return library.locations(None, None).frame.query("positive")


def test_objects_of_the_greatest_gap_between_iou_and_centerness(library):
    found = chosen(positives(library))
    assert list(dict.fromkeys(found.gt_id)) == [1, 3]  # .5 and .2; the other's is below 0
    np.testing.assert_allclose(found.groupby("gt_id").gap.first(), [0.5, 0.2])
    assert len(found) == 8


def test_an_object_needs_four_positives_in_a_level_and_an_image_is_shown_once(library):
    frame = positives(library)
    few = frame[(frame.gt_id == 1)].head(3).assign(image_id=9, gt_id=9, iou=1.0)
    other = frame[frame.gt_id == 1].assign(gt_id=10, iou=lambda f: f.iou + 0.05)
    levels = frame[frame.gt_id == 3].assign(image_id=8, gt_id=8, iou=1.0)
    levels.loc[levels.index[:2], "level"] = 1  # two in each of two levels
    found = chosen(pd.concat([frame, few, other, levels]))
    assert list(dict.fromkeys(found.gt_id)) == [10, 3]


def test_a_tie_goes_to_the_first_image(library):
    frame = positives(library)
    same = frame[frame.gt_id == 1].assign(image_id=0, gt_id=7)
    assert list(dict.fromkeys(chosen(pd.concat([frame, same])).gt_id)) == [7, 1]


def test_boxes_are_the_distances_times_the_stride(library, smoke):
    drawn = fig8.fig8.drawn(library, smoke)
    first = drawn.numbers.iloc[0]
    # The first positive lies at (20, 24); its sides are 2 strides of 4 px away.
    corners = [first[f"truth_{c}_px"] for c in ("x1", "y1", "x2", "y2")]
    assert corners == [12, 16, 28, 32]
    assert first.mean_iou_minus_centerness == pytest.approx(0.5)
    assert drawn.runs == ("atss-joint-general-dfl-s0-00000000",)
