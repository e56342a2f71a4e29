"""Stored predictions of a finished run for its validation images: a few Parquet files.

Figures read these, never a checkpoint. They lie in the run's folder, ``runs/<profile>/<id>/``;
those that committed figures need, in ``results/predictions/<profile>/<id>/``. Their SHA-256 is in
the run's record, under ``predictions``. A null is a NaN here.

``detections.parquet``: the final detections, at most 100 per image, of every image, in the order of
the images and of falling score; bit for bit those that were evaluated.

================  =======  =========================================================================
column            type     meaning
================  =======  =========================================================================
image_id          int32    COCO's
category_id       int16    COCO's
score             float32  what NMS and COCO's metric rank by
class_score       float32  the classification score in it; null if the host has a head of its own
quality_score     float32  the predicted quality in it; null without a branch that predicts one
x1 y1 x2 y2       float32  px of the original image
iou               float32  with the ground truth of its category that it overlaps most; 0: none
gt_id             int32    annotation id of that ground truth; -1: none
================  =======  =========================================================================

Two detections may share a gt_id: nothing is matched here. Crowds are not ground truth.

``locations.parquet``, of FCOS and ATSS only: all positives of the run's own assignment; a random
sample of all locations; and the 100 locations of highest predicted quality among those that are not
positive, lie in no object's box and have a class_score under 0.3. In the order of the images, then
of the levels, rows and columns. Of more than 1000 images, 1000 evenly spaced ones are included.

==================  =======  =======================================================================
column              type     meaning
==================  =======  =======================================================================
image_id            int32    COCO's
level               int8     0 is the finest
stride              int16    px of the network's input
x y                 float32  the location, px of the network's input
positive            bool     an object is assigned to it
sampled             bool     it is in the random sample, whether positive or not
category_id         int16    its object's, COCO's; not positive: that with the highest score
class_score         float32  the sigmoid of that category's logit
quality_score       float32  the sigmoid of the quality branch; null without one
score               float32  what NMS ranks by: their product, or class_score alone
iou                 float32  of the decoded box with its object's; not positive: the highest of all
centerness          float32  the label; null if not positive
gt_id               int32    its object's annotation id; -1 if not positive
target_left ...     float32  distances to its object's four sides, strides; null if not positive
mean_left ...       float32  decoded distances to the four sides, strides
sigma_left ...      float32  standard deviations, strides; of a Gaussian, else null
p_left ...          uint8    [n + 1] P(y_i) in 1/255 of a General distribution, else no such columns
==================  =======  =======================================================================

Float columns are rounded to 12 significant bits, off by at most a part in 4096; ids and positions
are exact.

``matches.parquet`` and ``objects.parquet``, of data that are not embedded: the evaluation's
results, from which everything that depends on them can be recomputed without the annotations.
``matches`` writes and reads them. The first has a row for each evaluated detection, in the order of
``detections.parquet`` (at most 100 per image and category). An area is all, small, medium or large,
as in COCO.

==================  =======  =======================================================================
column              type     meaning
==================  =======  =======================================================================
image_id            int32    COCO's
category_id         int16    COCO's
rank_step           int32    number of the run's scores between it and the one before it in its
                             image, its own included; of an image's first, how many are higher
inside              int8     bit a: the box's own area is in the a-th area range
found_all ...       int16    bit t: matched to a counted object, at an IoU of 0.5 + 0.05 t
ignored_all ...     int16    bit t: matched to a crowd, or to an object of another area
error_50 error_75   int8     position in error_kinds.STATES, at an IoU of 0.5 and of 0.75
right_50 right_75   int16    the category of the object to which an oracle corrects it; -1: none
==================  =======  =======================================================================

The second has a row for each image and category with objects, and one, of category -1, for an image
without any. It is the same for all runs on the same images.

==================  =======  =======================================================================
column              type     meaning
==================  =======  =======================================================================
image_id            int32    COCO's
category_id         int16    COCO's
objects             int32    all but crowds
all small ...       int32    those that count in an area
==================  =======  =======================================================================

Their metadata name the ground truth by its digest.

The schema's metadata has a JSON object under ``gfl``: schema, run, n, delta, sample, units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfl.errors import UserError
from gfl.files import replacing, sha256

if TYPE_CHECKING:
    import pyarrow as pa

    from gfl.experiment import Profile

SCHEMA = 1
DETECTIONS, LOCATIONS = "detections.parquet", "locations.parquet"
MATCHES, OBJECTS = "matches.parquet", "objects.parquet"

SIDES = ("left", "top", "right", "bottom")
PER_IMAGE = 8  # locations per image in the random sample
IMAGES = 1000  # images whose locations are stored
CONFIDENT = 100  # background locations kept for their predicted quality ...
BACKGROUND_SCORE = 0.3  # ... with a class score below this
SIGNIFICANT_BITS = 12
SAMPLE = (
    f"of an image, numpy's default_rng((seed of the run, image_id)).choice of {PER_IMAGE} of its "
    f"locations, without replacement; also the {CONFIDENT} locations of all images that are not "
    f"positive, lie in no object's box and have class_score < {BACKGROUND_SCORE} and the highest "
    f"quality_score; of at most {IMAGES} images, evenly spread"
)
UNITS = {
    "x1 y1 x2 y2": "px of the original image",
    "stride x y": "px of the network's input",
    "target_* mean_* sigma_*": "strides",
    "p_*": "1/255",
}

# The types of the columns, in order; those of P(x) are added if there are any.
DETECTION_COLUMNS = {
    "image_id": "int32", "category_id": "int16", "score": "float32", "class_score": "float32",
    "quality_score": "float32", "x1": "float32", "y1": "float32", "x2": "float32", "y2": "float32",
    "iou": "float32", "gt_id": "int32",
}  # fmt: skip
LOCATION_COLUMNS = {
    "image_id": "int32", "level": "int8", "stride": "int16", "x": "float32", "y": "float32",
    "positive": "bool", "sampled": "bool", "category_id": "int16", "class_score": "float32",
    "quality_score": "float32", "score": "float32", "iou": "float32", "centerness": "float32",
    "gt_id": "int32",
}  # fmt: skip
LOCATION_COLUMNS |= {
    f"{w}_{side}": "float32" for w in ("target", "mean", "sigma") for side in SIDES
}
_AREAS = ("all", "small", "medium", "large")
MATCH_COLUMNS = {
    "image_id": "int32", "category_id": "int16", "rank_step": "int32", "inside": "int8",
    **{f"{what}_{area}": "int16" for what in ("found", "ignored") for area in _AREAS},
    "error_50": "int8", "right_50": "int16", "error_75": "int8", "right_75": "int16",
}  # fmt: skip
OBJECT_COLUMNS = {"image_id": "int32", "category_id": "int16"}
OBJECT_COLUMNS |= dict.fromkeys(("objects", *_AREAS), "int32")
EXACT = ("x", "y")  # of the float columns of locations, those not rounded
OF_MANY_VALUES = ("rank_step",)  # integer columns with many distinct values

Columns = Mapping[str, np.ndarray]


def keeps_matches(profile: Profile) -> bool:
    """Return True if runs store their matches, which embedded data can always reproduce."""
    return profile.dataset is None and profile.own is None


def least(profile: Profile) -> tuple[str, ...]:
    """Return the files of every run of a profile that stores predictions."""
    return (DETECTIONS, MATCHES, OBJECTS) if keeps_matches(profile) else (DETECTIONS,)


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run, column by column; ``p`` in 1/255, [rows of locations, 4, n + 1]."""

    run: str
    n: int | None  # of a General distribution
    delta: float | None
    detections: Columns
    locations: Columns | None = None
    p: np.ndarray | None = None


