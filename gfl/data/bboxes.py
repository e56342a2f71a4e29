"""Boxes in annotation files: their four numbers, layout and unit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gfl.data.json_values import is_number, number
from gfl.errors import Lack

Box = list[float]
Corners = tuple[float, float, float, float]

# Layouts of four numbers: upper left corner and size, two corners, or centre and size; in pixels,
# or as fractions of the image's width and height.
FRACTIONS = "-fractions"
LAYOUTS = tuple(name + unit for unit in ("", FRACTIONS) for name in ("xywh", "xyxy", "cxcywh"))
NAMED = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
)
MOST_PIXELS = (1 << 31) - 1  # of a mask: pycocotools counts them in 32 bits
TOLERANCE = 1  # px a box may exceed its image before it counts as evidence of another layout
# Corners, if at least this fraction of all boxes makes sense only so, and at most one in twenty
# of these only as corner and size: any data set has a few wrong boxes.
SUSPICIOUS, CONTRARY = 0.05, 0.05


def four_numbers(value: object) -> Box | None:
    """Return a box's numbers from a list, numbers as text, a nested list, or named values."""
    if isinstance(value, list) and len(value) == 4 and all(map(_is_plain, value)):
        return value
    if isinstance(value, str):
        try:
            value = json.loads(value.strip().replace("(", "[").replace(")", "]"))
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping):
        value = next(
            ([value[n] for n in names] for names in NAMED if value.keys() >= {*names}), None
        )
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    numbers = [n for x in value if (n := number(x)) is not None]
    return numbers if len(numbers) == 4 else None


def _is_plain(x: object) -> bool:
    return type(x) in (int, float) and is_number(x)


def of_outline(segmentation: object, size: tuple[float, float] | None = None) -> Box | None:
    """Return the box around polygons or a run-length mask, xywh in pixels.

    None if it cannot be read, or is a mask whose image differs from ``size`` (width, height).
    """
    if isinstance(segmentation, Mapping):
        other = size is not None and is_mask_of_another_size(segmentation, size)
        return None if other else _of_mask(segmentation)
    numbers = list(_flat(segmentation))
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(_is_plain, numbers)):
        return None
    xs, ys = numbers[::2], numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _flat(value: object, depth: int = 0) -> Iterator[Any]:
    """Iterate over the numbers of [x, y, ...], of nested lists, and of lists of points."""
    if isinstance(value, (list, tuple)) and depth < 4:
        for inner in value:
            yield from _flat(inner, depth + 1)
    else:
        yield value


def is_mask_of_another_size(segmentation: object, size: tuple[float, float]) -> bool:
    """Return whether an outline is a run-length mask that does not match its image's size."""
    if not isinstance(segmentation, Mapping):
        return False
    width, height = size
    return segmentation.get("size") not in ([height, width], (height, width))


def _of_mask(outline: Mapping[str, Any]) -> Box | None:
    from pycocotools import mask  # imports numpy, not needed for polygons

    masks: Any = mask

    size, counts = outline.get("size"), outline.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int for n in size):
        return None
    height, width = size
    if min(size) < 1 or height * width > MOST_PIXELS:
        return None
    if isinstance(counts, list):
        runs = [n for n in counts if type(n) is int and n >= 0]
        if len(runs) != len(counts) or sum(runs) != height * width:
            return None
        counts = masks.frPyObjects({"size": size, "counts": runs}, height, width)["counts"]
    if not isinstance(counts, (str, bytes)) or not counts:
        return None
    try:
        found = masks.toBbox({"size": size, "counts": counts})
    except Exception:  # whatever it raises for text that is no mask
        return None
    return [float(x) for x in found] if found[2] > 0 and found[3] > 0 else None


def as_xywh(box: Sequence[float], layout: str, size: tuple[float, float]) -> Box:
    """Convert a box of any layout to left, top, width and height in pixels of an image."""
    if layout == "xywh":
        return list(box)
    a, b, c, d = box
    if layout.endswith(FRACTIONS):
        width, height = size
        a, b, c, d = a * width, b * height, c * width, d * height
    match layout.removesuffix(FRACTIONS):
        case "xyxy":
            return [a, b, c - a, d - b]
        case "cxcywh":
            return [a - c / 2, b - d / 2, c, d]
    return [a, b, c, d]


def doubts(
    found: Sequence[tuple[Box, tuple[float, float], object]],
) -> tuple[str, Lack] | None:
    """Explain why boxes can hardly be left, top, width and height in pixels; None if they can.

    ``found`` has the numbers of each box, the width and height of its image, and its area.
    """
    sized = [one for one in found if any(one[0])]
    fractions = sum(all(0 <= x <= 1 for x in box) for box, _, _ in sized)
    if sized and 2 * fractions > len(sized):
        return (
            f"{fractions} of {len(sized)} boxes lie between 0 and 1: they look normalised, as "
            "fractions of their images",
            "fractions",
        )
    corners = sum(_fits_only(*one, as_corners=True) for one in sized)
    sizes = sum(_fits_only(*one, as_corners=False) for one in sized)
    if corners and corners >= SUSPICIOUS * len(sized) and sizes <= CONTRARY * corners:
        return (
            f"{corners} of {len(sized)} boxes fit their image, or their area, only as corners "
            f"x1, y1, x2, y2, and {sizes} only as x, y, width, height",
            "corners",
        )
    return None


def _fits_only(box: Box, size: tuple[float, float], area: object, *, as_corners: bool) -> bool:
    """Return True if a box fits its image, or its area to a percent, in one layout alone."""
    a, b, c, d = box
    corners, sizes = (a, b, c, d), (a, b, a + c, b + d)
    mine, other = (corners, sizes) if as_corners else (sizes, corners)
    if not (_is_inside(mine, size) and _is_inside(other, size)):
        return _is_inside(mine, size)
    given, right, wrong = number(area), _area(mine), _area(other)
    return given is not None and abs(given - right) <= 0.01 * right < abs(given - wrong)


def _is_inside(corners: Corners, size: tuple[float, float]) -> bool:
    x1, y1, x2, y2 = corners
    inside = x2 <= size[0] + TOLERANCE and y2 <= size[1] + TOLERANCE
    return x2 > x1 >= -TOLERANCE and y2 > y1 >= -TOLERANCE and inside


def _area(corners: Corners) -> float:
    x1, y1, x2, y2 = corners
    return (x2 - x1) * (y2 - y1)
