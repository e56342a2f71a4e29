"""Stored matches against pycocotools, and against what they were made of."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coco_drawn
import numpy as np
import pytest
from hypothesis import given, settings

from gfl.errors import UserError
from gfl.predictions import matches, schema
from gfl.predictions.error_kinds import KINDS_AT, NONE, STATES, Sorted
from gfl.predictions.matches import Evaluated
from gfl.predictions.matching import Matches, match
from gfl.predictions.overlaps import Found, Truth
from gfl.predictions.schema import MATCHES, OBJECTS
from gfl.training.evaluate import coco_metrics

Case = tuple[dict[str, Any], list[dict[str, Any]]]


def written(evaluated: Evaluated) -> tuple[Evaluated, dict[str, bytes]]:
    """What is read back, and the files."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        expected = matches.write(evaluated, folder)
        return matches.read(folder, expected), {n: (folder / n).read_bytes() for n in expected}


def assert_same_matches(ours: Matches, theirs: Matches) -> None:
    for name in ("images", "categories", "objects", "recalled"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    for one, other in zip(ours.ranked, theirs.ranked, strict=True):
        for name in ("image", "inside", "match"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    ours_ranked, theirs_ranked = (
        np.concatenate([r.score for r in m.ranked]) for m in (ours, theirs)
    )
    np.testing.assert_array_equal(ranks(ours_ranked), ranks(theirs_ranked))


def ranks(score: np.ndarray) -> np.ndarray:
    """Which score is how high: 0 the highest, equal ones alike."""
    return np.unique(-score, return_inverse=True)[1]


def assert_same_errors(ours: Sorted, theirs: Sorted) -> None:
    for name in ("image", "category", "count"):
        np.testing.assert_array_equal(getattr(ours.objects, name), getattr(theirs.objects, name))
    for name in ("image", "category", "state", "right", "unfound", "missed"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@settings(deadline=None, max_examples=150)
@given(coco_drawn.cases())
def test_what_is_read_back_is_what_the_ground_truth_gives(case: Case) -> None:
    """The twelve metrics to the last digit, the matches, and the errors at both IoUs."""
    dataset, detections = case
    stored, files = written(Evaluated.of(dataset, detections))
    assert stored.metrics() == coco_metrics(dataset, detections)
    assert_same_matches(stored.matches(), match(dataset, detections))
    truth, found = Truth.of(dataset), Found.results(detections)
    for iou in KINDS_AT:
        assert_same_errors(stored.errors(iou), Sorted.of(truth, found, iou))
    assert written(stored)[1] == files


def test_real_images(shared: Path) -> None:
    folder = shared / "data/coco-eval-100"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    detections = found
    stored, _ = written(Evaluated.of(dataset, detections))
    assert stored.metrics() == coco_metrics(dataset, detections)
    assert_same_matches(stored.matches(), match(dataset, detections))
    truth = Truth.of(dataset)
    for iou in KINDS_AT:
        assert_same_errors(stored.errors(iou), Sorted.of(truth, Found.results(detections), iou))
    assert stored.truth == matches.digest_of(dataset)


def box(x: float, **more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 3, "bbox": [x, 0.0, 40.0, 40.0]} | more


@pytest.fixture
def dataset() -> dict[str, Any]:
    """Two objects and a crowd in one image, and an image of nothing."""
    of_all = {"area": 1600.0, "iscrowd": 0}
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 300} for i in (139, 1)
        ],
        "categories": [{"id": 3, "name": "cup"}, {"id": 90, "name": "bowl"}],
        "annotations": [
            {"id": 1, **of_all, **box(0)},
            {"id": 2, **of_all, **box(200, category_id=90)},
            {"id": 3, **of_all, **box(100), "iscrowd": 1},
        ],
    }


