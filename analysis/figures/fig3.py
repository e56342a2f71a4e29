"""Figure 3: learned distributions of the sides, over those the labels were drawn from.

Where the latter are unknown, as for photographs, only the label and the prediction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures.best_positives import RULE, Best, best, best_labelled
from analysis.measures.densities import entropy, two_peaks
from experiments.named import GFL
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.shapes.side_labels import SIDES

if TYPE_CHECKING:
    from analysis.library import Library

LEAST_SCORE, LEAST_SIDE = 0.5, 4.0  # of eligible objects; the side in strides
EACH = 2  # objects per rule
LEARNED, KNOWN = style.LOOKS["general-dfl"].colour, style.INK
OUTLINE = [withStroke(linewidth=2.0, foreground=style.INK)]


def picked(found: Best) -> list[tuple[str, int]]:
    """Return the rules' names and the objects they pick, by index; no image twice.

    Among objects found with a score of at least 0.5 whose box is at least 4 strides wide and high:
    sharpest has the lowest entropy of P(x), averaged over the sides; flattest the highest of one
    side; most two-peaked the deepest valley between two peaks or, if no P(x) has two peaks and
    the sides' distributions are known, the two nearest answers furthest apart in strides.
    """
    assert found.p is not None
    size = np.minimum(found.frame.x2 - found.frame.x1, found.frame.y2 - found.frame.y1).to_numpy()
    able = (found.frame.score.to_numpy() >= LEAST_SCORE) & (size >= LEAST_SIDE * found.stride)
    bits = entropy(found.p)
    depth = np.array([[two_peaks(p) for p in sides] for sides in found.p]).max(1)
    scores = {"sharpest": -bits.mean(1), "flattest": bits.max(1), "two-peaked": depth}
    if not (depth[able] > 0).any():
        del scores["two-peaked"]
        if found.has_truth:
            scores["widest true gap"] = np.nan_to_num(found.gap_px).max(1) / found.stride
    chosen: list[tuple[str, int]] = []
    images: set[int] = set()
    for name, score in scores.items():
        ranked = [i for i in np.argsort(-score, kind="stable") if able[i]]
        some: list[tuple[str, int]] = []
        for i in ranked:
            image = int(found.frame.image_id.iloc[i])
            if image not in images and len(some) < EACH:
                images.add(image)
                some.append((name, int(i)))
        chosen += some
    return chosen


@figure(
    "3",
    "Objects with their label (white) and GFL's prediction (green). Above and beside each, P(x) of "
    "the four sides where the sides are, and over it the known distribution that the label was "
    "drawn from. Picked by rule.",
    elsewhere="Objects with their label (white) and GFL's prediction (green). Above and beside "
    "each, P(x) of the four sides where the sides are. Picked by rule.",
    on_images=True,
)
def fig3(library: Library, profile: Profile) -> DrawnFigure:
    find = best if profile.dataset is not None else best_labelled
    found = find(library, GFL, profile)
    chosen = picked(found)
    if not chosen:
        raise UserError(f"figure 3: no object is found with a score of {LEAST_SCORE} or more")
    runs = (library.id(GFL, profile),)
    images = [int(found.frame.image_id.iloc[i]) for _, i in chosen]
    return DrawnFigure.on_images(
        library,
        profile,
        lambda: _drawn(found, chosen, [library.image(profile, id) for id in images], runs),
        lambda: _drawn(found, chosen, [None] * len(chosen), runs),
        pd.concat([numbers(found, i, rule) for rule, i in chosen], ignore_index=True),
        runs,
    )


def _drawn(
    found: Best,
    chosen: Sequence[tuple[str, int]],
    images: Sequence[np.ndarray | None],
    runs: tuple[str, ...],
) -> Figure:
    columns = -(-len(chosen) // EACH)
    page = style.canvas(max(columns, 2) * style.PAGE / 3, 5.2)  # the objects' windows are square
    grid = page.add_gridspec(EACH, columns)
    for k, ((rule, i), image) in enumerate(zip(chosen, images, strict=True)):
        _object(page, grid[k % EACH, k // EACH], found, i, image, rule)
    page.legend(handles=_legend(found.has_truth), loc="outside upper left", ncols=4)
    gap = (
        "; widest true gap, where no P(x) has two peaks: two right answers furthest apart in "
        "strides"
    )
    known = "; known: stems are probabilities, curves probability per stride"
    style.footer(
        page, runs,
        f"{RULE}; of objects with score >= {LEAST_SCORE} and sides of at least {LEAST_SIDE:g} "
        "strides. Sharpest: lowest entropy of P(x), mean over the sides; flattest: highest of one "
        f"side; two-peaked: deepest valley between two peaks{gap if found.has_truth else ''}. "
        f"Bars: a stride wide, their sum 1{known if found.has_truth else ''}",
    )  # fmt: skip
    return page


def numbers(found: Best, i: int, rule: str) -> pd.DataFrame:
    """Return P(x) of an object's four sides, a bin per row, with the bin's place in the image."""
    assert found.p is not None
    assert found.delta is not None
    row = found.frame.iloc[i]
    rows = []
    for k, side in enumerate(SIDES):
        places = _places(found, i, k)
        for bin_, (at, p) in enumerate(zip(places, found.p[i, k], strict=True)):
            one = {"rule": rule, "image_id": row.image_id, "gt_id": row.gt_id, "side": side}
            one |= {"kind": row[f"kind_{side}"]} if found.has_truth else {}
            one |= {"stride_px": found.stride[i], "score": row.score, "iou": row.iou}
            one |= {"label_px": row[("x1", "y1", "x2", "y2")[k]]}
            one |= {"known": row[f"distribution_{side}"]} if found.has_truth else {}
            one |= {"distance_strides": bin_ * found.delta, "at_px": at, "probability": p}
            rows.append(one)
    return pd.DataFrame(rows)


def _places(found: Best, i: int, side: int) -> np.ndarray:
    """Return the positions of a side's bins, px of the image."""
    assert found.p is not None
    assert found.delta is not None
    origin = found.frame[("x", "y")[side % 2]].iloc[i]
    toward = -1 if side < 2 else 1
    return origin + toward * np.arange(found.p.shape[-1]) * found.delta * found.stride[i]


