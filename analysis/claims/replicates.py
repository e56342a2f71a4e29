"""Runs evaluated on resampled images, in two processes or more, and kept for the next time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from analysis import uncertainty
from analysis.uncertainty import RESAMPLES, Replicates
from gfl import train
from gfl.files import replacing, sha256
from gfl.record import digest

DRAW = 0  # seed of the weights, the same for every run: so that all differences are paired
FOLDER = "replicates"  # beside the embedded data, git-ignored: a second look takes seconds

Results = Sequence[Mapping[str, Any]]  # detections as COCO has them


def replicates(
    dataset: Mapping[str, Any],
    runs: Mapping[str, Callable[[], Results]],
    folder: Path | None = None,
) -> dict[str, Replicates]:
    """Evaluate detections on a data set and on ``RESAMPLES`` resamples of its images.

    ``runs`` has the checksum of a file of detections and how to read it; what was evaluated before
    is not read. The same resamples for all.
    """
    kept = Kept.of(dataset, folder or train.EMBEDDED / FOLDER)
    found = {checksum: kept.load(checksum) for checksum in runs}
    todo = [checksum for checksum, one in found.items() if one is None]
    with _workers(len(todo), dataset) as evaluate:
        results = (runs[checksum]() for checksum in todo)
        for checksum, one in zip(todo, evaluate(results), strict=True):
            kept.save(checksum, one)
            found[checksum] = one
    return {checksum: one for checksum, one in found.items() if one is not None}


@contextmanager
def _workers(
    count: int, dataset: Mapping[str, Any]
) -> Iterator[Callable[[Iterable[Results]], Iterable[Replicates]]]:
    """Evaluate in as many processes as there are cores; here, if there is but one to evaluate."""
    cores = min(count, len(os.sched_getaffinity(0)))
    if cores < 2:
        yield lambda several: (evaluate(dataset, results) for results in several)
        return
    # Spawned, not forked: the caller may have threads (torch has).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cores, context, _start, (dataset,))
    try:
        yield lambda several: pool.map(_evaluate, several)
    finally:
        pool.shutdown(cancel_futures=True)


def evaluate(dataset: Mapping[str, Any], results: Results) -> Replicates:
    """Match detections to objects once, then weigh the images anew again and again."""
    from analysis.matching import match

    return uncertainty.replicate(match(dataset, results), np.random.default_rng(DRAW))


_dataset: Mapping[str, Any] = {}  # of a worker


def _start(dataset: Mapping[str, Any]) -> None:
    global _dataset
    _dataset = dataset
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer


def _evaluate(results: Results) -> Replicates:
    return evaluate(_dataset, results)


@dataclass(frozen=True)
class Kept:
    """Replicates on disk, named by the detections, the ground truth and the code they are of."""

    folder: Path
    of_all: str  # hash of all but the detections

    @classmethod
    def of(cls, dataset: Mapping[str, Any], folder: Path) -> Kept:
        from importlib.metadata import version

        from analysis import matching, resampling

        code = [sha256(Path(str(m.__file__))) for m in (matching, resampling, uncertainty)]
        versions = [version(name) for name in ("numpy", "pycocotools")]
        return cls(folder, digest([digest(dataset), *code, *versions, RESAMPLES, DRAW]))

    def path(self, checksum: str) -> Path:
        """Where the replicates of detections of this checksum are, or will be."""
        name = hashlib.sha256(f"{self.of_all} {checksum}".encode()).hexdigest()
        return self.folder / f"{name[:32]}.npz"

    def load(self, checksum: str) -> Replicates | None:
        """None: not kept, or not readable."""
        unreadable = suppress(OSError, ValueError, KeyError, EOFError, BadZipFile)
        with unreadable, np.load(self.path(checksum)) as file:
            return Replicates(file["figures"], file["resampled"], str(file["draw"]))
        return None

    def save(self, checksum: str, one: Replicates) -> None:
        """Keep replicates, unless the checkout cannot be written."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path(checksum)) as file:
                np.savez(file, figures=one.figures, resampled=one.resampled, draw=one.draw)
