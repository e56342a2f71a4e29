"""Views of a photograph: where they lie, and what they show."""

from __future__ import annotations

import numpy as np
import pytest

from gfl.data.views import SCALES, View, view

SIZE = (320, 213)
MANY = [view(f"{n}.jpg", k, *SIZE) for n in range(40) for k in range(1, 6)]


def test_the_first_view_is_the_image() -> None:
    image = np.arange(213 * 320 * 3, dtype=np.uint8).reshape(213, 320, 3)
    one = view("a.jpg", 0, *SIZE)
    assert one == View(0, 0, *SIZE, SIZE)
    assert one.scale == (1, 1)
    np.testing.assert_array_equal(one.of(image), image)


def test_views_follow_from_name_and_number_alone() -> None:
    assert view("a.jpg", 3, *SIZE) == view("a.jpg", 3, *SIZE)
    assert view("a.jpg", 3, *SIZE) != view("a.jpg", 4, *SIZE)
    assert view("a.jpg", 3, *SIZE) != view("b.jpg", 3, *SIZE)


def test_every_view_lies_in_its_image_and_fits_where_the_image_does() -> None:
    for one in MANY:
        assert 0 <= one.left <= SIZE[0] - one.width
        assert 0 <= one.top <= SIZE[1] - one.height
        assert one.to[0] <= SIZE[0]
        assert one.to[1] <= SIZE[1]
        assert one.to == SIZE or (one.width, one.height) == SIZE


def test_scales_are_even_between_their_logarithms() -> None:
    scales = np.array([one.scale for one in MANY])
    np.testing.assert_allclose(scales[:, 0], scales[:, 1], rtol=0.01)
    logarithms = np.log(scales[:, 0])
    assert logarithms.min() >= np.log(SCALES[0]) - 0.01
    assert logarithms.max() <= np.log(SCALES[1]) + 0.01
    assert logarithms.mean() == pytest.approx(np.log(SCALES).mean(), abs=0.08)


def test_a_mark_is_where_the_scale_says() -> None:
    """A bright block of the image has its middle there in each view that shows it whole."""
    image = np.zeros((213, 320, 3), np.uint8)
    image[90:110, 150:180] = 255
    shown = 0
    for one in MANY:
        if not (one.left < 150 and one.top < 90):
            continue
        if not (one.left + one.width > 180 and one.top + one.height > 110):
            continue
        shown += 1
        bright = np.argwhere(one.of(image)[..., 0] > 127) + 0.5
        expected = np.multiply((165 - one.left, 100 - one.top), one.scale)
        np.testing.assert_allclose(bright.mean(0)[::-1], expected, atol=1)
    assert shown > 50
