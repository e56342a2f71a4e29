from __future__ import annotations

import numpy as np
import pytest

from gfl.shapes import objects, outlines, placing
from gfl.shapes.draws import Draws
from gfl.shapes.embedded import CATEGORIES
from gfl.shapes.side_labels import SIDES, Gaussian, Point


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_outline_fills_its_box_exactly(category: str) -> None:
    outline, draws = outlines.OUTLINES[category], Draws(21)
    fine = np.linspace(-40.0, 40.0, 1601)  # 0.05 pixels apart
    for _ in range(4):
        matrix = objects._matrix(category, 30.0, 1000.0, draws)
        box = outline.box(matrix)
        assert (box[2] - box[0]) * (box[3] - box[1]) == pytest.approx(900.0)
        inside = outline.depth(fine, fine[:, None], matrix) >= 0.0
        columns = fine[np.flatnonzero(inside.any(axis=0))[[0, -1]]]
        rows = fine[np.flatnonzero(inside.any(axis=1))[[0, -1]]]
        # A sharp tip is narrower than the grid over its last tenths of a pixel.
        assert (columns[0], rows[0], columns[1], rows[1]) == pytest.approx(box, abs=0.3)
        assert columns[0] >= box[0] - 1e-9
        assert columns[1] <= box[2] + 1e-9


def test_depth_is_the_distance_to_a_straight_edge_and_to_a_circle() -> None:
    x, y = np.array([3.0, 9.0, 12.0]), np.zeros((1, 1))
    for category in ("rectangle", "disc"):
        depth = outlines.OUTLINES[category].depth(x, y, (10.0, 0.0, 0.0, 10.0))
        # To first order only, for the disc: exact at its edge.
        assert depth[0, 1] == pytest.approx(1.0, rel=0.15)
        assert depth[0, 2] == pytest.approx(-2.0, rel=0.25)
        assert depth[0, 0] > 2.0


def test_what_is_visible_ends_where_the_labels_say() -> None:
    draws = Draws(31)
    for _ in range(150):
        layers = objects.build(draws.log_uniform(12.0, 100.0), 124.0, draws)
        visible = objects.extent(layers.visible)
        assert visible is not None
        for i, side in enumerate(SIDES):
            label = layers.sides[side]
            if isinstance(label.distribution, Gaussian):
                continue
            # Mode 0 is without the shadow and the visible extent. Tips are thinner than a pixel.
            if isinstance(label.distribution, Point):
                first = label.distribution.at
            else:
                first = label.distribution.at[0]
            assert abs(visible[i] - first) <= 2.5, (layers.category, side, label)


def test_a_shadow_ends_and_a_plank_begins_at_the_modes() -> None:
    mask = np.zeros((9, 40))
    mask[2:7, 20:35] = 1.0
    shade = objects.cast(mask, 8.0)
    row = shade[4]
    assert np.flatnonzero(row >= 0.5)[0] == 12
    assert not shade[:2].any()
    assert objects.span(3.25, 6.5, 9) == pytest.approx([0, 0, 0, 0.75, 1, 1, 0.5, 0, 0])


def test_a_fade_is_half_way_at_the_edge_and_leaves_the_far_side_alone() -> None:
    mask = np.zeros((3, 60))
    mask[:, 20:50] = 1.0
    faded = objects.smear(mask, 20.0, 30.0, 10.0)[1]
    assert faded[:15] == pytest.approx(np.zeros(15), abs=1e-3)
    assert faded[19] + faded[20] == pytest.approx(1.0, abs=1e-3)
    assert faded[26:] == pytest.approx(mask[1, 26:], abs=1e-3)
    assert (np.diff(faded[:40]) >= -1e-3).all()


def test_a_later_object_never_hides_an_earlier_ones_side() -> None:
    draws = Draws(41)
    placed: list[placing._Placed] = []
    for size in (70.0, 50.0, 40.0, 30.0, 25.0, 20.0):
        found = placing._find_place(objects.build(size, 124.0, draws), placed, 128, draws)
        if found is not None:
            placed.append(found[2])
    assert len(placed) >= 3
    for one in placed:
        for mask, box in one.evidence:
            assert objects.keeps(box, objects.extent(mask))
