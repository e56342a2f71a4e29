"""Figure 1: a separate quality branch against the joint representation, training and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures import style
from analysis.figures.diagram import Output, Point, Sketch, facts, outputs, score
from analysis.figures.figure import DrawnFigure, figure
from experiments.named import IOU_BRANCH, QFL
from gfl.experiment import Experiment, Profile

if TYPE_CHECKING:
    from analysis.library import Library

ROWS = (
    ("separate: IoU-branch", IOU_BRANCH),
    ("joint: classification-IoU", QFL),
)
HEIGHTS = (1.34, 1.04)  # of the rows, inches
SPLIT = 4.05  # border between training and test
SIZE = (0.68, 0.33)
ONE_HOT, SOFT = (0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.75, 0.0, 0.0)


@figure(
    "1",
    "Separate against joint use of localization quality. (a) Class and IoU are trained apart, IoU "
    "at positives only, and meet for the first time in the score of a detection. (b) One vector, "
    "trained at every location, is that score.",
)
def fig1(library: Library, profile: Profile) -> DrawnFigure:
    top = sum(HEIGHTS)
    sketch = Sketch(style.PAGE, top + 0.2)
    for x, title in ((SPLIT / 2, "training"), ((SPLIT + style.PAGE) / 2, "test")):
        sketch.text((x, top + 0.09), title, weight="bold", fontsize=style.TITLE)
    for mark, (name, experiment), height in zip("ab", ROWS, HEIGHTS, strict=True):
        top -= height
        sketch.panel((0.03, top + 0.03), (SPLIT - 0.06, height - 0.06))
        sketch.panel((SPLIT + 0.03, top + 0.03), (style.PAGE - SPLIT - 0.06, height - 0.06))
        place, title = (0.1, top + height - 0.14), f"({mark}) {name}"
        sketch.text(place, title, ha="left", weight="bold", fontsize=style.TEXT)
        _row(sketch, top, experiment)
    return DrawnFigure(sketch.figure, pd.DataFrame(facts(ROWS)))


def _row(sketch: Sketch, bottom: float, experiment: Experiment) -> None:
    scored = [output for output in outputs(experiment) if output.name != "box"]
    heights = [bottom + y for y in ((0.9, 0.44) if len(scored) == 2 else (0.52,))]
    colour = style.LOOKS[experiment.quality].colour
    middle = sum(heights) / len(heights)
    tall = heights[0] - heights[-1] + 0.36
    sketch.block((0.24, middle), (0.17, max(tall, 0.54)), "features", rotation=90)
    for y, output in zip(heights, scored, strict=True):
        is_plain = output.name == "class"
        edge, fill = (style.INK, "white") if is_plain else (colour, f"{colour}44")
        for x in (1.03, SPLIT + 0.5):
            sketch.block((x, y), SIZE, f"{output.name}\n{output.shape}", fill, edge)
        sketch.arrow((0.325, y), (1.03 - SIZE[0] / 2, y))
        sketch.arrow((1.03 + SIZE[0] / 2, y), (2.0, y), tip="-")
        sketch.text((1.68, y + 0.09), output.loss)
        _label(sketch, (2.05, y), output, edge)
    _score(sketch, [(SPLIT + 0.5 + SIZE[0] / 2, y) for y in heights], middle)
    sketch.text((SPLIT + 1.27, bottom + 0.13), f"score = {score(experiment)}", weight="bold")


def _label(sketch: Sketch, at: Point, output: Output, colour: str) -> None:
    """Draw an output's label: a vector over the classes, or one number."""
    x, y = at
    if output.channels == "C":
        heights = ONE_HOT if output.name == "class" else SOFT
        sketch.bars((x, y - 0.12), (0.42, 0.26), heights, colour)
    else:
        sketch.block((x + 0.19, y), (0.38, 0.2), output.label, edge=colour, is_label=True)
    text = f"{output.label},\n{output.over}" if output.channels == "C" else output.over
    sketch.text((x + 0.52, y), text, ha="left")


def _score(sketch: Sketch, sources: list[Point], y: float) -> None:
    """Draw the sources, multiplied if there are several, ranked by NMS."""
    times = SPLIT + 1.2
    if len(sources) > 1:
        for source in sources:
            sketch.path(source, (times, source[1]), (times, y + 0.1 * (1 if source[1] > y else -1)))
        sketch.block((times, y), (0.2, 0.2), "×")
        start = times + 0.1
    else:
        start = sources[0][0]
    sketch.arrow((start, y), (SPLIT + 1.82, y))
    sketch.text(((max(start, times) + SPLIT + 1.82) / 2, y + 0.09), "score")
    sketch.block((SPLIT + 2.06, y), (0.48, 0.3), "NMS")
