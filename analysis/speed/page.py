"""Benchmarks to read: paragraphs and tables, for Markdown and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis import text
from analysis.speed.record import (
    Benchmark,
    Case,
    Loss,
    Machine,
    Operator,
    Operators,
    Overhead,
    Step,
    Steps,
    Time,
)
from analysis.text import Cell, Listing
from gfl import escape

FASTER, OBJECTS, BATCH = 1.5, 10, 16  # target speed-up, for so many objects and this batch
SLOWEST = 1 / 1.05  # and nowhere more than 5 % slower
ASSIGNMENT_MIB = 2048
BUSY = 0.5  # load average from which others' processes are mentioned
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
ABOUT_LOSS = """\
Assignment, losses and backward pass from the head's outputs to the gradients on them: our
`AblationHead` (gfl/head.py) beside stock mmdet's head of the same variant, on the same tensors,
at {height} x {width} px with strides 8 to 128 and 80 classes. The towers' convolutions are the
same code in both and are left out: a whole training step differs by much less. The losses of the
two agree to 1e-4, asserted before each measurement.

Ours and stock take turns, {repeat} times each ({short} times at B = 2); seconds are medians,
{clock}.
The ratio is stock / ours of a pair of turns (above 1, ours is faster): median [quartiles].
Memory is the peak on top of the outputs, {memory}."""
ABOUT_OVERHEAD = """\
Inference of a detector with QFL, with DFL or with both, beside the same detector without: forward
pass, decoding and NMS of one picture at batch 1, as the paper times it; the picture is in memory
and normalised. All detectors see a picture before any sees the next, and who begins changes, so
that what else the machine does falls on all alike.

The ratio is time with over time without (above 1, it costs): the median over rounds, a round being
every picture once, and its 95% bootstrap interval over rounds. Seconds a picture are
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
paper's size."""
ABOUT_OPERATORS = """\
What gfl.ops computes on a CPU where mmcv was installed without its compiled operators, beside
torchvision's kernels on the same tensors. Deformable convolution: 3 x 3, from C channels to C, the
forward pass and the gradients of all operands. RoIAlign, whose forward pass is torchvision's: the
gradient alone, for {regions} regions of 7 x 7 bins; torchvision's public function has to pool
before it. The results agree to 1e-4 of their largest value, asserted before each measurement.

Ours and torchvision's take turns, {repeat} times each; seconds are medians, {clock}.
The ratio is torchvision's / ours of a pair of turns (above 1, ours is faster): median
[quartiles]."""
ABOUT_STEPS = """\
A whole detector at the {profile} profile's network, at {height} x {width} px, beside the same
network with stock mmdet's head and the same weights. A training step begins with a batch of {batch}
images with {objects} objects each as the loader leaves it, and ends with the optimizer's step;
inference is of one picture, from the padded image to its detections. Ours is as this project runs:
channels_last and the precision named; stock is torch's default layout in float32, or under
mmengine's automatic mixed precision where it says "mixed". The losses agree to 1e-3 in float32,
asserted before each measurement.

All take turns, and who begins changes. The ratio is stock / ours (above 1, ours is faster): the
median over rounds and its 95% bootstrap interval over rounds. Milliseconds an image are
medians, {clock}."""
COUNTED = """\
Counted, and the same on every machine: parameters, and the multiply-adds of all convolutions for
one picture. What else there is for each location (normalisation, softmax and the mean of P(x) for
the boxes that enter NMS) is left out."""


@dataclass(frozen=True)
class Page:
    """Benchmark to read; a paragraph is Markdown."""

    title: str
    parts: tuple[str | Listing, ...]


def page(found: Benchmark) -> Page:
    """Return a benchmark to read."""
    if isinstance(found, Overhead):
        what, about = "The cost of QFL and DFL at inference", _overhead(found)
    elif isinstance(found, Operators):
        what, about = "Operators beside torchvision's", _operators(found)
    elif isinstance(found, Steps):
        what, about = "Whole detectors beside stock mmdet", _steps(found)
    else:
        what, about = "Speed beside stock mmdet", _loss(found)
    machine = found.machine
    return Page(f"{what}: {machine.gpu or machine.cpu}", tuple(about))


def markdown(found: Page) -> str:
    """Return a page as a Markdown file."""
    parts = [f"# {escape.markdown(found.title)}\n"]
    for part in found.parts:
        if isinstance(part, str):
            parts.append(f"{part}\n")
            continue
        rows = ([escape.markdown(cell.text) for cell in row] for row in part.rows)
        parts.append(text.table([part.columns, *rows], part.align))
    return "\n".join(parts)


def _loss(found: Loss) -> Iterator[str | Listing]:
    machine, (height, width) = found.machine, found.image
    cuda = machine.device == "cuda"
    about = ABOUT_LOSS.format(
        height=height,
        width=width,
        repeat=found.repeat,
        short=found.repeat_short,
        clock=_clock(machine),
        memory="by torch's CUDA allocator" if cuda else "resident, in a fresh process",
    )
    yield from about.split("\n\n")
    yield _hardware(machine)
    columns = ("head", "B", "objects", "ours s", "stock s", "ratio", "ours MiB", "stock MiB")
    yield Listing(columns, "-r", tuple(map(_case, found.cases)))
    yield _verdict(found.cases)
    if short := shortfalls(found.cases):
        yield "\n".join(f"- {line}" for line in short)
    yield f"The assignment alone (target: less than {ASSIGNMENT_MIB} MiB):"
    alone = (
        (Cell(one.name), _whole(one.batch), _whole(one.objects), _seconds(one.seconds),
         _mib(one.mib))
        for one in found.assignments
    )  # fmt: skip
    yield Listing(("assignment", "B", "objects", "s", "MiB"), "-r", tuple(alone))