def write(predictions: Predictions, folder: Path) -> dict[str, str]:
    """Write a run's files, each atomically; return their SHA-256 by name.

    With one version of pyarrow, the same predictions give the same bytes.
    """
    meta: dict[str, Any] = {"schema": SCHEMA, "run": predictions.run}
    meta |= {"n": predictions.n, "delta": predictions.delta, "units": UNITS}
    tables = {DETECTIONS: table(predictions.detections, DETECTION_COLUMNS, meta)}
    if predictions.locations is not None:
        rounded = {
            name: _rounded(values) if values.dtype == np.float32 and name not in EXACT else values
            for name, values in predictions.locations.items()
        }
        meta |= {"sample": SAMPLE}
        tables[LOCATIONS] = table(rounded, LOCATION_COLUMNS, meta, predictions.p)
    for name, content in tables.items():
        write_table(content, folder / name)
    return {name: sha256(folder / name) for name in tables}


def read(path: Path, expected: str | None) -> pa.Table:
    """Read a file back, checking it against the record's SHA-256 unless that is None.

    Raises:
        FileNotFoundError: it is missing.
        UserError: it is another file, damaged, or of another schema.
    """
    import pyarrow.parquet as pq

    if expected is not None and sha256(path) != expected:
        raise UserError(f"{path}: it does not match the checksum in its run's record")
    content = pq.read_table(path)
    if (schema := metadata(content).get("schema")) != SCHEMA:
        raise UserError(f"{path}: predictions of schema {schema!r}; this code reads {SCHEMA}")
    return content


