"""Objects of the embedded data set: outlines, and the causes of ambiguous sides.

Everything is in pixels of a crop around the object; `placing` moves it into an image by whole
pixels, so that the layers are drawn once however many places are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gfl.shapes.draws import Draws
from gfl.shapes.outlines import OUTLINES, Matrix
from gfl.shapes.side_labels import SIDES, Gaussian, Kind, Modes, Point, Side

# How often annotators include a shadow follows from its visible strength; how often they complete
# an occluded object, from how little of it is hidden.
SHADOWS = ((0.40, 0.3), (0.55, 0.5), (0.70, 0.7))  # light blocked, p(box with shadow)
SHADOW_REACH = (0.12, 0.30)  # of the object's extent along the axis
OCCLUDED = ((0.12, 0.18, 0.7), (0.18, 0.24, 0.5), (0.24, 0.30, 0.3))  # depths, p(whole extent)
FADE = (0.20, 0.45)  # width of a blurred edge, relative to the object's extent
FADE_SIGMAS = 4.0  # width of a fade, in sigmas of its label
LEAST_SIDE = 6.0  # pixels, of every possible box
_LEAST_REACH = 2.5  # pixels: less is invisible
_STEPS = 4096  # coverages are summed as integers, whose sums do not depend on order
_SLACK = 1  # pixels by which the visible extent may fall short of a side

Extent = tuple[int, int, int, int]


@dataclass
class Layers:
    """Layers of a drawn object: the crop's coverage by shadow, object and occluders."""

    category: str
    solid: np.ndarray
    sides: dict[str, Side]
    shade: np.ndarray | None
    planks: list[np.ndarray]  # coverage by each that hides a side

    @property
    def hidden(self) -> np.ndarray:
        """Mask of pixels behind which nothing is visible."""
        hidden = self.solid >= 0.5
        for plank in self.planks:
            hidden = hidden | (plank >= 0.5)
        return hidden

    @property
    def visible(self) -> np.ndarray:
        visible = self.solid >= 0.5
        for plank in self.planks:
            visible = visible & (plank < 0.5)
        return visible


def extent(mask: np.ndarray) -> Extent | None:
    """Return a mask's tight box in whole pixels: left, top, right, bottom; None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def keeps(before: Extent, after: Extent | None, sides: tuple[str, ...] = SIDES) -> bool:
    """Return True if the named sides of a mask's extent have not moved."""
    if after is None:
        return False
    return all(abs(before[i] - after[i]) <= _SLACK for i in map(SIDES.index, sides))


def _facing(array: np.ndarray, side: str) -> np.ndarray:
    """Return a view of the crop with `side` on the left."""
    if side in ("top", "bottom"):
        array = array.T
    return array if side in ("left", "top") else array[:, ::-1]


class _Sums:
    """Mask coverage, summed along rows up to any position."""

    def __init__(self, mask: np.ndarray) -> None:
        self._sums = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int32)
        np.cumsum(np.floor(mask * _STEPS + 0.5).astype(np.int32), axis=1, out=self._sums[:, 1:])

    def __call__(self, position: np.ndarray) -> np.ndarray:
        last = self._sums.shape[1] - 1
        position = np.clip(position, 0.0, float(last))
        whole = np.minimum(position.astype(np.int64), last - 1)
        part = position - whole
        left, right = self._sums[:, whole], self._sums[:, whole + 1]
        return (left + (right - left) * part) * (1.0 / _STEPS)


def smear(mask: np.ndarray, edge: float, length: float, fade: float) -> np.ndarray:
    """Fade the left side of a mask over `fade` pixels around its edge, like motion blur."""
    at = np.arange(mask.shape[1]) + 0.5
    rest = edge + 0.5 * fade
    share = np.clip(1.0 - (at - rest) / (0.35 * length), 0.0, 1.0)
    half = np.maximum(0.5 * fade * share, 0.5)
    sums = _Sums(mask)
    return (sums(at + half) - sums(at - half)) / (2.0 * half)


def cast(mask: np.ndarray, reach: float) -> np.ndarray:
    """Return the shadow of a mask, `reach` pixels to its left, with a soft end."""
    at = np.arange(mask.shape[1]) + 0.5
    soft = max(1.0, 0.35 * reach)
    sums = _Sums(mask)
    return np.clip((sums(at + (reach + 0.5 * soft)) - sums(at)) / soft, 0.0, 1.0)


def span(low: float, high: float, length: int) -> np.ndarray:
    """Return the fraction of each of `length` pixels that lies between two positions."""
    at = np.arange(length)
    return np.clip(np.minimum(at + 1.0, high) - np.maximum(at, low), 0.0, 1.0)


def _matrix(category: str, size: float, limit: float, draws: Draws) -> Matrix:
    """Draw a rotation and aspect for a box with area size^2 and sides <= limit."""
    outline = OUTLINES[category]
    cos, sin = draws.rotation(outline.turn)
    stretch = draws.log_uniform(1.0, outline.stretch)
    a, b = (stretch, 1.0) if draws.chance(0.5) else (1.0, stretch)
    unit = (a * cos, -b * sin, a * sin, b * cos)
    left, top, right, bottom = outline.box(unit)
    width, height = right - left, bottom - top
    scale = min(size / math.sqrt(width * height), limit / max(width, height))
    return (unit[0] * scale, unit[1] * scale, unit[2] * scale, unit[3] * scale)


