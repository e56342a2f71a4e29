"""Drawing of boxes with categories and scores, on pictures of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from gfl.data.images import Picture
from gfl.pictures import fonts
from gfl.pictures.detecting import Detection

# Okabe and Ito's colours, safe for the colour-blind, and a violet; repeated after eight.
COLOURS = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8C6BB1",
)  # fmt: skip
LEAST_SIDE = 640  # px: smaller pictures are enlarged, or no text would fit
PAPER = "#FFFFFF"

Rectangle = tuple[float, float, float, float]  # xyxy


@dataclass(frozen=True)
class Style:
    """Sizes of drawn elements, in drawn px, for a picture's size."""

    scale: int  # drawn pixels per pixel of the picture
    text: int
    line: int

    @classmethod
    def of(cls, width: int, height: int) -> Style:
        """Return the sizes for a picture of ``width`` x ``height`` px."""
        scale = max(1, math.ceil(LEAST_SIDE / max(width, height)))
        # By the area: a panorama's text is not as high as the panorama.
        side = scale * math.sqrt(width * height)
        return cls(scale, text=max(15, round(side / 38)), line=max(3, round(side / 220)))

    @property
    def font(self) -> fonts.Font:
        return font(self.text)

    @property
    def pad(self) -> int:
        return max(2, self.text // 5)


def boxes(picture: Picture, found: Sequence[Detection], numbered: int = 0) -> Image.Image:
    """Draw every detection's box, category and score on the picture; the best on top.

    Small pictures are enlarged by a whole factor. Labels of the first ``numbered`` detections begin
    with their number, from 1.
    """
    style = Style.of(picture.width, picture.height)
    canvas = _canvas(picture, style)
    draw = ImageDraw.Draw(canvas)
    scaled = [_scaled(one.box, style.scale) for one in found]
    for one, box in reversed(list(zip(found, scaled, strict=True))):
        outline(draw, box, colour(one), style.line)
    texts = [label(one, n if n <= numbered else None) for n, one in enumerate(found, start=1)]
    taken: list[Rectangle] = []
    for text, box in zip(texts, scaled, strict=True):  # the best choose first
        taken.append(_place(box, _size(text, style), canvas.size, taken))
    for one, text, place in reversed(list(zip(found, texts, taken, strict=True))):
        tag(draw, place[:2], text, colour(one), style)
    return canvas


def label(one: Detection, number: int | None = None) -> str:
    """Return the label text of a detection."""
    text = f"{fonts.label_text(one.category, one.label)} {one.score:.2f}"
    return f"{number}  {text}" if number else text


def colour(one: Detection) -> str:
    """Return a category's colour."""
    return COLOURS[one.label % len(COLOURS)]


def outline(draw: ImageDraw.ImageDraw, box: Rectangle, fill: str, line: int) -> None:
    """Draw a box with a dark edge on either side of its line, visible on any background."""
    edge = max(1, line // 3)
    left, top, right, bottom = box
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    around = (left - edge, top - edge, right + edge, bottom + edge)
    draw.rectangle(around, outline="#000000", width=line + 2 * edge)
    draw.rectangle((left, top, right, bottom), outline=fill, width=line)


def tag(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: str, style: Style
) -> None:
    """Write a label on its colour, with its upper left corner at ``at``."""
    width, height = _size(text, style)
    draw.rectangle((*at, at[0] + width - 1, at[1] + height - 1), fill=fill)
    middle = (at[0] + style.pad, at[1] + height / 2)
    fonts.write(draw, middle, text, _ink(fill), style.text)


def font(size: int) -> fonts.Font:
    """Return the font of text that is not a class name."""
    return fonts.font(fonts.DEJAVU, size)


def _canvas(picture: Picture, style: Style) -> Image.Image:
    image = Image.fromarray(picture.rgb)
    if style.scale > 1:
        size = (style.scale * image.width, style.scale * image.height)
        image = image.resize(size, Image.Resampling.BICUBIC)
    # A strip a few pixels wide leaves room for a label beside it.
    least = (12 * style.text, 2 * style.text)
    if image.width >= least[0] and image.height >= least[1]:
        return image
    canvas = Image.new("RGB", (max(image.width, least[0]), max(image.height, least[1])), PAPER)
    canvas.paste(image)
    return canvas


def _scaled(box: Sequence[float], scale: int) -> Rectangle:
    left, top, right, bottom = (x * scale for x in box)
    return left, top, right, bottom


def _size(text: str, style: Style) -> tuple[int, int]:
    return round(fonts.length(text, style.text)) + 2 * style.pad, style.text + 2 * style.pad


def _place(
    box: Rectangle, size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Return the place where a label covers the least of the others: preferably above its box."""
    left, top, right, bottom = box
    width, height = size
    corners = [
        (left, top - height), (right - width, top - height), (left, bottom),
        (right - width, bottom), (right, top), (left - width, top), (left, top),
        (right - width, top), (left, bottom - height), (right - width, bottom - height),
    ]  # fmt: skip
    best = None
    for order, (x, y) in enumerate(corners):
        at = (round(min(max(x, 0), canvas[0] - width)), round(min(max(y, 0), canvas[1] - height)))
        place = (*at, at[0] + width, at[1] + height)
        moved = abs(at[0] - x) >= width / 2 or at[1] != round(y)  # away from its corner
        cost = (_covered(place, taken), moved, order)
        best = min(best, (cost, place)) if best else (cost, place)
    assert best is not None
    return best[1]


def _covered(place: Rectangle, taken: Sequence[Rectangle]) -> float:
    """Return the number of pixels of other labels that a label would cover."""
    return sum(
        max(0.0, min(place[2], other[2]) - max(place[0], other[0]))
        * max(0.0, min(place[3], other[3]) - max(place[1], other[1]))
        for other in taken
    )


def _ink(ground: str) -> str:
    """Return black or white, whichever is more legible on a colour."""
    red, green, blue = (int(ground[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "#FFFFFF"
