"""Visible part of an image in a figure: a square around what is drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import style


def show(axes: Axes, image: np.ndarray | None) -> None:
    """Show an image in its own pixels, or a plain background in its place."""
    axes.set_facecolor(style.FAINT)  # makes a white box visible
    if image is not None:
        height, width = image.shape[:2]
        axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")


def square(axes: Axes, x: float, y: float, half: float, image: np.ndarray | None) -> None:
    """Limit axes to a square around (x, y), shifted into the image if that is large enough."""
    if image is not None:
        height, width = image.shape[:2]
        half = min(half, max(width, height) / 2)
        x, y = (
            side / 2 if 2 * half >= side else float(np.clip(at, half, side - half))
            for at, side in ((x, width), (y, height))
        )
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
