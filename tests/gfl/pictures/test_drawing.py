"""Boxes, labels and distributions lie where they should, on pictures of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gfl.data.images import Picture
from gfl.pictures import drawing, panels
from gfl.pictures.detecting import Detection, Distributions
from gfl.pictures.drawing import Style

ROOM = (60.0, 40.0, 100.0, 90.0)


def picture(width: int, height: int) -> Picture:
    return Picture(Path("a.png"), np.full((height, width, 3), 90, np.uint8))


def detection(box: tuple[float, float, float, float], label: int = 0) -> Detection:
    """A detection whose General distribution is sure: each side in the bin of its own distance."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    bins = np.arange(17.0)
    stride = ((box[2] - box[0]) / 8, (box[3] - box[1]) / 8)
    p = np.zeros((4, 17))
    p[:, 4] = 1.0
    return Detection("disc", label, 0.5, box, Distributions((x, y), stride, bins=bins, p=p))


@pytest.mark.parametrize(
    ("size", "scale"), [((20, 10), 32), ((128, 128), 5), ((640, 480), 1), ((4000, 3000), 1)]
)
def test_small_pictures_are_enlarged_by_a_whole_factor(size: tuple[int, int], scale: int) -> None:
    style = Style.of(*size)
    assert style.scale == scale
    drawn = drawing.boxes(picture(*size), [])
    assert drawn.size == (scale * size[0], scale * size[1])
    assert 1 / 60 < style.text / max(drawn.size) < 1 / 30


def test_text_and_lines_grow_with_the_picture() -> None:
    small, big = Style.of(640, 480), Style.of(6400, 4800)
    assert big.text == pytest.approx(10 * small.text, rel=0.1)
    assert big.line > 5 * small.line


@pytest.mark.parametrize("size", [(2, 900), (900, 2), (1, 1), (3000, 40)])
def test_a_strip_has_room_for_a_label(size: tuple[int, int]) -> None:
    one = detection((0.0, 0.0, float(size[0]), float(size[1])))
    drawn = drawing.boxes(picture(*size), [one])
    style = Style.of(*size)
    width = style.font.getlength(drawing.label(one)) + 2 * style.pad
    assert drawn.width >= width
    assert drawn.height >= style.text + 2 * style.pad


def test_the_outline_is_on_the_box_and_the_rest_untouched() -> None:
    drawn = np.asarray(drawing.boxes(picture(640, 480), [detection((200, 100, 400, 300), label=2)]))
    colour = tuple(int(drawing.COLOURS[2][i : i + 2], 16) for i in (1, 3, 5))
    for y, x in ((200, 200), (200, 400), (300, 300), (100, 300)):
        assert tuple(drawn[y, x]) == colour
    untouched = np.ones(drawn.shape[:2], bool)
    untouched[70:310, 190:410] = False
    untouched[110:290, 210:390] = True
    assert (drawn[untouched] == 90).all()


def test_labels_stay_in_the_picture_and_off_each_other() -> None:
    boxes = [
        (0, 0, 60, 60), (580, 0, 640, 60), (0, 420, 60, 480), (590, 430, 640, 480),
        (300, 200, 340, 240), (302, 202, 342, 242), (301, 199, 341, 239), (0, 0, 640, 480),
    ]  # fmt: skip
    size, taken = (110, 22), []
    for box in boxes:
        place = drawing._place(box, size, (640, 480), taken)
        assert 0 <= place[0] < place[2] <= 640
        assert 0 <= place[1] < place[3] <= 480
        assert drawing._covered(place, taken) == 0
        taken.append(place)
    assert taken[0][1] == 60  # below: there is no room above
    assert taken[4][:2] == (300, 178)  # above, where there is


def test_a_panel_shows_the_box_and_its_bars_at_its_sides() -> None:
    one = detection(ROOM)
    sides = one.distributions
    assert sides is not None
    window = panels._window(one, sides, 200)
    for side, to_panel in enumerate((window.x, window.y, window.x, window.y)):
        assert 0 < to_panel(ROOM[side]) < 200
        ((*bar,),) = panels._shapes(sides, side, 1.0, to_panel, 200)
        (low, _), (_, height), *_, (high, _) = bar
        assert (low + high) / 2 == pytest.approx(to_panel(ROOM[side]))
        assert height == 1.0
    assert window.x(80.0) == window.y(65.0) == pytest.approx(100)


def test_a_normal_is_a_curve_over_its_mean() -> None:
    sides = Distributions((80, 65), (5, 5), mean=np.array([4.0, 5, 4, 5]), sigma=np.full(4, 0.5))
    one = Detection("disc", 0, 0.5, ROOM, sides)
    window = panels._window(one, sides, 200)
    (curve,) = panels._shapes(sides, 0, 1.0, window.x, 200)
    at, height = max(curve, key=lambda point: point[1])
    assert height == pytest.approx(1.0)
    assert at == pytest.approx(window.x(ROOM[0]))
    one_sigma = window.x(ROOM[0] - 2.5)  # half a stride of 5 px
    x, y = zip(*sorted(curve[1:-1]), strict=True)
    assert np.interp(one_sigma, x, y) == pytest.approx(np.exp(-0.5), abs=0.01)


def test_a_page_holds_a_panel_for_each_and_the_picture_unchanged() -> None:
    shown = picture(640, 480)
    found = [detection(ROOM), detection((300, 100, 600, 400), 1), detection((5, 5, 630, 470), 2)]
    drawn = drawing.boxes(shown, found, numbered=3)
    page = panels.below(drawn, shown, found)
    np.testing.assert_array_equal(np.asarray(page.crop((0, 0, 640, 480))), np.asarray(drawn))
    one = panels.panel(shown, found[0], 1, 1.0, Style.of(640, 480))
    assert page.height > 480 + 2 * one.height
    assert page.width >= 2 * one.width
    assert panels.below(drawn, shown, []) is drawn


def test_what_lies_outside_the_picture_is_grey_in_a_panel() -> None:
    shown = picture(100, 100)
    crop = panels._cropped(shown, panels.Window(-50, 20, 100, 200))
    pixels = np.asarray(crop)
    outside = tuple(int(panels.OUTSIDE[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(pixels[100, 10]) == outside
    assert tuple(pixels[190, 190]) == outside
    assert tuple(pixels[80, 150]) == (90, 90, 90)


def test_drawing_changes_nothing_of_the_picture_itself() -> None:
    shown = picture(640, 480)
    drawing.boxes(shown, [detection(ROOM)])
    assert (shown.rgb == 90).all()
