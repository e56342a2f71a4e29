"""Figure 2: a branch's predicted quality on background, and against the class score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures.background import NOWHERE, background, predicted_quality
from analysis.measures.best_positives import corners
from analysis.stats.statistics import INTERVAL, over_images, rank_correlation
from analysis.stats.uncertainty import Estimate
from experiments.named import FLAGS, IOU_BRANCH, QFL
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.predictions.schema import BACKGROUND_SCORE

if TYPE_CHECKING:
    from analysis.library import Library

PATCHES = 8
MARGIN = 0.6  # visible margin, relative to the predicted box's longer side
LEAST_WINDOW = 28.0  # px
BRIGHT = [withStroke(linewidth=2.2, foreground=style.INK)]


@figure(
    "2a",
    "Background of the validation set that the IoU-branch is surest of, although the class score "
    "is low: the predicted box (green) is nowhere near an object.",
    elsewhere="Background of the validation set by class score and by the IoU that the IoU-branch "
    "predicts: of each image, the stored location that it is surest of. No predicted box is near "
    "an object.",
    on_images=True,
)
def fig2a(library: Library, profile: Profile) -> DrawnFigure:
    every = background(library.locations(IOU_BRANCH, profile).frame, one_an_image=True)
    if every.empty:
        raise UserError("figure 2a: no stored background location has a class score under 0.3")
    every = every.join(corners(every, "mean"))
    found, runs = every.head(PATCHES), (library.id(IOU_BRANCH, profile),)
    return DrawnFigure.on_images(
        library,
        profile,
        lambda: _patches(library, profile, found, runs),
        lambda: _surest(every, len(found), runs),
        _background_numbers(found if profile.dataset is not None else every),
        runs,
    )


def _background_numbers(found: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "image_id", "level", "x", "y", "class_score", "quality_score", "score", "iou",
        "x1", "y1", "x2", "y2",
    ]  # fmt: skip
    units = {name: f"{name}_px" for name in ("x", "y", "x1", "y1", "x2", "y2")}
    return found.loc[:, columns].rename(columns={**units, "iou": "true_iou"})


WHICH = (
    f"of the stored locations that are not positive, have a class score < {BACKGROUND_SCORE} "
    f"and a predicted box with IoU < {NOWHERE} with any object"
)


def _surest(every: pd.DataFrame, highlighted: int, runs: tuple[str, ...]) -> Figure:
    """Plot both scores of each image's most confident background; filled: those with patches."""
    page = style.canvas(height=2.4)
    axes, look = page.subplots(), style.LOOKS["iou-branch"]
    for some, fill in ((every.iloc[highlighted:], "none"), (every.head(highlighted), look.colour)):
        axes.plot(some.class_score, some.quality_score, look.marker, ms=2.8, mew=0.5,
                  mec=look.colour, mfc=fill)  # fmt: skip
    axes.set(xlim=(-0.005, BACKGROUND_SCORE + 0.005), ylim=(-0.015, 1.015))
    axes.set(xlabel="predicted class score", ylabel="predicted IoU")
    style.footer(
        page, runs,
        f"{WHICH}: the one of the highest predicted IoU in each of {len(every):,} images; filled: "
        f"the {highlighted} highest",
    )  # fmt: skip
    return page


