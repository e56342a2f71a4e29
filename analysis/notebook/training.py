"""Close-up of a single run: loss and AP curves, and grids of its detections."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython import display
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from scipy.special import entr

from analysis.figures import style
from analysis.figures.style import CENTERNESS, IOU, LOOKS, MUTED, SMALL
from gfl.data.images import Picture
from gfl.pictures import drawing, panels
from gfl.pictures.detecting import Detection
from gfl.pictures.drawing import Style
from gfl.records.record import RunRecord

# Parts of Eq. 11's loss by their names in the head.
PARTS = {
    "loss_cls": ("classification (QFL)", IOU),
    "loss_bbox": ("boxes (GIoU)", CENTERNESS),
    "loss_dfl": ("distributions (DFL)", LOOKS["general-dfl"]),
    "loss_quality": ("quality", LOOKS["none"]),
}
POINTS = 12  # averaged points of a curve: a step's batch is small
GAP = 12  # px between pictures


def losses(record: RunRecord) -> Figure:
    """Return a run's loss by its parts, each as weighted in the sum, and AP at its evaluations."""
    curve = pd.DataFrame(record.curve).set_index("iter")
    smooth: Any = curve.rolling(POINTS, min_periods=1, center=True).mean()
    with style.applied():
        figure = style.canvas(style.PAGE, 2.2)
        left, right = figure.subplots(1, 2)
        left.plot(smooth.index, smooth["loss"], color=style.INK, label="sum")
        for name, (label, look) in PARTS.items():
            if name in smooth and smooth[name].notna().any():
                joint = record.experiment.get("quality") == "joint"
                label = label if joint or name != "loss_cls" else "classification"
                left.plot(smooth.index, smooth[name], **look.plot | {"label": label})
        left.set(title="Loss", xlabel="iteration", ylim=(0, None), xlim=(0, smooth.index.max()))
        left.legend()
        evals: Any = pd.DataFrame(record.evals)
        for name, look in (("AP50", CENTERNESS), ("AP", IOU)):
            values = evals[name].astype(float)
            right.plot(evals["epoch"], values, **look.plot | {"label": name}, marker=look.marker)
            right.annotate(
                f"{values.iloc[-1]:.1f}", (evals["epoch"].iloc[-1], values.iloc[-1]),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL, color=MUTED,
            )  # fmt: skip
        right.set(title="On the validation images", xlabel="epoch", ylim=(0, None))
        right.locator_params(axis="x", integer=True)
        right.set_xlim(0, evals["epoch"].max() * 1.1)
        right.legend(loc="upper left")
    return figure


def doubt(one: Detection) -> float:
    """Return the entropy, in nats, of P(x) at a detection's least certain side; 0 without P(x)."""
    if one.distributions is None or one.distributions.p is None:
        return 0.0
    return float(entr(one.distributions.p).sum(axis=1).max())


def sure_and_doubtful(
    pictures: Sequence[Picture], found: Sequence[Sequence[Detection]], count: int
) -> list[Image.Image]:
    """Return panels of P(x): the ``count`` most certain detections, then as many of the least.

    Only each picture's best detection is considered: others may be of the same object.
    """
    pairs = [
        (doubt(several[0]), i)
        for i, several in enumerate(found)
        if several and several[0].distributions is not None
    ]
    pairs.sort()
    chosen = pairs if len(pairs) <= 2 * count else [*pairs[:count], *pairs[-count:]]
    drawn = []
    for number, (_, i) in enumerate(chosen, start=1):
        picture, one = pictures[i], found[i][0]
        assert one.distributions is not None
        full = panels.peak(one.distributions)
        drawn.append(
            panels.panel(picture, one, number, full, Style.of(picture.width, picture.height))
        )
    return drawn


def grid(images: Sequence[Image.Image], columns: int = 3) -> display.Image:
    """Return a grid of pictures as notebook output, as one PNG."""
    content = io.BytesIO()
    beside(images, columns).save(content, format="PNG")
    return display.Image(content.getvalue())


def beside(images: Sequence[Image.Image], columns: int = 3, width: int = 900) -> Image.Image:
    """Return pictures on one white canvas, ``width`` px wide, in rows of ``columns``.

    Without any picture the canvas says so.
    """
    if not images:
        canvas = Image.new("RGB", (width, 3 * GAP), "white")
        ImageDraw.Draw(canvas).text((0, GAP), "Nothing was found.", "black", drawing.font(GAP))
        return canvas
    each = (width - GAP * (columns - 1)) // columns
    scaled = [
        image.resize((each, round(image.height * each / image.width)), Image.Resampling.LANCZOS)
        for image in images
    ]
    rows = [scaled[i : i + columns] for i in range(0, len(scaled), columns)]
    heights = [max(image.height for image in row) for row in rows]
    canvas = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row):
            canvas.paste(image, (column * (each + GAP), top))
        top += height + GAP
    return canvas
