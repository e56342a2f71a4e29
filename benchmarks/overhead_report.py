"""Report of the cost of QFL and DFL at inference, as Markdown and tidy CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.detectors import CANDIDATES
from benchmarks.pairs import CONFIDENCE, Line
from benchmarks.report import Setting
from gfl import escape

FIELDS: tuple[str, ...] = (
    "what", "pair", "network", "weights", "image", "ours", "base", "ratio", "low", "high", "rounds",
    "candidates_ours", "candidates_base", "detections_ours", "detections_base",
)  # fmt: skip
COUNTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "head_parameters": "parameters of the head",
    "head_multiply_adds": "multiply-adds of the head",
}
NAMES = {
    "same": "plain ATSS, beside itself",
    "joint": "ATSS: joint w/ QFL, for centerness-branch",
    "dfl": "ATSS: General w/ DFL, for Dirac delta",
    "gfl": "ATSS: both",
    "foveabox-joint": "FoveaBox: joint w/ QFL",
    "retinanet-joint": "RetinaNet: joint w/ QFL",
    "ssd512-joint": "SSD512: joint w/ QFL",
}
ABOUT = """\
Inference of a detector with QFL, with DFL or with both, beside the same detector without: forward
pass, decoding and NMS of one picture at batch 1, as the paper times it; the picture is in memory
and normalised. All detectors see a picture before any sees the next, and who begins changes, so
that what else the machine does falls on all alike.

The ratio is time with over time without (above 1, it costs): the median over rounds, a round being
every picture once, and its {confidence:.0%} bootstrap interval over rounds. Seconds a picture are
medians, {clock}. The first line of each
kind holds a detector beside itself: how far a ratio of equals is from 1.

Trained weights are those of the local runs at seed 0: detectors that say more have more to
sort and to suppress, so that their ratio is of what they learned too. Random weights: torch's own
initial ones from one seed, batch normalisation with a picture's statistics, the outputs brought to
one spread, and the score threshold set so that {candidates} scores of a picture pass it, of which
at most 1000 a level enter NMS. Then both say about as much and the network is what differs, but
for their boxes, which overlap otherwise: NMS has a little more or less to do.

`laptop` is the embedded profile's network, with 32 channels in the head and pictures of the
validation set. `coco` is the paper's: ResNet-50, 256 channels, 80 classes; SSD512 with VGG-16. Its
pictures are noise, smaller than the paper's so that a CPU gets through; it is counted at the
paper's size.
"""
COUNTED = """\
Counted, and the same on every machine: parameters, and the multiply-adds of all convolutions for
one picture. What else there is for each location (normalisation, softmax and the mean of P(x) for
the boxes that enter NMS) is left out.
"""


def tidy_csv(lines: Sequence[Line]) -> str:
    """Return a line for each pair and each timed or counted quantity."""
    rows: list[Sequence[object]] = [FIELDS]
    for line in lines:
        cells = [line.what, line.pair, line.network, line.weights, line.image]
        if line.timed is None:
            rows.append([*cells, line.ours, line.base, f"{line.ratio:.6f}", *[""] * 7])
            continue
        t = line.timed
        times = [f"{x:.5f}" for x in (t.ours, t.base, t.ratio, t.low, t.high)]
        rows.append([*cells, *times, t.rounds, *(f"{x:.2f}" for x in line.boxes or ())])
    return escape.csv_file(rows)


def summary(line: Line) -> str:
    """Return a line to print while measurement continues."""
    return f"{line.network} {line.weights} {line.pair}: {_ratio(line)}"


def markdown(lines: Sequence[Line], setting: Setting) -> str:
    """Return the whole file: subject and setting, times, counts."""
    clock = "wall time" if setting.threads > 1 else "CPU time of the process (one thread)"
    about = ABOUT.format(confidence=CONFIDENCE, clock=clock, candidates=CANDIDATES)
    hardware = f"{escape.markdown(setting.cpu)}, {setting.cores} cores, {setting.threads} used"
    out = [f"# The cost of QFL and DFL at inference: {escape.markdown(setting.cpu)}", "", about]
    out += [f"{hardware}; torch {setting.torch}; commit {setting.commit}."]
    if setting.busy is not None and setting.busy > 0.5:
        out += [
            "Other processes ran on the machine meanwhile (load average at the beginning: "
            f"{setting.busy:.1f})."
        ]
    out += ["", *_times([line for line in lines if line.timed])]
    out += ["", COUNTED, *_counts([line for line in lines if not line.timed])]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)) + "\n"


def _times(lines: Sequence[Line]) -> list[str]:
    rows = ["| network | weights | px | | ms with | ms without | ratio | rounds | detections |"]
    rows += ["|---|---|--:|---|--:|--:|--:|--:|--:|"]
    for line in lines:
        _, _, ours, base = line.boxes or (float("nan"),) * 4
        rows.append(_row([
            line.network, line.weights, line.image, NAMES[line.pair], f"{1000 * line.ours:.1f}",
            f"{1000 * line.base:.1f}", _ratio(line), line.timed.rounds if line.timed else "",
            f"{ours:.0f}, {base:.0f}",
        ]))  # fmt: skip
    return rows


def _counts(lines: Sequence[Line]) -> list[str]:
    rows = ["| network | px | | what | with | without | ratio |", "|---|--:|---|---|--:|--:|--:|"]
    for line in lines:
        rows.append(_row([
            line.network, line.image, NAMES[line.pair], COUNTS[line.what],
            f"{line.ours:,}", f"{line.base:,}", f"{line.ratio:.4f}",
        ]))  # fmt: skip
    return rows


def _ratio(line: Line) -> str:
    if line.timed is None:
        return f"{line.ratio:.4f}"
    return f"{line.ratio:.3f} [{line.timed.low:.3f}, {line.timed.high:.3f}]"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(escape.markdown(str(cell)) for cell in cells)} |"