def _patches(
    library: Library, profile: Profile, found: pd.DataFrame, runs: tuple[str, ...]
) -> Figure:
    """Draw the images around the most confident background of all."""
    page = style.canvas(style.COLUMN, 2.4)
    panels = page.subplots(2, PATCHES // 2).flat
    for axes, row in zip(panels, found.to_dict("records"), strict=False):
        _patch(axes, library.image(profile, row["image_id"]), row)
    for axes in list(panels)[len(found) :]:
        axes.set_axis_off()
    style.footer(
        page, runs,
        f"{WHICH}: the {len(found)} of the highest predicted IoU, one an image. 'true': the "
        "highest IoU with an object",
    )  # fmt: skip
    return page


def _patch(axes: Axes, image: np.ndarray, row: dict[str, float]) -> None:
    """Draw the surroundings of a predicted box, with its scores below."""
    x, y = (row["x1"] + row["x2"]) / 2, (row["y1"] + row["y2"]) / 2
    longest = max(row["x2"] - row["x1"], row["y2"] - row["y1"])
    half = max(longest * (1 + 2 * MARGIN), LEAST_WINDOW) / 2
    style.show(axes, image)
    axes.set_aspect("equal")
    axes.add_patch(
        Rectangle(
            (row["x1"], row["y1"]), row["x2"] - row["x1"], row["y2"] - row["y1"], fill=False,
            ec=style.PREDICTION, lw=1.2, path_effects=BRIGHT,
        )
    )  # fmt: skip
    style.square(axes, x, y, half, image)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    lines = (
        f"class {style.short(row['class_score'])}",
        f"IoU {style.short(row['quality_score'])}",
        f"true {style.short(row['iou'])}",
    )
    axes.set_xlabel("\n".join(lines), fontsize=style.SMALL, labelpad=2, linespacing=1.1)


POINTS = 1500  # of the random sample, in the scatter plot
BINS = np.linspace(0, 1, 41)


SETS = {"all positives": FLAGS["positives"], "random locations": FLAGS["random"]}


def correlations(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return Spearman's rank correlation of final score and true IoU, by set of locations."""
    found = {}
    for name, flag in SETS.items():
        some = frame.loc[frame[flag]]
        score, iou = some.score.to_numpy(), some.iou.to_numpy()
        found[name] = over_images(some.image_id.to_numpy(), rank_correlation(score, iou))
    return found


@figure(
    "2b",
    "Predicted class score against predicted quality of randomly sampled locations: the "
    "IoU-branch's are two scores, the joint representation's is one. Below, the rank correlation "
    "of the final score with the true IoU, the number behind the picture.",
)
def fig2b(library: Library, profile: Profile) -> DrawnFigure:
    runs = [record.id for record in library.need([IOU_BRANCH, QFL], profile)]
    both = {e.quality: library.locations(e, profile).frame for e in (IOU_BRANCH, QFL)}
    page = style.canvas(style.COLUMN, 4.4)
    grid = page.add_gridspec(3, 2, height_ratios=(0.6, 3.0, 0.95), width_ratios=(3.0, 0.6))
    main = page.add_subplot(grid[1, 0])
    above, beside = page.add_subplot(grid[0, 0]), page.add_subplot(grid[1, 1])
    points = pd.concat([_sample(quality, frame) for quality, frame in both.items()])
    _scatter(main, points)
    _margins(above, beside, points)
    rows = pd.DataFrame(
        {"part": "rank correlation", "quality": quality, "locations": where,
         "spearman": e.value, "low": e.low, "high": e.high}
        for quality, frame in both.items()
        for where, e in correlations(frame).items()
    )  # fmt: skip
    _intervals(page.add_subplot(grid[2, :]), rows)
    counts = both[IOU_BRANCH.quality]
    style.footer(
        page, runs,
        f"points and margins: {POINTS} random locations and {POINTS} positives of each run. Rank "
        f"correlations over {int(counts.positive.sum()):,} positives and over "
        f"{int(counts.sampled.sum()):,} random locations, nearly all background, whose true IoU is "
        f"the highest with any object; {INTERVAL}",
    )  # fmt: skip
    return DrawnFigure(page, pd.concat([points, rows], ignore_index=True), tuple(runs))


def _sample(quality: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Sample as many random locations as positives, the first of a seeded shuffle."""
    parts = []
    frame = frame.assign(quality=predicted_quality(frame))
    for name, flag in SETS.items():
        some = frame.loc[frame[flag]]
        some = some.sample(min(POINTS, len(some)), random_state=0)
        parts.append(
            pd.DataFrame(
                {"part": "scatter", "quality": quality, "locations": name,
                 "class_score": some.class_score, "quality_score": some.quality,
                 "score": some.score, "true_iou": some.iou}
            )
        )  # fmt: skip
    return pd.concat(parts)


def _scatter(axes: Axes, points: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color=style.FAINT, lw=0.6, zorder=0)
    for group, some in points.groupby(["quality", "locations"], sort=False):
        quality, where = map(str, group)  # type: ignore[arg-type]
        look = style.LOOKS[quality]
        filled = where == "all positives"
        axes.plot(
            some.class_score, some.quality_score, look.marker, ms=2.2, mew=0.4, alpha=0.45,
            mfc=look.colour if filled else "none", mec=look.colour, rasterized=True,
            zorder=3 if quality == "joint" else 2,
        )  # fmt: skip
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(xlabel="predicted class score", ylabel="predicted IoU")
    handles = [
        Line2D([], [], ls="", marker=look.marker, ms=4, mec=look.colour, label=label,
               mfc=look.colour if filled else "none")
        for look, label, filled in (
            (style.LOOKS["iou-branch"], "IoU-branch, positives", True),
            (style.LOOKS["iou-branch"], "IoU-branch, random", False),
            (style.LOOKS["joint"], "joint, positives", True),
            (style.LOOKS["joint"], "joint, random", False),
        )
    ]  # fmt: skip
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(handles=handles, loc="outside upper left", ncols=2, handletextpad=0.2,
                  columnspacing=1.0, handlelength=1.4, labelspacing=0.2)  # fmt: skip


def _margins(above: Axes, beside: Axes, points: pd.DataFrame) -> None:
    """Plot the marginal shares of the points: class score above, predicted quality beside."""
    for quality, some in points.groupby("quality", sort=False):
        look = style.LOOKS[str(quality)]
        x, y = (
            100 * np.histogram(some[column], BINS)[0] / len(some)
            for column in ("class_score", "quality_score")
        )
        above.stairs(x, BINS, color=look.colour, lw=1, ls=look.line)
        beside.stairs(y, BINS, color=look.colour, lw=1, ls=look.line, orientation="horizontal")
    shares = {"scale": "log", "lim": (0.03, 99), "ticks": (0.1, 10), "ticklabels": ("0.1", "10")}
    above.set(xlim=(-0.01, 1.01), xticklabels=[], ylabel="% a bin")
    above.set(**{f"y{name}": value for name, value in shares.items()})
    beside.set(ylim=(-0.01, 1.01), yticklabels=[], xlabel="% a bin")
    beside.set(**{f"x{name}": value for name, value in shares.items()})
    above.yaxis.set_minor_locator(NullLocator())
    beside.xaxis.set_minor_locator(NullLocator())


def _intervals(axes: Axes, rows: pd.DataFrame) -> None:
    places = []
    for i, (where, some) in enumerate(rows.groupby("locations", sort=False)):
        places.append(str(where))
        for j, row in enumerate(some.to_dict("records")):
            look, at = style.LOOKS[row["quality"]], i + 0.36 * j - 0.18
            axes.plot([row["low"], row["high"]], [at, at], color=look.colour, lw=1.2)
            axes.plot(row["spearman"], at, look.marker, color=look.colour, ms=4)
            axes.annotate(
                f"{row['spearman']:.2f}", (row["high"], at), (4, 0), textcoords="offset points",
                va="center", fontsize=style.SMALL, color=look.colour,
            )  # fmt: skip
    low, high = min(0.0, rows.low.min()), rows.high.max()
    axes.set(xlim=(low, high + 0.12 * (high - low)), ylim=(len(places) - 0.5, -0.5))
    axes.set_yticks(range(len(places)), [place.replace(" ", "\n", 1) for place in places])
    axes.set_xlabel("Spearman's ρ, final score with true IoU")
