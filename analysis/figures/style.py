"""Style of every figure: sizes, type, and the colour of each method.

Figures are drawn at their final size, so that a point here is a point on the page. Type is DejaVu
Sans, which comes with matplotlib: the same letters on every machine. Colours follow Okabe and Ito's
palette for the colour-blind, spread in lightness, so that they also differ in grey; lines differ in
their dashes and points in their shape as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

COLUMN, PAGE = 3.25, 6.75  # widths of a column and of both, inches
TEXT, SMALL, TITLE, FOOT = 7.5, 7.0, 8.0, 5.0  # points; only the footer is below 7
DPI = 300

INK, MUTED, FAINT = "#222222", "#6B6B6B", "#C8C8C8"
PANEL = "#F3F3F0"  # fills parts of a diagram
TRUTH, PREDICTION = "#FFFFFF", "#3DDC84"  # boxes on images; outline them in ink


@dataclass(frozen=True)
class Look:
    """Look of a method in every figure."""

    label: str
    colour: str
    line: Any  # matplotlib's linestyle
    marker: str

    @property
    def plot(self) -> dict[str, Any]:
        """Arguments of ``Axes.plot``, for a line without its marker."""
        return {"color": self.colour, "linestyle": self.line, "label": self.label}


# By value of ``Experiment.quality`` and of ``Experiment.boxes`` ("general-dfl" with dfl=True).
LOOKS = {
    "none": Look("w/o quality branch", "#8C8C8C", (0, (1, 1)), "x"),
    "centerness-branch": Look("centerness-branch", "#E69F00", (0, (4, 1.5)), "s"),
    "iou-branch": Look("IoU-branch", "#0B4F8A", (0, (4, 1.5, 1, 1.5)), "o"),
    "centerness-guided": Look("centerness-guided", "#B8860B", (0, (2, 1)), "D"),
    "iou-guided": Look("IoU-guided", "#5FB4E5", (0, (6, 1.5, 1, 1.5, 1, 1.5)), "v"),
    "joint": Look("joint", "#1FA37A", "-", "^"),
    "dirac": Look("Dirac delta", "#4D4D4D", (0, (1, 1)), "s"),
    "gaussian": Look("Gaussian", "#7A5FB0", (0, (4, 1.5)), "D"),
    "general": Look("General", "#E08AB5", (0, (4, 1.5, 1, 1.5)), "o"),
    "general-dfl": Look("General w/ DFL", "#B93A00", "-", "^"),
}
# The two measures of localization quality, wherever they are compared.
CENTERNESS = Look("centerness", LOOKS["centerness-branch"].colour, (0, (4, 1.5)), "s")
IOU = Look("IoU", LOOKS["iou-branch"].colour, "-", "o")

RC: dict[Any, Any] = {
    **sns.axes_style("ticks"),
    "font.family": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TITLE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.titlesize": TITLE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "patch.linewidth": 0.6,
    "figure.dpi": 150,  # in a notebook; files use DPI
    "savefig.dpi": DPI,
    "pdf.fonttype": 42,  # letters, not outlines: text is searchable
    "svg.hashsalt": "gfl",
    "path.simplify": True,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save in this style; restores the previous settings afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # without a user's matplotlibrc or a notebook's settings
        matplotlib.rcParams.update(RC)
        yield


def canvas(width: float = COLUMN, height: float = 2.2) -> Figure:
    """Return an empty figure of a size in inches, with automatic layout."""
    return Figure(figsize=(width, height), layout="constrained")


def footer(figure: Figure, runs: Sequence[str], note: str = "") -> None:
    """Print the ids of the runs (and a note) under a figure, in small type, in reserved space.

    Label the axes, not the figure: a ``supxlabel`` would overlap it.
    """
    text = (("runs: " if len(runs) > 1 else "run: ") + ", ".join(runs)) if runs else ""
    width, height = figure.get_size_inches()
    columns = int((width - 0.1) * 72 / (FOOT * 0.6))  # mean letter width: .6 of its size
    lines = [
        line
        for part in (note, text)
        for line in textwrap.wrap(part, columns, break_on_hyphens=False)
    ]
    if not lines:
        return
    room = (len(lines) * FOOT * 1.3 + 3) / 72
    figure.set_size_inches(width, height + room)
    share = room / (height + room)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, share, 1, 1 - share))
    figure.text(
        0.05 / width, 0.02 / (height + room), "\n".join(lines),
        fontsize=FOOT, color=MUTED, va="bottom", ha="left", linespacing=1.25, in_layout=False,
    )  # fmt: skip


def show(axes: Axes, image: np.ndarray | None) -> None:
    """Show an image in its own pixels, or a plain background in its place."""
    axes.set_facecolor(FAINT)  # makes a white box visible
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


def short(value: float) -> str:
    """Format ``.094``, as the paper prints numbers below 1."""
    return f"{value:.3f}".removeprefix("0")
