"""Figure 4: a conventional dense head beside GFL's: predictions and training."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures import style
from analysis.figures.diagram import Output, Point, Sketch, box_weight, facts, outputs
from analysis.figures.figure import DrawnFigure, figure
from experiments.named import GFL, PLAIN
from gfl.experiment import Experiment, Profile

if TYPE_CHECKING:
    from analysis.library import Library

ROWS = (("conventional", PLAIN), ("GFL", GFL))
HALF, HEIGHT = style.PAGE / 2, 2.55
FEATURES, TOWER, PREDICTED, LABEL = 0.17, 0.68, 1.5, 2.66  # the columns, inches
CLASS, QUALITY, BOX = 1.99, 1.34, 0.66
SIZE, TOWER_SIZE = (0.77, 0.34), (0.56, 0.34)
FLAT = (0.1, 0.25, 0.6, 1.0, 0.7, 0.3, 0.35, 0.15)  # some General distribution


@figure(
    "4",
    "The conventional head (Table 3's first row) and GFL's (its last): class and quality become "
    "one vector trained by QFL, and a side of the box a distribution over n + 1 bins, trained by "
    "DFL beside GIoU.",
)
def fig4(library: Library, profile: Profile) -> DrawnFigure:
    sketch = Sketch(style.PAGE, HEIGHT)
    for i, (name, experiment) in enumerate(ROWS):
        corner = (i * HALF, 0.0)
        sketch.panel((corner[0] + 0.03, 0.03), (HALF - 0.06, HEIGHT - 0.06))
        place = (corner[0] + 0.1, HEIGHT - 0.15)
        title = f"({'ab'[i]}) {name}"
        sketch.text(place, title, ha="left", weight="bold", fontsize=style.TEXT)
        _half(sketch, corner[0], experiment, profile)
    return DrawnFigure(sketch.figure, pd.DataFrame(facts(ROWS)))


def _half(sketch: Sketch, left: float, experiment: Experiment, profile: Profile) -> None:
    found = outputs(experiment)
    heights = {"class": CLASS, "quality": QUALITY, "box": BOX}
    sketch.block((left + FEATURES, (CLASS + BOX) / 2), (0.17, CLASS - BOX + 0.34), "features (FPN)",
                 rotation=90)  # fmt: skip
    tower = f"{profile.model.stacked_convs} × conv\n{profile.model.channels}"
    for y in (CLASS, BOX):
        sketch.block((left + TOWER, y), TOWER_SIZE, tower)
        sketch.arrow((left + FEATURES + 0.085, y), (left + TOWER - TOWER_SIZE[0] / 2, y))
    for i, output in enumerate(found):
        kind = "box" if output.name == "box" else ("class", "quality")[i]
        y, colour = heights[kind], _colour(kind, experiment)
        start, end = left + TOWER + TOWER_SIZE[0] / 2, left + PREDICTED - SIZE[0] / 2
        if kind == "quality":  # a convolution on the regression tower
            middle = (start + end) / 2
            sketch.path((middle, BOX), (middle, y), (end, y))
        else:
            sketch.arrow((start, y), (end, y))
        fill = "white" if colour == style.INK else f"{colour}44"
        sketch.block((left + PREDICTED, y), SIZE, f"{output.name}\n{output.shape}", fill, colour)
        _training(sketch, (left, y), output, kind, experiment)


def _training(sketch: Sketch, at: Point, output: Output, kind: str, experiment: Experiment) -> None:
    """Draw an output's loss, its locations, and its target."""
    (left, y), colour = at, _colour(kind, experiment)
    right, end = left + PREDICTED + SIZE[0] / 2, left + LABEL - 0.06
    sketch.arrow((right, y), (end, y), tip="-")
    middle = (right + end) / 2
    loss = output.loss.replace(" + ", "\n+ ")
    sketch.text((middle, y + 0.05), loss, va="bottom", weight="bold")
    counted = [output.over]
    if kind == "box" and box_weight(experiment):
        counted.append(f"× {box_weight(experiment)}")
    text = "\n".join(textwrap.fill(part, 12) for part in counted)
    sketch.text((middle, y - 0.05), text, va="top")
    place, size = (left + LABEL, y - 0.02), (0.56, 0.26)
    if kind == "box" and experiment.boxes == "general":
        sketch.bars(place, size, FLAT, colour)
        text = f"{style.LOOKS['general'].label},\nn = {experiment.n}"
    elif kind == "box":
        sketch.bars(place, size, (0, 0, 0, 1, 0, 0, 0, 0), colour)
        text = style.LOOKS[experiment.boxes].label
    elif kind == "quality":
        sketch.bars((place[0] + 0.2, place[1]), (0.16, 0.26), (0.64,), colour)
        text = output.label
    else:
        heights = (0, 0, 1, 0, 0) if output.name == "class" else (0, 0, 0.75, 0, 0)
        sketch.bars(place, size, heights, colour)
        text = textwrap.fill(output.label, 13)
    sketch.text((left + LABEL + 0.28, y - 0.08), text, va="top")


def _colour(kind: str, experiment: Experiment) -> str:
    """Return the method's colour, for what differs between the two heads."""
    if (kind, experiment.boxes) == ("box", "dirac"):
        return style.INK
    if kind == "class" and experiment.quality != "joint":
        return style.INK
    if kind != "box":
        return style.LOOKS[experiment.quality].colour
    return style.LOOKS["general-dfl" if experiment.dfl else experiment.boxes].colour
