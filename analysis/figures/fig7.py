"""Figure 7: speed against accuracy, the paper's and this project's, in separate panels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter
from matplotlib.transforms import Bbox

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.measures.evidence import Evidence, gather
from analysis.stats import uncertainty
from analysis.stats.statistics import pareto
from analysis.tables import fill
from experiments.named import GFL
from experiments.profiles import TUNING_SEED
from experiments.tables.declare import AP, FPS
from experiments.tables.table4 import TABLE
from gfl.experiment import Profile, at_scale
from gfl.hosts import HOSTS
from gfl.records.record import RunRecord

if TYPE_CHECKING:
    from analysis.library import Library

# Places of a name beside its point.
AWAY = (5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 38.0)  # points from the point, tried in this order
LEADER = 7.0  # points: a more distant name has a line to its point
# Degrees, tried in this order at each distance.
TURNS = (0, 180, 45, 315, 135, 225, 90, 270, 20, 340, 160, 200)
FAST = 160  # ms: the first axes end here, the second continue
LINES = {  # the methods joined by a line in the paper, without plain ResNeXt-101
    "GFL": style.LOOKS["general-dfl"].colour,
    "ATSS": style.LOOKS["centerness-branch"].colour,
    "SAPD": style.LOOKS["iou-branch"].colour,
}
OTHERS = "#8C8C8C"
TITLES = {name: host.title for name, host in HOSTS.items()}
HOST_MARKERS = {"GFL": "^", "ATSS": "s", "FCOS": "o", "RetinaNet": "v", "FoveaBox": "D",
                "SSD512": "P"}  # fmt: skip
PAPERS = (
    "(a) ms = 1000 / FPS as printed, on one RTX 2080 Ti but for the starred FPS, which the paper "
    "took from its [33]; lines leave out plain ResNeXt-101, as the paper's figure does"
)
OWN = (
    "(b) forward pass and NMS at batch 1; other data, other networks and another machine than (a). "
    "What else the machine did is not recorded"
)
SIDE_BY_SIDE = (
    "(c) small counterparts with random weights and a trained one's load, all side by side (gfl "
    "bench speed); lines are intervals over rounds"
)
SYSTEMS = "(d) those speeds and the trained systems' AP, with its interval over seeds and images"
APART = 2.0  # ratio of the two speeds from which a system is named
MARKERS = (("DCN", "^"), ("X-101", "s"), ("HG", "D"), ("R-", "o"))  # by backbone, the first match


def published() -> pd.DataFrame:
    """Return Table 4's rows: ms per image is 1000 / FPS, NaN where the paper has none."""
    rows = []
    for row in TABLE.rows:
        numbers = dict(zip((c.name for c in TABLE.columns), row.published, strict=True))
        fps = numbers[FPS.name]
        rows.append(
            {
                "source": "paper",
                "method": row.name,
                "backbone": row.marks[0],
                "fps": fps,
                "ms_per_image": np.nan if fps is None else 1000 / fps,
                "ap_percent": numbers[AP.name],
                "from_another_paper": FPS.name in row.starred,
            }
        )
    frame = pd.DataFrame(rows)
    timed = frame.fps.notna() & frame.ap_percent.notna()
    frame.loc[timed, "pareto"] = pareto(*_cost_and_gain(frame.loc[timed]))
    return frame


