"""Names placed beside points, without overlap of points or one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from analysis.figures import style

AWAY = (5.0, 8.0, 12.0, 17.0, 23.0)  # points from the point, tried in this order
LEADER = 7.0  # points: a more distant name has a line to its point
TURNS = (
    0,
    180,
    45,
    315,
    135,
    225,
    90,
    270,
    20,
    340,
    160,
    200,
)  # degrees, tried in this order at each distance


def beside(
    axes: Axes,
    points: Sequence[tuple[float, float, str, str]],
    avoid: Sequence[tuple[float, float]],
    size: float = style.SMALL,
) -> list[Annotation]:
    """Write a name and colour beside each ``(x, y, name, colour)``, clear of all ``avoid`` points.

    The first free place is taken, near ones first, so the same points give the same picture; if
    there is none, the nearest. Call it once nothing else in the figure will change.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # runs the layout
    per_point = figure.dpi / 72
    taken = [_around(axes.transData.transform(p), 3.2 * per_point) for p in avoid]
    placed = []
    for x, y, name, colour in points:
        note = axes.annotate(
            name, (x, y), (0, 0), textcoords="offset points", fontsize=size, color=colour,
            annotation_clip=False, zorder=4,
        )  # fmt: skip
        note.set_in_layout(False)
        box = _place(note, axes.get_window_extent(), taken)
        taken.append(box)
        placed.append(note)
    return placed


def _place(note: Annotation, window: Bbox, taken: Sequence[Bbox]) -> Bbox:
    first: tuple[float, float, str, str] | None = None
    for away in AWAY:
        for turn in TURNS:
            across, up = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            aligned = _aligned(across, up)
            first = first or (away * across, away * up, *aligned)
            box = _moved(note, away * across, away * up, *aligned)
            inside = window.x0 <= box.x0 and box.x1 <= window.x1 + 4
            inside = inside and window.y0 <= box.y0 and box.y1 <= window.y1
            if inside and not any(box.overlaps(other) for other in taken):
                if away > LEADER:
                    _lead(note, away * across, away * up)
                return box
    assert first is not None
    return _moved(note, *first)


def _lead(note: Annotation, x: float, y: float) -> None:
    line = {"arrowstyle": "-", "lw": 0.5, "color": style.MUTED, "shrinkA": 0, "shrinkB": 2.5}
    note.axes.annotate(  # type: ignore[union-attr]
        "", note.xy, (x, y), textcoords="offset points", arrowprops=line, zorder=1
    ).set_in_layout(False)


def _aligned(across: float, up: float) -> tuple[str, str]:
    horizontal = "left" if across > 0.1 else "right" if across < -0.1 else "center"
    vertical = "bottom" if up > 0.1 else "top" if up < -0.1 else "center"
    return horizontal, vertical


def _moved(note: Annotation, x: float, y: float, horizontal: str, vertical: str) -> Bbox:
    note.set_position((x, y))
    note.set(ha=horizontal, va=vertical)
    return note.get_window_extent()


def _around(centre: np.ndarray, half: float) -> Bbox:
    x, y = centre
    return Bbox([[x - half, y - half], [x + half, y + half]])
