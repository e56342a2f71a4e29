"""Our evaluator's metrics are pycocotools' to the last bit; each commit holds a sample to it."""

from __future__ import annotations

from typing import Any

import coco_drawn
import numpy as np
import pytest
from hypothesis import given, settings

from analysis.audit import evaluation
from analysis.audit.evaluation import metrics, sample
from gfl.errors import UserError


def columns(detections: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Detections as they are stored."""
    boxes = np.array([one["bbox"] for one in detections], np.float32).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    found = {
        n: np.array([one[n] for one in detections], np.int64) for n in ("image_id", "category_id")
    }
    found["score"] = np.array([one["score"] for one in detections], np.float32)
    return found | dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True))


@settings(deadline=None, max_examples=300)
@given(coco_drawn.cases())
def test_both_evaluators_give_the_same_bits(case) -> None:
    """With ties, crowds, areas on the borders, classes and images of nothing."""
    dataset, detections = case
    fast, slow = (metrics(dataset, columns(detections), judged) for judged in (False, True))
    assert fast == slow


def test_ours_evaluates_unless_pycocotools_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, detections = one_object()

    def refused(*_: Any) -> Any:
        raise AssertionError("pycocotools was asked")

    monkeypatch.setattr("gfl.training.evaluate.coco_metrics", refused)
    ours = metrics(dataset, columns(detections), by_pycocotools=False)
    # At four of ten thresholds: an IoU of 2/3. Of a medium object, and no small one.
    assert ours["AP"] == ours["APM"] == pytest.approx(40)
    assert ours["APS"] is None
    with pytest.raises(AssertionError, match="pycocotools was asked"):
        metrics(dataset, columns(detections), by_pycocotools=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 7}, "unknown image_id: 7"),
        ({"category_id": 7}, "unknown category_id: 7"),
        ({"score": float("nan")}, "score that is not a finite number"),
        ({"bbox": [0.0, 0.0, -1.0, 5.0]}, "bbox that is not"),
        ({"bbox": [float("inf"), 0.0, 1.0, 5.0]}, "bbox that is not"),
    ],
)
def test_what_pycocotools_would_miscount_is_refused(change: dict[str, Any], problem: str) -> None:
    dataset, (found,) = one_object()
    with pytest.raises(UserError, match=problem):
        metrics(dataset, columns([found | change]), by_pycocotools=False)


def test_each_commit_has_a_sample_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"run-{i}" for i in range(95)]

    def at(commit: str | None) -> frozenset[str]:
        monkeypatch.setattr(evaluation, "code_state", lambda: (commit, False))
        return frozenset(sample(ids))

    assert len(at("a")) == 10
    assert at("a") == at("a") != at("b")
    # Without a commit the same runs are not chosen each time; nor is any never chosen.
    drawn = [at(None) for _ in range(200)]
    assert len(set(drawn)) > 190
    assert frozenset.union(*drawn) == frozenset(ids)
    assert sample(["only"]) == {"only"}


def one_object() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    dataset = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 300, "height": 300}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 40.0, 40.0],
             "area": 1600.0, "iscrowd": 0}
        ],
    }  # fmt: skip
    return dataset, [
        {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [8.0, 0.0, 40.0, 40.0]}
    ]
