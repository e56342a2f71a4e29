"""The files of predictions: what is written reads back, to a stated precision and to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gfl.errors import UserError
from gfl.predictions import schema
from gfl.predictions.schema import DETECTIONS, LOCATIONS, SIDES, Predictions

ROWS, BINS = 50, 5


def columns(types: Any, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: (100 * random.random(ROWS)).astype(kind) for name, kind in types.items()}


def made() -> Predictions:
    locations = columns(schema.LOCATION_COLUMNS)
    locations["centerness"][::2] = np.nan
    p = np.random.default_rng(1).integers(0, 255, (ROWS, 4, BINS)).astype(np.uint8)
    return Predictions("a-run", BINS - 1, 0.5, columns(schema.DETECTION_COLUMNS), locations, p)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    given = made()
    checksums = schema.write(given, tmp_path)
    assert list(checksums) == [DETECTIONS, LOCATIONS]
    assert {path.name for path in tmp_path.iterdir()} == set(checksums)
    table = schema.read(tmp_path / DETECTIONS, checksums[DETECTIONS])
    assert table.column_names == list(schema.DETECTION_COLUMNS)
    for name, values in given.detections.items():  # to the last bit
        assert table.schema.field(name).type == schema.DETECTION_COLUMNS[name]
        np.testing.assert_array_equal(table.column(name).to_numpy(), values)
    table = schema.read(tmp_path / LOCATIONS, checksums[LOCATIONS])
    sides = [f"p_{side}" for side in SIDES]
    assert table.column_names == [*schema.LOCATION_COLUMNS, *sides]
    assert given.locations is not None
    for name, values in given.locations.items():
        read = table.column(name).to_numpy()
        exact = values.dtype != np.float32 or name in ("x", "y")
        np.testing.assert_allclose(read, values, rtol=0 if exact else 1 / 4096, atol=0)
    assert table.column("centerness").null_count == ROWS / 2
    meta = schema.metadata(table)
    assert (meta["run"], meta["n"], meta["delta"]) == ("a-run", BINS - 1, 0.5)


def test_densities_are_those_of_the_sides_and_sum_to_one(tmp_path: Path) -> None:
    given = made()
    checksums = schema.write(given, tmp_path)
    p = schema.densities(schema.read(tmp_path / LOCATIONS, checksums[LOCATIONS]))
    assert given.p is not None
    expected = given.p / given.p.sum(-1, keepdims=True)
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    checksums = schema.write(replace(given, p=None), tmp_path)
    table = schema.read(tmp_path / LOCATIONS, checksums[LOCATIONS])
    assert schema.densities(table) is None
    assert table.column_names == list(schema.LOCATION_COLUMNS)


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert schema.write(made(), tmp_path / "a") == schema.write(made(), tmp_path / "b")


def test_a_host_without_locations_has_one_file(tmp_path: Path) -> None:
    checksums = schema.write(replace(made(), locations=None, p=None), tmp_path)
    assert list(checksums) == [DETECTIONS]
    assert schema.verified(tmp_path, checksums)
    assert not schema.verified(tmp_path, checksums | {LOCATIONS: "0" * 64})
    assert not schema.verified(tmp_path, {})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path, checksum = tmp_path / DETECTIONS, schema.write(made(), tmp_path)[DETECTIONS]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path}: it does not match the checksum"):
        schema.read(path, checksum)
    assert not schema.verified(tmp_path, {DETECTIONS: checksum})


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    schema.write(made(), tmp_path)
    path = tmp_path / DETECTIONS
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(UserError, match="schema None; this code reads 1"):
        schema.read(path, schema.sha256(path))


def test_a_column_of_another_type_is_a_mistake_of_the_code(tmp_path: Path) -> None:
    wrong = dict(made().detections) | {"score": np.zeros(ROWS)}
    with pytest.raises(TypeError, match="score is float64, not float32"):
        schema.write(replace(made(), detections=wrong), tmp_path)


def test_rounding_keeps_twelve_bits() -> None:
    values = np.array([0.0, -0.0, 1.0, 1 + 2**-11, 1 + 2**-12, 0.1, -0.1, np.inf, np.nan], "f4")
    rounded = schema._rounded(values)
    np.testing.assert_array_equal(rounded[:4], values[:4])
    assert rounded[4] == np.float32(1 + 2**-11)
    assert rounded[5] == pytest.approx(0.1, rel=1 / 4096)
    assert rounded[6] == -rounded[5]
    assert np.isinf(rounded[7])
    assert np.isnan(rounded[8])
