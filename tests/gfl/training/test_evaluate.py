"""COCO's twelve metrics: the toolkit's own example, cases by hand, and input that is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gfl.errors import UserError
from gfl.records.record import METRICS
from gfl.training.evaluate import class_metrics, coco_metrics

# As the official toolkit prints them for its own example results.
OFFICIAL = {
    "AP": ".505", "AP50": ".697", "AP75": ".573", "APS": ".586", "APM": ".519", "APL": ".501",
    "AR1": ".387", "AR10": ".594", "AR100": ".595", "ARS": ".640", "ARM": ".566", "ARL": ".564",
}  # fmt: skip


def truth(*boxes: tuple[float, float, float, float]) -> dict[str, Any]:
    """One image, category 5 (and an empty 6), one annotation a box."""
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 200}],
        "categories": [{"id": 5, "name": "cup"}, {"id": 6, "name": "bowl"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 5, "bbox": [x, y, w, h], "area": w * h,
             "iscrowd": 0}
            for i, (x, y, w, h) in enumerate(boxes, start=1)
        ],
    }  # fmt: skip


def found(
    x: float, y: float, w: float, h: float, score: float = 0.9, **more: Any
) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 5, "bbox": [x, y, w, h], "score": score}


def ground_truth(path: Any) -> Any:
    return path / "data/coco-eval-100/instances_val2014_100.json"


def results(path: Any) -> Any:
    return path / "data/coco-eval-100/instances_val2014_fakebbox100_results.json"


def test_the_toolkits_example_gives_the_published_figures(shared, capfd):
    metrics = coco_metrics(ground_truth(shared), results(shared))
    assert tuple(metrics) == METRICS
    printed = {name: f"{value / 100:.3f}".lstrip("0") for name, value in metrics.items() if value}
    assert printed == OFFICIAL
    assert capfd.readouterr() == ("", "")


def test_ap_is_the_mean_of_the_classes_that_have_objects(shared, capfd):
    detections = json.loads(results(shared).read_text())
    classes = class_metrics(ground_truth(shared), detections)
    assert (len(classes), next(iter(classes))) == (80, "person")
    for name in ("AP", "AP50", "AR100"):
        known = [metrics[name] for metrics in classes.values() if metrics[name] is not None]
        whole = coco_metrics(ground_truth(shared), detections)[name]
        assert sum(known) / len(known) == pytest.approx(whole)
    assert capfd.readouterr() == ("", "")


def test_equals_pycocotools_as_its_demo_calls_it(shared, capsys):
    theirs_truth = COCO(str(ground_truth(shared)))
    theirs = COCOeval(theirs_truth, theirs_truth.loadRes(str(results(shared))), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    capsys.readouterr()
    detections = json.loads(results(shared).read_text())
    before = copy.deepcopy(detections)
    ours = coco_metrics(theirs_truth.dataset, detections)
    assert list(ours.values()) == [100 * value for value in theirs.stats]
    assert detections == before  # loadRes would have added areas and ids


def test_no_detections_give_zeros(shared):
    assert set(coco_metrics(ground_truth(shared), []).values()) == {0.0}


def test_a_perfect_small_box_and_sizes_that_are_absent():
    metrics = coco_metrics(truth((10, 10, 20, 20)), [found(10, 10, 20, 20)])
    absent = {"APM", "APL", "ARM", "ARL"}
    assert {name for name, value in metrics.items() if value is None} == absent
    assert all(v == pytest.approx(100) for name, v in metrics.items() if name not in absent)
    assert json.loads(json.dumps(metrics)) == metrics


def test_an_iou_of_062_passes_three_of_ten_thresholds():
    metrics = coco_metrics(truth((0, 0, 100, 100)), [found(0, 0, 62, 100)])
    assert metrics["AP"] == pytest.approx(30)
    assert metrics["AP50"] == pytest.approx(100)
    assert metrics["AP75"] == 0
    assert metrics["AR100"] == pytest.approx(30)


def test_a_false_positive_ranked_first_halves_precision():
    detections = [found(0, 0, 50, 50, score=0.3), found(120, 120, 50, 50, score=0.8)]
    metrics = coco_metrics(truth((0, 0, 50, 50)), detections)
    assert metrics["AP"] == pytest.approx(50)
    assert metrics["AR1"] == 0
    assert metrics["AR10"] == pytest.approx(100)


def test_ground_truth_without_objects_has_no_figures():
    assert set(coco_metrics(truth(), [found(0, 0, 9, 9)]).values()) == {None}


def test_numpy_numbers_are_numbers():
    detection = found(0, 0, 1, 1, score=0) | {
        "image_id": np.int64(1),
        "bbox": np.array([10, 10, 20, 20], dtype=np.float32),
        "score": np.float32(0.5),
    }
    assert coco_metrics(truth((10, 10, 20, 20)), [detection])["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"score": float("nan")}, "1 x score that is not a finite number, at position: 1"),
        ({"score": None}, "1 x score that is not a finite number, at position: 1"),
        ({"bbox": [0, 0, float("nan"), 1]}, "1 x bbox that is not x, y, width, height"),
        ({"bbox": [0, 0, float("inf"), 1]}, "1 x bbox that is not x, y, width, height"),
        ({"bbox": [0, 0, -1, 1]}, "1 x bbox that is not x, y, width, height"),
        ({"bbox": [0, 0, 1]}, "1 x bbox that is not x, y, width, height"),
        ({"bbox": 3}, "1 x bbox that is not x, y, width, height"),
        ({"image_id": 2}, "1 x unknown image_id: 2"),
        ({"image_id": [1]}, "1 x unknown image_id: [1]"),
        ({"category_id": 0}, "1 x unknown category_id: 0"),
        ({"category_id": None}, "1 x unknown category_id: None"),
    ],
)
def test_detections_that_cannot_be_counted_are_named(change, problem):
    detections = [found(0, 0, 9, 9), found(0, 0, 9, 9) | change, found(0, 0, 9, 9)]
    with pytest.raises(UserError) as caught:
        coco_metrics(truth((0, 0, 9, 9)), detections)
    assert problem in str(caught.value)
    assert "the detections cannot be evaluated" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [0, 0, float("nan"), 1]}, "bbox is not four finite numbers: 1"),
        ({"bbox": [0, 0, 1, float("inf")]}, "bbox is not four finite numbers: 1"),
        ({"bbox": [0, 0, -1, 1]}, "annotation with a bbox of negative size: 1"),
        ({"iscrowd": 2}, "annotation without iscrowd 0 or 1: 1"),
        ({"image_id": 2}, "1 x annotation of an unknown image: 1"),
        ({"category_id": 1}, "1 x annotation of an unknown category: 1"),
    ],
)
def test_ground_truth_that_cannot_be_counted_is_named(change, problem, tmp_path):
    dataset = truth((0, 0, 9, 9), (9, 9, 9, 9))
    dataset["annotations"][0].update(change)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(dataset))
    for given, name in ((dataset, "the ground truth"), (path, str(path))):
        with pytest.raises(UserError) as caught:
            coco_metrics(given, [])
        assert str(caught.value).startswith(f"{name} has 1 x ")
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("part", "problem"),
    [("images", "image id used twice: 1"), ("categories", "category id used twice: 5")],
)
def test_images_and_categories_listed_twice_are_named(part, problem):
    dataset = truth((0, 0, 9, 9))
    dataset[part].append(dataset[part][0] | {"width": 7, "name": "another"})
    with pytest.raises(UserError, match=problem):
        coco_metrics(dataset, [])


@pytest.mark.parametrize(
    "change",
    [
        {"id": 0},
        {"id": 2},
        {"id": None},
        {"id": "1"},
        {"area": float("nan")},
        {"area": None},
        {"image_id": "1"},
        {"bbox": ["0", "0", "40", "40"]},
        {"iscrowd": False},
    ],
)
def test_what_has_one_meaning_is_evaluated_as_the_clean_file(change, tmp_path):
    detections = [found(0, 0, 40, 40), found(50, 50, 30, 40)]
    clean = truth((0, 0, 40, 40), (50, 50, 40, 40))
    dataset = truth((0, 0, 40, 40), (50, 50, 40, 40))
    dataset["annotations"][0].update(change)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(dataset))
    for given in (dataset, path):
        assert coco_metrics(given, detections) == coco_metrics(clean, detections)


def test_an_object_to_ignore_is_neither_missed_nor_is_its_detection_wrong():
    dataset = truth((0, 0, 50, 50), (100, 100, 50, 50))
    dataset["annotations"][1]["ignore"] = 1
    only_first = coco_metrics(dataset, [found(0, 0, 50, 50)])
    both = [found(0, 0, 50, 50, score=0.5), found(100, 100, 50, 50, score=0.9)]
    assert only_first["AP"] == coco_metrics(dataset, both)["AP"] == pytest.approx(100)


def test_an_annotation_with_id_0_would_be_counted_as_missed(capsys):
    """Why it is renumbered: pycocotools itself evaluates it, and wrong."""
    dataset = truth((0, 0, 50, 50))
    perfect = coco_metrics(dataset, [found(0, 0, 50, 50)])["AP"]
    assert perfect == pytest.approx(100)
    dataset["annotations"][0]["id"] = 0
    api = COCO()
    api.dataset = dataset
    api.createIndex()
    theirs = COCOeval(api, api.loadRes([found(0, 0, 50, 50)]), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert theirs.stats[0] == 0
    assert coco_metrics(dataset, [found(0, 0, 50, 50)])["AP"] == perfect


def test_classes_are_not_evaluated_without_those_that_are_unknown(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth((0, 0, 9, 9))))
    detections = [found(0, 0, 9, 9), found(0, 0, 9, 9) | {"category_id": 7}]
    with pytest.raises(UserError, match="1 x unknown category_id: 7"):
        class_metrics(path, detections)


@pytest.mark.parametrize("content", ["{", "{}", "[3]", '"x"', "null"])
def test_result_files_that_are_not_results_are_refused(content, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"results\.json (is not JSON|cannot be evaluated: not a)"):
        coco_metrics(truth(), path)
