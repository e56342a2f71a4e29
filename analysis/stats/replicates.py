"""Runs evaluated on resampled images, in two processes or more, and kept for the next time."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from analysis.library import coco_results
from analysis.pool import Tell, quiet, workers
from analysis.stats import uncertainty
from analysis.stats.uncertainty import RESAMPLES, Replicates
from gfl.files import replacing
from gfl.predictions import matching
from gfl.predictions.matching import Matches, match
from gfl.records.record import digest
from gfl.training import worker

DRAW = 0  # seed of the weights, the same for every run: so that all differences are paired
FOLDER = "replicates"  # beside the embedded data, git-ignored: a second look takes seconds

Read = Callable[[], pd.DataFrame | Matches]  # Library.detections of a run, or Library.matches


def replicates(
    dataset: Mapping[str, Any] | None,
    runs: Mapping[str, Read],
    folder: Path | None = None,
    tell: Tell = quiet,
) -> dict[str, Replicates]:
    """Evaluate detections on a data set and on ``RESAMPLES`` resamples of its images.

    ``runs`` has the checksum of a file of detections, or of matches, which need no data set, and
    how to read it; what was evaluated before is not read. The same resamples for all.
    """
    kept = Kept.of(dataset, folder or worker.EMBEDDED / FOLDER)
    found = {checksum: kept.load(checksum) for checksum in runs}
    todo = [checksum for checksum, one in found.items() if one is None]
    if not todo:
        return {checksum: one for checksum, one in found.items() if one is not None}
    with workers(len(todo), _start, dataset) as each:
        frames = (runs[checksum]() for checksum in todo)
        for done, (checksum, one) in enumerate(zip(todo, each(_evaluate, frames), strict=True), 1):
            kept.save(checksum, one)
            found[checksum] = one
            if done % 10 == 0 or done == len(todo):
                tell(f"{done} of {len(todo)} runs evaluated on resampled images")
    return {checksum: one for checksum, one in found.items() if one is not None}


def evaluate(dataset: Mapping[str, Any] | None, detections: pd.DataFrame | Matches) -> Replicates:
    """Match detections to objects once, then weigh the images anew again and again."""
    if isinstance(detections, pd.DataFrame):
        assert dataset is not None
        detections = match(dataset, coco_results(detections))
    return uncertainty.replicate(detections, np.random.default_rng(DRAW))


_dataset: Mapping[str, Any] | None = None  # of a worker


def _start(dataset: Mapping[str, Any] | None) -> None:
    global _dataset
    _dataset = dataset


def _evaluate(detections: pd.DataFrame | Matches) -> Replicates:
    return evaluate(_dataset, detections)


@dataclass(frozen=True)
class Kept:
    """Replicates on disk, named by the detections, the ground truth and the code they are of."""

    folder: Path
    of_all: str  # hash of all but the detections

    @classmethod
    def of(cls, dataset: Mapping[str, Any] | None, folder: Path) -> Kept:
        from analysis.stats import resampling

        code = [
            meaning(inspect.getsource(o)) for o in (matching, resampling, uncertainty.replicate)
        ]
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


def meaning(source: str) -> str:
    """Return code without what changes no result: comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
