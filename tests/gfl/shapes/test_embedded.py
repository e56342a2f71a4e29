from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfl.errors import UserError
from gfl.shapes import embedded, objects
from gfl.shapes.embedded import CATEGORIES, ShapesSpec, render, write
from gfl.shapes.side_labels import SIDES

# Changes only together with shapes.VERSION: what has been trained on these images stays comparable.
PINNED = "d689c3500aa9b09d4d187af05a56525284cdab911c0d15cb5b105ed4b189fa92"
SMALL = ShapesSpec(image_size=64, train=7, val=4, seed=3)


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, list[dict[str, Any]]]]:
    spec = ShapesSpec()
    return [render(spec, "train", index) for index in range(250)]


@pytest.fixture(scope="module")
def labelled(drawn: list[tuple[np.ndarray, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    return [one for _, several in drawn for one in several]


def drawn_sides(one: dict[str, Any]) -> dict[str, float]:
    x, y, width, height = one["bbox"]
    return dict(zip(SIDES, (x, y, x + width, y + height), strict=True))


# The same bytes


def test_the_bytes_are_the_ones_that_were_trained_on() -> None:
    digest = hashlib.sha256()
    for split, index in (("train", 0), ("train", 1), ("train", 7999), ("val", 0), ("val", 999)):
        image, found = render(ShapesSpec(), split, index)
        digest.update(image.tobytes())
        digest.update(json.dumps(found, sort_keys=True).encode())
    assert digest.hexdigest() == PINNED


def test_an_image_depends_on_seed_split_and_index_alone() -> None:
    image, found = render(SMALL, "train", 2)
    for spec in (SMALL, ShapesSpec(image_size=64, train=3, val=0, seed=3)):
        again, found_again = render(spec, "train", 2)
        assert np.array_equal(image, again)
        assert found == found_again
    others = (
        render(ShapesSpec(image_size=64, seed=4), "train", 2),
        render(SMALL, "val", 2),
        render(SMALL, "train", 3),
    )
    assert not any(np.array_equal(image, other) for other, _ in others)


def test_train_and_val_share_no_image(drawn: list[tuple[np.ndarray, Any]]) -> None:
    train = {image.tobytes() for image, _ in drawn}
    val = {render(ShapesSpec(), "val", index)[0].tobytes() for index in range(20)}
    assert len(train) == len(drawn)
    assert not train & val


# COCO's format


def test_pycocotools_scores_the_labels_themselves_perfectly(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    write(SMALL, tmp_path / "shapes", workers=1)
    coco: Any = COCO(str(tmp_path / "shapes/annotations/instances_val2017.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CATEGORIES)
    assert coco.getImgIds() == [1, 2, 3, 4]
    assert min(coco.getAnnIds()) == 1
    labels = coco.loadAnns(coco.getAnnIds())
    assert [one["sides"] for one in labels] == [
        one["sides"] for i in range(SMALL.val) for one in render(SMALL, "val", i)[1]
    ]
    keys = ("image_id", "category_id", "bbox")
    detections = [{**{key: one[key] for key in keys}, "score": 0.9} for one in labels]
    evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


# What is in the images


def test_every_category_and_size_class_has_objects(labelled: list[dict[str, Any]]) -> None:
    areas = np.array([one["area"] for one in labelled])
    shares = [(areas < 32**2).mean(), (areas > 96**2).mean()]
    assert shares[0] > 0.3
    assert shares[1] > 0.05
    assert 1.0 - sum(shares) > 0.2
    counts = Counter(one["category_id"] for one in labelled)
    assert set(counts) == set(range(1, len(CATEGORIES) + 1))
    assert min(counts.values()) > 0.5 * max(counts.values())


def test_one_to_eight_objects(drawn: list[tuple[np.ndarray, list[dict[str, Any]]]]) -> None:
    counts = [len(found) for _, found in drawn]
    assert min(counts) == 1
    assert max(counts) <= 8
    assert np.mean(counts) > 2.5


def test_half_of_the_objects_are_sharp_and_no_more_than_two_sides_vague(
    labelled: list[dict[str, Any]],
) -> None:
    vague = [sum(s["kind"] != "sharp" for s in one["sides"].values()) for one in labelled]
    assert 0.45 < np.mean(np.equal(vague, 0)) < 0.6
    assert max(vague) == 2
    kinds = Counter(s["kind"] for one in labelled for s in one["sides"].values())
    assert min(kinds[kind] for kind in ("blurred", "shadow", "occluded")) > 100


@pytest.mark.parametrize("size", [64, 128, 200])
def test_boxes_lie_inside_the_image_and_have_a_least_side(size: int) -> None:
    for index in range(15):
        for one in render(ShapesSpec(image_size=size), "val", index)[1]:
            at = drawn_sides(one)
            assert min(at.values()) >= 0.0
            assert max(at.values()) <= size + 1e-9
            assert min(one["bbox"][2:]) >= objects.LEAST_SIDE
            assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3])
            assert one["iscrowd"] == 0


def test_an_object_cut_off_by_the_border_ends_at_the_border(
    labelled: list[dict[str, Any]],
) -> None:
    ends = {
        side: sum(
            one["sides"][side] == {"kind": "sharp", "distribution": {"type": "point", "at": end}}
            for one in labelled
        )
        for side, end in (("left", 0.0), ("right", 128.0))
    }
    assert min(ends.values()) > 0


# Labels come from their distributions


def test_a_point_is_drawn_exactly_and_a_mode_is_one_of_two(
    labelled: list[dict[str, Any]],
) -> None:
    for one in labelled:
        at = drawn_sides(one)
        for side, truth in one["sides"].items():
            distribution = truth["distribution"]
            if distribution["type"] == "point":
                assert at[side] == pytest.approx(distribution["at"], abs=1e-9)
            elif distribution["type"] == "modes":
                assert sum(distribution["p"]) == pytest.approx(1.0)
                assert min(abs(at[side] - mode) for mode in distribution["at"]) < 1e-9


def test_modes_are_drawn_as_often_as_stated(labelled: list[dict[str, Any]]) -> None:
    surplus, variance = 0.0, 0.0
    for one in labelled:
        at = drawn_sides(one)
        for side, truth in one["sides"].items():
            distribution = truth["distribution"]
            if distribution["type"] == "modes":
                p = distribution["p"][0]
                surplus += (abs(at[side] - distribution["at"][0]) < 1e-9) - p
                variance += p * (1.0 - p)
    assert variance > 50
    assert abs(surplus) < 3.5 * variance**0.5


def test_gaussian_residuals_are_standard_normal(labelled: list[dict[str, Any]]) -> None:
    residuals = np.array(
        [
            (drawn_sides(one)[side] - truth["distribution"]["mean"])
            / truth["distribution"]["sigma"]
            for one in labelled
            for side, truth in one["sides"].items()
            if truth["distribution"]["type"] == "gaussian"
        ]
    )
    n = len(residuals)
    assert n > 100
    assert abs(residuals.mean()) < 3.5 / n**0.5
    assert abs(residuals.var() - 1.0) < 3.5 * (2.0 / n) ** 0.5


# Specs


@pytest.mark.parametrize(
    "wrong", [{"image_size": 32}, {"train": -1}, {"seed": -1}, {"version": embedded.VERSION + 1}]
)
def test_a_spec_that_cannot_be_drawn_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError):
        ShapesSpec(**wrong)
