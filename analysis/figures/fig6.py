"""Figure 6: the ways of using localization quality that Table 1a compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures import style
from analysis.figures.diagram import (
    QUALITY_NAMES,
    Point,
    Sketch,
    box_weight,
    facts,
    outputs,
    score,
)
from analysis.figures.figure import DrawnFigure, figure
from experiments.tables.table1 import TABLE_1A
from gfl.experiment import Experiment, Profile
from gfl.quality import USAGES

if TYPE_CHECKING:
    from analysis.library import Library

ROWS = [(row.name, row.factors) for row in TABLE_1A.rows if row.factors]
COLUMNS, WIDTH, HEIGHT = 3, style.PAGE / 3, 1.76
FEATURES, PREDICTED, TRAINED = 0.16, 0.76, 1.73  # positions of a panel's three columns, inches
CLASS, QUALITY, BOX = 1.29, 0.87, 0.45  # and of its three rows
SIZE, LABEL = (0.62, 0.31), (0.66, 0.2)


@figure(
    "6",
    "The ways of using localization quality of Table 1a. Solid: predictions at every location "
    "(H×W×channels); dashed: labels. Branches, labels, weights and scores are read from the "
    "factors by which the head is built.",
)
def fig6(library: Library, profile: Profile) -> DrawnFigure:
    lines = -(-len(ROWS) // COLUMNS)
    sketch = Sketch(style.PAGE, lines * HEIGHT)
    for i, (name, experiment) in enumerate(ROWS):
        corner = (i % COLUMNS * WIDTH, (lines - 1 - i // COLUMNS) * HEIGHT)
        _panel(sketch, corner, f"({'abcdefgh'[i]}) {name}", experiment)
    return DrawnFigure(sketch.figure, pd.DataFrame(facts(ROWS)))


def _panel(sketch: Sketch, corner: Point, title: str, experiment: Experiment) -> None:
    usage, look = USAGES[experiment.quality], style.LOOKS[experiment.quality]
    predicted = {output.name: output for output in outputs(experiment)}
    box = predicted.pop("box")
    main, *branch = predicted.values()

    def at(x: float, y: float) -> Point:
        return corner[0] + x, corner[1] + y

    sketch.panel(at(0.03, 0.03), (WIDTH - 0.06, HEIGHT - 0.06))
    sketch.text(at(0.09, HEIGHT - 0.13), title, ha="left", weight="bold", fontsize=style.TEXT)
    sketch.block(at(FEATURES, QUALITY), (0.17, 1.17), "features", rotation=90)
    rows = [(CLASS, main), (BOX, box), *((QUALITY, output) for output in branch)]
    for y, output in rows:
        is_used = output in branch or (output is main and usage.use == "joint")
        fill = f"{look.colour}44" if is_used else "white"
        text = f"{output.name}\n{output.shape}"
        sketch.block(at(PREDICTED, y), SIZE, text, fill, look.colour if is_used else style.INK)
        if y != QUALITY:
            sketch.arrow(at(FEATURES + 0.085, y), at(PREDICTED - SIZE[0] / 2, y))
    for _ in branch:  # a convolution on the regression tower
        middle = (FEATURES + 0.085 + PREDICTED - SIZE[0] / 2) / 2
        end = at(PREDICTED - SIZE[0] / 2, QUALITY)
        sketch.path(at(middle, BOX), at(middle, QUALITY), end)
    _losses(sketch, corner, experiment)
    sketch.text(at(WIDTH / 2, 0.11), f"score = {score(experiment)}", weight="bold")


def _losses(sketch: Sketch, corner: Point, experiment: Experiment) -> None:
    """Draw the column of losses, with the quality label between them and its destination."""
    usage, look = USAGES[experiment.quality], style.LOOKS[experiment.quality]

    def at(x: float, y: float) -> Point:
        return corner[0] + x, corner[1] + y

    right = PREDICTED + SIZE[0] / 2
    is_joint = usage.use == "joint"
    for y, loss in ((CLASS, "QFL" if is_joint else "FL"), (BOX, "GIoU")):
        sketch.arrow(at(TRAINED - 0.19, y), at(right, y), tip="-")
        sketch.text(at(TRAINED, y), loss)
    if weight := box_weight(experiment):
        if usage.box_weight == "label":
            sketch.arrow(at(TRAINED, QUALITY - LABEL[1] / 2), at(TRAINED, BOX + 0.08), look.colour)
            sketch.text(at(TRAINED + 0.04, (QUALITY + BOX) / 2), "weight", ha="left")
        else:
            sketch.text(at(TRAINED, BOX - 0.13), f"× {weight}")
    if usage.label is None:
        return
    sketch.block(
        at(TRAINED, QUALITY), LABEL, QUALITY_NAMES[usage.label], edge=look.colour, is_label=True
    )
    if usage.label == "iou":  # of the predicted box
        tap = TRAINED - 0.25
        sketch.dot(at(tap, BOX), look.colour)
        sketch.arrow(at(tap, BOX), at(tap, QUALITY - LABEL[1] / 2), look.colour)
    if usage.use == "branch":
        sketch.arrow(at(TRAINED - LABEL[0] / 2, QUALITY), at(right, QUALITY), tip="-")
        sketch.text(at((right + TRAINED - LABEL[0] / 2) / 2, QUALITY + 0.08), "BCE")
    else:
        sketch.arrow(at(TRAINED, QUALITY + LABEL[1] / 2), at(TRAINED, CLASS - 0.08), look.colour)
        what = "label" if is_joint else "weight"
        sketch.text(at(TRAINED + 0.04, (QUALITY + CLASS) / 2), what, ha="left")
