"""Errors by kind: by hand, against what tidecv gave, and what must always hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import tide
from analysis.errors.tide import SPECIAL, Errors, errors
from gfl.data.annotations import normal
from gfl.predictions.error_kinds import FOREGROUND, KINDS, Sorted
from gfl.predictions.overlaps import Found, Truth
from gfl.training.evaluate import coco_metrics, sound

Box = tuple[float, ...]  # x, y, width, height
SIDE = 100


def a_dataset(images: int, things: list[tuple[int, int, Box]], classes: int = 2) -> dict[str, Any]:
    """COCO's annotation file; a thing is an image, a class (negative: a crowd of it) and a box."""
    return {
        "images": [
            {"id": i, "width": SIDE, "height": SIDE, "file_name": f"{i}.png"}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, classes + 1)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": abs(c), "bbox": list(box),
             "area": box[2] * box[3], "iscrowd": int(c < 0)}
            for i, (image, c, box) in enumerate(things, 1)
        ],
    }  # fmt: skip


def results(*found: tuple[int, int, Box, float]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
        for image, category, box, score in found
    ]


def nonzero(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(n) for name, n in numbers.items() if n}


def kinds(
    dataset: dict[str, Any], detections: list[dict[str, Any]], foreground: float = FOREGROUND
) -> Errors:
    """The errors of COCO's results against the content of an annotation file."""
    found = Found.results(sound(dataset, detections))
    return errors(Sorted.of(Truth.of(dataset), found, foreground))


TEN: Box = (0, 0, 10, 10)
HALF: Box = (0, 0, 10, 4)  # of TEN: an IoU of 0.4
FAR: Box = (50, 50, 10, 10)


def of_one(*found: tuple[int, Box, float]) -> Errors:
    """The errors of detections in an image with one object, TEN, of class 1."""
    return kinds(a_dataset(1, [(1, 1, TEN)]), results(*((1, *one) for one in found)))


def test_without_a_detection_all_is_missed() -> None:
    made = of_one()
    assert (made.ap, made.detections) == (0, 0)
    assert nonzero(made.count) == {"missed": 1, "false negatives": 1}
    # With neither an object nor a detection left no class is in the mean.
    assert np.isnan(made.gain["missed"])


def test_a_perfect_detection_is_no_error() -> None:
    made = of_one((1, TEN, 0.9))
    assert made.ap == pytest.approx(100)
    assert nonzero(made.count) == {}
    assert nonzero(made.gain) == {}


def test_localisation_puts_the_box_right() -> None:
    made = of_one((1, HALF, 0.9))
    assert nonzero(made.count) == {
        "localisation": 1, "false positives": 1, "false negatives": 1
    }  # fmt: skip
    assert nonzero(made.gain) == {"localisation": 100}


def test_classification_puts_the_class_right() -> None:
    made = of_one((2, TEN, 0.9))
    assert nonzero(made.count) == {
        "classification": 1, "false positives": 1, "false negatives": 1
    }  # fmt: skip
    assert made.gain["classification"] == pytest.approx(100)


def test_both() -> None:
    made = of_one((2, HALF, 0.9), (1, TEN, 0.8))
    assert nonzero(made.count) == {"both": 1, "false positives": 1}
    assert nonzero(made.gain) == {}  # class 2 has no object: it is not in the mean


def test_a_duplicate_costs_where_an_object_is_found_below_it() -> None:
    things = [(1, 1, TEN), (2, 1, TEN)]
    found = results((1, 1, TEN, 0.9), (1, 1, TEN, 0.8), (2, 1, TEN, 0.7))
    made = kinds(a_dataset(2, things), found)
    assert nonzero(made.count) == {"duplicate": 1, "false positives": 1}
    # Recalls 0 to 0.5 at a precision of 1, the 50 above at 2/3.
    assert made.ap == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert nonzero(made.gain) == {
        "duplicate": pytest.approx(100 - made.ap), "false positives": pytest.approx(100 - made.ap)
    }  # fmt: skip


def test_background_halves_the_precision_of_what_is_below_it() -> None:
    made = of_one((1, FAR, 0.9), (1, TEN, 0.8))
    assert nonzero(made.count) == {"background": 1, "false positives": 1}
    assert made.ap == pytest.approx(50)
    assert nonzero(made.gain) == {"background": 50, "false positives": 50}


