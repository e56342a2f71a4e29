"""Plot of every AP difference that the tables print, the paper's and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.tables.dataframes import OURS, PAPER
from analysis.tables.layout import DELTA

PAPERS, FOUND = style.LOOKS["dirac"].colour, style.LOOKS["general-dfl"].colour
LINE, AROUND = 0.165, 0.36  # inches per row, and between two panels


def gaps(compared: Mapping[str, pd.DataFrame]) -> Figure | None:
    """Draw the ΔAP of each row of several tables (``dataframes.compared``, by the table's title).

    A square is the paper's, a dot ours with its 95 % interval, hollow if a single seed gives none.
    Rows without a run of ours, and baselines, are omitted; None if all are.
    """
    frames = {title: _with_gap(frame) for title, frame in compared.items()}
    frames = {title: frame for title, frame in frames.items() if len(frame)}
    if not frames:
        return None
    heights = [len(frame) for frame in frames.values()]
    with style.applied():
        figure = style.canvas(style.PAGE, LINE * sum(heights) + AROUND * (len(frames) + 1.5))
        grid = figure.subplots(
            len(frames), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, (title, frame) in zip(grid[:, 0], frames.items(), strict=True):
            _panel(axes, frame)
            axes.set_title(f"{title}  {frame.index.names[-1]}")
        last = grid[-1, 0]
        last.set_xlabel("ΔAP, the difference to the row's baseline")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _with_gap(frame: pd.DataFrame) -> pd.DataFrame:
    both = frame[(PAPER, DELTA)].notna() & frame[(OURS, DELTA)].notna()
    return frame.loc[both]


def _panel(axes: Axes, frame: pd.DataFrame) -> None:
    """Draw the rows of a table from top to bottom."""
    y = range(len(frame))
    ours, theirs = frame[(OURS, DELTA)], frame[(PAPER, DELTA)]
    single = frame[(OURS, "from")].isna().to_numpy()
    axes.axvline(0, color=style.FAINT, linewidth=0.8, zorder=0)
    axes.hlines(y, frame[(OURS, "from")], frame[(OURS, "to")], color=FOUND, linewidth=1)
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": FOUND}
    at = pd.Series(y, index=frame.index)
    axes.plot(
        theirs, at, linestyle="none", marker="s", color=PAPERS, markersize=6.5, fillstyle="none",
        label="paper",
    )  # fmt: skip
    axes.plot(ours[~single], at[~single], **dot, label="ours, 95 % interval")
    axes.plot(ours[single], at[single], **dot, fillstyle="none", label="ours, one seed")
    names = [" ".join(n) if isinstance(n, tuple) else str(n) for n in frame.index]
    axes.set_yticks(y, names)
    axes.set_ylim(len(frame) - 0.5, -0.5)
    axes.tick_params("y", length=0)