def _case(case: Case) -> tuple[Cell, ...]:
    times = _seconds(case.ours), _seconds(case.stock), Cell(ratio(case), case.ratio)
    memory = _mib(case.ours_mib), _mib(case.stock_mib)
    return Cell(case.head), _whole(case.batch), _whole(case.objects), *times, *memory


def shortfalls(cases: Sequence[Case]) -> list[str]:
    """List every case slower than its target."""
    found = []
    for case in cases:
        objects = f"{escape.counted(case.objects, 'object')} an image"
        name = f"{case.head}, B = {case.batch}, {objects}: {case.ratio:.2f}"
        if (case.batch, case.objects) == (BATCH, OBJECTS) and case.ratio < FASTER:
            found.append(f"{name}, should be at least {FASTER}")
        elif case.ratio < SLOWEST:
            found.append(f"{name}, should be at least {SLOWEST:.2f}")
    return found


def _verdict(cases: Sequence[Case]) -> str:
    target = f"Target: at least {FASTER}x as fast at B = {BATCH} with {OBJECTS} objects"
    target += ", and nowhere slower by more than 5 %."
    if not any((case.batch, case.objects) == (BATCH, OBJECTS) for case in cases):
        target += f" B = {BATCH} was not measured."
    return f"{target} {'Missed in:' if shortfalls(cases) else 'Met in every case measured.'}"


def _overhead(found: Overhead) -> Iterator[str | Listing]:
    about = ABOUT_OVERHEAD.format(clock=_clock(found.machine), candidates=found.candidates)
    yield from about.split("\n\n")
    yield _hardware(found.machine)
    columns = (
        "network", "weights", "px", "", "ms with", "ms without", "ratio", "rounds", "detections",
    )  # fmt: skip
    yield Listing(columns, "--r-r", tuple(map(_time, found.times)))
    yield COUNTED
    columns = ("network", "px", "", "what", "with", "without", "ratio")
    rows = (
        (Cell(one.network), Cell(one.image), Cell(NAMES[one.pair]), Cell(COUNTS[one.what]),
         Cell(f"{one.ours:,}", one.ours), Cell(f"{one.base:,}", one.base),
         Cell(f"{one.ours / one.base:.4f}", one.ours / one.base))
        for one in found.counts
    )  # fmt: skip
    yield Listing(columns, "-r--r", tuple(rows))


def _operators(found: Operators) -> Iterator[str | Listing]:
    about = ABOUT_OPERATORS.format(
        regions=found.regions, repeat=found.repeat, clock=_clock(found.machine)
    )
    yield from about.split("\n\n")
    yield _hardware(found.machine)
    columns = ("operator", "B x C x H x W", "ours s", "torchvision s", "ratio")
    yield Listing(columns, "-r", tuple(map(_operator, found.operators)))


def _operator(one: Operator) -> tuple[Cell, ...]:
    size = Cell(" x ".join(map(str, one.features)), math.prod(one.features))
    times = _seconds(one.ours), _seconds(one.stock), Cell(ratio(one), one.ratio)
    return Cell(one.name), size, *times


def _steps(found: Steps) -> Iterator[str | Listing]:
    height, width = found.image
    about = ABOUT_STEPS.format(
        profile=found.profile,
        height=height,
        width=width,
        batch=found.batch,
        objects=found.objects,
        clock=_clock(found.machine),
    )
    yield from about.split("\n\n")
    yield _hardware(found.machine)
    columns = ("detector", "", "ours", "stock", "ms ours", "ms stock", "ratio", "rounds")
    rows = (
        (Cell(one.detector), Cell(one.phase), Cell(one.precision), Cell(one.stock_precision),
         Cell(f"{1000 * one.ours:.1f}", one.ours), Cell(f"{1000 * one.stock:.1f}", one.stock),
         Cell(ratio(one), one.ratio), _whole(one.rounds))
        for one in found.steps
    )  # fmt: skip
    yield Listing(columns, "----r", tuple(rows))


def _time(one: Time) -> tuple[Cell, ...]:
    with_, without = one.detections
    return (
        Cell(one.network), Cell(one.weights), Cell(one.image), Cell(NAMES[one.pair]),
        Cell(f"{1000 * one.ours:.1f}", one.ours), Cell(f"{1000 * one.base:.1f}", one.base),
        Cell(ratio(one), one.ratio), _whole(one.rounds),
        Cell(f"{with_:.0f}, {without:.0f}", with_),
    )  # fmt: skip


def ratio(one: Case | Operator | Step | Time) -> str:
    """Format a ratio of times with its interval."""
    return text.estimate(one.ratio, (one.low, one.high), 3 if isinstance(one, Time) else 2)


def _clock(machine: Machine) -> str:
    is_wall = machine.device == "cuda" or machine.threads > 1
    return "wall time" if is_wall else "CPU time of the process (one thread)"


def _hardware(machine: Machine) -> str:
    hardware = f"{escape.markdown(machine.cpu)}, {machine.cores} cores, {machine.threads} used"
    line = f"{hardware}; torch {machine.torch}; commit {machine.commit}."
    if machine.busy is None or machine.busy <= BUSY:
        return line
    return (
        f"{line}\nOther processes ran on the machine meanwhile (load average at the beginning: "
        f"{machine.busy:.1f})."
    )


def _whole(number: int) -> Cell:
    return Cell(str(number), number)


def _seconds(seconds: float) -> Cell:
    return Cell(f"{seconds:.3f}", seconds)


def _mib(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.0f}", value)
