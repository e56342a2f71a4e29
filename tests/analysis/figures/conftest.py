"""A library of a few made-up locations, and what makes a figure readable."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import style
from analysis.library import MissingRuns
from experiments import profiles
from gfl.experiment import Experiment, Profile
from gfl.shapes import embedded

SIDES = ("left", "top", "right", "bottom")


def an_object(
    image: int, gt: int, centerness: list[float], iou: list[float], level: int = 0
) -> pd.DataFrame:
    """The positives of an object, in a row 4 px apart."""
    n = len(iou)
    columns: dict[str, Any] = {
        "image_id": image, "gt_id": gt, "level": level, "stride": 4 * 2**level,
        "x": 20 + 4.0 * np.arange(n), "y": 24.0, "positive": True,
        "score": np.linspace(0.2, 0.8, n), "class_score": 0.5, "centerness": centerness, "iou": iou,
    }  # fmt: skip
    columns |= {f"{w}_{side}": 2.0 for w in ("target", "mean") for side in SIDES}
    return pd.DataFrame(columns)


class Few(SimpleNamespace):
    """A library of few things, which lacks all others as one without runs does."""

    def __getattr__(self, name: str) -> Any:
        raise MissingRuns([], f"the made-up library has no {name}")


@pytest.fixture
def library() -> Any:
    """Two objects whose positives have more IoU than centerness, one that has less."""
    background = an_object(1, -1, [np.nan] * 3, [0.9] * 3).assign(positive=False)
    frame = pd.concat(
        [
            an_object(1, 1, [0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.8, 0.9]),
            background,
            an_object(2, 2, [0.9, 0.9, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5]),
            an_object(3, 3, [0.5, 0.5, 0.5, 0.5], [0.7, 0.7, 0.7, 0.7]),
        ]
    )

    def ground_truth(profile: Profile) -> pd.DataFrame:
        return pd.DataFrame({"image_id": [1], "x1": [16], "y1": [16], "x2": [48], "y2": [48]})

    def image(profile: Profile, image_id: int) -> np.ndarray:
        assert profile.dataset is not None
        return embedded.render(profile.dataset, "val", image_id - 1)[0]

    def locations(experiment: Experiment, profile: Profile, seed: int = 0) -> Any:
        return Few(frame=frame)

    return Few(
        id=lambda experiment, profile, seed=0: f"{experiment.slug}-s{seed}-00000000",
        ground_truth=ground_truth,
        has_images=lambda profile: True,
        image=image,
        locations=locations,
    )


@pytest.fixture
def smoke() -> Profile:
    return profiles.get("smoke")


def texts(figure: Figure) -> list[Text]:
    """Everything written in a figure, as it is drawn: no tick beyond an axis's end, no axis off."""
    drawn: dict[int, Text] = {}
    plain = Text.draw

    def draw(text: Text, *args: Any, **kwargs: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn[id(text)] = text
        plain(text, *args, **kwargs)

    with style.applied(), patch.object(Text, "draw", draw):
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.draw_without_rendering()  # the layout's second pass
    return list(drawn.values())


def defects(figure: Figure) -> list[str]:
    """What a reader would complain of: text over text, text cut off, text too small to read."""
    shown, page = [(text, text.get_window_extent()) for text in texts(figure)], figure.bbox
    found = []
    for text, box in shown:
        if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1:
            found.append(f"cut off: {text.get_text()!r}")
        if text.get_fontsize() < style.SMALL and text not in figure.texts:
            found.append(f"small: {text.get_text()!r}")
    for (one, a), (other, b) in combinations(shown, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append(f"{one.get_text()!r} lies over {other.get_text()!r}")
    return found


@pytest.fixture
def defects_of():
    return defects


@pytest.fixture
def words_of():
    return lambda figure: [t.get_text() for t in texts(figure)]