def test_columns_by_hand(dataset: dict[str, Any], tmp_path: Path) -> None:
    found = [
        box(0, score=0.75),  # true
        box(1, score=0.5),  # the same object again
        box(100, score=0.25),  # in the crowd
        box(200, score=0.125),  # a bowl that is called a cup
    ]
    matches.write(Evaluated.of(dataset, found), tmp_path)
    table = schema.read(tmp_path / MATCHES, None).to_pydict()
    assert table["found_all"] == table["found_medium"] == [0b1111111111, 0, 0, 0]
    assert table["ignored_all"] == [0, 0, 0b1111111111, 0]
    assert table["ignored_small"] == [0b1111111111, 0, 0b1111111111, 0]  # a medium object
    assert table["inside"] == [0b0101] * 4  # all and medium
    kinds = [STATES[state] for state in table["error_50"]]
    assert kinds == ["true", "duplicate", "ignored", "classification"]
    assert table["right_50"] == [NONE, NONE, NONE, 90]
    objects = schema.read(tmp_path / OBJECTS, None).to_pydict()
    assert [objects[n] for n in ("image_id", "category_id", "objects", "medium", "large")] == [
        [1, 1, 139], [3, 90, -1], [1, 1, 0], [1, 1, 0], [0, 0, 0],
    ]  # fmt: skip


def test_objects_are_the_same_file_whatever_was_detected(dataset: dict[str, Any]) -> None:
    files = [written(Evaluated.of(dataset, found))[1] for found in ([], [box(0, score=0.5)])]
    assert files[0][OBJECTS] == files[1][OBJECTS]
    assert files[0][MATCHES] != files[1][MATCHES]


def test_the_digest_is_of_what_evaluation_reads(dataset: dict[str, Any]) -> None:
    known = matches.digest_of(dataset)
    turned = {part: list(reversed(rows)) for part, rows in dataset.items()}
    turned["annotations"][0]["segmentation"] = []
    assert matches.digest_of(turned) == known
    for name, value in (("bbox", [0.0, 0.0, 40.0, 40.5]), ("iscrowd", 1), ("area", 1601.0)):
        changed = copy.deepcopy(dataset)
        changed["annotations"][0][name] = value
        assert matches.digest_of(changed) != known


def test_scores_of_any_precision_keep_their_order_and_their_ties(dataset: dict[str, Any]) -> None:
    scores = [0.1, 0.5, 0.5000000001, 0.5, 0.1, 1e-300]
    detections = [box(0, score=score) for score in scores]
    evaluated = Evaluated.of(dataset, detections)
    stored, _ = written(evaluated)
    assert_same_matches(stored.matches(), evaluated.matches())
    columns = evaluated.match_columns()
    assert columns["rank_step"].dtype == np.int32
    assert stored.metrics() == evaluated.metrics()


def test_an_id_that_is_too_large_is_refused(dataset: dict[str, Any], tmp_path: Path) -> None:
    dataset["images"][0]["id"] = 2**31
    with pytest.raises(ValueError, match="int32"):
        matches.write(Evaluated.of(dataset, []), tmp_path)


def test_another_file_is_refused(dataset: dict[str, Any], tmp_path: Path) -> None:
    expected = matches.write(Evaluated.of(dataset, [box(0, score=0.5)]), tmp_path)
    with pytest.raises(UserError, match="checksum"):
        matches.read(tmp_path, expected | {OBJECTS: "0" * 64})
    with pytest.raises(UserError, match="checksum"):
        matches.read(tmp_path, {})
    content = (tmp_path / MATCHES).read_bytes()
    (tmp_path / MATCHES).write_bytes(content[:-20])
    with pytest.raises(UserError, match="damaged"):
        matches.read(tmp_path)
    (tmp_path / MATCHES).unlink()
    with pytest.raises(FileNotFoundError):
        matches.read(tmp_path, expected)


def test_files_of_two_ground_truths_are_refused(dataset: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    matches.write(Evaluated.of(dataset, [box(0, score=0.5)]), tmp_path / "one")
    dataset["annotations"][0]["bbox"][0] = 2.0
    matches.write(Evaluated.of(dataset, []), tmp_path / "other")
    (tmp_path / "other" / OBJECTS).replace(tmp_path / "one" / OBJECTS)
    with pytest.raises(UserError, match="different ground truths"):
        matches.read(tmp_path / "one")
