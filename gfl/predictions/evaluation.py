"""Evaluations of third-party weights, kept apart from this project's runs.

An evaluation lies in ``runs/weights/<name>/``: predictions as of a run (``gfl.predictions``) and
``evaluation.json``, which is not a run's record and not read as one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gfl.data.coco import annotation_file
from gfl.errors import UserError
from gfl.experiment import AnyExperiment
from gfl.files import sha256
from gfl.predictions import schema as predictions
from gfl.records.record import METRICS, RecordError, digest, write_json
from gfl.records.record import read_json as read_record

FILE = "evaluation.json"
FOLDER = "weights"  # below the folder of all runs; no profile has this name
PREFIX = "others"  # of every name: it labels figures drawn from an evaluation
KIND = "third-party weights: no record of this project"
SPLIT = "val2017"
SCHEMA = 1


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a weights file on a data set, and everything they depend on."""

    name: str
    row: str  # "table-4/GFL R-50"
    run: str  # the id of this project's run of the same model, at the coco profile
    experiment: Mapping[str, Any]
    file: str  # name only
    weights: str  # the file's SHA-256
    data_root: str
    annotations: str  # the SHA-256 of the annotation file
    data: str  # the SHA-256 of that and of all images
    images: int
    metrics: Mapping[str, float | None]  # METRICS, in percent
    predictions: Mapping[str, str]  # as in a run's record
    commit: str | None
    dirty: bool
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    seconds: float
    started: str  # ISO 8601, UTC
    kind: str = KIND
    schema: int = SCHEMA

    def save(self, folder: Path) -> None:
        """Write it atomically."""
        content = asdict(self)
        write_json(folder / FILE, content | {"sha256": digest(content)})

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read it back.

        Raises:
            UserError: it is missing or damaged.
        """
        path = folder / FILE
        try:
            content = read_record(path)
        except FileNotFoundError as err:
            raise UserError(f"{folder}: no evaluation of weights is there") from err
        except (RecordError, OSError) as err:
            raise UserError(f"{path}: not an evaluation of weights ({err})") from err
        checksum = content.pop("sha256", None)
        known = {field.name for field in fields(cls)}
        if content.keys() != known or content["schema"] != SCHEMA or checksum != digest(content):
            raise UserError(f"{path}: damaged, or of another version of this code")
        if content["kind"] != KIND or content["metrics"].keys() != set(METRICS):
            raise UserError(f"{path}: not an evaluation of weights")
        return cls(**content)


def name_of(experiment: AnyExperiment, weights: str, data: str | None = None) -> str:
    """Name weights by their row's factors and checksum; an evaluation also by its data's."""
    parts = [PREFIX, experiment.slug, weights[:8], *([data[:8]] if data else [])]
    return "-".join(parts)


def data_digest(root: Path, images: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the SHA-256 of a COCO folder's annotations, and that of these and the images.

    ``images`` are those of the annotations, in normal form.

    Raises:
        UserError: an image cannot be read.
    """
    boxes = sha256(annotation_file(root, SPLIT))
    whole = hashlib.sha256(boxes.encode())
    for image in images:
        file = root / SPLIT / image["file_name"]
        try:
            whole.update(f"{image['id']} {sha256(file)}\n".encode())
        except OSError as err:
            raise UserError(f"{file}: cannot be read ({err.strerror or err})") from err
    return boxes, whole.hexdigest()


def evaluate(
    trained: Any, data_root: Path, workers: int, progress: Callable[[int, int], None]
) -> tuple[dict[str, float | None], dict[str, str], float]:
    """Predict for all images into ``trained.run_dir``; return metrics, checksums and seconds.

    ``trained`` is a ``gfl.predictions.trained.Trained``.
    """
    from gfl.predictions import collect  # imports mmdet, not needed to read an evaluation
    from gfl.training.evaluate import coco_metrics

    begun = time.monotonic()
    loader, ground_truth = collect.evaluation(trained, data_root, workers)
    found = collect.observe(trained, loader, ground_truth, progress)
    metrics = coco_metrics(ground_truth, predictions.results(found.detections))
    checksums = predictions.write(found, trained.run_dir)
    return metrics, checksums, time.monotonic() - begun