def results(columns: Columns) -> list[dict[str, Any]]:
    """Return detections as COCO's results: bbox is x, y, width, height in pixels."""
    plain = (columns[name].tolist() for name in ("image_id", "category_id", "score"))
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, score, box in zip(*plain, boxes(columns).tolist(), strict=True)
    ]


def boxes(columns: Columns) -> np.ndarray:
    """Return detections' boxes, [N, 4] float32: x, y, width, height in pixels.

    Width and height are differences of float32, as in the metric, so that pycocotools reproduces
    the evaluation's metrics to the last digit.
    """
    corners = np.stack([columns[name] for name in ("x1", "y1", "x2", "y2")], axis=1)
    corners = corners.astype(np.float32)
    with np.errstate(invalid="ignore"):  # of infinite corners, which evaluation refuses
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def metadata(table: pa.Table) -> dict[str, Any]:
    """Return a file's metadata: schema, run, n, delta, sample, units."""
    return json.loads((table.schema.metadata or {}).get(b"gfl", b"{}"))


def densities(table: pa.Table) -> np.ndarray | None:
    """Return P(y_i) of a table of locations, float64 [rows, 4, n + 1] that sums to 1; or None."""
    if f"p_{SIDES[0]}" not in table.column_names:
        return None
    columns = [table.column(f"p_{side}").combine_chunks() for side in SIDES]
    flat = [c.flatten().to_numpy(zero_copy_only=False).reshape(len(c), -1) for c in columns]
    counts = np.stack(flat, 1).astype(np.float64)
    return counts / counts.sum(-1, keepdims=True)


def verified(folder: Path, expected: Mapping[str, str]) -> bool:
    """Return True if a run's files match its record; False if it names none."""
    try:
        return bool(expected) and all(sha256(folder / n) == e for n, e in expected.items())
    except FileNotFoundError:
        return False


def table(
    columns: Columns, types: Mapping[str, str], meta: Mapping[str, Any], p: np.ndarray | None = None
) -> pa.Table:
    """Build a table of columns of these types, in their order, and of P(x) in 1/255."""
    import pyarrow as pa

    arrays: dict[str, pa.Array] = {}
    for name, kind in types.items():
        values = np.ascontiguousarray(columns[name])
        if values.dtype != kind:
            raise TypeError(f"{name} is {values.dtype}, not {kind}")
        arrays[name] = pa.array(values, from_pandas=True)  # NaN becomes null
    if p is not None:
        for side, values in zip(SIDES, np.moveaxis(p, 1, 0), strict=True):
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            arrays[f"p_{side}"] = pa.FixedSizeListArray.from_arrays(flat, p.shape[-1])
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    return pa.table(arrays).replace_schema_metadata({"gfl": text})


def write_table(table: pa.Table, path: Path, repetitive: bool = False) -> None:
    """Write a table atomically; ``repetitive``: its integer columns have few distinct values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spread = [
        field.name
        for field in table.schema
        if pa.types.is_floating(field.type) or field.name in OF_MANY_VALUES
    ]
    dictionary: Any = False
    if repetitive:
        dictionary = [field.name for field in table.schema if field.name not in spread]
    with replacing(path) as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=19,
            use_dictionary=dictionary,
            column_encoding=dict.fromkeys(spread, "BYTE_STREAM_SPLIT"),
            write_statistics=False,
        )


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round float32 to SIGNIFICANT_BITS, ties away from 0; the zero bits left compress well."""
    dropped = 24 - SIGNIFICANT_BITS
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(1 << (dropped - 1))) & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
