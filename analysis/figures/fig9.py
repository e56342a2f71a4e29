"""Figure 9: centerness and IoU as labels of localization quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.figures.style import Look
from analysis.measures import positives
from analysis.measures.labels import LOW
from experiments import profiles
from experiments.named import GFL
from gfl import escape
from gfl.experiment import Profile

if TYPE_CHECKING:
    from analysis.library import Library

BINS = np.linspace(0, 1, 51)
PAPERS = "the paper prints, over all of COCO, mean .64 and std .18 of centerness"


def histogram(label: str, values: np.ndarray) -> pd.DataFrame:
    """Return the share of labels in each bin, with their mean and standard deviation."""
    counts, _ = np.histogram(values, BINS)
    return pd.DataFrame(
        {
            "label": label,
            "from": BINS[:-1],
            "to": BINS[1:],
            "positives": counts,
            "share_percent": 100 * counts / len(values),
            "mean": values.mean(dtype=float),
            "std": values.std(dtype=float),
            "below_0.4_percent": 100 * (values < LOW).mean(),
        }
    )


@figure(
    "9",
    "The labels of localization quality over all positives of the GFL run: centerness, which "
    "depends on the location alone, and the IoU of the box predicted there.",
)
def fig9(library: Library, profile: Profile) -> DrawnFigure:
    frame = library.locations(GFL, profile).frame
    positive = frame[frame.positive]
    labels = [(style.CENTERNESS, positive.centerness), (style.IOU, positive.iou)]
    note = f"{len(positive):,} positives of {positive.image_id.nunique():,} validation images"
    if profile.dataset is None:
        note += f"; {PAPERS}, .84 and .14 of IoU"
    found = [(look, values.to_numpy(float)) for look, values in labels]
    return _labels(found, note, (library.id(GFL, profile),))


@fig9.on_annotations
def _fig9(files: Sequence[Path]) -> DrawnFigure:
    found = positives.of_annotations(files, profiles.COCO)
    note = (
        f"{', '.join(escape.matplotlib(path.name) for path in files)}: {found} under ATSS; no IoU "
        f"without a model. {PAPERS[0].upper()}{PAPERS[1:]}"
    )
    return _labels([(style.CENTERNESS, found.centerness)], note)


def _labels(
    labels: Sequence[tuple[Look, np.ndarray]], note: str, runs: tuple[str, ...] = ()
) -> DrawnFigure:
    page = style.canvas(height=2.4)
    axes = page.subplots()
    parts = []
    for look, values in labels:
        part = histogram(look.label, values)
        parts.append(part)
        name = f"{look.label}: mean {style.short(values.mean())}, std {style.short(values.std())}"
        axes.stairs(part.share_percent, BINS, fill=True, color=look.colour, alpha=0.25, lw=0)
        axes.stairs(part.share_percent, BINS, color=look.colour, lw=1.2, label=name)
        axes.axvline(values.mean(), color=look.colour, lw=1, ls=look.line)
    axes.set(xlabel="label", ylabel="positives per bin (%)", xlim=(0, 1), ylim=(0, None))
    page.legend(loc="outside upper left")
    style.footer(page, runs, f"{note}; bins of {BINS[1]:.2f}, lines: the means")
    return DrawnFigure(page, pd.concat(parts), runs)
