"""Outlines of the embedded data set's categories: depth of a pixel inside one, and its box.

An outline is defined in its own coordinates, about [-1, 1] x [-1, 1], and mapped to the image by a
matrix (rotation, aspect, size). Depths are in pixels of the image, so an edge is one pixel wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Matrix = tuple[float, float, float, float]  # xx, xy, yx, yy: image = matrix @ own
Points = Sequence[tuple[float, float]]

# Corners of a regular pentagon: cosines and sines of multiples of 72 degrees by square roots.
_C1, _S1 = (math.sqrt(5.0) - 1.0) / 4.0, math.sqrt(10.0 + 2.0 * math.sqrt(5.0)) / 4.0
_C2, _S2 = -(math.sqrt(5.0) + 1.0) / 4.0, math.sqrt(10.0 - 2.0 * math.sqrt(5.0)) / 4.0
_PENTAGON = ((0.0, -1.0), (_S1, -_C1), (_S2, -_C2), (-_S2, -_C2), (-_S1, -_C1))
_SQUARE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
_TRIANGLE = ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8))
_ARM = 0.36  # half the width of a cross's arm
_BEAM = ((-1.0, -_ARM), (1.0, -_ARM), (1.0, _ARM), (-1.0, _ARM))
_POST = tuple((y, x) for x, y in _BEAM[::-1])
# The halves of an hourglass overlap at the waist, to avoid a seam.
_UPPER = ((-1.0, -1.0), (1.0, -1.0), (0.12, 0.1), (-0.12, 0.1))
_LOWER = tuple((x, -y) for x, y in _UPPER[::-1])
_HOLE = 0.55  # of a ring's radius
_BITE, _BITE_AT = 0.80, 0.55  # radius and distance of the disc cut from a crescent
# Intersection of the bite's circle with the unit circle: the crescent's two tips.
_TIP_X = (1.0 - _BITE * _BITE + _BITE_AT * _BITE_AT) / (2.0 * _BITE_AT)
_TIPS = ((_TIP_X, math.sqrt(1.0 - _TIP_X * _TIP_X)), (_TIP_X, -math.sqrt(1.0 - _TIP_X * _TIP_X)))

Depth = Callable[[np.ndarray, np.ndarray, Matrix], np.ndarray]


@dataclass(frozen=True)
class Outline:
    """Outline of one category.

    `depth(x, y, matrix)` is positive inside, in pixels, for x of shape [W] and y of [H, 1]
    relative to the centre. `corners` are its extreme points in its own coordinates; `round` says
    whether the unit circle is part of it, except the part inside the bite, if it has one.
    """

    depth: Depth
    corners: Points = ()
    round: bool = False
    bitten: bool = False
    stretch: float = 1.6  # largest ratio of its own width to its height, or the inverse
    turn: float | None = None  # largest tangent of half its rotation; None: any rotation

    def box(self, matrix: Matrix) -> tuple[float, float, float, float]:
        """Return the tight box around the centre: left, top, right, bottom."""
        xx, xy, yx, yy = matrix
        right = self._reach(xx, xy)
        bottom = self._reach(yx, yy)
        return -self._reach(-xx, -xy), -self._reach(-yx, -yy), right, bottom

    def _reach(self, a: float, b: float) -> float:
        """Return the largest a * x + b * y on the outline."""
        reaches = [a * x + b * y for x, y in self.corners]
        if self.round:
            radius = math.sqrt(a * a + b * b)
            x, y = a / radius - _BITE_AT, b / radius
            if not (self.bitten and x * x + y * y < _BITE * _BITE):
                reaches.append(radius)
        return max(reaches)


def _edges(x: np.ndarray, y: np.ndarray, matrix: Matrix, corners: Points) -> list[np.ndarray]:
    """Return a pixel's depth inside each edge of a clockwise (in the image) polygon."""
    xx, xy, yx, yy = matrix
    mapped = [(xx * u + xy * v, yx * u + yy * v) for u, v in corners]
    depths = []
    for (x0, y0), (x1, y1) in zip(mapped, mapped[1:] + mapped[:1], strict=True):
        dx, dy = x1 - x0, y1 - y0
        length = math.sqrt(dx * dx + dy * dy)
        depths.append((dx / length) * (y - y0) - (dy / length) * (x - x0))
    return depths


def _convex(corners: Points) -> Depth:
    return lambda x, y, matrix: np.minimum.reduce(_edges(x, y, matrix, corners))


def _union(first: Points, second: Points) -> Depth:
    one, two = _convex(first), _convex(second)
    return lambda x, y, matrix: np.maximum(one(x, y, matrix), two(x, y, matrix))


def _circle(
    x: np.ndarray, y: np.ndarray, matrix: Matrix, radius: float = 1.0, at: float = 0.0
) -> np.ndarray:
    """Return the depth inside a circle's image, to first order at its edge."""
    xx, xy, yx, yy = matrix
    det = xx * yy - xy * yx
    u, v = ((yy * x - xy * y) / det - at) / radius, (xx * y - yx * x) / det / radius
    level = np.sqrt(u * u + v * v) + 1e-9
    gx, gy = (yy * u - yx * v) / (det * radius), (xx * v - xy * u) / (det * radius)
    return (1.0 - level) * level / (np.sqrt(gx * gx + gy * gy) + 1e-12)


def _ring(x: np.ndarray, y: np.ndarray, matrix: Matrix) -> np.ndarray:
    return np.minimum(_circle(x, y, matrix), -_circle(x, y, matrix, radius=_HOLE))


def _crescent(x: np.ndarray, y: np.ndarray, matrix: Matrix) -> np.ndarray:
    return np.minimum(_circle(x, y, matrix), -_circle(x, y, matrix, radius=_BITE, at=_BITE_AT))


def _star(x: np.ndarray, y: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Return the depth in a pentagram: the points inside at least four of its five lines."""
    chords = tuple(_PENTAGON[i * 2 % 5] for i in range(5))
    return np.sort(_edges(x, y, matrix, chords), axis=0)[1]


OUTLINES: dict[str, Outline] = {
    "disc": Outline(_circle, round=True),
    "rectangle": Outline(_convex(_SQUARE), _SQUARE, stretch=2.0, turn=0.2),
    "triangle": Outline(_convex(_TRIANGLE), _TRIANGLE, stretch=1.3),
    "cross": Outline(_union(_BEAM, _POST), (*_BEAM, *_POST), stretch=1.3),
    "ring": Outline(_ring, round=True, stretch=1.3),
    "star": Outline(_star, _PENTAGON, stretch=1.2),
    "crescent": Outline(_crescent, _TIPS, round=True, bitten=True, stretch=1.2),
    "hourglass": Outline(_union(_UPPER, _LOWER), _SQUARE, stretch=1.4),
}
