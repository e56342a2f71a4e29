"""Boxes and arrows of diagrams, in inches, with labels derived from the head's factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from analysis.figures import style
from gfl.boxes import DIRACS, representation
from gfl.experiment import Experiment
from gfl.hosts import dense
from gfl.quality import GUIDE_EXPONENT, USAGES

QUALITY_NAMES = {"centerness": "centerness", "iou": "IoU"}
Point = tuple[float, float]


@dataclass(frozen=True)
class Output:
    """One of a head's predictions at every location, and its training."""

    name: str
    channels: str  # a number, or a formula of C and n
    loss: str
    label: str
    over: str  # the locations with a label

    @property
    def shape(self) -> str:
        return f"H×W×{self.channels}"


def outputs(experiment: Experiment) -> tuple[Output, ...]:
    """List the outputs of an experiment's head: class, quality if it has a branch, box."""
    usage = USAGES[experiment.quality]
    measure = QUALITY_NAMES.get(usage.label or "", "")
    joint = usage.use == "joint"
    loss = "QFL" if joint else "FL"
    if usage.use == "guide":
        loss += f" × {measure}^{GUIDE_EXPONENT:g}"
    label = f"{measure} at the class, else 0" if joint else "1 at the class, else 0"
    found = [Output(f"class-{measure}" if joint else "class", "C", loss, label, "all locations")]
    if usage.use == "branch":
        found.append(Output(measure, "1", "BCE", measure, "positives only"))
    box_loss = "likelihood" if experiment.boxes == "gaussian" else "GIoU"
    if experiment.dfl:
        box_loss += " + DFL"
    return *found, Output("box", box_channels(experiment), box_loss, "l, t, r, b", "positives only")


def score(experiment: Experiment) -> str:
    """Return the score that NMS ranks by, as a product of factors."""
    found = outputs(experiment)
    return " × ".join(output.name for output in found if output.name != "box")


def box_weight(experiment: Experiment) -> str:
    """Return the weight of a positive's box loss; empty if unweighted."""
    usage = USAGES[experiment.quality]
    measure = QUALITY_NAMES.get(usage.label or "", "")
    return {"one": "", "label": measure, "score": "predicted score"}[usage.box_weight]


def box_channels(experiment: Experiment) -> str:
    """Return the regression branch's channels at a location, counted by the representation."""
    dirac = DIRACS[dense(experiment.host).dirac]
    one, two = (representation(experiment.boxes, dirac, n, 1.0).channels for n in (1, 2))
    each = two - one  # per bin
    if not each:
        return str(one)
    if one != 2 * each:
        raise ValueError(f"{experiment.boxes}: {one} channels of 2 bins, {two} of 3")
    return f"{each}(n+1)"


def facts(experiments: Sequence[tuple[str, Experiment]]) -> list[dict[str, str]]:
    """Return the rows of a diagram's table: one per output of each experiment."""
    return [
        {
            "row": name,
            "quality": experiment.quality,
            "boxes": experiment.boxes,
            "output": output.name,
            "channels": output.channels,
            "loss": output.loss,
            "label": output.label,
            "trained_at": output.over,
            "box_loss_weight": box_weight(experiment) or "1",
            "score": score(experiment),
        }
        for name, experiment in experiments
        for output in outputs(experiment)
    ]


class Sketch:
    """Empty page to draw on, with the origin at its lower left, one unit per inch."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def text(self, at: Point, text: str, **settings: Any) -> None:
        """Write text, centred by default."""
        plain = {"ha": "center", "va": "center", "fontsize": style.SMALL, "linespacing": 1.15}
        self.axes.text(*at, text, **(plain | settings))

    def block(
        self,
        at: Point,
        size: Point,
        text: str = "",
        fill: str = "white",
        edge: str = style.INK,
        is_label: bool = False,
        **settings: Any,
    ) -> None:
        """Draw a box around its centre ``at``; a label's is dashed."""
        (x, y), (w, h) = at, size
        patch = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.04",
            fc=fill, ec=edge, lw=0.9, ls=(0, (2.5, 1.5)) if is_label else "-", zorder=2,
        )  # fmt: skip
        self.axes.add_patch(patch)
        if text:
            self.text(at, text, zorder=3, **settings)

    def panel(self, at: Point, size: Point) -> None:
        """Draw a pale background for a group; ``at`` is its lower left."""
        self.axes.add_patch(Rectangle(at, *size, fc=style.PANEL, ec="none", zorder=0))

    def arrow(self, start: Point, end: Point, colour: str = style.INK, tip: str = "-|>") -> None:
        """Draw a straight arrow."""
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle=tip, mutation_scale=5.5, shrinkA=0, shrinkB=0,
                color=colour, lw=0.9, ls="-", zorder=1.5, capstyle="butt", joinstyle="miter",
            )
        )  # fmt: skip

    def path(self, *points: Point, colour: str = style.INK, tip: bool = True) -> None:
        """Draw an arrow around corners."""
        *before, last = points
        self.axes.plot(*zip(*before, strict=True), color=colour, lw=0.9, zorder=1.5,
                       solid_capstyle="projecting")  # fmt: skip
        self.arrow(before[-1], last, colour, "-|>" if tip else "-")

    def dot(self, at: Point, colour: str = style.INK) -> None:
        """Draw a dot where a line branches off."""
        self.axes.plot(*at, marker="o", ms=2.6, color=colour, zorder=2)

    def bars(self, at: Point, size: Point, heights: Sequence[float], colour: str) -> None:
        """Draw a small histogram: ``at`` is the lower left, a height of 1 the whole ``size``."""
        (x, y), (w, h) = at, size
        step = w / len(heights)
        for i, height in enumerate(heights):
            bar = Rectangle((x + i * step, y), 0.8 * step, h * height, fc=colour, ec="none")
            self.axes.add_patch(bar)
        self.axes.plot([x - 0.02, x + w], [y, y], color=style.INK, lw=0.7)
