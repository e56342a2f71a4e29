"""A run seen from near: every part of its loss is drawn, the surest sides come first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recorded import record

from analysis.notebook import training
from gfl.data.images import Picture
from gfl.pictures.detecting import Detection, Distributions
from gfl.pictures.drawing import Style
from gfl.pictures.panels import panel

BINS = np.arange(9.0)


def found(p: np.ndarray | None) -> Detection:
    sides = None if p is None else Distributions((20.0, 20.0), (4.0, 4.0), bins=BINS, p=p)
    return Detection("nut", 0, 0.5, (8.0, 8.0, 32.0, 32.0), sides)


SURE = np.eye(9)[[3, 3, 3, 3]]
FLAT = np.full((4, 9), 1 / 9)
HALF = np.concatenate([SURE[:3], FLAT[:1]])  # one side that is not known at all
PICTURE = Picture(Path("a.png"), np.zeros((48, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("p", "nats"), [(SURE, 0.0), (FLAT, np.log(9)), (HALF, np.log(9)), (None, 0.0)]
)
def test_doubt_is_the_entropy_of_the_least_sure_side(p, nats):
    assert training.doubt(found(p)) == pytest.approx(nats)


def test_the_surest_come_first_and_of_a_picture_only_the_best():
    sure, flat, none = found(SURE), found(FLAT), found(None)
    drawn = training.sure_and_doubtful([PICTURE] * 3, [[flat, sure], [], [sure, flat]], count=2)
    style = Style.of(PICTURE.width, PICTURE.height)
    expected = [panel(PICTURE, sure, 1, 1.0, style), panel(PICTURE, flat, 2, 1 / 9, style)]
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in expected]
    assert len(training.sure_and_doubtful([PICTURE] * 5, [[sure]] * 5, count=2)) == 4
    assert training.sure_and_doubtful([PICTURE], [[none]], count=2) == []


def test_pictures_lie_in_rows_on_one_sheet():
    tall, wide = Image.new("RGB", (10, 30)), Image.new("RGB", (30, 10))
    canvas = training.beside([tall, wide, wide], columns=2, width=212)
    assert canvas.size == (212, 300 + training.GAP + 33)
    assert canvas.getpixel((211, 299)) == (255, 255, 255)
    assert canvas.getpixel((50, 299)) == (0, 0, 0)
    assert training.beside([], width=300).width == 300
    # PIL's own way to a notebook would store it twice, as JPEG too.
    assert training.grid([tall]).format == "png"


@pytest.mark.parametrize("quality", ["joint", "centerness-branch"])
def test_every_part_of_the_loss_is_drawn_by_name(quality):
    parts = {"loss_cls": 0.2, "loss_bbox": 0.6, "loss_dfl": 0.2}
    made = record(
        experiment={"quality": quality},
        curve=[{"iter": i, "epoch": 1, "lr": 0.1, "loss": 1.0, **parts} for i in range(1, 40)],
        evals=[{"epoch": e, "AP": 10.0 * e, "AP50": 20.0 * e, "AP75": None} for e in (1, 2)],
    )
    left, right = training.losses(made).axes
    names = [line.get_label() for line in left.lines]
    cls = "classification (QFL)" if quality == "joint" else "classification"
    assert names == ["sum", cls, "boxes (GIoU)", "distributions (DFL)"]
    assert [line.get_ydata().tolist() for line in right.lines] == [[20.0, 40.0], [10.0, 20.0]]
