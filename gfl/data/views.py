"""Views of a photograph: itself, and parts or smaller copies of it, drawn once and for all.

Photographs are few, and features that are kept cannot be varied. So a frozen network sees several
views of each, and training draws among them. What is drawn follows from the image's name and the
view's number alone.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import cv2
import numpy as np

SCALES = (0.6, 1.8)  # of what a view shows; drawn evenly between their logarithms


@dataclass(frozen=True)
class View:
    """A part of an image and the size at which it is seen, px."""

    left: int
    top: int
    width: int
    height: int
    to: tuple[int, int]  # width, height

    @property
    def scale(self) -> tuple[float, float]:
        """How much wider and higher than in the image things are in the view."""
        return self.to[0] / self.width, self.to[1] / self.height

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return what the view shows of an image."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        if self.to == (self.width, self.height):
            return part
        smaller = self.to[0] < self.width
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(part, self.to, interpolation=how)


def view(name: str, number: int, width: int, height: int) -> View:
    """Return a view of an image of that name and size: 0 is the image as it is.

    A view at a scale above 1 shows a part that has the image's shape, at the image's size; one
    below 1 shows all of it, smaller. So a view fits where its image does.
    """
    whole = View(0, 0, width, height, (width, height))
    if number == 0:
        return whole
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    random = np.random.default_rng([seed, number])
    least, most = map(math.log, SCALES)
    scale = math.exp(random.uniform(least, most))
    place = random.uniform(size=2)
    if scale <= 1:
        return View(0, 0, width, height, (_rounded(width * scale), _rounded(height * scale)))
    part = _rounded(width / scale), _rounded(height / scale)
    left = int(place[0] * (width - part[0] + 1))
    top = int(place[1] * (height - part[1] + 1))
    return View(left, top, *part, (width, height))


def _rounded(pixels: float) -> int:
    return max(1, round(pixels))
