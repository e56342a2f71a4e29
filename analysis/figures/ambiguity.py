"""Additional figure: learned distributions compared with the labels' true ones."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures.best_positives import RULE, best
from analysis.measures.densities import PEAK_MASS, VALLEY
from analysis.measures.sides import sides
from analysis.stats.statistics import INTERVAL, over_images, share
from analysis.stats.uncertainty import Estimate
from experiments.tables.table2 import TABLE_2A
from gfl.experiment import Profile
from gfl.shapes.side_labels import KINDS, SHARP

if TYPE_CHECKING:
    from analysis.library import Library

METHODS = {
    row.factors.boxes + ("-dfl" if row.factors.dfl else ""): row.factors
    for row in TABLE_2A.rows
    if row.factors
}
GAPS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, np.inf)  # strides between the two modes
FEW = 5  # sides: smaller groups are in the numbers but not in the picture


def mean_of(frame: pd.DataFrame, column: str) -> Estimate:
    """Return the mean over sides, with its interval over images."""
    values = frame[column].to_numpy(float)
    return over_images(frame.image_id.to_numpy(), lambda w: float(w @ values / w.sum()))


def distances(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean Wasserstein-1 distance per representation and kind of boundary, px."""
    rows = []
    for name, frame in frames.items():
        for kind in KINDS:
            some = frame.loc[frame.kind == kind]
            if some.empty:
                continue
            row = {"part": "distance", "representation": name, "kind": kind, "sides": len(some)}
            row |= _named("wasserstein_px", mean_of(some, "wasserstein_px"))
            row |= {"best_point_px": some.point_px.mean(), "mean_stride_px": some.stride_px.mean()}
            if "binned_px" in some:
                row["best_on_bins_px"] = some.binned_px.mean()
            rows.append(row)
    return pd.DataFrame(rows)