def build(size: float, limit: float, draws: Draws) -> Layers:
    """Draw an object of about size^2 pixels, about half of them with one or two ambiguous sides."""
    category = draws.choice(tuple(OUTLINES))
    outline, matrix = OUTLINES[category], _matrix(category, size, limit, draws)
    left, top, right, bottom = outline.box(matrix)
    vague = (0, 0, 0, 1, 1, 2)[draws.integer(0, 5)]
    longest = max(right - left, bottom - top)
    pad = (math.ceil(0.35 * longest) + 5) if vague else 2
    # The crop's origin is a whole pixel; the object's centre need not be.
    x, y = pad - left + draws.uniform(), pad - top + draws.uniform()
    width, height = math.ceil(x + right) + pad, math.ceil(y + bottom) + pad
    columns, rows = np.arange(width) + (0.5 - x), np.arange(height)[:, None] + (0.5 - y)
    solid = np.clip(outline.depth(columns, rows, matrix) + 0.5, 0.0, 1.0)
    box = (x + left, y + top, x + right, y + bottom)
    sides = {side: Side("sharp", Point(at)) for side, at in zip(SIDES, box, strict=True)}
    layers = Layers(category, solid, sides, None, [])
    for side in draws.shuffled(SIDES):
        if vague == 0:
            break
        for kind in draws.shuffled(("blurred", "shadow", "occluded")):
            changed = _make(kind, layers, side, draws)
            if changed is not None and _legible(changed, solid, limit):
                layers, vague = changed, vague - 1
                break
    return layers


def _make(kind: Kind, layers: Layers, side: str, draws: Draws) -> Layers | None:
    """Return the object with one more ambiguous side, or None if it does not suit that kind."""
    height, width = layers.solid.shape

    def facing(position: float) -> float:
        """Convert a position to that in `_facing`'s view, or back: it is its own inverse."""
        return {"right": width - position, "bottom": height - position}.get(side, position)

    first, last = ("left", "right") if side in ("left", "right") else ("top", "bottom")
    length = _middle(layers.sides[last]) - _middle(layers.sides[first])
    edge_at = _edge(layers.sides[side])
    edge = facing(edge_at)
    solid, shade, planks = layers.solid, layers.shade, layers.planks
    if kind == "blurred":
        fade = max(_LEAST_REACH, length * draws.uniform(*FADE))
        solid = solid.copy()
        _facing(solid, side)[:] = smear(_facing(solid, side), edge, length, fade)
        label = Gaussian(edge_at, fade / FADE_SIGMAS)
    elif kind == "shadow":
        if shade is not None:
            return None
        strength, p = draws.choice(SHADOWS)
        reach = max(_LEAST_REACH, length * draws.uniform(*SHADOW_REACH))
        shade = np.empty_like(solid)
        # What a plank hides casts no shadow: it would show beside the plank.
        seen = solid * layers.visible
        _facing(shade, side)[:] = cast(_facing(seen, side), reach) * strength
        label = Modes((edge_at, facing(edge - reach)), (1.0 - p, p))
    else:
        shallow, deep, p = draws.choice(OCCLUDED)
        depth = max(_LEAST_REACH, length * draws.uniform(shallow, deep))
        planks = [*planks, _plank(layers, side, edge, depth, 1.0 + 0.06 * length)]
        label = Modes((facing(edge + depth), edge_at), (1.0 - p, p))
    sides = {**layers.sides, side: Side(kind, label)}
    return Layers(layers.category, solid, sides, shade, planks)


def _middle(side: Side) -> float:
    low, high = side.distribution.support()
    return 0.5 * (low + high)


def _edge(side: Side) -> float:
    """Return the end of the object itself on a sharp or blurred side."""
    assert isinstance(side.distribution, Point)
    return side.distribution.at


def _plank(layers: Layers, side: str, edge: float, depth: float, margin: float) -> np.ndarray:
    """Return the coverage of a plank that hides the last `depth` pixels of a side and more."""
    cover = np.empty_like(layers.solid)
    facing = _facing(cover, side)
    rows, columns = facing.shape
    drawn = layers.solid if layers.shade is None else layers.solid + layers.shade
    box = extent(_facing(drawn > 0.0, side))
    assert box is not None
    along = span(edge - margin, edge + depth, columns)
    facing[:] = along * span(box[1] - margin, box[3] + margin, rows)[:, None]
    return cover


def _legible(layers: Layers, whole: np.ndarray, limit: float) -> bool:
    """Return True if every side is visible where labelled, and no box can be too small or large.

    An occluder of one side may hide the object's outermost point on another.
    """
    for first, last, size in (("left", "right", 1), ("top", "bottom", 0)):
        low, high = (layers.sides[s].distribution.support() for s in (first, last))
        if high[0] - low[1] < LEAST_SIDE or high[1] - low[0] > limit:
            return False
        if low[0] < 0.0 or high[1] > layers.solid.shape[size]:
            return False
    before, after = extent(whole >= 0.5), extent(layers.visible)
    if before is None or after is None:
        return False
    open_sides = tuple(s for s in SIDES if layers.sides[s].kind in ("sharp", "shadow"))
    if not keeps(before, after, open_sides):
        return False
    for i, side in enumerate(SIDES):
        label = layers.sides[side]
        if label.kind == "occluded":
            assert isinstance(label.distribution, Modes)
            if abs(after[i] - label.distribution.at[0]) > _SLACK + 1:
                return False
    return True
