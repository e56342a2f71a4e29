"""Cost of QFL and DFL at inference.

Each detector with the joint representation, with distributions or with both is timed beside the
same detector without, in one process, alternating picture by picture; and their heads are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.speed import page
from analysis.speed.record import Count, Overhead, Time
from analysis.speed.systems import Subject
from analysis.stats.uncertainty import of_median
from benchmarks import cases, detectors, loads, loss, measure
from benchmarks.detectors import Picture
from benchmarks.loads import Loaded
from experiments import profiles
from experiments.named import DFL, GFL, PLAIN, QFL
from gfl import config
from gfl.experiment import Experiment, Profile
from gfl.hosts import HostName
from gfl.predictions import trained
from gfl.records.record import Store, run_id
from gfl.terminal import say
from gfl.training import checkpoint

SEED = 0
PAPERS = (800, 1333)  # px, size of the paper's pictures, for counts of its network
SQUARE = (512, 512)  # px, SSD512's only size
ROUNDS = {True: 30, False: 15}  # by whether the profile is embedded
PICTURES = {True: 8, False: 1}

HOSTS: tuple[HostName, ...] = ("foveabox", "retinanet", "ssd512")
# By name: the detector with an addition, and the one without. The first compares equals.
ATSS: dict[str, tuple[Experiment, Experiment]] = {
    "same": (PLAIN, PLAIN),
    "joint": (QFL, PLAIN),
    "dfl": (DFL, PLAIN),
    "gfl": (GFL, PLAIN),
}
GROUPS = (
    ATSS,
    *(
        {f"{host}-joint": (Experiment(host=host, quality="joint"),
                           Experiment(host=host, quality="none"))}
        for host in HOSTS
    ),
)  # fmt: skip


def measure_all(
    networks: Sequence[str],
    threads: int,
    rounds: int | None,
    image: tuple[int, int],
    out: Path,
    store: Store,
) -> None:
    """Measure the networks of profiles, write the table into a folder and print it.

    ``image`` is the picture size for a network without embedded data; ``store`` has the trained
    weights.
    """
    cases.quiet()
    torch.set_num_threads(threads)
    chosen = [profiles.PROFILES[name] for name in networks]
    machine = measure.machine("cpu", threads)
    counts = tuple(count for profile in chosen for count in counted(profile))
    times = []
    for profile in chosen:
        for time in timed(profile, store, threads, rounds, image):
            times.append(time)
            say(f"{time.network} {time.weights} {time.pair}: {page.ratio(time)}", error=True)
    loss.write(Overhead(machine, loads.CANDIDATES, counts, tuple(times)), out)


@dataclass(frozen=True)
class Ratio:
    """Time with an addition over time without: above 1, it costs."""

    ours: float  # seconds per picture, the median over rounds
    base: float
    ratio: float  # the median over rounds of each round's ratio
    low: float  # 95 % bootstrap interval over rounds
    high: float
    rounds: int


def counted(profile: Profile) -> Iterator[Count]:
    """Count parameters and multiply-adds of every pair, of the head and in total."""
    for group in GROUPS:
        for pair, (ours, base) in group.items():
            if pair == "same":
                continue
            width, height = profile.scale
            image = (height, width) if profile.dataset else PAPERS
            image = SQUARE if ours.host == "ssd512" and profile.dataset is None else image
            sizes = [detectors.size(experiment, profile, image) for experiment in (ours, base)]
            for what in ("parameters", "multiply_adds", "head_parameters", "head_multiply_adds"):
                x, y = (getattr(one, what) for one in sizes)
                yield Count(what, pair, profile.name, _px(image), x, y)


def timed(
    profile: Profile, store: Store, threads: int, rounds: int | None, small: tuple[int, int]
) -> Iterator[Time]:
    """Time every pair, with random weights and, if all of a group are here, with trained ones."""
    embedded = profile.dataset is not None
    for group in GROUPS:
        experiments = dict.fromkeys(e for pair in group.values() for e in pair)
        square = not embedded and any(e.host == "ssd512" for e in experiments)
        pictures = detectors.draw_pictures(profile, PICTURES[embedded], SQUARE if square else small)
        for weights, made in (
            ("trained", _trained(experiments, profile, store, pictures)),
            ("random", {e: loaded(e, profile, pictures) for e in experiments}),
        ):
            if made is None:
                continue
            models = {pair: (made[ours][0], made[base][0]) for pair, (ours, base) in group.items()}
            seconds = in_turns(
                models, len(pictures), rounds or ROUNDS[embedded], measure.clock("cpu", threads)
            )
            for pair, both in group.items():
                with_, without = (made[experiment][1].counts for experiment in both)
                yield Time(
                    pair, profile.name, weights, _px(pictures[0].shape[:2]),
                    **asdict(compare(*seconds[pair])),
                    candidates=(with_["candidates"], without["candidates"]),
                    detections=(with_["detections"], without["detections"]),
                )  # fmt: skip


def loaded(
    experiment: Experiment,
    profile: Profile,
    pictures: Sequence[Picture],
    weights: Mapping[str, Any] | None = None,
) -> tuple[Loaded, Subject]:
    """Return an experiment's detector with trained weights or, without, random ones."""
    return loads.load(config.build(experiment, profile, SEED)["model"], pictures, weights=weights)


def _trained(
    experiments: Mapping[Experiment, None],
    profile: Profile,
    store: Store,
    pictures: Sequence[Picture],
) -> dict[Experiment, tuple[Loaded, Subject]] | None:
    """Return the detectors of the local runs at seed 0; None unless all have weights."""
    folders = {e: store.run_dir(profile.name, run_id(e, profile, 0)) for e in experiments}
    if not all((folder / checkpoint.FINAL).is_file() for folder in folders.values()):
        return None
    return {e: loaded(e, profile, pictures, trained.weights(f)) for e, f in folders.items()}


def in_turns(
    pairs: Mapping[str, tuple[Loaded, Loaded]],
    pictures: int,
    rounds: int,
    now: Callable[[], float],
) -> dict[str, tuple[list[float], list[float]]]:
    """Return seconds per picture in each round, by pair: with, and without.

    A base shared by several pairs is timed once; a pair of one detector is timed against itself.
    """
    detect = {("base", id(base)): base.detect for _, base in pairs.values()}
    detect |= {("ours", pair): ours.detect for pair, (ours, _) in pairs.items()}
    taken = measure.in_turns(detect, rounds * pictures, now)
    seconds = {k: np.reshape(v, (rounds, pictures)).mean(axis=1).tolist() for k, v in taken.items()}
    return {
        pair: (seconds["ours", pair], seconds["base", id(base)])
        for pair, (_, base) in pairs.items()
    }


def compare(ours: Sequence[float], base: Sequence[float]) -> Ratio:
    """Return the median of the rounds' ratios, and its bootstrap interval over rounds."""
    found = of_median(np.array(ours) / np.array(base))
    return Ratio(
        float(np.median(ours)), float(np.median(base)), found.value, found.low, found.high,
        len(ours),
    )  # fmt: skip


def _px(image: Sequence[int]) -> str:
    return f"{image[0]}x{image[1]}"
