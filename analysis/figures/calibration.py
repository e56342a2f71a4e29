"""Additional figure: calibration of a detector's score against its box's overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.stats import statistics
from analysis.stats.statistics import BINS, INTERVAL, bin_of, over_images, reliability
from analysis.stats.uncertainty import Estimate
from experiments.committed_predictions import with_detections
from gfl.experiment import Experiment, Profile

if TYPE_CHECKING:
    from analysis.library import Library

FEW = 20  # detections: smaller bins are in the numbers but not in the picture


def calibration_error(frame: pd.DataFrame) -> Estimate:
    """Return the calibration error of final detections: see ``statistics.calibration_error``.

    Ten bins of equal width of the score that NMS ranks by, against the highest IoU with ground
    truth of the detection's category, 0 without any.
    """
    score, iou = frame.score.to_numpy(float), frame.iou.to_numpy(float)
    index, gap = bin_of(score), score - iou
    return over_images(
        frame.image_id.to_numpy(),
        lambda weights: float(
            statistics.calibration_error(
                np.bincount(index, weights=weights * gap, minlength=BINS), weights.sum()
            )
        ),
    )


def curve(experiment: Experiment, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the reliability of a run's detections, a bin per row, with its calibration error."""
    found = reliability(frame.score.to_numpy(float), frame.iou.to_numpy(float))
    error = calibration_error(frame)
    return pd.DataFrame(
        {
            "quality": experiment.quality,
            "score_from": found.edges[:-1],
            "score_to": found.edges[1:],
            "detections": found.count,
            "mean_score": found.predicted,
            "mean_true_iou": found.true,
            "calibration_error": error.value,
            "calibration_error_low": error.low,
            "calibration_error_high": error.high,
        }
    )


@figure(
    "calibration",
    "Final detections of ATSS by predicted score: their mean IoU with the ground truth, how many "
    "there are, and the expected calibration error, for every use of quality in Table 1a. On the "
    "diagonal a score is the IoU to expect.",
    elsewhere="Final detections of ATSS by predicted score: their mean IoU with the ground truth, "
    "how many there are, and the expected calibration error, for a centerness-branch, an "
    "IoU-branch and the joint representation. On the diagonal a score is the IoU to expect.",
)
def calibration(library: Library, profile: Profile) -> DrawnFigure:
    variants = with_detections(profile)
    runs = tuple(record.id for record in library.need(variants, profile))
    curves = {e.quality: curve(e, library.detections(e, profile)) for e in variants}
    page = style.canvas(style.COLUMN, 5.0)
    upper, middle, lower = page.subplots(3, 1, height_ratios=(2.6, 0.9, 1.3))
    upper.plot([0, 1], [0, 1], color=style.FAINT, lw=0.8, zorder=0)
    for quality, rows in curves.items():
        _curve(upper, middle, quality, rows)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="mean true IoU", xticklabels=[])
    middle.set(xlim=(0, 1), xlabel="predicted score", ylabel="detections")
    if any((rows.detections >= FEW).any() for rows in curves.values()):  # else there is no scale
        middle.set_yscale("log")
    _errors(lower, curves)
    page.align_ylabels([upper, middle])
    page.legend(
        *upper.get_legend_handles_labels(), loc="outside upper left", ncols=2, labelspacing=0.2,
        columnspacing=1.2,
    )  # fmt: skip
    style.footer(
        page, runs,
        f"final detections (class score >= 0.05, at most 100 an image), {BINS} bins of equal "
        f"width, those of fewer than {FEW} not drawn; error: sum over bins of count/N |mean score "
        f"- mean IoU|, {INTERVAL}",
    )  # fmt: skip
    return DrawnFigure(page, pd.concat(curves.values(), ignore_index=True), runs)


def _curve(upper: Axes, middle: Axes, quality: str, rows: pd.DataFrame) -> None:
    look = style.LOOKS[quality]
    drawn = rows.detections >= FEW
    at = rows.mean_score.where(drawn)
    upper.plot(at, rows.mean_true_iou.where(drawn), **look.plot, marker=look.marker, ms=3)
    middle.plot(at, rows.detections.where(drawn), **look.plot, marker=look.marker, ms=2.5)


def _errors(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    for i, (quality, rows) in enumerate(curves.items()):
        look, row = style.LOOKS[quality], rows.iloc[0]
        low, high = row.calibration_error_low, row.calibration_error_high
        axes.plot([low, high], [i, i], color=look.colour, lw=1.2)
        axes.plot(row.calibration_error, i, look.marker, color=look.colour, ms=4)
        axes.annotate(
            f"{row.calibration_error:.3f}", (high, i), (5, 0), textcoords="offset points",
            va="center", fontsize=style.SMALL,
        )  # fmt: skip
    most = max(float(rows.calibration_error_high.iloc[0]) for rows in curves.values())
    axes.set(xlim=(0, 1.25 * most), ylim=(len(curves) - 0.5, -0.5))
    axes.set_yticks(range(len(curves)), [style.LOOKS[q].label for q in curves])
    axes.set_xlabel("expected calibration error")
