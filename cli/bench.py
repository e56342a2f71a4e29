"""``gfl bench loss|step|overhead|speed|operators|bootstrap``: measurements of speed and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.options import Count, Flag, Folders, MaybeCount, Names, Pixels
from experiments import profiles
from experiments.queue.worker import ROOT

bench = App(name="bench", help="Measure speed and memory: loss, detectors, operators, bootstrap.")
FOLDER = ROOT / "results" / "benchmarks"
Out = Annotated[Path, Parameter(show_default=lambda _: "results/benchmarks")]
Networks = Annotated[
    list[str], Parameter(choices=tuple(profiles.PROFILES), consume_multiple=(1, None))
]


@bench.command
def loss(
    *,
    quick: Flag = False,
    threads: Count = 1,
    repeat: Count = 5,
    image: Pixels = (800, 1333),
    no_memory: Flag = False,
    out: Out = FOLDER,
) -> int:
    """Time assignment, loss and backward pass beside mmdet's heads, and write the table.

    Args:
        quick: B = 2 only
        threads: on a CPU
        repeat: turns per case
        image: height and width in px
        no_memory: measure time alone
    """
    from benchmarks.loss import measure_all  # takes seconds, not needed for --help

    measure_all(quick, threads, repeat, image, memory=not no_memory, out=out)
    return 0


@bench.command
def step(
    *,
    profile: Annotated[str, Parameter(choices=("smoke", "laptop", "gpu", "coco"))] = "laptop",
    detectors: Annotated[
        list[str], Parameter(choices=("GFL", "ATSS", "FCOS"), consume_multiple=(1, None))
    ] = ["GFL"],  # noqa: B006  only read
    batch: MaybeCount = None,
    image: Pixels | None = None,
    rounds: Count = 30,
    threads: Count = 1,
    cuda: Flag = False,
    precision: Annotated[str | None, Parameter(choices=("float32", "bfloat16"))] = None,
    out: Out = FOLDER,
) -> int:
    """Time whole detectors, training and inference, beside stock mmdet with the same weights.

    Args:
        profile: whose network it is
        detectors: one or more
        batch: images of a training step (default: the profile's, on one of its devices)
        image: height and width in px (default: the profile's)
        rounds: turns of each
        threads: on a CPU
        cuda: on the GPU
        precision: of our training step, where the device has it (default: the profile's)
    """
    from benchmarks import steps  # takes seconds, not needed for --help

    wanted = steps.plan(
        profile, image=image, batch=batch, rounds=rounds, threads=threads,
        device="cuda" if cuda else "cpu", precision=precision,
    )  # fmt: skip
    steps.measure_all(detectors, wanted, out)
    return 0


@bench.command
def overhead(
    *,
    networks: Networks = ["laptop", "coco"],  # noqa: B006  only read
    threads: Count = 1,
    rounds: MaybeCount = None,
    image: Pixels = (320, 512),
    out: Out = FOLDER,
    folders: Folders = Folders(),
) -> int:
    """Time and count what QFL and DFL add at inference, and write the table.

    Args:
        networks: profiles, whose network it is
        threads: on a CPU
        rounds: turns of each detector (default: 30; 15 without data)
        image: height and width in px of pictures for a network without embedded data
    """
    from benchmarks.overhead import measure_all  # takes seconds, not needed for --help

    measure_all(networks, threads, rounds, image, out, folders.store(mend=False))
    return 0


@bench.command
def speed(
    *,
    profile: Annotated[str, Parameter(choices=("laptop", "coco"))] = "laptop",
    rows: Names = None,
    rounds: MaybeCount = None,
    candidates: Count = 1000,
    threads: Count = 1,
    cuda: Flag = False,
    half: Flag = False,
    together: MaybeCount = None,
    again: Flag = False,
    out: Out = FOLDER,
) -> int:
    """Time every system of Table 4 beside the others, and record it round by round.

    Rerunning the command goes on after the last finished round.

    Args:
        profile: size of networks and images: "laptop", or "coco" for full size
        rows: some of Table 4's, as "FCOS R-101"; GFL R-101 is always timed, all are beside it
        rounds: of all systems (default: 30; 5 at full size)
        candidates: boxes that enter a dense detector's NMS
        threads: on a CPU
        cuda: on the GPU
        half: with TF32 and float16 there
        together: systems kept in memory at a time (default: all; at full size 12 GB)
        again: begin anew
    """
    from benchmarks import systems  # takes seconds, not needed for --help

    plan = systems.plan(
        profile, rounds, candidates=candidates, threads=threads, half=half, together=together,
        device="cuda" if cuda else "cpu",
    )  # fmt: skip
    systems.measure_all(systems.table4(profile, rows or ()), plan, out, again=again)
    return 0


@bench.command
def operators(*, threads: Count = 1, repeat: Count = 5, out: Out = FOLDER) -> int:
    """Time operators on a CPU beside torchvision's, and write the table.

    Args:
        repeat: turns an operator
    """
    from benchmarks.operators import measure_all  # takes seconds, not needed for --help

    measure_all(threads, repeat, out)
    return 0


@bench.command
def bootstrap(*, resamples: Count = 1000, threads: Count = 2, images: Count = 5000) -> int:
    """Time the bootstrap at COCO's scale.

    Args:
        images: of the data set; objects are drawn in proportion
    """
    from benchmarks.bootstrap import measure  # takes seconds, not needed for --help

    measure(resamples, threads, images)
    return 0
