"""Fonts for names in any script: DejaVu Sans, then any installed font with the glyphs.

DejaVu Sans comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew. Text without glyphs in
any font is never drawn as empty squares: ``label_text`` substitutes the class's number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont, features

from gfl import escape

Font = ImageFont.FreeTypeFont
Piece = tuple[str, str]  # text, and the path of its font

DEJAVU = str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
LONGEST = 32  # columns of a class name at its box
# Styles ranked last within a family.
UNLIKE = ("bold", "italic", "oblique", "black", "light", "thin", "condensed", "mono", "serif")
IGNORED = ("Mn", "Me", "Cf")  # marks on a letter, joiners: they need no glyph of their own
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")


def label_text(category: str, label: int) -> str:
    """Return a class's name on one line or, if no font shows it, ``class 3``, by its number.

    The number is the label's, counted from 1.
    """
    name = escape.shortened(category, LONGEST)
    return name if pieces(name) is not None else f"class {label + 1}"


def missing(classes: Sequence[str]) -> str:
    """Report class names that no installed font can show, and a remedy; empty if there are none."""
    names = [(i, escape.shortened(name, LONGEST)) for i, name in enumerate(classes)]
    without = [(i, name) for i, name in names if pieces(name) is None]
    if not without:
        return ""
    named = [f"{name} (class {i + 1})" for i, name in without]
    text = "".join(name for _, name in without)
    if _is_right_to_left(text) and not _lays_out():
        why = "libraqm, which right-to-left scripts need, is missing for"
        remedy = "libraqm or fribidi"
    else:
        why, remedy = "no installed font has the glyphs of", _package(text)
    return (
        f"{why} {escape.some(named)}: numbers are drawn instead; install {remedy} to see the names"
    )


def length(text: str, size: int) -> float:
    """Return the width of one line of text, px."""
    return sum(font(path, size).getlength(piece) for piece, path in _drawn(text))


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: str, size: int
) -> None:
    """Write one line of text, with the middle of its left end at ``at``."""
    x, y = at
    for piece, path in _drawn(text):
        used = font(path, size)
        draw.text((x, y), piece, fill=fill, font=used, anchor="lm")
        x += used.getlength(piece)


@cache
def font(path: str, size: int) -> Font:
    """Return a font file at a size, px."""
    return ImageFont.truetype(path, size)


@cache
def pieces(text: str) -> tuple[Piece, ...] | None:
    """Split text into pieces of one font each; None if a glyph is missing from every font."""
    if _is_right_to_left(text):
        # In one font or not at all: pieces would be drawn in the wrong order.
        fonts = (DEJAVU, *_of_the_machine())
        whole = next((path for path in fonts if all(_has(path, c) for c in text)), None)
        return ((text, whole),) if whole and _lays_out() else None
    found: list[Piece] = []
    for c in text:
        before = found[-1][1] if found else DEJAVU
        if unicodedata.category(c) in IGNORED and found:
            path = before
        else:
            path = next((p for p in (DEJAVU, before) if _has(p, c)), None) or _font_of(c)
        if path is None:
            return None
        if found and path == before:
            found[-1] = (found[-1][0] + c, path)
        else:
            found.append((c, path))
    return tuple(found)


def _drawn(text: str) -> tuple[Piece, ...]:
    return pieces(text) or ((text, DEJAVU),)


@cache
def _of_the_machine() -> tuple[str, ...]:
    """Return the installed font files, plain sans-serif ones first."""

    def order(path: str) -> tuple[int, str]:
        name = Path(path).stem.lower()
        return sum(word in name for word in UNLIKE), path

    return tuple(sorted(font_manager.findSystemFonts(), key=order))


@cache
def _font_of(c: str) -> str | None:
    return next((path for path in _of_the_machine() if _has(path, c)), None)


@cache
def _has(path: str, c: str) -> bool:
    """Return True if a font has a glyph with ink for a character: emoji bitmaps have none."""
    face = _face(path)
    if unicodedata.category(c) in IGNORED:
        return face is not None
    if face is None or not face.get_char_index(ord(c)):
        return False
    return c.isspace() or font(path, 32).getmask(c).getbbox() is not None


@cache
def _face(path: str) -> FT2Font | None:
    try:
        font(path, 32)
        return FT2Font(path)
    except (OSError, RuntimeError):  # no font, or one of bitmaps in fixed sizes
        return None


@cache
def _lays_out() -> bool:
    return bool(features.check("raqm") and features.check("fribidi"))


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def _package(text: str) -> str:
    """Return the Debian and Ubuntu package whose fonts have the glyphs."""
    names = [unicodedata.name(c, "") for c in text if not _has(DEJAVU, c)]
    if any(name.startswith(EAST_ASIAN) for name in names):
        return "a font that has them (Debian, Ubuntu: fonts-noto-cjk)"
    return "a font that has them (Debian, Ubuntu: fonts-noto-core, fonts-symbola)"
