"""Stored evaluation of a run: matches of its detections, and object counts.

The twelve metrics follow from it to the last digit, without the images and their annotations; so
do those of any weighting of the images, and the errors by kind. ``gfl.predictions`` documents the
columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfl.errors import UserError
from gfl.files import sha256
from gfl.predictions import schema
from gfl.predictions.accumulation import accumulated
from gfl.predictions.error_kinds import KINDS_AT, Objects, Sorted
from gfl.predictions.matching import (
    AREAS,
    FOUND,
    IGNORED,
    THRESHOLDS,
    Judged,
    Matches,
    Ranked,
    judge,
)
from gfl.predictions.overlaps import Found, Truth, by_score
from gfl.predictions.schema import MATCHES, OBJECTS
from gfl.records.record import digest

if TYPE_CHECKING:
    import pyarrow as pa

NO_CATEGORY = -1  # of an image without objects
BITS = 1 << np.arange(THRESHOLDS)


@dataclass(frozen=True)
class Kinds:
    """Each detection's kind of error at one IoU, and the category it is corrected to."""

    state: np.ndarray  # [N] positions in gfl.predictions.error_kinds.STATES
    right: np.ndarray  # [N] a category's id, or NONE


@dataclass(frozen=True)
class Evaluated:
    """Results of pycocotools and TIDE for a run's detections."""

    judged: Judged
    objects: Objects
    kinds: Mapping[float, Kinds]  # by IoU, in the order of judged.detections
    truth: str  # digest of the ground truth

    @classmethod
    def of(cls, dataset: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Evaluated:
        """Evaluate COCO's results against the content of an annotation file.

        Raises:
            UserError: as ``gfl.training.evaluate.coco_metrics``.
        """
        judged = judge(dataset, detections)
        truth, found = Truth.of(dataset), Found.results(detections)
        order = np.argsort(found.row)  # as judged: both drop the same ones
        kinds = {}
        for iou in KINDS_AT:
            errors = Sorted.of(truth, found, iou)
            kinds[iou] = Kinds(errors.state[order], errors.right[order])
        return cls(judged, Objects.of(truth), kinds, digest_of(dataset))

    @property
    def image(self) -> np.ndarray:
        """Image of each detection, [N] ids."""
        return self.judged.images[self.judged.detections.image]

    @property
    def category(self) -> np.ndarray:
        """Category of each detection, [N] ids."""
        return self.judged.categories[self.judged.category]

    def matches(self) -> Matches:
        """Return the matches for the bootstrap to re-weight."""
        return self.judged.matches()

    def errors(self, iou: float) -> Sorted:
        """Classify the detections by kind of error, at an IoU of KINDS_AT."""
        image, kinds = self.image, self.kinds[iou]
        order = by_score(image, self.judged.detections.score)
        return Sorted(
            self.objects,
            image[order],
            self.category[order],
            kinds.state[order],
            kinds.right[order],
        )

    def metrics(self) -> dict[str, float | None]:
        """Return COCO's twelve metrics like ``evaluate.coco_metrics``, to the last digit."""
        return accumulated(self.judged)

    def match_columns(self) -> dict[str, np.ndarray]:
        """Return the columns of ``matches.parquet``.

        Raises:
            ValueError: an id is too large.
        """
        found = self.judged.detections
        columns = {
            "image_id": _exactly(self.image, np.int32),
            "category_id": _exactly(self.category, np.int16),
            "rank_step": _rank_steps(self.image, found.score),
            "inside": (found.inside * BITS[: len(AREAS), None]).sum(0).astype(np.int8),
        }
        for what, state in (("found", FOUND), ("ignored", IGNORED)):
            for area, match in zip(AREAS, found.match, strict=True):
                columns[f"{what}_{area}"] = (
                    ((match == state) * BITS[:, None]).sum(0).astype(np.int16)
                )
        for iou, kinds in self.kinds.items():
            columns[f"error_{100 * iou:.0f}"] = kinds.state.astype(np.int8)
            columns[f"right_{100 * iou:.0f}"] = kinds.right.astype(np.int16)
        return columns

    def objects_columns(self) -> dict[str, np.ndarray]:
        """Return the columns of ``objects.parquet``: a row per image and category with objects."""
        judged, objects = self.judged, self.objects
        count = np.zeros(judged.objects.shape[1:], dtype=np.int32)
        places = (
            np.searchsorted(judged.images, objects.image),
            np.searchsorted(judged.categories, objects.category),
        )
        count[places] = objects.count
        several = np.concatenate([count[None], judged.objects])
        image, column = np.nonzero(several.any(axis=0))
        empty = np.setdiff1d(np.arange(len(judged.images)), image)
        order = np.argsort(np.concatenate([image, empty]), kind="stable")
        category = [judged.categories[column], np.full(len(empty), NO_CATEGORY)]
        columns = {
            "image_id": _exactly(judged.images[np.concatenate([image, empty])][order], np.int32),
            "category_id": _exactly(np.concatenate(category)[order], np.int16),
        }
        for name, counted in zip(("objects", *AREAS), several, strict=True):
            values = np.concatenate([counted[image, column], np.zeros(len(empty), np.int32)])
            columns[name] = values[order]
        return columns


def digest_of(dataset: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what evaluation reads of an annotation file, in any order."""
    images, categories = (
        sorted(one["id"] for one in dataset[part]) for part in ("images", "categories")
    )
    names = ("id", "image_id", "category_id", "bbox", "area")
    objects = sorted(
        [*(one[name] for name in names), bool(one.get("iscrowd"))] for one in dataset["annotations"]
    )
    return digest([images, categories, objects])


def _exactly(values: np.ndarray, kind: type[np.generic]) -> np.ndarray:
    """Convert numbers to a type that represents each of them exactly."""
    with np.errstate(over="ignore"):
        converted = values.astype(kind)
    if (converted != values).any():
        raise ValueError(f"numbers that {kind.__name__} does not hold exactly")
    return converted


def write(evaluated: Evaluated, folder: Path) -> dict[str, str]:
    """Write a run's two files, each atomically; return their SHA-256 by name.

    With one version of pyarrow, the same evaluation gives the same bytes; those of the objects are
    common to all runs on these images.

    Raises:
        ValueError: an id is too large.
    """
    meta: dict[str, Any] = {"schema": schema.SCHEMA, "truth": evaluated.truth}
    tables = {
        MATCHES: schema.table(evaluated.match_columns(), schema.MATCH_COLUMNS, meta),
        OBJECTS: schema.table(
            evaluated.objects_columns(),
            schema.OBJECT_COLUMNS,
            meta | {"categories": evaluated.judged.categories.tolist()},
        ),
    }
    for name, table in tables.items():
        schema.write_table(table, folder / name, repetitive=True)
    return {name: sha256(folder / name) for name in tables}


def read(folder: Path, expected: Mapping[str, str] | None = None) -> Evaluated:
    """Read a run's two files back, checking the SHA-256 in ``expected``, if given.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: a file is another one, damaged, or of another schema.
    """
    import pyarrow

    try:
        tables = [
            schema.read(folder / name, None if expected is None else expected.get(name, ""))
            for name in (MATCHES, OBJECTS)
        ]
        return _read(*tables)
    except (pyarrow.ArrowException, KeyError, IndexError, ValueError) as err:
        raise UserError(f"{folder}: damaged matches: {err}") from None


def _read(detections: pa.Table, counts: pa.Table) -> Evaluated:
    meta = schema.metadata(counts)
    row = {name: counts[name].to_numpy() for name in schema.OBJECT_COLUMNS}
    of = {name: detections[name].to_numpy() for name in schema.MATCH_COLUMNS}
    truth = meta["truth"]
    if schema.metadata(detections)["truth"] != truth:
        raise ValueError("its two files are of different ground truths")
    images = np.unique(row["image_id"]).astype(np.int64)
    categories = np.array(meta["categories"], dtype=np.int64)
    some = row["category_id"] != NO_CATEGORY
    places = (
        _position(images, row["image_id"][some]),
        _position(categories, row["category_id"][some]),
    )
    objects = np.zeros((len(AREAS), len(images), len(categories)), dtype=np.int32)
    for area, name in enumerate(AREAS):
        objects[area][places] = row[name][some]
    kept = row["objects"] > 0
    match = np.zeros((len(AREAS), THRESHOLDS, len(detections)), dtype=np.int8)
    for what, state in (("found", FOUND), ("ignored", IGNORED)):
        for area, name in enumerate(AREAS):
            match[area] |= np.where(of[f"{what}_{name}"] & BITS[:, None], state, 0).astype(np.int8)
    inside = (of["inside"] & BITS[: len(AREAS), None]) != 0
    image = _position(images, of["image_id"]).astype(np.int32)
    score = -_ranks(image, of["rank_step"]).astype(float)
    judged = Judged(
        images,
        categories,
        objects,
        _position(categories, of["category_id"]),
        Ranked(image, score, inside, match),
        np.arange(len(detections)),
    )
    kinds = {
        iou: Kinds(of[f"error_{100 * iou:.0f}"], of[f"right_{100 * iou:.0f}"].astype(int))
        for iou in KINDS_AT
    }
    having = (row[name][kept].astype(np.int64) for name in ("image_id", "category_id", "objects"))
    return Evaluated(judged, Objects(*having), kinds, truth)


def _rank_steps(image: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return by how many of the run's scores each detection trails the one before it.

    An image's first trails the highest. Metrics depend only on the order of scores, and steps take
    half the space.
    """
    _, rank = np.unique(-score, return_inverse=True)
    return np.where(_begins(image), rank, np.diff(rank, prepend=0)).astype(np.int32)


def _ranks(image: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return each detection's rank, 0 for the highest score; equal scores share one."""
    total, begins = np.cumsum(steps, dtype=np.int64), _begins(image)
    before = (total - steps)[begins]
    return total - before[np.cumsum(begins) - 1] if len(total) else total


def _begins(image: np.ndarray) -> np.ndarray:
    """Mark the first of each image's detections, which are contiguous."""
    return np.diff(image, prepend=image[:1] - 1) != 0


def _position(ids: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the index of each id among the known ones, which ascend."""
    at = np.searchsorted(ids, of)
    if (ids[np.minimum(at, len(ids) - 1)] != of).any():
        raise ValueError("ids of images or categories that the ground truth does not have")
    return at
