"""Figure 8: centerness and IoU of the same positives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures.best_positives import CORNERS, corners
from experiments.named import GFL
from gfl.errors import UserError
from gfl.experiment import Profile

if TYPE_CHECKING:
    from analysis.library import Library

SHOWN, LEAST = 2, 4  # objects, and required positives of a level
OBJECT = ["image_id", "gt_id", "level"]
# Strokes of the two boxes, overlaid: where they coincide, both are visible, in grey too.
TRUTH = (
    {"color": style.INK, "lw": 2.8, "ls": "-"},
    {"color": style.TRUTH, "lw": 1.5, "ls": "-"},
)
PREDICTED = ({"color": "#00662E", "lw": 1.5, "ls": (0, (3, 2))},)
RULE = (
    f"Picked by rule: of all objects with {LEAST} or more positives in a level, those of different "
    "images whose positives' mean IoU exceeds their mean centerness most."
)


def chosen(positives: pd.DataFrame) -> pd.DataFrame:
    """Return the positives of the objects with the greatest mean ``gap``, the greatest first.

    Ties go to the first image, object and level.
    """
    gaps = positives.assign(gap=positives.iou - positives.centerness).groupby(OBJECT)
    objects = gaps.agg(gap=("gap", "mean"), count=("gap", "size")).reset_index()
    objects = objects.query("count >= @LEAST")
    order = ["gap", *OBJECT]
    objects = objects.sort_values(order, ascending=[False, True, True, True], kind="stable")
    best = objects.drop_duplicates("image_id").head(SHOWN).drop(columns="count")
    return best.merge(positives, on=OBJECT)


@figure(
    "8",
    "Objects whose positives have a far lower centerness than IoU. Left: the ground truth, the box "
    "of the best-scoring positive, and the positives of one level; right: the two labels of each, "
    "in the same arrangement. " + RULE,
    on_images=True,
)
def fig8(library: Library, profile: Profile) -> DrawnFigure:
    frame = library.locations(GFL, profile).frame
    points = _with_boxes(chosen(frame.query("positive")))
    if points.empty:
        raise UserError(f"figure 8: no object has {LEAST} positives in a level at {profile.name}")
    runs = (library.id(GFL, profile),)
    return DrawnFigure.on_images(
        library,
        profile,
        lambda: _drawn(library, profile, points, True),
        lambda: _drawn(library, profile, points, False),
        _numbers(points),
        runs,
    )


def _drawn(library: Library, profile: Profile, points: pd.DataFrame, with_images: bool) -> Figure:
    page = style.canvas(style.PAGE, 2.25)
    panels = page.subplots(1, 2 * SHOWN, width_ratios=(1, 0.92) * SHOWN)
    for axes in panels:
        axes.set_axis_off()
    for i, (_, positives) in enumerate(points.groupby(OBJECT, sort=False)):
        one = positives.iloc[0]
        image = library.image(profile, int(one.image_id)) if with_images else None
        _picture(panels[2 * i], image, positives)
        _labels(panels[2 * i + 1], positives)
        stride = f"({'ab'[i]}) image {one.image_id}, stride {one.stride} px"
        panels[2 * i].set_title(stride, fontsize=style.TEXT)
    _legend(page)
    style.footer(page, (library.id(GFL, profile),), RULE)
    return page


def _with_boxes(points: pd.DataFrame) -> pd.DataFrame:
    """Add the corners of each point's ground truth and predicted box, px."""
    boxes = (
        corners(points, what).add_prefix(f"{name}_")
        for name, what in (("truth", "target"), ("predicted", "mean"))
    )
    return points.join(list(boxes))


def _picture(axes: Axes, image: np.ndarray | None, points: pd.DataFrame) -> None:
    """Draw the image around the object, its two boxes, the level's locations, and the positives.

    Without the image, whose size is then unknown, only the locations within the object.
    """
    style.show(axes, image)
    axes.set_aspect("equal")
    best = points.loc[points.score.idxmax()]
    boxes = [[best[f"{name}_{c}"] for c in CORNERS] for name in ("truth", "predicted")]
    for (x1, y1, x2, y2), strokes in zip(boxes, (TRUTH, PREDICTED), strict=True):
        for stroke in strokes:
            place = (x1, y1), x2 - x1, y2 - y1
            edge = {"ec": stroke["color"], "lw": stroke["lw"], "ls": stroke["ls"]}
            axes.add_patch(Rectangle(*place, fill=False, **edge))
    stride, ground = int(best.stride), boxes[0]
    low, high = ground[:2], ground[2:]
    if image is not None:
        low, high = (0, 0), image.shape[1::-1]
    rows = [np.arange(best[a] % stride, end, stride) for a, end in zip("xy", high, strict=True)]
    x, y = np.meshgrid(*(r[r >= start] for r, start in zip(rows, low, strict=True)))
    axes.plot(x.ravel(), y.ravel(), "o", ms=1.9, mfc="white", mec="none")
    axes.plot(points.x, points.y, "o", ms=3.6, mfc="white", mec=style.INK, mew=0.9)
    left, top = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] for box in boxes) for i in (2, 3))
    half = 0.62 * max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half))


def _labels(axes: Axes, points: pd.DataFrame) -> None:
    """Write each positive's centerness and IoU, in a cell at its position among the others."""
    columns = ((points.x - points.x.min()) / points.stride).round().astype(int)
    rows = ((points.y - points.y.min()) / points.stride).round().astype(int)
    side = max(columns.max(), rows.max(), 2) + 1
    for column, row, centerness, iou in zip(
        columns, rows, points.centerness, points.iou, strict=True
    ):
        axes.add_patch(
            Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fc=style.PANEL, ec="none")
        )
        for y, look, value in ((0.3, style.CENTERNESS, centerness), (0.7, style.IOU, iou)):
            axes.plot(column + 0.2, row + y, look.marker, color=look.colour, ms=4.5)
            text = f"{value:.2f}".removeprefix("0")
            axes.text(column + 0.36, row + y, text, va="center", fontsize=style.SMALL)
    middle = (columns.max() + 1) / 2, (rows.max() + 1) / 2
    axes.set(xlim=(middle[0] - side / 2, middle[0] + side / 2), aspect="equal")
    axes.set_ylim(middle[1] + side / 2, middle[1] - side / 2)


def _legend(page: Figure) -> None:
    boxes: list[Any] = [
        tuple(Line2D([], [], **s) for s in strokes) for strokes in (TRUTH, PREDICTED)
    ]
    looks = (style.CENTERNESS, style.IOU)
    points = [Line2D([], [], ls="none", marker=look.marker, color=look.colour) for look in looks]
    labels = ["ground truth", "predicted box", *(look.label for look in looks)]
    page.legend(
        [*boxes, *points], labels, handler_map={tuple: HandlerTuple(ndivide=1)},
        loc="outside upper center", ncols=4, columnspacing=1.6,
    )  # fmt: skip


def _numbers(points: pd.DataFrame) -> pd.DataFrame:
    boxes = [f"{n}_{c}" for n in ("truth", "predicted") for c in CORNERS]
    kept = [*OBJECT, "gap", "stride", "x", "y", "centerness", "iou", "score", *boxes]
    in_px = {name: f"{name}_px" for name in ("stride", "x", "y", *boxes)}
    return points.reindex(columns=kept).rename(columns=in_px | {"gap": "mean_iou_minus_centerness"})
