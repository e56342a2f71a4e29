"""Runs evaluated on resampled images, in parallel processes, with a disk cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import cache
from analysis.cache import Entry
from analysis.pool import Reporter, quiet, workers
from analysis.stats import resampling
from analysis.stats.resampling import Replicates
from gfl.records.record import METRICS, digest

if TYPE_CHECKING:
    from gfl.predictions.matching import Matches

    Read = Callable[[], pd.DataFrame | Matches]  # Library.detections of a run, or Library.matches


def replicates(
    dataset: Mapping[str, Any] | None,
    runs: Mapping[str, Read],
    folder: Path | None = None,
    report: Reporter = quiet,
) -> dict[str, Replicates]:
    """Evaluate detections on a data set and on ``RESAMPLES`` resamples of its images.

    ``runs`` maps the checksum of a file of detections, or of matches, which need no data set, to
    its reader, which is pickled for a process; cached evaluations are not read again. All share the
    same resamples.
    """
    entries = kept(dataset, runs, folder)
    known = {checksum: _read(entry) for checksum, entry in entries.items()}
    found = {checksum: one for checksum, one in known.items() if one is not None}
    todo = [checksum for checksum in runs if checksum not in found]
    if not todo:
        return found
    with workers(len(todo), partial, _evaluate, dataset) as each:
        read = [runs[checksum] for checksum in todo]
        for done, (checksum, one) in enumerate(zip(todo, each(read), strict=True), 1):
            entries[checksum].keep_arrays(
                metrics=one.metrics, resampled=one.resampled, draw=one.draw
            )
            found[checksum] = one
            if done % 10 == 0 or done == len(todo):
                report(f"{done} of {len(todo)} runs evaluated on resampled images")
    return found


def kept(
    dataset: Mapping[str, Any] | None, checksums: Iterable[str], folder: Path | None = None
) -> dict[str, Entry]:
    """Return the cache entries of replicates of detections on a data set, by their checksums."""
    truth = digest(dataset)
    return {
        checksum: cache.entry(
            "replicates.npz", [truth, checksum, METRICS], resampling.__name__, folder=folder
        )
        for checksum in checksums
    }


def _read(entry: Entry) -> Replicates | None:
    found = entry.arrays()
    if found is None or found.keys() != {"metrics", "resampled", "draw"}:
        return None
    return Replicates(found["metrics"], found["resampled"], str(found["draw"]))


def _evaluate(dataset: Mapping[str, Any] | None, read: Read) -> Replicates:
    detections = read()
    if not isinstance(detections, pd.DataFrame):
        return resampling.of_matches(detections)
    assert dataset is not None
    return resampling.of_detections(dataset, detections)