def test_a_missed_object_stretches_the_curve() -> None:
    made = kinds(a_dataset(1, [(1, 1, TEN), (1, 1, FAR)]), results((1, 1, TEN, 0.9)))
    assert nonzero(made.count) == {"missed": 1, "false negatives": 1}
    assert made.ap == pytest.approx(100 * 51 / 101)
    assert nonzero(made.gain) == {
        "missed": pytest.approx(100 * 50 / 101), "false negatives": pytest.approx(100 * 50 / 101)
    }  # fmt: skip


def test_of_two_errors_at_one_object_the_higher_score_is_put_right() -> None:
    # A class error over a box error: fixing boxes only drops the latter.
    made = of_one((2, TEN, 0.9), (1, HALF, 0.8))
    assert nonzero(made.count) == {
        "classification": 1, "localisation": 1, "false positives": 2, "false negatives": 1
    }  # fmt: skip
    # Right at the first place, and the box error is still there, below it.
    assert made.gain["classification"] == pytest.approx(100)
    assert made.gain["localisation"] == 0


def test_an_error_at_an_object_that_is_found_is_dropped() -> None:
    made = of_one((1, HALF, 0.9), (1, TEN, 0.8))
    assert nonzero(made.count) == {"localisation": 1, "false positives": 1}
    assert nonzero(made.gain) == {"localisation": 50, "false positives": 50}


def test_the_kind_of_two_that_fit() -> None:
    things = [(1, 1, TEN), (1, 2, TEN)]
    # Its own object is near and the other class's is hit: localisation goes first.
    near = kinds(a_dataset(1, things), results((1, 2, TEN, 0.9), (1, 1, HALF, 0.8)))
    assert near.count["localisation"] == 1
    # A duplicate that hits an object of another class is an error of its class.
    twice = kinds(a_dataset(1, things), results((1, 1, TEN, 0.9), (1, 1, TEN, 0.8)))
    assert twice.count["classification"] == 1
    assert twice.count["duplicate"] == 0


def test_the_edges_of_the_kinds_are_as_tidecv_has_them() -> None:
    at_background = of_one((1, (0, 0, 10, 1), 0.9))  # an IoU of 0.1
    assert at_background.count["localisation"] == 1
    other = of_one((2, (0, 0, 10, 1), 0.9))
    assert other.count["background"] == 1
    at_foreground = of_one((1, (0, 0, 10, 5), 0.9))  # 0.5 is a hit
    assert at_foreground.count["false positives"] == 0
    second = of_one((1, TEN, 0.9), (1, (0, 0, 10, 5), 0.8))
    assert second.count["localisation"] == 1


def test_what_a_crowd_holds_is_no_error() -> None:
    data = a_dataset(1, [(1, 1, FAR), (1, -1, TEN)])
    made = kinds(data, results((1, 1, FAR, 0.5), (1, 1, HALF, 0.9), (1, 2, HALF, 0.9)))
    assert made.detections == 2  # a crowd of another class hides nothing
    assert nonzero(made.count) == {"background": 1, "false positives": 1}
    assert made.ap == pytest.approx(100)


def test_at_another_iou() -> None:
    found = results((1, 1, (0, 0, 10, 6), 0.9))
    made = kinds(a_dataset(1, [(1, 1, TEN)]), found, foreground=0.75)
    assert nonzero(made.count) == {
        "localisation": 1, "false positives": 1, "false negatives": 1
    }  # fmt: skip


def test_an_unknown_image_without_objects_is_background() -> None:
    made = kinds(a_dataset(2, [(1, 1, TEN)]), results((1, 1, TEN, 0.9), (2, 1, TEN, 0.95)))
    assert nonzero(made.count) == {"background": 1, "false positives": 1}
    assert made.ap == pytest.approx(50)


