"""Placement of objects in an image such that every side is visible where its label says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gfl.shapes import drawing, objects
from gfl.shapes.draws import Draws
from gfl.shapes.objects import Extent, Layers
from gfl.shapes.outlines import OUTLINES
from gfl.shapes.side_labels import SIDES, Point, Side, annotation

SMALLEST, LARGEST = 12 / 128, 118 / 128  # square root of an object's box area, of the image's size
_LEAST = 12.0  # pixels, a lower bound on SMALLEST in small images
MOST = 8  # objects in an image
_PLACES = 12  # tried for each object
_CUT_OFF = 0.08  # fraction of objects without an ambiguous side that extend over the image's border
_OVERHANG = 0.2  # limit of that part of their extent
_OVERLAP = 0.25  # limit, as a fraction of the smaller of two objects' surroundings

_CATEGORY_IDS = {name: i for i, name in enumerate(OUTLINES, start=1)}


@dataclass
class _Placed:
    """Object in the image: masks whose extents later objects must preserve."""

    reach: Extent
    sides: dict[str, Side]
    colour: drawing.Colour
    evidence: list[tuple[np.ndarray, Extent]] = field(default_factory=list)


def populate(canvas: np.ndarray, base: drawing.Colour, draws: Draws) -> list[dict[str, Any]]:
    """Draw 1 to 8 objects onto a canvas, large ones first, and return their annotations."""
    size = canvas.shape[0]
    count = draws.integer(1, MOST)
    smallest = max(SMALLEST * size, _LEAST)
    sizes = [draws.log_uniform(smallest, LARGEST * size) for _ in range(count)]
    waiting = [(side, True) for side in sorted(sizes, reverse=True)]
    placed: list[_Placed] = []
    annotations = []
    while waiting:
        side, first_try = waiting.pop(0)
        layers = objects.build(side, 0.97 * size, draws)
        found = _find_place(layers, placed, size, draws)
        if found is None:
            if first_try:  # a failed placement is retried after the others, half as large
                waiting.append((max(0.5 * side, smallest), False))
            continue
        x, y, one = found
        one.colour = drawing.vivid([base, *(other.colour for other in placed)], draws)
        _paint(canvas, layers, x, y, one.colour, draws)
        placed.append(one)
        annotations.append(annotation(one.sides, _CATEGORY_IDS[layers.category], draws))
    return annotations


def _find_place(
    layers: Layers, placed: list[_Placed], size: int, draws: Draws
) -> tuple[int, int, _Placed] | None:
    """Return the crop's corner and the object placed there; None if no place was found."""
    loose = all(side.kind == "sharp" for side in layers.sides.values()) and draws.chance(_CUT_OFF)
    for _ in range(_PLACES):
        x = _offset(layers, "left", "right", size, loose, draws)
        y = _offset(layers, "top", "bottom", size, loose, draws)
        if x is None or y is None:
            return None
        one = _fit(layers, x, y, placed, size)
        if one is not None:
            return x, y, one
    return None


def _offset(
    layers: Layers, first: str, last: str, size: int, loose: bool, draws: Draws
) -> int | None:
    """Return a whole number of pixels by which to move the crop along one axis."""
    low = layers.sides[first].distribution.support()[0]
    high = layers.sides[last].distribution.support()[1]
    over = _OVERHANG * (high - low) if loose else 0.0
    least, most = math.ceil(-low - over), math.floor(size - high + over)
    return draws.integer(least, most) if least <= most else None


def _fit(layers: Layers, x: int, y: int, placed: list[_Placed], size: int) -> _Placed | None:
    """Return the object at a place, or None if it or another would not be visible as labelled."""
    shaded = layers.hidden if layers.shade is None else layers.hidden | (layers.shade > 0.1)
    reach = objects.extent(_in_image(shaded, x, y, size))
    if reach is None:
        return None
    near = [other for other in placed if _overlap(reach, other.reach) > 0.0]
    if any(_overlap(reach, other.reach) > _OVERLAP for other in near):
        return None
    sides = _clipped(layers, x, y, size)
    if sides is None:
        return None
    hidden = _in_image(layers.hidden, x, y, size)
    remaining = []
    for other in near:
        for mask, box in other.evidence:
            rest = mask & ~hidden
            if not objects.keeps(box, objects.extent(rest)):
                return None
            remaining.append((mask, rest))
    for mask, rest in remaining:
        mask[:] = rest
    one = _Placed(reach, sides, (0.0, 0.0, 0.0))
    for mask in (layers.visible, None if layers.shade is None else shaded):
        if mask is not None:
            inside = _in_image(mask, x, y, size)
            box = objects.extent(inside)
            assert box is not None
            one.evidence.append((inside, box))
    return one


def _clipped(layers: Layers, x: int, y: int, size: int) -> dict[str, Side] | None:
    """Return the sides in image coordinates; one beyond the border becomes a point on the border.

    None if clipping the object there removes the outermost point of another side.
    """
    offsets = dict(zip(SIDES, (x, y, x, y), strict=True))
    moved = {side: layers.sides[side].moved(offsets[side]) for side in SIDES}
    whole = objects.extent(layers.visible)
    assert whole is not None
    before = (whole[0] + x, whole[1] + y, whole[2] + x, whole[3] + y)
    after = objects.extent(_in_image(layers.visible, x, y, size))
    inside = []
    for side in SIDES:
        low, high = moved[side].distribution.support()
        if low >= 0.0 and high <= size:
            inside.append(side)
        else:
            moved[side] = Side("sharp", Point(0.0 if low < 0.0 else float(size)))
    return moved if objects.keeps(before, after, tuple(inside)) else None


def _overlap(one: Extent, other: Extent) -> float:
    """Return the intersection of two boxes as a fraction of the smaller."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / min(areas)


def _window(shape: tuple[int, int], x: int, y: int, size: int) -> tuple[slice, slice, slice, slice]:
    """Return the part of the image that a crop covers, and the visible part of the crop."""
    height, width = shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, size), min(y + height, size)
    return slice(y0, y1), slice(x0, x1), slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)


def _in_image(mask: np.ndarray, x: int, y: int, size: int) -> np.ndarray:
    rows, columns, crop_rows, crop_columns = _window((mask.shape[0], mask.shape[1]), x, y, size)
    whole = np.zeros((size, size), bool)
    whole[rows, columns] = mask[crop_rows, crop_columns]
    return whole


def _paint(
    canvas: np.ndarray, layers: Layers, x: int, y: int, colour: drawing.Colour, draws: Draws
) -> None:
    """Draw the object, its shadow beneath and its planks on top."""
    height, width = layers.solid.shape
    rows, columns, *crop = _window((height, width), x, y, canvas.shape[0])
    part, inner = canvas[rows, columns], tuple(crop)
    if layers.shade is not None:
        part *= 1.0 - layers.shade[inner][:, :, None]
    surface = drawing.fill(height, width, colour, draws)
    drawing.blend(part, layers.solid[inner], surface[inner])
    for plank in layers.planks:
        drawing.paint_plank(part, plank[inner], draws)
