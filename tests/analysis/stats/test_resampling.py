"""Re-weighted metrics against pycocotools: its own metrics, and those of repeated images."""

from __future__ import annotations

import json

import coco_drawn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import resampling
from analysis.stats.resampling import RECALL_LEVELS, evaluate, resamples
from gfl.predictions.matching import match

EXACT = {"rtol": 0, "atol": 1e-12}
TIMES = st.lists(
    st.integers(0, 3), min_size=coco_drawn.MOST_IMAGES, max_size=coco_drawn.MOST_IMAGES
)


def metrics(matches, weights) -> np.ndarray:
    """In [0, 1]."""
    return evaluate(matches, np.array([weights]))[0] / 100


@settings(deadline=None, max_examples=100)
@given(coco_drawn.cases())
def test_weights_of_one_give_pycocotools_figures(case) -> None:
    matches = match(*case)
    ours = metrics(matches, np.ones(len(matches.images), dtype=int))
    np.testing.assert_allclose(ours, coco_drawn.judged(*case), **EXACT)


@settings(deadline=None, max_examples=100)
@given(coco_drawn.cases(ties=False), TIMES)
def test_whole_weights_are_repeated_images(case, times) -> None:
    matches = match(*case)
    times = dict(zip(matches.images.tolist(), times, strict=False))
    ours = metrics(matches, list(times.values()))
    if sum(times.values()) == 0:  # pycocotools refuses to count no images
        assert np.isnan(ours).all()
    else:
        theirs = coco_drawn.judged(*coco_drawn.repeated(*case, times))
        np.testing.assert_allclose(ours, theirs, **EXACT)


@settings(deadline=None, max_examples=50)
@given(coco_drawn.cases(), TIMES, st.sampled_from([0.5, 4.0]))
def test_only_the_ratio_of_weights_counts(case, times, factor) -> None:
    matches = match(*case)
    weights = np.array(times[: len(matches.images)])
    np.testing.assert_allclose(
        metrics(matches, weights * factor), metrics(matches, weights), **EXACT
    )


def test_a_tie_within_an_image_is_where_repeated_images_differ() -> None:
    dataset = one_class({1: 2})
    found = [at(1, x=0, score=0.9), at(1, x=200, score=0.9)]  # right, wrong; the score the same
    ours = metrics(match(dataset, found), [2])
    theirs = coco_drawn.judged(*coco_drawn.repeated(dataset, found, {1: 2}))
    # Twice right, then twice wrong: a precision of 1 up to a recall of 1/2. Theirs is right,
    # wrong, right, wrong: 1 up to a recall of 1/4, then 2/3.
    assert ours[1] == pytest.approx(51 / 101)
    assert theirs[1] == pytest.approx((26 + 25 * 2 / 3) / 101)


def test_equals_pycocotools_on_real_images(shared) -> None:
    folder = shared / "data/coco-eval-100"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    matches = match(dataset, found)
    ours = metrics(matches, np.ones(len(matches.images), dtype=int))
    np.testing.assert_allclose(ours, coco_drawn.judged(dataset, found), **EXACT)
    # Without the second of two detections that have their score, image and class in common.
    found = list({(d["image_id"], d["category_id"], d["score"]): d for d in found}.values())
    matches = match(dataset, found)
    times = resamples(len(matches.images), 1, np.random.default_rng(1))[0]
    again = coco_drawn.repeated(
        dataset, found, dict(zip(matches.images.tolist(), times.tolist(), strict=True))
    )
    np.testing.assert_allclose(metrics(matches, times), coco_drawn.judged(*again), **EXACT)


def test_weights_by_hand() -> None:
    # Image 1 has its object found, image 2 has one and a wrong detection of a higher score.
    dataset = one_class({1: 1, 2: 1, 3: 0})
    matches = match(dataset, [at(1, x=0, score=0.8), at(2, x=200, score=0.9)])
    ap = [metrics(matches, weights)[0] for weights in ([1, 0, 0], [0, 1, 0], [3, 1, 9], [0, 0, 1])]
    # Three found of four, one wrong: a precision of 3/4 at the 76 levels up to a recall of 3/4.
    assert ap == pytest.approx([1, 0, 76 / 101 * 3 / 4, np.nan], nan_ok=True)
    recalls = metrics(matches, [3, 1, 9])[6:9]
    assert recalls == pytest.approx([3 / 4] * 3)


def test_the_levels_that_a_recall_reaches_are_those_of_a_search() -> None:
    objects = np.arange(1, 400)[:, None]
    recall = np.minimum(np.arange(400)[None], objects) / objects
    np.testing.assert_array_equal(
        resampling._reached(recall, np.empty_like(recall)),
        np.searchsorted(RECALL_LEVELS, recall, side="right"),
    )


def test_neither_chunks_nor_threads_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = one_class({1: 1, 2: 3, 3: 0})
    found = [at(i, x=x, score=s / 10) for i in (1, 2, 3) for s, x in ((9, 4), (5, 3), (7, 90))]
    matches = match(dataset, found)
    weights = resamples(3, 50, np.random.default_rng(0))
    whole = evaluate(matches, weights, threads=1)
    monkeypatch.setattr(resampling, "_CHUNK", 20)
    np.testing.assert_array_equal(evaluate(matches, weights, threads=3), whole)


def test_a_resample_has_as_many_images_and_its_seed_decides_it() -> None:
    drawn = resamples(40, 500, np.random.default_rng(7))
    assert drawn.shape == (500, 40)
    assert (drawn.sum(1) == 40).all()
    np.testing.assert_array_equal(drawn, resamples(40, 500, np.random.default_rng(7)))
    assert (drawn != resamples(40, 500, np.random.default_rng(8))).any()
    assert drawn.var() == pytest.approx(1 - 1 / 40, abs=0.03)  # of a multinomial's count


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (np.ones(2), r"shape \(2,\) for 2 images"),
        (np.ones((1, 3)), r"shape \(1, 3\) for 2 images"),
        (np.array([[1, -1]]), "negative"),
        (np.array([[1, np.nan]]), "finite"),
    ],
)
def test_weights_that_are_none_are_refused(weights, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        evaluate(match(one_class({1: 1, 2: 0}), []), weights)


def one_class(objects: dict[int, int]) -> dict:
    """So many objects by image, 40 px apart."""
    placed = [(image, 50.0 * i) for image, n in objects.items() for i in range(n)]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 300} for i in objects
        ],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 1, "bbox": [x, 0.0, 40.0, 40.0],
             "area": 1600.0, "iscrowd": 0}
            for i, (image, x) in enumerate(placed, start=1)
        ],
    }  # fmt: skip


def at(image: int, x: float, score: float) -> dict:
    return {"image_id": image, "category_id": 1, "bbox": [x, 0.0, 40.0, 40.0], "score": score}
