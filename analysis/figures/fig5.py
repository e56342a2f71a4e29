"""Figure 5: the two losses, and the distances that a distribution must cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures import positives
from analysis.measures.one_mean import MEAN, dfl, least_dfl, one_mean
from analysis.measures.positives import Positives
from experiments import profiles
from experiments.named import GFL
from experiments.tables.table1 import TABLE_1C
from experiments.tables.table2 import TABLE_2B
from gfl import escape
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile
from gfl.losses import quality_focal_loss

if TYPE_CHECKING:
    from analysis.library import Library

QUALITY = 0.5  # y of 5a
BETAS = tuple(r.factors.beta for r in TABLE_1C.rows if r.factors)
NS = tuple(r.factors.n for r in TABLE_2B.rows if r.factors)
# From cross entropy to the strongest focus: darker, with different dashes.
BETA_LOOKS = (
    ("#A9A9A9", (0, (1, 1))), ("#D9A441", (0, (4, 1.5))), (style.LOOKS["joint"].colour, "-"),
    ("#4178A8", (0, (4, 1.5, 1, 1.5))), ("#16264C", (0, (2, 1))),
)  # fmt: skip
BIN = 0.25  # strides, of 5c's histogram


def qfl(betas: Sequence[float]) -> pd.DataFrame:
    """Return QFL at y = 0.5 over the estimate σ, 1/200 to 199/200, for each β (Eq. 2)."""
    sigma = torch.arange(1, 200, dtype=torch.float64) / 200
    label = torch.full_like(sigma, QUALITY)
    losses = [quality_focal_loss(sigma.logit(), label, beta) for beta in betas]
    return pd.concat(
        pd.DataFrame({"beta": beta, "sigma": sigma, "loss_nats": loss})
        for beta, loss in zip(betas, losses, strict=True)
    )


@figure(
    "5a",
    "Quality focal loss at y = 0.5 over the estimate σ for every β of Table 1c. β = 0 is cross "
    "entropy, whose least value is not 0.",
)
def fig5a(library: Library, profile: Profile) -> DrawnFigure:
    numbers = qfl(BETAS)
    page = style.canvas(height=2.3)
    axes = page.subplots()
    for beta, (colour, line) in zip(BETAS, BETA_LOOKS, strict=True):
        curve = numbers[numbers.beta == beta]
        label = f"β = {beta:g}" + (" (cross entropy)" if beta == 0 else "")
        width = 2.2 if beta == Experiment().beta else 1.3
        axes.plot(curve.sigma, curve.loss_nats, color=colour, ls=line, lw=width, label=label)
    axes.axvline(QUALITY, color=style.FAINT, lw=0.6, zorder=0)
    axes.set(xlabel="estimate σ", ylabel="loss (nats)", xlim=(0, 1), ylim=(0, 2.05))
    axes.set_title(f"QFL at y = {QUALITY:g}")
    axes.legend(loc="upper center", facecolor="white", frameon=True, framealpha=1, edgecolor="none")
    return DrawnFigure(page, numbers)


@figure(
    "5b",
    "Three distributions of one mean, which is all that a box loss sees of them, and their "
    "distribution focal loss: the less lies at the target's two neighbours (dark), the higher.",
)
def fig5b(library: Library, profile: Profile) -> DrawnFigure:
    distributions = one_mean()
    page = style.canvas(height=2.0)
    look, left = style.LOOKS["general-dfl"], math.floor(MEAN)
    rows = []
    panels = page.subplots(1, len(distributions), sharey=True)
    for axes, (name, p) in zip(panels, distributions.items(), strict=True):
        bins, loss = np.arange(len(p)), dfl(p)
        colours = [look.colour if i in (left, left + 1) else "#E3A98F" for i in bins]
        axes.bar(bins, p, width=0.9, color=colours, lw=0)
        axes.axvline(p @ bins, color=style.INK, lw=0.8, ls=(0, (2, 1.5)))
        axes.set_title(f"{name}\nDFL {loss:.2f}", fontsize=style.TEXT)
        axes.set(xlim=(-0.7, len(p) - 0.3), xticks=[0, 8, 16])
        rows += [(name, i, float(q), float(p @ bins), loss) for i, q in enumerate(p)]
    panels[0].set_ylabel("P(x)")
    panels[len(panels) // 2].set_xlabel("x (strides)")
    style.footer(page, (), f"dashed: the mean of each, y = {MEAN:g}; DFL's least {least_dfl():.2f}")
    names = ["distribution", "x_strides", "probability", "mean_strides", "dfl_nats"]
    return DrawnFigure(page, pd.DataFrame(rows, columns=names))


def above(targets: np.ndarray, ns: Sequence[int]) -> pd.DataFrame:
    """Count the targets above each n, strides."""
    counts = [int((targets > n).sum()) for n in ns]
    return _rows("above n", ns, [math.inf] * len(ns), counts, targets.size)


def histogram(targets: np.ndarray) -> pd.DataFrame:
    """Count the targets in each bin of a quarter stride."""
    edges = np.arange(0, math.ceil(max(targets.max(), *NS)) + 1 + BIN, BIN)
    counts = np.histogram(targets, edges)[0]
    return _rows("histogram", edges[:-1], edges[1:], counts, targets.size)


def _rows(
    panel: str,
    start: Sequence[float] | np.ndarray,
    end: Sequence[float] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    total: int,
) -> pd.DataFrame:
    columns = {"panel": panel, "from_strides": start, "to_strides": end, "targets": counts}
    return pd.DataFrame(columns).assign(share_percent=lambda f: 100 * f.targets / total)


@figure(
    "5c",
    "The distances l, t, r, b of all positives under ATSS, which a distribution's bins 0 ... n "
    "have to reach, and the share of them above each n of Table 2b.",
)
def fig5c(library: Library, profile: Profile) -> DrawnFigure:
    if profile.photos is not None:
        frame, run = library.locations(GFL, profile).frame, library.id(GFL, profile)
        evaluated = library.evaluated(GFL, profile)
        assert evaluated is not None  # without ground truth, its stored evaluation exists
        found = positives.of_stored(frame, evaluated.objects)
        return _distances(found, f"photographs of profile {profile.name}, validation", (run,))
    if profile.dataset is None:
        raise UserError(
            f"figure 5c at profile {profile.name} needs COCO's boxes: add "
            "--annotations <COCO>/annotations/instances_train2017.json"
        )
    found = positives.of_ground_truth(library.ground_truth(profile), profile)
    return _distances(found, f"embedded data of profile {profile.name}, validation")


@fig5c.on_annotations
def _fig5c(files: Sequence[Path]) -> DrawnFigure:
    found = positives.of_annotations(files, profiles.COCO)
    return _distances(found, ", ".join(escape.matplotlib(path.name) for path in files))


def _distances(found: Positives, source: str, runs: tuple[str, ...] = ()) -> DrawnFigure:
    flat = found.targets.ravel()
    bars, shares = histogram(flat), above(flat, NS)
    page = style.canvas(height=2.8)
    upper, lower = page.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    width = bars.to_strides - bars.from_strides
    upper.bar(bars.from_strides, bars.share_percent, width, align="edge", color="#8FB4D3", lw=0)
    upper.set(ylabel="targets per bin (%)", ylim=(0, 1.18 * bars.share_percent.max()))
    _mark_median(upper, float(np.median(flat)))
    _share_above(lower, flat, shares)
    lower.set(xlabel="distance to a side (strides)", xlim=(0, bars.to_strides.max()))
    style.footer(
        page, runs,
        f"{source}: {found}, four distances each; bins of {BIN:g} strides",
    )  # fmt: skip
    page.align_ylabels()
    return DrawnFigure(page, pd.concat([bars, shares]), runs)


def _mark_median(axes: Axes, median: float) -> None:
    axes.axvline(median, color=style.INK, lw=0.8, ls=(0, (2, 1.5)))
    axes.annotate(
        f"median {median:.2f}", (median, 1), (4, -2), xycoords=("data", "axes fraction"),
        textcoords="offset points", va="top", fontsize=style.SMALL,
    )  # fmt: skip


def _share_above(axes: Axes, targets: np.ndarray, shares: pd.DataFrame) -> None:
    """Plot the share of targets above x, on a logarithmic axis, with a mark at each n."""
    rising = np.sort(targets)
    share = 100 * (1 - np.arange(1, len(rising) + 1) / len(rising))
    thin = np.unique(np.linspace(0, len(rising) - 2, 2000).astype(int))
    thin = np.union1d(thin, np.arange(max(0, len(rising) - 200), len(rising) - 1))
    axes.step(rising[thin], share[thin], where="post", color="#33658A")
    axes.set(yscale="log", ylabel="above x (%)")
    axes.set_ylim(min(0.01, 50 / len(rising)), 130)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks([0, 4, 8, *shares.from_strides])
    for n in shares.from_strides:
        axes.axvline(n, color=style.FAINT, lw=0.6, zorder=0)
    lines = [
        f"above {n:g}: {f'{percent:.3f} %' if percent else 'none'}"
        for n, percent in zip(shares.from_strides, shares.share_percent, strict=True)
    ]
    axes.text(
        0.03, 0.05, "\n".join(lines), transform=axes.transAxes, va="bottom", fontsize=style.SMALL
    )
