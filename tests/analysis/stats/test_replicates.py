"""Runs evaluated on resampled images: what is kept, and that it is what was evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.library import coco_results
from analysis.stats.replicates import kept, replicates
from gfl.records.record import METRICS
from gfl.shapes import embedded
from gfl.shapes.embedded import ShapesSpec
from gfl.training.evaluate import coco_metrics

DATA = ShapesSpec(image_size=64, train=2, val=8)


@pytest.fixture(scope="module")
def dataset() -> dict:
    drawn = [embedded.render(DATA, "val", i)[1] for i in range(DATA.val)]
    return embedded.coco(DATA, "val", drawn)


@pytest.fixture
def detections(dataset: dict) -> pd.DataFrame:
    """Every object, a little off, with a random score."""
    rng = np.random.default_rng(0)
    rows = []
    for one in dataset["annotations"]:
        x, y, w, h = one["bbox"]
        x1, y1 = x + rng.normal(), y + rng.normal()
        rows.append((one["image_id"], one["category_id"], rng.random(), x1, y1, x1 + w, y1 + h))
    names = ["image_id", "category_id", "score", "x1", "y1", "x2", "y2"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype(dict.fromkeys(names[2:], np.float32))


def test_replicates_are_kept_and_not_made_again(
    dataset: dict, detections: pd.DataFrame, tmp_path: Path
) -> None:
    def not_again() -> pd.DataFrame:
        raise AssertionError("what is kept is not read")

    (made,) = replicates(dataset, {"one": lambda: detections}, tmp_path).values()
    (again,) = replicates(dataset, {"one": not_again}, tmp_path).values()
    np.testing.assert_array_equal(made.resampled, again.resampled)
    assert made.draw == again.draw
    expected = coco_metrics(dataset, coco_results(detections))
    for name, value in zip(METRICS, again.metrics, strict=True):
        wanted = expected[name]
        assert value == pytest.approx(np.nan if wanted is None else wanted, nan_ok=True)


def test_what_is_kept_is_of_these_images_alone(dataset: dict, tmp_path: Path) -> None:
    def path(dataset: dict, checksum: str) -> Path:
        return kept(dataset, [checksum], tmp_path)[checksum].path

    moved = {**dataset, "annotations": [dict(a) for a in dataset["annotations"]]}
    moved["annotations"][0]["bbox"] = [1, 2, 3, 4]
    assert path(moved, "one") != path(dataset, "one")
    assert path(dict(dataset), "one") == path(dataset, "one") != path(dataset, "other")


def test_a_damaged_file_is_made_again(
    dataset: dict, detections: pd.DataFrame, tmp_path: Path
) -> None:
    (made,) = replicates(dataset, {"one": lambda: detections}, tmp_path).values()
    kept(dataset, ["one"], tmp_path)["one"].path.write_bytes(b"no archive")
    (again,) = replicates(dataset, {"one": lambda: detections}, tmp_path).values()
    np.testing.assert_array_equal(again.resampled, made.resampled)
