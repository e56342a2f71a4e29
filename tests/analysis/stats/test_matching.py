"""Matches by hand, against pycocotools' own, and input that is refused."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import coco_drawn
import numpy as np
import pytest
from hypothesis import given, settings

from gfl.errors import UserError
from gfl.predictions.matching import FOUND, IGNORED, UNMATCHED, judge, match
from gfl.training.evaluate import coco_metrics


def dataset(*objects: dict[str, Any], images: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 300}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": 5, "name": "cup"}, {"id": 6, "name": "bowl"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 5, "iscrowd": 0, "area": 0.0, **one}
            for i, one in enumerate(objects, start=1)
        ],
    }


def at(x: float, side: float = 40.0, score: float = 0.5, **more: Any) -> dict[str, Any]:
    box = {"bbox": [x, 0.0, side, side], "score": score}
    return {"image_id": 1, "category_id": 5} | box | more


def test_each_detection_is_found_unmatched_or_ignored() -> None:
    truth = dataset(
        {"bbox": [0.0, 0.0, 40.0, 40.0], "area": 1600.0},
        {"bbox": [100.0, 0.0, 40.0, 40.0], "area": 1600.0, "iscrowd": 1},
    )
    found = [at(0, score=0.9), at(10, score=0.8), at(100, score=0.7), at(200, score=0.6)]
    ranked = match(truth, found).ranked[0]
    assert ranked.score.tolist() == [0.9, 0.8, 0.7, 0.6]
    everywhere, small, medium, _ = ranked.match
    assert everywhere[0].tolist() == [FOUND, UNMATCHED, IGNORED, UNMATCHED]
    np.testing.assert_array_equal(everywhere, medium)
    # The object is too large for a small one: who finds it is neither right nor wrong there.
    assert small[0].tolist() == [IGNORED, UNMATCHED, IGNORED, UNMATCHED]
    assert ranked.inside[:, 0].tolist() == [True, False, True, False]


def test_an_object_on_a_border_of_size_is_of_both_sizes() -> None:
    matches = match(dataset({"bbox": [0.0, 0.0, 32.0, 32.0], "area": 1024.0}), [at(0, side=32.0)])
    assert matches.objects[:, 0, 0].tolist() == [1, 1, 1, 0]
    assert matches.ranked[0].inside[:, 0].tolist() == [True, True, True, False]
    # Found at all ten thresholds; the class that has nothing has nothing.
    assert matches.recalled[:, 0].tolist() == [[10, 0], [10, 0], [10, 0], [10, 0], [10, 0], [0, 0]]
    assert (matches.objects[:, 0, 1].sum(), len(matches.ranked[1])) == (0, 0)


def test_only_the_best_hundred_of_an_image_and_class_count() -> None:
    found = [at(0, score=i / 1000) for i in range(101)] + [at(0, score=0.001, image_id=2)]
    ranked = match(dataset(images=2), found).ranked[0]
    assert len(ranked) == 101
    assert np.count_nonzero(ranked.image == 0) == 100
    assert ranked.score[-1] == 0.001


def test_ties_stand_in_the_order_of_the_images_then_of_the_list() -> None:
    found = [at(0, image_id=2), at(1, image_id=1), at(2, image_id=2), at(3, score=0.6, image_id=2)]
    ranked = match(dataset(images=2), found).ranked[0]
    assert ranked.image.tolist() == [1, 0, 1, 1]


@settings(deadline=None, max_examples=300)
@given(coco_drawn.cases())
def test_every_decision_is_pycocotools(case) -> None:
    """Of each detection, in each area and at each threshold; and how many objects count."""
    truth, found = case
    judged, (states, objects) = judge(truth, found), by_pycocotools(truth, found)
    np.testing.assert_array_equal(judged.row, np.arange(len(found)))
    np.testing.assert_array_equal(judged.detections.match, states)
    np.testing.assert_array_equal(judged.objects, objects)


def by_pycocotools(truth: dict[str, Any], found: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """States and numbers of objects as in ``Judged``, from COCOeval.evaluate's results."""
    evaluation = coco_drawn.evaluated(truth, found)
    images, categories = evaluation.params.imgIds, evaluation.params.catIds
    states = np.zeros((4, 10, len(found)), np.int8)
    objects = np.zeros((4, len(images), len(categories)), int)
    of_each = itertools.product(range(len(categories)), range(4), range(len(images)))
    for (category, area, image), one in zip(of_each, evaluation.evalImgs, strict=True):
        if one is not None:
            state = np.where(one["dtIgnore"], IGNORED, FOUND) * (one["dtMatches"] > 0)
            states[area][:, np.array(one["dtIds"], int) - 1] = state
            objects[area, image, category] = np.sum(np.array(one["gtIgnore"]) == 0)
    return states, objects


@settings(deadline=None, max_examples=50)
@given(coco_drawn.cases())
def test_what_is_given_stays_as_it_was(case) -> None:
    before = copy.deepcopy(case)
    matches = match(*case)
    assert case == before
    assert matches.images.tolist() == sorted(image["id"] for image in case[0]["images"])
    crowds = sum(one["iscrowd"] for one in case[0]["annotations"])
    assert matches.objects[0].sum() == len(case[0]["annotations"]) - crowds
    assert sum(map(len, matches.ranked)) == len(case[1])


OBJECT = {"bbox": [0.0, 0.0, 9.0, 9.0], "area": 81.0}


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (dataset(OBJECT | {"bbox": [0, 0, float("nan"), 1]}), []),
        (dataset(OBJECT | {"iscrowd": 2}), []),
        (dataset(OBJECT | {"image_id": 7}), []),
        (dataset(OBJECT | {"category_id": 7}), []),
        (dataset(OBJECT), [at(0, score=float("nan"))]),
        (dataset(OBJECT), [at(float("nan"))]),
        (dataset(OBJECT), [at(0, image_id=7)]),
        (dataset(OBJECT), [at(0, category_id=7)]),
        ({"images": []}, []),
    ],
)
def test_it_refuses_what_the_evaluation_refuses(truth, found) -> None:
    with pytest.raises(UserError) as theirs:
        coco_metrics(truth, found)
    with pytest.raises(UserError) as ours:
        match(truth, found)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("change", [{"id": 0}, {"id": 2}, {"area": float("nan")}, {"ignore": 1}])
def test_it_refuses_what_the_evaluation_would_count_otherwise(change) -> None:
    """It is given what was read, which is in normal form; anything else would be counted wrong."""
    with pytest.raises(UserError, match="is not in normal form"):
        match(dataset(OBJECT | change, OBJECT), [])