def drawn(seed: int, images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects of three classes, four an image, and detections about them, of every kind.

    Of ``random.Random.random`` alone, whose sequence Python promises to keep.
    """
    draw = random.Random(seed).random
    things, found = [], []
    for image in range(1, images + 1):
        for _ in range(4):
            box = (draw() * 60, draw() * 60, 10 + draw() * 25, 10 + draw() * 25)
            category = 1 + int(draw() * 3)
            things.append((image, category, box))
            for _ in range(int(draw() * 4)):
                off = 0.6 * draw()
                moved = (
                    box[0] + off * (draw() - 0.3) * box[2], box[1] + off * (draw() - 0.3) * box[3],
                    box[2] * (1 + off * (draw() - 0.5)), box[3] * (1 + off * (draw() - 0.5)),
                )  # fmt: skip
                named = category if draw() < 0.7 else 1 + int(draw() * 3)
                found.append((image, named, moved, draw()))
        box = (draw() * 60, draw() * 60, 10 + draw() * 25, 10 + draw() * 25)
        found.append((image, 1 + int(draw() * 3), box, 0.6 * draw()))
    return a_dataset(images, things, classes=3), results(*found)


# What tidecv 1.0.1 gives of drawn(0), after `pip install tidecv==1.0.1`:
#   dataset, detections = drawn(0)
#   truth, found = tidecv.Data("truth"), tidecv.Data("found")
#   for a in dataset["annotations"]:
#       truth.add_ground_truth(a["image_id"], a["category_id"], a["bbox"])
#   for d in detections:
#       found.add_detection(d["image_id"], d["category_id"], d["score"], d["bbox"])
#   tide = tidecv.TIDE()
#   run = tide.evaluate(truth, found, mode=tidecv.TIDE.BOX)
#   print(run.ap, run.count_errors(), sum(map(len, run.false_negatives.values())))
#   print(tide.get_all_errors())
TIDECV_AP50 = 28.118764257378142
TIDECV_COUNT = {
    "classification": 11, "localisation": 14, "both": 4, "duplicate": 14, "background": 6,
    "missed": 15, "false positives": 11 + 14 + 4 + 14 + 6, "false negatives": 25,
}  # fmt: skip
TIDECV_GAIN = {
    "classification": 6.60692915819666, "localisation": 15.685095341319478,
    "both": 0.651906927387401, "duplicate": 3.1204072788230874, "background": 0.4178751208453946,
    "missed": 12.493194454020976, "false positives": 21.056153234371035,
    "false negatives": 27.180028561862418,
}  # fmt: skip


def test_of_this_input_tidecv_gave_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tide, "RECALLS", np.arange(101) / 100)  # where they differ: see errors
    made = kinds(*drawn(0))
    assert made.count == TIDECV_COUNT
    assert made.ap == pytest.approx(TIDECV_AP50, abs=1e-9)
    assert made.gain == pytest.approx(TIDECV_GAIN, abs=1e-9)


def test_with_pycocotools_recalls_it_is_nearly_tidecvs() -> None:
    made = kinds(*drawn(0))
    assert made.gain == pytest.approx(TIDECV_GAIN, abs=0.5)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Few boxes on a coarse grid: equal scores, equal boxes, crowds, empty images and classes."""
    whole = st.integers
    box = st.tuples(whole(0, 6), whole(0, 6), whole(1, 6), whole(1, 6)).map(
        lambda b: tuple(10.0 * x for x in b)
    )
    image = whole(1, 3)
    category = st.sampled_from([1, 1, 2, 2, 3, -1])
    things = draw(st.lists(st.tuples(image, category, box), max_size=10))
    score = whole(1, 5).map(lambda s: s / 5)
    found = draw(st.lists(st.tuples(image, whole(1, 4), box, score), max_size=25))
    return a_dataset(3, things, classes=4), results(*found)


@settings(max_examples=100, deadline=None)
@given(inputs())
def test_what_always_holds(given: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    dataset, found = given
    assert not normal(dataset).problems
    made = kinds(dataset, found)
    judged = coco_metrics(dataset, found)["AP50"]
    if judged is None:
        assert np.isnan(made.ap)
    else:
        assert made.ap == judged  # to the last bit
        assert all(gain >= -1e-12 for gain in made.gain.values() if not np.isnan(gain))
    # The kinds are a partition: every false positive is of one, and no other detection of any.
    assert made.count["false positives"] == sum(made.count[kind] for kind in KINDS[:-1])
    assert made.count["missed"] <= made.count["false negatives"]
    objects = sum(not thing["iscrowd"] for thing in dataset["annotations"])
    true = objects - made.count["false negatives"]
    assert made.detections == made.count["false positives"] + true
    assert set(made.count) == set(made.gain) == {*KINDS, *SPECIAL}


@settings(max_examples=30, deadline=None)
@given(inputs())
def test_perfect_detections_have_no_errors(
    given: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    dataset, _ = given
    things = {
        (a["image_id"], tuple(a["bbox"])): a for a in dataset["annotations"] if not a["iscrowd"]
    }.values()  # no two at one place
    dataset = dataset | {"annotations": list(things)}
    perfect = [(a["image_id"], a["category_id"], tuple(a["bbox"]), 0.5) for a in things]
    made = kinds(dataset, results(*perfect))
    assert nonzero(made.count) == {}
    assert made.ap == pytest.approx(100) if things else np.isnan(made.ap)
    assert all(gain == 0 or np.isnan(gain) for gain in made.gain.values())
