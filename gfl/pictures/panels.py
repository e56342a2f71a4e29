"""The four P(x) of detections, each drawn along its side (in the style of Fig. 3).

A panel shows a box enlarged. Above it are the distributions of the left and right sides, to its
right those of top and bottom, in the picture's own coordinates: each bar marks a possible position
of the side. Distances grow away from the location, the dot, so no two sides share a bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from gfl.data.images import Picture
from gfl.pictures import drawing
from gfl.pictures.detecting import SIDES, Detection, Distributions
from gfl.pictures.drawing import PAPER, Style

CROP, STRIP, GAP = 11.0, 3.5, 1.0  # side lengths of a panel's parts, in text heights
MARGIN = 1.08  # of the visible part around what must be visible
LEAST_P = 0.02  # bins with less may lie outside
MOST_ROOM = 2.5  # limit of the extra room for distributions, in box sides
INK, GRID, OUTSIDE = "#222222", "#999999", "#DDDDDD"
REACH = 3.0  # standard deviations of a drawn normal


@dataclass(frozen=True)
class Window:
    """Square of a picture that a panel shows, in px of the picture and of the panel."""

    left: float
    top: float
    side: float
    size: int

    def x(self, position: float) -> float:
        return (position - self.left) / self.side * self.size

    def y(self, position: float) -> float:
        return (position - self.top) / self.side * self.size


def below(canvas: Image.Image, picture: Picture, best: Sequence[Detection]) -> Image.Image:
    """Return a page: what ``drawing.boxes`` drew, and a panel for each of the best detections."""
    drawable = [(one, one.distributions) for one in best if one.distributions is not None]
    if not drawable:
        return canvas
    style = Style.of(picture.width, picture.height)
    full = max(peak(sides) for _, sides in drawable)
    drawn = [panel(picture, one, n, full, style) for n, (one, _) in enumerate(drawable, 1)]
    width, height = drawn[0].size
    columns = min(len(drawn), max(1, round(canvas.width / width)))
    rows = -(-len(drawn) // columns)
    note = _note(drawable[0][1], full)
    head = round(2.2 * style.text)
    size = (
        max(canvas.width, columns * width, round(style.font.getlength(note)) + 2 * style.text),
        canvas.height + head + rows * height,
    )
    page = Image.new("RGB", size, PAPER)
    page.paste(canvas)
    middle = (style.text, canvas.height + head / 2)
    ImageDraw.Draw(page).text(middle, note, fill=INK, font=style.font, anchor="lm")
    for index, image in enumerate(drawn):
        place = (index % columns * width, canvas.height + head + index // columns * height)
        page.paste(image, place)
    return page


def peak(sides: Distributions) -> float:
    """Return the largest probability of a bin; 1 for a normal, which has its own height."""
    return 1.0 if sides.p is None else float(sides.p.max())


def panel(picture: Picture, one: Detection, number: int, full: float, style: Style) -> Image.Image:
    """Draw one detection's box, enlarged, with its distributions; ``full`` scales the strips."""
    sides = one.distributions
    assert sides is not None
    unit = style.text
    crop, strip, gap = (round(x * unit) for x in (CROP, STRIP, GAP))
    words = round(1.5 * unit)
    left, top = gap, 2 * words + strip + gap // 2
    image = Image.new("RGB", (left + crop + strip + round(3.7 * unit), top + crop + gap), PAPER)
    window = _window(one, sides, crop)
    image.paste(_cropped(picture, window), (left, top))
    draw = ImageDraw.Draw(image)
    colour = drawing.colour(one)
    box = tuple(
        start + (window.x(at) if i % 2 == 0 else window.y(at))
        for i, (at, start) in enumerate(zip(one.box, (left, top) * 2, strict=True))
    )
    drawing.outline(draw, box, colour, style.line)  # pyright: ignore[reportArgumentType]
    _dot(draw, left + window.x(sides.location[0]), top + window.y(sides.location[1]), style)
    drawing.tag(draw, (left, 0), drawing.label(one, number), colour, style)
    _strips(draw, one, sides, window, (left, top), strip, full, max(1, style.line // 3))
    small = drawing.font(max(12, round(0.8 * unit)))
    caption = 2 * words - words // 2
    draw.text((left, caption), "left", fill=INK, font=small, anchor="lm")
    draw.text((left + crop, caption), "right", fill=INK, font=small, anchor="rm")
    beside = left + crop + strip + gap // 2
    draw.text((beside, top), "top", fill=INK, font=small, anchor="lt")
    draw.text((beside, top + crop), "bottom", fill=INK, font=small, anchor="lb")
    return image


def _window(one: Detection, sides: Distributions, size: int) -> Window:
    """Return a square that contains the box and the likely positions of its sides."""
    left, top, right, bottom = one.box
    centre = ((left + right) / 2, (top + bottom) / 2)
    half = max(right - left, bottom - top, 1.0) / 2
    reach = [
        abs(position - centre[side % 2])
        for side in range(len(SIDES))
        for position in _likely(sides, side)
    ]
    half = max(1.25 * half, min(max(reach), MOST_ROOM * half)) * MARGIN
    return Window(centre[0] - half, centre[1] - half, 2 * half, size)


def _likely(sides: Distributions, side: int) -> list[float]:
    """Return the outermost likely positions, px, of a side."""
    if sides.p is not None and sides.bins is not None:
        bins = sides.bins[sides.p[side] >= LEAST_P]
        ends = [bins.min(initial=np.inf), bins.max(initial=0.0)] if len(bins) else [0.0]
    else:
        assert sides.mean is not None
        assert sides.sigma is not None
        spread = REACH * sides.sigma[side]
        ends = [sides.mean[side] - spread, sides.mean[side] + spread]
    return [float(sides.position(side, end)) for end in ends]


def _cropped(picture: Picture, window: Window) -> Image.Image:
    """Return the part of the picture in a window; grey outside the picture."""
    left, top = int(np.floor(window.left)), int(np.floor(window.top))
    # One pixel more on every side than needed: the window begins within one.
    side = int(np.ceil(window.side)) + 2
    whole = Image.fromarray(picture.rgb)
    ground = Image.new("RGB", (side, side), OUTSIDE)
    inside = (
        max(left, 0),
        max(top, 0),
        min(left + side, whole.width),
        min(top + side, whole.height),
    )
    ground.paste(whole.crop(inside), (inside[0] - left, inside[1] - top))
    x, y = window.left - left, window.top - top
    part = (x, y, x + window.side, y + window.side)
    return ground.resize((window.size, window.size), Image.Resampling.BICUBIC, box=part)


def _strips(
    draw: ImageDraw.ImageDraw,
    one: Detection,
    sides: Distributions,
    window: Window,
    corner: tuple[int, int],
    strip: int,
    full: float,
    line: int,
) -> None:
    """Draw the two strips: left and right above the crop, top and bottom to its right."""
    left, top = corner
    base = (top - 2, left + window.size + 1)  # where P(x) = 0: a row, and a column

    def across(at: float, height: float) -> tuple[float, float]:
        return left + at, base[0] - height * (strip - 2)

    def down(at: float, height: float) -> tuple[float, float]:
        return base[1] + height * (strip - 2), top + at

    drawn = []
    for side in range(len(SIDES)):
        place, to_panel = (across, window.x) if side % 2 == 0 else (down, window.y)
        edge = to_panel(one.box[side])
        draw.line([place(edge, 0), place(edge, 1)], fill=GRID, width=line)
        for shape in _shapes(sides, side, full, to_panel, window.size):
            drawn.append([place(*point) for point in shape])
    for points in drawn:
        draw.polygon(points, fill=drawing.colour(one))
    for points in drawn:  # visible where two sides' normals overlap
        draw.line([*points, points[0]], fill=INK, width=line)
    for place in (across, down):
        draw.line([place(0, 0), place(window.size, 0)], fill=INK, width=line)


def _shapes(
    sides: Distributions, side: int, full: float, to_panel: Callable[[float], float], size: int
) -> list[list[tuple[float, float]]]:
    """Return polygons of (px along the axis, height from 0 to 1): bars of bins, or one curve."""
    if sides.p is not None and sides.bins is not None:
        width = sides.bins[1] - sides.bins[0]
        bars = []
        for distance, p in zip(sides.bins, sides.p[side], strict=True):
            ends = [sides.position(side, distance + d) for d in (-0.4 * width, 0.4 * width)]
            low, high = sorted(float(to_panel(end)) for end in ends)
            low, high = max(low, 0.0), min(high, float(size))
            if high > low and p / full >= 0.01:
                height = float(p / full)
                bars.append([(low, 0.0), (low, height), (high, height), (high, 0.0)])
        return bars
    assert sides.mean is not None
    assert sides.sigma is not None
    curve = []
    for step in np.linspace(-REACH, REACH, 61):
        at = to_panel(sides.position(side, sides.mean[side] + step * sides.sigma[side]))
        curve.append((min(max(float(at), 0.0), float(size)), float(np.exp(-(step**2) / 2))))
    return [[(curve[0][0], 0.0), *curve, (curve[-1][0], 0.0)]]


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, style: Style) -> None:
    radius = 1.2 * style.line
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#FFFFFF", outline=INK)


def _note(sides: Distributions, full: float) -> str:
    if sides.p is None:
        return "P(x) of each side: the normal that is predicted, as high as the strip"
    return f"P(x) of each side, a bar a bin; the strip is {full:.2f} high; the dot is the location"