def _object(
    page: Figure, where: SubplotSpec, found: Best, i: int, image: np.ndarray | None, rule: str
) -> None:
    """Draw the image around an object: horizontal sides' P(x) above, the others' beside."""
    row, stride = found.frame.iloc[i], found.stride[i]
    inner = where.subgridspec(2, 2, width_ratios=(3, 1), height_ratios=(1, 3), wspace=0, hspace=0)
    main = page.add_subplot(inner[1, 0])
    above = page.add_subplot(inner[0, 0], sharex=main)
    beside = page.add_subplot(inner[1, 1], sharey=main)
    style.show(main, image)
    label = [row[name] for name in ("x1", "y1", "x2", "y2")]
    predicted = [
        row[("x", "y")[k % 2]] + (-1 if k < 2 else 1) * stride * row[f"mean_{side}"]
        for k, side in enumerate(SIDES)
    ]
    for box, colour in ((label, style.TRUTH), (predicted, style.PREDICTION)):
        main.add_patch(
            Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False, ec=colour,
                      lw=1.1, path_effects=OUTLINE)
        )  # fmt: skip
    # A photograph has an edge: what P(x) has beyond it is shown too.
    _about(main, label, predicted, stride, image if found.has_truth else None)
    for k, side in enumerate(SIDES):
        axes, upright = (above, True) if k % 2 == 0 else (beside, False)
        assert found.p is not None
        _distribution(axes, _places(found, i, k), found.p[i, k], stride, upright)
        if found.has_truth:
            _known(axes, json.loads(row[f"distribution_{side}"]), stride, upright)
    main.set(xticks=[], yticks=[])
    text = f"score {row.score:.2f}, IoU {row.iou:.2f}"
    if found.has_truth:
        kinds = [f"{row[f'kind_{s}']} {s}" for s in SIDES if row[f"kind_{s}"] != "sharp"]
        text = ", ".join(kinds) or "four sharp sides"
    main.set_xlabel(text, fontsize=style.SMALL)
    above.set(ylim=(0, 1.05), yticks=[0, 1])
    beside.set(xlim=(0, 1.05), xticks=[0, 1])
    for axes in (above, beside, main):
        axes.tick_params(labelleft=axes is above, labelbottom=axes is beside, length=2)
    above.set_title(f"{rule}, stride {stride:g} px", fontsize=style.TEXT, fontweight="normal")


def _about(
    axes: Axes,
    label: list[float],
    predicted: list[float],
    stride: float,
    image: np.ndarray | None,
) -> None:
    """Limit the axes to a square around both boxes, with a margin of three strides."""
    low = [min(label[k], predicted[k]) - 3 * stride for k in (0, 1)]
    high = [max(label[k], predicted[k]) + 3 * stride for k in (2, 3)]
    x, y = ((low[k] + high[k]) / 2 for k in (0, 1))
    style.square(axes, x, y, max(high[0] - low[0], high[1] - low[1]) / 2, image)


def _distribution(
    axes: Axes, places: np.ndarray, p: np.ndarray, stride: float, upright: bool
) -> None:
    visible = p >= 0.004
    bars: Any = axes.bar if upright else axes.barh
    bars(places[visible], p[visible], 0.92 * stride, color=LEARNED, alpha=0.75, lw=0)


def _known(axes: Axes, known: dict[str, Any], stride: float, upright: bool) -> None:
    """Plot stems for a point or two modes, a curve per stride for a fade."""
    stroke = [withStroke(linewidth=2.2, foreground="white")]
    if known["type"] == "gaussian":
        z = np.linspace(-4, 4, 81)
        at = known["mean"] + known["sigma"] * z
        density = stride * np.exp(-(z**2) / 2) / (known["sigma"] * np.sqrt(2 * np.pi))
        pair = (at, density) if upright else (density, at)
        axes.plot(*pair, color=KNOWN, lw=1, path_effects=stroke)
        return
    ats, ps = ([known["at"]], [1.0]) if known["type"] == "point" else (known["at"], known["p"])
    for at, p in zip(ats, ps, strict=True):
        line, tip = ([at, at], [0, p]), ([at], [p])
        if not upright:
            line, tip = line[::-1], tip[::-1]
        axes.plot(*line, color=KNOWN, lw=1, path_effects=stroke)
        axes.plot(*tip, "o", color=KNOWN, ms=2.2)


def _legend(with_truth: bool) -> list[Any]:
    known = Line2D([], [], color=KNOWN, lw=1, marker="o", ms=2.2, label="known distribution")
    return [
        Line2D([], [], color=style.TRUTH, lw=1.4, path_effects=OUTLINE, label="ground truth"),
        Line2D([], [], color=style.PREDICTION, lw=1.4, path_effects=OUTLINE, label="prediction"),
        Patch(color=LEARNED, alpha=0.75, lw=0, label="learned P(x)"),
        *([known] if with_truth else []),
    ]
