"""Names in any script on a picture: written with a font that has them, or by number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw

from gfl import escape
from gfl.data.images import Picture
from gfl.pictures import drawing, fonts, panels
from gfl.pictures.detecting import Detection

NUT = "螺母"
CJK = [path for path in font_manager.findSystemFonts() if "CJK" in Path(path).name]


def cleared() -> None:
    for cached in (fonts.pieces, fonts._of_the_machine, fonts._font_of, fonts._has):
        cached.cache_clear()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without fonts of its own."""
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    cleared()
    yield
    cleared()


def found(category: str, label: int = 0) -> Detection:
    return Detection(category, label, 0.98, (100.0, 100.0, 300.0, 250.0), None)


def picture() -> Picture:
    return Picture(Path("a.png"), np.full((480, 640, 3), 90, np.uint8))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["Schlüssel", "ключ", "κλειδί", "it's 50 %", "$x$", "[red]"])
def test_what_dejavu_has_is_written_as_it_is(name: str) -> None:
    assert fonts.pieces(name) == ((name, fonts.DEJAVU),)
    assert drawing.label(found(name)) == f"{name} 0.98"


@pytest.mark.usefixtures("bare")
def test_a_name_without_glyphs_is_a_number_and_is_told_once() -> None:
    assert drawing.label(found(NUT, 2), number=1) == "1  class 3 0.98"
    assert fonts.missing(["bolt", NUT, "🔩"]) == (
        "no installed font has the glyphs of 螺母 (class 2), 🔩 (class 3): numbers are drawn "
        "instead; install a font that has them (Debian, Ubuntu: fonts-noto-cjk) to see the names"
    )
    assert fonts.missing(["bolt", "Schlüssel"]) == ""
    assert fonts.missing([NUT] * 7).count("class") == escape.MOST_NAMED
    assert " and 2 more: " in fonts.missing([NUT] * 7)


@pytest.mark.usefixtures("bare")
def test_no_empty_square_is_drawn() -> None:
    by_number = np.asarray(drawing.boxes(picture(), [found(NUT)]))
    assert (by_number == np.asarray(drawing.boxes(picture(), [found("class 1")]))).all()


def test_right_to_left_needs_a_layout_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_lays_out", lambda: False)
    cleared()
    assert drawing.label(found("صامولة")) == "class 1 0.98"
    assert "libraqm" in fonts.missing(["صامولة"])
    cleared()


@pytest.mark.parametrize(
    "name", ["nut\n", "a\r\nb", "\x1b[31m", "half \ud83d", "", "\u202e", "x" * 500]
)
def test_no_name_breaks_the_drawing(name: str) -> None:
    for drawn in (
        drawing.boxes(picture(), [found(name)], numbered=1),
        panels.below(drawing.boxes(picture(), [found(name)]), picture(), [found(name)]),
    ):
        assert drawn.size == (640, 480)
    text = drawing.label(found(name))
    assert "\n" not in text
    assert fonts.length(text, 15) < 640


def test_pieces_are_the_text_and_each_font_has_its_piece() -> None:
    for text in ("nut", NUT, f"M8 {NUT} bolt", "👩\u200d🚒", "हिन्दी", "e\u0301"):
        for piece, path in fonts.pieces(text) or ():
            face = FT2Font(path)
            assert all(face.get_char_index(ord(c)) or fonts._has(path, c) for c in piece)
        assert "".join(piece for piece, _ in fonts.pieces(text) or ((text, ""),)) == text


@pytest.mark.skipif(not CJK, reason="no CJK font is installed here")
def test_chinese_is_written_with_a_font_of_the_machine() -> None:
    assert drawing.label(found(NUT)) == f"{NUT} 0.98"
    assert fonts.missing([NUT]) == ""
    canvas = Image.new("L", (200, 60))
    fonts.write(ImageDraw.Draw(canvas), (4, 30), NUT, "#FFFFFF", 40)
    halves = np.asarray(canvas)[:, 4:44], np.asarray(canvas)[:, 44:84]
    assert all(half.any() for half in halves)
    assert (halves[0] != halves[1]).any()  # two squares would be the same