def measured(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return this project's runs with a measured speed."""
    frame = pd.DataFrame(
        {
            "source": "this project",
            "run": record.id,
            "method": _method(record),
            "hardware": hardware(record),
            "fps": record.fps,
            "ms_per_image": 1000 / record.fps,
            "ap_percent": record.metrics["AP"],
        }
        for record in records
        if record.fps
    )
    if len(frame):
        for _, rows in frame.groupby("hardware"):
            frame.loc[rows.index, "pareto"] = pareto(*_cost_and_gain(rows))
    return frame


def hardware(record: RunRecord) -> str:
    """Describe the hardware: ``AMD EPYC, 1 thread``, or a GPU's name."""
    device, threads = str(record.hardware.get("device", "cpu")), record.hardware.get("threads")
    if device != "cpu":
        return device
    return f"{record.hardware.get('cpu', 'a CPU')}, {threads or '?'} thread(s)".replace(
        "1 thread(s)", "1 thread"
    )


def _cost_and_gain(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return frame.ms_per_image.to_numpy(float), frame.ap_percent.to_numpy(float)


def _method(record: RunRecord) -> str:
    """Return GFL, or the detector whose head was trained: the slug's first part."""
    factors = record.experiment
    names = ("host", "quality", "boxes", "dfl")
    if all(factors.get(name) == getattr(GFL, name) for name in names):
        return "GFL"
    return TITLES[factors["host"]]


def systems(library: Library, profile: Profile) -> pd.DataFrame:
    """Return Table 4's systems as timed side by side, each beside the paper's speed.

    Speeds are in those of the table's anchor; ``ap_percent`` is the mean over recorded seeds, NaN
    without any, with its interval over seeds and images; ``run`` lists the runs' ids.
    """
    filled = fill.fill(TABLE, profile, library.store) if TABLE.runs_at(profile.name) else []
    timed = [(cell, cell.speed) for cell in filled if cell.speed is not None]
    if not timed:
        return pd.DataFrame()
    trained = [cell.cell.experiment for cell, _ in timed if cell.records(library.source)]
    evidence = gather(library, profile, among=[at_scale(e, profile) for e in trained if e])
    rows = []
    for cell, speed in timed:
        ap = _ap(evidence, cell)
        rows.append(
            {
                "source": "systems",
                "run": " ".join(record.id for record in cell.records(library.source).values()),
                "method": cell.cell.row.name,
                "backbone": cell.cell.row.marks[0],
                "paper_ratio": fill.published_ratio(cell, TABLE),
                "ratio": speed.value,
                "ratio_low": speed.low,
                "ratio_high": speed.high,
                "ap_percent": np.nan if ap is None else ap.value,
                "ap_low": np.nan if ap is None else ap.low,
                "ap_high": np.nan if ap is None else ap.high,
            }
        )
    frame = pd.DataFrame(rows)
    if (known := frame.ap_percent.notna()).any():
        some = frame.loc[known]
        frame.loc[known, "pareto"] = pareto(1 / some.ratio.to_numpy(), some.ap_percent.to_numpy())
    return frame


def _ap(evidence: Evidence, cell: fill.Filled) -> uncertainty.Estimate | None:
    """Return the mean AP of a cell's runs over seeds, None without any."""
    assert cell.cell.experiment is not None
    experiment = at_scale(cell.cell.experiment, evidence.profile)
    values = evidence.values(experiment, AP.metric)
    noise = evidence.noise_among([experiment], AP.metric)
    return uncertainty.contrast((1.0,), [values], noise)


def marker(backbone: str) -> str:
    return next(mark for part, mark in MARKERS if part in backbone)


@figure(
    "7",
    "Speed against accuracy. Above: the 36 rows of the paper's Table 4 as printed (test-dev AP; "
    "two have no speed), with the front that no row beats in both. Below: this project's own runs, "
    "other data and another machine.",
    elsewhere="Speed against accuracy. Above: the 36 rows of the paper's Table 4 as printed "
    "(test-dev AP; two have no speed), with the front that no row beats in both. Below, where "
    "their speed is measured: this project's own runs.",
)
def fig7(library: Library, profile: Profile) -> DrawnFigure:
    paper = published()
    records = [r for r in library.records(profile) if r.seed != TUNING_SEED]
    own = measured([r for r in records if "method" not in r.experiment])
    timed = systems(library, profile)
    machines = sorted(own.hardware.unique()) if len(own) else []
    trained = timed.loc[timed.ap_percent.notna()] if len(timed) else timed
    if len(trained) < 2:  # nothing to compare
        trained = trained.iloc[:0]
    widths = [2.0] * len(machines) + [2.0] * (len(timed) > 0) + [3.0] * (len(trained) > 0)
    page = style.canvas(style.PAGE, 6.8 if widths else 3.7)
    above, below = page.subfigures(2, 1, squeeze=False)[:, 0] if widths else (page, None)
    panels = above.subplots(1, 2, width_ratios=(3.6, 1.1))
    lower: list[Axes] = []
    if below is not None:
        lower = [*below.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]]
    _paper(panels[0], panels[1], paper)
    for machine in machines:
        _own(lower.pop(0), own.loc[own.hardware == machine], machine, profile)
    panels[1].legend(handles=_legend(), loc="lower left", bbox_to_anchor=(-0.02, 0.0),
                     handlelength=1.2, handletextpad=0.5, labelspacing=0.3)  # fmt: skip
    notes = [_note(own, profile)]
    notes += [SIDE_BY_SIDE] * (len(timed) > 0) + [SYSTEMS] * (len(trained) > 0)
    drawn = [*(own.run if len(own) else ()), *(trained.run if len(trained) else ())]
    ids = tuple(dict.fromkeys(" ".join(drawn).split()))
    ends = [id.rsplit("-", 1)[1] for id in ids]  # only their 8 digits: there are many
    style.footer(page, ends, ". ".join(notes))
    if len(timed):
        _speeds(lower.pop(0), timed)
    if len(trained):
        _accuracies(lower.pop(0), trained, profile)
    for axes, (low, high) in zip(panels, ((0, FAST), (FAST, np.inf)), strict=False):
        _name(axes, paper.loc[(paper.ms_per_image > low) & (paper.ms_per_image <= high)])
    return DrawnFigure(page, pd.concat([paper, own, timed], ignore_index=True), ids)


def _speeds(axes: Axes, timed: pd.DataFrame) -> None:
    """Draw every system's speed here beside the paper's, both in the anchor's."""
    both = timed.loc[timed.paper_ratio.notna()]
    ends = (both[["paper_ratio", "ratio_low"]].min().min() / 1.2, 1.6)
    axes.plot(ends, ends, color=style.INK, lw=0.8, ls=(0, (2, 1.5)), zorder=1)
    for row in both.to_dict("records"):
        colour = LINES.get(row["method"], OTHERS)
        axes.plot([row["paper_ratio"]] * 2, [row["ratio_low"], row["ratio_high"]], color=colour,
                  lw=1, zorder=2)  # fmt: skip
        axes.plot(row["paper_ratio"], row["ratio"], marker(row["backbone"]), ms=4.2, mfc=colour,
                  mec="white", mew=0.4, zorder=3)  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlim=ends, ylim=ends, title="(c) speeds",
        xlabel="paper", ylabel=f"small, on a CPU (both over {TABLE.anchor}'s)",
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        _ticks(axis, 0.1, 0.2, 0.5, 1.0)
    far = both.loc[np.log(both.ratio / both.paper_ratio).abs() > np.log(APART)]
    points = [
        (row["paper_ratio"], row["ratio"], row["method"], style.INK)
        for row in far.to_dict("records")
        if row["method"] not in LINES
    ]
    beside(axes, points, list(zip(both.paper_ratio, both.ratio, strict=True)))


def _accuracies(axes: Axes, trained: pd.DataFrame, profile: Profile) -> None:
    """Draw the systems' AP against their time, in the anchor's, with the front of both."""
    trained = trained.assign(ms_per_image=1 / trained.ratio)
    _front(axes, trained)
    for row in trained.to_dict("records"):
        x, y, colour = 1 / row["ratio"], row["ap_percent"], LINES.get(row["method"], OTHERS)
        axes.plot([1 / row["ratio_high"], 1 / row["ratio_low"]], [y, y], color=colour, lw=1)
        axes.plot([x, x], [row["ap_low"], row["ap_high"]], color=colour, lw=1)
        axes.plot(x, y, marker(row["backbone"]), ms=4.5, mfc=colour, mec="white", mew=0.4,
                  zorder=3)  # fmt: skip
    axes.set(
        xscale="log", title="(d) this project's Table 4", ylabel=f"AP, {profile.name} (%)",
        xlabel=f"time over {TABLE.anchor}'s, on a CPU",
    )  # fmt: skip
    _ticks(axes.xaxis, 0.7, 1, 1.5, 2, 3, 5, 10)
    _name(axes, trained, once=set(trained.method))


def _note(own: pd.DataFrame, profile: Profile) -> str:
    if own.empty:
        return f"{PAPERS}. No run of profile {profile.name} has a speed"
    atss = own[own.method == "ATSS"]  # their networks differ by a branch of one channel
    spread = (
        f": ATSS's networks, nearly the same, took {atss.ms_per_image.min():.0f} to "
        f"{atss.ms_per_image.max():.0f} ms"
        if len(atss) > 1
        else ""
    )
    return f"{PAPERS}. {OWN}{spread}; runs by the end of their ids"


def _paper(fast: Axes, slow: Axes, paper: pd.DataFrame) -> None:
    timed = paper.loc[paper.pareto.notna()]
    for axes in (fast, slow):
        _front(axes, timed)
        for name, colour in LINES.items():
            line = timed.loc[(timed.method == name) & ~_is_plain_x101(timed)]
            axes.plot(line.ms_per_image, line.ap_percent, color=colour, lw=1.2, zorder=2)
        for row in timed.to_dict("records"):
            colour = LINES.get(row["method"], OTHERS)
            face = "white" if row["from_another_paper"] else colour
            axes.plot(row["ms_per_image"], row["ap_percent"], marker(row["backbone"]), ms=4.5,
                      mfc=face, mec=colour, mew=1, zorder=3)  # fmt: skip
    low, high = timed.ap_percent.min() - 0.8, timed.ap_percent.max() + 0.9
    fast.set(xlim=(45, FAST), ylim=(low, high), ylabel="AP on test-dev (%)")
    slow.set(xlim=(200, 1100), ylim=(low, high), xscale="log", yticklabels=[])
    _ticks(slow.xaxis, 200, 400, 1000)
    fast.set_title("(a) the paper's Table 4")
    slow.set_title("slower")
    fast.set_xlabel("ms per image")
    slow.set_xlabel("ms (log)")


def _ticks(axis: Axis, *places: float) -> None:
    """Label a logarithmic axis at these places alone, with plain numbers."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def _front(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the staircase of the rows that none beats in both."""
    front = rows.loc[rows.pareto.astype(bool)].sort_values("ms_per_image", kind="stable")
    axes.step(front.ms_per_image, front.ap_percent, where="post", color=style.INK, lw=0.8,
              ls=(0, (2, 1.5)), zorder=1)  # fmt: skip


def _is_plain_x101(frame: pd.DataFrame) -> pd.Series:
    return frame.backbone.str.startswith("X-101") & ~frame.backbone.str.contains("DCN")


def _name(axes: Axes, rows: pd.DataFrame, once: Collection[str] = LINES) -> None:
    """Name the points by their methods, those named ``once`` at the highest AP alone."""
    rows = rows.sort_values(["ap_percent", "ms_per_image"], ascending=[False, True])
    joined = rows.method.isin(once)
    named = pd.concat([rows.loc[~joined], rows.loc[joined].groupby("method").head(1)])
    # The paper's own subject takes its place first.
    named = named.loc[named.method.isin(LINES).sort_values(ascending=False, kind="stable").index]
    points = [
        (row["ms_per_image"], row["ap_percent"], row["method"], LINES.get(row["method"], style.INK))
        for row in named.to_dict("records")
    ]
    beside(axes, points, [*zip(rows.ms_per_image, rows.ap_percent, strict=True), *_along(axes)])


def _along(axes: Axes) -> list[tuple[float, float]]:
    """Return points along the lines of an axes, as near to each other as a letter is wide."""
    found: list[tuple[float, float]] = []
    for line in axes.lines:
        ends = axes.transData.transform(line.get_path().vertices)
        for start, end in itertools.pairwise(ends):
            count = int(np.hypot(*(end - start)) // style.SMALL)
            between = start + np.linspace(0, 1, count + 2)[1:-1, None] * (end - start)
            found += [(x, y) for x, y in axes.transData.inverted().transform(between)]
    return found


def _own(axes: Axes, rows: pd.DataFrame, machine: str, profile: Profile) -> None:
    for name, mark in HOST_MARKERS.items():
        some = rows[rows.method == name]
        colour = LINES.get(name, OTHERS)
        if len(some):
            axes.plot(some.ms_per_image, some.ap_percent, mark, ms=4.2, mfc=colour, mec="white",
                      mew=0.4, label=name, zorder=3)  # fmt: skip
    _front(axes, rows)
    axes.set(
        xlabel=f"ms per image\n{machine}",
        ylabel=f"AP, {'embedded data, ' if profile.dataset else ''}{profile.name} (%)",
    )
    axes.set_xlim(0, 1.05 * rows.ms_per_image.max())
    axes.set_title("(b) this project's runs")
    low, high = rows.ap_percent.min(), rows.ap_percent.max()
    room = max(high - low, 1.0)
    axes.set_ylim(low - 0.3 * room, high + 0.05 * room)  # below the points: space for the legend
    axes.legend(loc="lower left", ncols=2, handletextpad=0.1, labelspacing=0.2, columnspacing=0.8,
                bbox_to_anchor=(-0.04, -0.01))  # fmt: skip


def _legend() -> list[Line2D]:
    """Explain the marker shapes of the paper's points."""

    def point(mark: str, label: str, face: str = OTHERS) -> Line2D:
        return Line2D([], [], marker=mark, ls="", mfc=face, mec=OTHERS, label=label)

    return [
        point("o", "ResNet"),
        point("s", "ResNeXt-101"),
        point("^", "with DCN"),
        point("D", "Hourglass"),
        point("o", "starred FPS", "white"),
        Line2D([], [], color=style.INK, lw=0.8, ls=(0, (2, 1.5)), label="Pareto front"),
    ]


def beside(
    axes: Axes,
    points: Sequence[tuple[float, float, str, str]],
    avoid: Sequence[tuple[float, float]],
    size: float = style.SMALL,
) -> list[Annotation]:
    """Write a name and colour beside each ``(x, y, name, colour)``, clear of all ``avoid`` points.

    The first free place is taken, near ones first, so the same points give the same picture; if
    there is none, the nearest. Call it once nothing else in the figure will change.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # runs the layout
    per_point = figure.dpi / 72
    taken = [_around(axes.transData.transform(p), 3.2 * per_point) for p in avoid]
    placed = []
    for x, y, name, colour in points:
        note = axes.annotate(
            name, (x, y), (0, 0), textcoords="offset points", fontsize=size, color=colour,
            annotation_clip=False, zorder=4,
        )  # fmt: skip
        note.set_in_layout(False)
        box = _place(note, axes.get_window_extent(), taken)
        taken.append(box)
        placed.append(note)
    return placed


def _place(note: Annotation, window: Bbox, taken: Sequence[Bbox]) -> Bbox:
    first: tuple[float, float, str, str] | None = None
    for away in AWAY:
        for turn in TURNS:
            across, up = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            aligned = _aligned(across, up)
            first = first or (away * across, away * up, *aligned)
            box = _moved(note, away * across, away * up, *aligned)
            inside = window.x0 <= box.x0 and box.x1 <= window.x1 + 4
            inside = inside and window.y0 <= box.y0 and box.y1 <= window.y1
            if inside and not any(box.overlaps(other) for other in taken):
                if away > LEADER:
                    _lead(note, away * across, away * up)
                return box
    assert first is not None
    return _moved(note, *first)


def _lead(note: Annotation, x: float, y: float) -> None:
    line = {"arrowstyle": "-", "lw": 0.5, "color": style.MUTED, "shrinkA": 0, "shrinkB": 2.5}
    note.axes.annotate(  # type: ignore[union-attr]
        "", note.xy, (x, y), textcoords="offset points", arrowprops=line, zorder=1
    ).set_in_layout(False)


def _aligned(across: float, up: float) -> tuple[str, str]:
    horizontal = "left" if across > 0.1 else "right" if across < -0.1 else "center"
    vertical = "bottom" if up > 0.1 else "top" if up < -0.1 else "center"
    return horizontal, vertical


def _moved(note: Annotation, x: float, y: float, horizontal: str, vertical: str) -> Bbox:
    note.set_position((x, y))
    note.set(ha=horizontal, va=vertical)
    return note.get_window_extent()


def _around(centre: np.ndarray, half: float) -> Bbox:
    x, y = centre
    return Bbox([[x - half, y - half], [x + half, y + half]])
