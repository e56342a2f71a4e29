"""What figures 2, 3, 7 and those beyond the paper measure, on made-up locations and by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis.figures.ambiguity import by_gap, distances
from analysis.figures.calibration import curve
from analysis.figures.fig2 import correlations
from analysis.figures.fig3 import picked
from analysis.figures.fig7 import measured, published
from analysis.figures.simulation import CHANNELS, START, methods, simulate
from analysis.library import Locations
from analysis.measures.background import background
from analysis.measures.best_positives import best_of, corners
from analysis.measures.sides import sides
from gfl.experiment import Experiment
from gfl.shapes.side_labels import SIDES

N = 8


def one_hot(*at: int) -> np.ndarray:
    p = np.zeros(N + 1)
    p[list(at)] = 1 / len(at)
    return p


def objects(distributions: list[dict], kind: str = "shadow") -> pd.DataFrame:
    """One object an image, all of whose boxes are 16, 16, 48, 48; the right side is as told."""
    rows = []
    for i, distribution in enumerate(distributions):
        row = {"image_id": i + 1, "gt_id": i + 1, "category_id": 1}
        row |= {"x1": 16.0, "y1": 16.0, "x2": 48.0, "y2": 48.0}
        for side, at in zip(SIDES, (16, 16, 48, 48), strict=True):
            row[f"kind_{side}"] = kind if side == "right" else "sharp"
            known = distribution if side == "right" else {"type": "point", "at": at}
            row[f"distribution_{side}"] = json.dumps(known)
        rows.append(row)
    return pd.DataFrame(rows)


def locations(ps: list[np.ndarray], scores: list[float], gts: list[int]) -> Locations:
    """Positives at 32, 32 of stride 8; the right side's P(x) as told, the others' at 2 strides."""
    frame = pd.DataFrame({"gt_id": gts, "image_id": gts, "score": scores})
    frame = frame.assign(x=32.0, y=32.0, stride=8, positive=True, sampled=True, category_id=1)
    p = np.stack([[one_hot(2), one_hot(2), right, one_hot(2)] for right in ps])
    for k, side in enumerate(SIDES):
        frame[f"mean_{side}"], frame[f"sigma_{side}"] = p[:, k] @ np.arange(N + 1), np.nan
    return Locations(frame, N, 1.0, p)


MODES = {"type": "modes", "at": [40.0, 72.0], "p": [0.5, 0.5]}  # 1 and 5 strides from 32


def test_the_best_positive_is_of_the_highest_score():
    several = locations([one_hot(2), one_hot(3), one_hot(4)], [0.2, 0.9, 0.5], [1, 1, 1])
    found = best_of(several, objects([MODES]), px=1)
    assert found.frame.score.tolist() == [0.9]
    assert found.learned.at[2] @ found.learned.mass[2] == 32 + 3 * 8
    assert found.learned.at[0] @ found.learned.mass[0] == 32 - 2 * 8  # to the left
    assert found.gap_px[0, 2] == 32
    assert found.distances(found.truth).at[2].tolist() == [1, 5]


def test_an_input_twice_the_image_changes_no_distance_in_strides():
    known = objects([{**MODES, "at": [20.0, 36.0]}])
    found = best_of(locations([one_hot(1, 5)], [0.9], [1]), known, px=2)
    assert found.stride.tolist() == [4]
    assert found.distances(found.truth).at[2].tolist() == [1, 5]
    assert sides("general", found).wasserstein_px[2] == pytest.approx(0)


def test_two_peaked_truth_met_and_missed():
    ps = [one_hot(1, 5), one_hot(3)]  # both modes; their mean alone
    found = best_of(locations(ps, [0.9, 0.9], [1, 2]), objects([MODES, MODES]), px=1)
    frame = sides("general-dfl", found)
    right = frame[frame.side == "right"]
    assert right.wasserstein_px.tolist() == pytest.approx([0, 16])
    assert right.point_px.tolist() == pytest.approx([16, 16])
    assert right.binned_px.tolist() == pytest.approx([0, 0])
    assert right.two_peaked.tolist() == [True, False]
    assert right.deviation_strides.tolist() == pytest.approx([2, 0])
    gaps = by_gap({"general-dfl": frame}).set_index("group")
    assert gaps.two_peaked_share[">= 3"] == 0.5
    assert gaps.two_peaked_share["sharp"] == 0
    assert gaps.two_peaked_share_on_bins["two modes"] == 1
    apart = distances({"general-dfl": frame}).set_index("kind")
    assert apart.wasserstein_px.to_dict() == pytest.approx({"sharp": 0, "shadow": 8})


def test_a_dirac_delta_has_a_distance_and_no_peaks():
    plain = locations([one_hot(3)], [0.9], [1])
    found = best_of(Locations(plain.frame, None, None, None), objects([MODES]), px=1)
    frame = sides("dirac", found)
    assert frame.wasserstein_px.tolist() == pytest.approx([0, 0, 16, 0])
    assert "two_peaked" not in frame
    assert by_gap({"dirac": frame}).deviation_strides.max() == 0


def test_figure_3_picks_by_rule_and_no_image_twice():
    flat = np.full(N + 1, 1 / (N + 1))
    ps = [one_hot(2), flat, one_hot(1, 5), one_hot(2, 3)]
    found = best_of(locations(ps, [0.9] * 4, [1, 2, 3, 4]), objects([MODES] * 4), px=1)
    chosen = picked(found)
    assert chosen[0] == ("sharpest", 0)
    assert dict(reversed(chosen))["flattest"] == 1
    assert len({i for _, i in chosen}) == len(chosen)
    unsure = locations(ps, [0.9, 0.4, 0.9, 0.9], [1, 2, 3, 4])
    assert 1 not in {i for _, i in picked(best_of(unsure, objects([MODES] * 4), px=1))}


def test_background_is_neither_positive_nor_near_an_object_nor_classified():
    frame = pd.DataFrame(
        {
            "image_id": [1, 1, 2, 3, 4, 5],
            "positive": [False, False, False, True, False, False],
            "class_score": [0.1, 0.1, 0.1, 0.1, 0.4, 0.1],
            "quality_score": [0.7, 0.8, 0.9, 0.99, 0.99, 0.99],
            "iou": [0.0, 0.0, 0.0, 0.0, 0.0, 0.5],
        }
    )
    assert background(frame).quality_score.tolist() == [0.7, 0.8, 0.9]
    assert background(frame, one_an_image=True).quality_score.tolist() == [0.9, 0.8]


def test_decoded_boxes_and_correlations():
    frame = locations([one_hot(3), one_hot(2)], [0.2, 0.4], [1, 2]).frame.assign(iou=[0.1, 0.9])
    box = corners(frame, "mean").iloc[0]
    assert box.tolist() == [16, 16, 56, 48]
    found = correlations(frame)
    assert found["all positives"].value == pytest.approx(1)


def test_calibration_curve():
    score = np.array([0.15, 0.25, 0.25, 0.95])
    frame = pd.DataFrame(
        {"image_id": [1, 1, 2, 3], "score": score, "iou": [0.15, 0.35, 0.35, 0.75]}
    )
    rows = curve(Experiment(), frame)
    assert rows.detections.sum() == 4
    assert rows.calibration_error.unique() == pytest.approx([(2 * 0.1 + 0.2) / 4])


def test_the_papers_speeds_are_its_own():
    paper = published()
    assert len(paper) == 36
    assert paper.fps.isna().sum() == 2
    assert paper.from_another_paper.sum() == 5
    front = paper[paper.pareto == True]  # noqa: E712  NaN where there is no speed
    assert set(front.method) == {"GFL"}
    assert len(front) == 4  # the plain ResNeXt-101 is slower than R-101 with DCN, and lower
    assert measured([]).empty


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_a_layer_is_fitted_to_its_distance_exactly(method, monkeypatch):
    """Without disturbance the prediction is the target, of every representation."""
    monkeypatch.setitem(simulate.__globals__, "NORM", 0.0)  # the module has the figure's name
    assert simulate(method, (0.5, 1.5, 3.5, 6.0)).error_strides.max() < 1e-12


def test_a_dirac_deltas_error_grows_with_the_target_and_a_general_ones_does_not():
    """Of a Dirac delta exactly: half the way from the start is the weights', times the norm."""
    found = {
        m.name: simulate(m, (1.5, 2.5, 3.5))
        for m in methods()
        if m.name in ("dirac", "general-dfl")
    }
    dirac, general = found["dirac"], found["general-dfl"]
    learned = (dirac.target_strides - START) / 2
    initial = 0.01 * np.sqrt(CHANNELS)  # the norm of what the layer began with, at a right angle
    assert dirac.worst_strides.tolist() == pytest.approx(0.1 * np.hypot(learned, initial), rel=0.05)
    assert (general.error_strides < dirac.error_strides / 3).all()
    assert simulate(methods()[0], (1.5, 2.5, 3.5)).equals(dirac)  # seeded
