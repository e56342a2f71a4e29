"""``gfl bench loss|overhead|bootstrap``: speed and memory, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.options import Count, Flag, Folders, MaybeCount, Pixels
from experiments import profiles
from experiments.queue.worker import ROOT

bench = App(name="bench", help="Measure speed and memory: the loss, inference, the bootstrap.")
FOLDER = ROOT / "results" / "benchmarks"
Out = Annotated[Path, Parameter(show_default=lambda _: "results/benchmarks")]
Threads = Annotated[Count, Parameter(help="on a CPU")]
Networks = Annotated[
    list[str],
    Parameter(
        choices=tuple(profiles.PROFILES),
        consume_multiple=(1, None),
        help="profiles, whose network it is",
    ),
]


@bench.command
def loss(
    *,
    quick: Annotated[Flag, Parameter(help="B = 2 only")] = False,
    threads: Threads = 1,
    repeat: Annotated[Count, Parameter(help="turns a case")] = 5,
    image: Annotated[Pixels, Parameter(help="height and width in px")] = (800, 1333),
    no_memory: Annotated[Flag, Parameter(help="measure time alone")] = False,
    out: Out = FOLDER,
) -> int:
    """Time assignment, loss and backward pass beside mmdet's heads, and write the table."""
    from benchmarks.loss import measure_all  # seconds, which --help need not wait for

    measure_all(quick, threads, repeat, image, memory=not no_memory, out=out)
    return 0


@bench.command
def overhead(
    *,
    networks: Networks = ["laptop", "coco"],  # noqa: B006  read alone
    threads: Threads = 1,
    rounds: Annotated[
        MaybeCount, Parameter(help="turns of each detector (default: 30; 15 without data)")
    ] = None,
    image: Annotated[
        Pixels,
        Parameter(help="height and width in px of pictures for a network without embedded data"),
    ] = (320, 512),
    out: Out = FOLDER,
    folders: Folders = Folders(),
) -> int:
    """Time and count what QFL and DFL add at inference, and write the table."""
    from benchmarks.overhead import measure_all  # seconds, which --help need not wait for

    measure_all(networks, threads, rounds, image, out, folders.store(mend=False))
    return 0


@bench.command
def bootstrap(
    *,
    resamples: Count = 1000,
    threads: Count = 2,
    images: Annotated[Count, Parameter(help="in proportion to which objects are drawn")] = 5000,
) -> int:
    """Time the bootstrap at COCO's scale."""
    from benchmarks.bootstrap import measure  # seconds, which --help need not wait for

    measure(resamples, threads, images)
    return 0