def by_gap(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate width and two-peakedness of learned distributions by the gap of the modes.

    Two more groups: sharp sides, and all sides with two modes.
    """
    rows = []
    for name, frame in frames.items():
        two = frame.gap_strides.notna()
        groups = {SHARP: frame.loc[frame.kind == SHARP], "two modes": frame.loc[two]}
        for low, high in pairwise(GAPS):
            inside = (frame.gap_strides >= low) & (frame.gap_strides < high)
            groups[f">= {low:g}" if high == np.inf else f"{low:g}-{high:g}"] = frame.loc[inside]
        for group, some in groups.items():
            if some.empty:
                continue
            row = {"part": "by gap", "representation": name, "group": group, "sides": len(some)}
            row["mean_gap_strides"] = 0.0 if group == SHARP else some.gap_strides.mean()
            row |= _named("deviation_strides", mean_of(some, "deviation_strides"))
            row["true_deviation_strides"] = some.true_deviation_strides.mean()
            if "two_peaked" in some:
                row |= _named("two_peaked_share", share(some.two_peaked.to_numpy()))
                row["two_peaked_share_on_bins"] = some.two_peaked_on_bins.mean()
                row["deviation_on_bins_strides"] = some.deviation_on_bins_strides.mean()
            rows.append(row)
    return pd.DataFrame(rows)


def _named(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


@figure(
    "ambiguity",
    "Learned against known label distributions of the sides of validation objects: their "
    "Wasserstein-1 distance per kind of boundary, and, by how far apart a side's two right "
    "answers are, how often P(x) has two peaks and how wide it is.",
    needs="the known distribution of every side",
)
def ambiguity(library: Library, profile: Profile) -> DrawnFigure:
    runs = tuple(record.id for record in library.need(METHODS.values(), profile))
    frames = {name: sides(name, best(library, e, profile)) for name, e in METHODS.items()}
    apart, gaps = distances(frames), by_gap(frames)
    page = style.canvas(style.PAGE, 2.8)
    left, middle, right = page.subplots(1, 3, width_ratios=(1.7, 1, 1))
    _distances(left, apart)
    _by_gap(middle, gaps, "two_peaked_share", "two_peaked_share_on_bins", 100)
    middle.set(ylabel="P(x) with two peaks (%)", ylim=(-3, 103))
    middle.set_title("(b) two peaks")
    wide = gaps.loc[gaps.representation != "dirac"]
    _by_gap(right, wide, "deviation_strides", "deviation_on_bins_strides", 1)
    right.set(ylabel="standard deviation (strides)", ylim=(0, None))
    right.set_title("(c) width")
    page.legend(
        handles=_handles(frames),
        loc="outside upper left",
        ncols=6,
        handlelength=2.0,
        columnspacing=1.2,
        labelspacing=0.2,
    )
    style.footer(
        page, runs,
        f"at {RULE}; {INTERVAL}. (a) in px of the image; a Dirac delta's distance is its expected "
        "error; nearest point: the truth's median. DFL's optimum: the truth put on the location's "
        f"bins. (b) two peaks: two bins with P >= {PEAK_MASS} and between them one with less than "
        f"{VALLEY} of the lower, so never nearer than 2 bins; Wilson's interval. (b, c) at 0: "
        "sharp sides; a Dirac delta has no width",
    )  # fmt: skip
    return DrawnFigure(page, pd.concat([apart, gaps], ignore_index=True), runs)


def _handles(names: Iterable[str]) -> list[Line2D]:
    looks = [style.LOOKS[name] for name in names]
    return [
        *(Line2D([], [], **look.plot, marker=look.marker) for look in looks),
        Line2D([], [], color=style.INK, lw=0.9, ls=(0, (1, 1)), label="nearest point"),
        Line2D([], [], color=style.MUTED, lw=0.9, label="DFL's optimum"),
    ]


def _distances(axes: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows.representation))
    step = 0.7 / max(len(names) - 1, 1)
    for j, name in enumerate(names):
        look, some = style.LOOKS[name], rows.loc[rows.representation == name]
        at = np.array([KINDS.index(kind) for kind in some.kind]) - 0.35 + j * step
        spread = [some.wasserstein_px - some.wasserstein_px_low,
                  some.wasserstein_px_high - some.wasserstein_px]  # fmt: skip
        axes.errorbar(at, some.wasserstein_px, spread, fmt=look.marker, color=look.colour, ms=4,
                      lw=1.1)  # fmt: skip
    for column, colour, line in (
        ("best_point_px", style.INK, (0, (1, 1))), ("best_on_bins_px", style.MUTED, "-"),
    ):  # fmt: skip
        for i, kind in enumerate(KINDS):
            known = rows.loc[(rows.kind == kind) & rows[column].notna(), column]
            if len(known):
                axes.hlines(
                    known.iloc[-1], i - 0.44, i + 0.44, color=colour, lw=0.9, ls=line, zorder=1
                )
    counts = rows.drop_duplicates("kind").set_index("kind").sides
    ticks = [f"{kind}\n{counts.get(kind, 0):,} sides" for kind in KINDS]
    axes.set_xticks(range(len(KINDS)), ticks)
    axes.set(ylabel="Wasserstein-1 distance (px)", ylim=(0, None))
    axes.set_title("(a) from learned to true")


def _by_gap(axes: Axes, rows: pd.DataFrame, what: str, on_bins: str, scale: float) -> None:
    rows = rows.loc[rows[what].notna() & (rows.sides >= FEW) & (rows.group != "two modes")]
    for name, some in rows.groupby("representation", sort=False):
        look = style.LOOKS[str(name)]
        some = some.sort_values("mean_gap_strides", kind="stable")
        value = some[what]
        spread = [value - some[f"{what}_low"], some[f"{what}_high"] - value]
        axes.errorbar(some.mean_gap_strides, scale * value, [scale * s for s in spread], lw=1.1,
                      color=look.colour, ls=look.line, marker=look.marker, ms=4)  # fmt: skip
    ideal = rows.loc[rows[on_bins].notna()]
    ideal = ideal.loc[ideal.representation == ideal.representation.iloc[-1]]
    ideal = ideal.sort_values("mean_gap_strides", kind="stable")
    axes.plot(ideal.mean_gap_strides, scale * ideal[on_bins], color=style.MUTED, lw=0.9, zorder=1)
    axes.set_xlabel("gap of two modes (strides)")
