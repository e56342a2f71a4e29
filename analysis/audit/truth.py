"""Audit of stored matches against the ground truth, if its folder is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audit.findings import Finding
from analysis.library import KEPT, coco_results
from analysis.pool import Reporter
from gfl.data import annotations, coco, photos
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.predictions import schema
from gfl.predictions.matches import Evaluated, digest_of, read
from gfl.predictions.schema import DETECTIONS, MATCHES, OBJECTS
from gfl.records.record import Store

BY = "the ground truth"


def held(profile: Profile, store: Store, data: Path | None, report: Reporter) -> Iterator[Finding]:
    """Check the objects of every run with matches against the ground truth, and its detections.

    Reports the coverage. Skips embedded data, whose matches are not stored.

    Raises:
        UserError: the annotation file is missing, or unusable for evaluation.
    """
    if not schema.keeps_matches(profile):
        return
    folders = [
        store.reference_predictions(profile.name, i) for i in store.reference_ids(profile.name)
    ]
    folders = [folder for folder in folders if all((folder / n).is_file() for n in KEPT)]
    if data is None:
        report(
            f"{profile.name}: metrics are of stored matches, which were not held to the ground "
            "truth: DATA=/path/to/coco does that"
        )
        return
    path = ground_truth(data)
    dataset = photos.validation(annotations.read(path), profile.photos)
    objects, again = Evaluated.of(dataset, []).objects_columns(), 0
    for folder in folders:
        try:
            stored = read(folder)
        except UserError as err:
            yield Finding(folder / MATCHES, "the file", f"unreadable ({err})", "matches")
            continue
        if stored.truth != (truth := digest_of(dataset)):
            yield Finding(folder / OBJECTS, "the ground truth's digest", stored.truth, truth, BY)
        yield from _different(folder / OBJECTS, stored.objects_columns(), objects)
        if (folder / DETECTIONS).is_file():
            again += 1
            yield from _matched(folder, stored, dataset)
    report(
        f"{profile.name}: the objects of {len(folders)} runs held to {path}; matches made anew of "
        f"the {again} runs whose detections are here"
    )


def check(profile: Profile, data: Path) -> None:
    """Raise a UserError if a profile's ground truth is required and missing."""
    if schema.keeps_matches(profile) and not (path := ground_truth(data)).is_file():
        raise UserError(f"{path} is not there: DATA is COCO's folder, with its annotations")


def ground_truth(data: Path) -> Path:
    """Return the annotation file, in COCO's folder, of every evaluation."""
    return coco.annotation_file(data, "val2017")


def _matched(folder: Path, stored: Evaluated, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare a run's matches with those recomputed from its detections."""
    import pyarrow
    import pyarrow.parquet as pq

    path = folder / DETECTIONS
    try:
        detections = coco_results(pq.read_table(path).to_pandas())
        made = Evaluated.of(dataset, detections)
    except (UserError, pyarrow.ArrowException, KeyError) as err:
        yield Finding(path, "the file", f"cannot be evaluated ({err})", "detections")
        return
    yield from _different(folder / MATCHES, stored.match_columns(), made.match_columns())


def _different(
    file: Path, committed: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    """Report the rows that differ, column by column."""
    rows = [len(columns["image_id"]) for columns in (committed, expected)]
    if rows[0] != rows[1]:
        yield Finding(file, "its rows", str(rows[0]), str(rows[1]), BY)
        return
    for name, values in expected.items():
        for row in np.flatnonzero(committed[name] != values):
            was, is_ = committed[name][row].item(), values[row].item()
            yield Finding(file, f"row {row + 1}, {name}", repr(was), repr(is_), BY)
