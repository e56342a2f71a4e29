"""A run's predictions are those of its evaluation, with COCO's ids and the two scores apart."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it quietens it and supplies mmcv's operators

# isort: split
import numpy as np
import pytest
import torch
from mmdet_models import build
from mmengine.config import Config
from mmengine.runner import Runner
from request_made import request_of
from torch import nn

from experiments.profiles import LAPTOP, PREDICTING, SMOKE
from gfl import config
from gfl.config.systems import METHODS, method_named
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Experiment, Profile, System
from gfl.predictions import collect, schema
from gfl.predictions.schema import DETECTIONS, LOCATIONS
from gfl.predictions.trained import detector
from gfl.records.record import METRICS, Request, RunRecord, run_id
from gfl.shapes import embedded
from gfl.training import checkpoint, loaders, session
from gfl.training import worker as train
from gfl.training.session import Outcome

TINY = replace(SMOKE, dataset=replace(SMOKE.dataset, train=1, val=5), eval_batch=2)
EXPERIMENTS = {
    "branch": Experiment(quality="iou-branch", boxes="general", dfl=True),
    "joint": Experiment(host="fcos", quality="joint"),
    "other": Experiment(host="retinanet", quality="joint"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data."""
    root = tmp_path_factory.mktemp("drawn")
    assert TINY.dataset is not None
    embedded.write(TINY.dataset, root, workers=1)
    return root


def finished(run_dir: Path, experiment: Experiment, profile: Profile = TINY) -> Request:
    """Leave the weights of a detector that finds something everywhere, as a run does."""
    torch.manual_seed(0)
    model = build(config.build(experiment, profile, 0)["model"])
    head = model.bbox_head
    last = head.gfl_cls if hasattr(head, "gfl_cls") else head.retina_cls
    with torch.no_grad():
        nn.init.kaiming_normal_(last.weight)
        nn.init.zeros_(last.bias)
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.save({"model": model.state_dict()}, run_dir / checkpoint.FINAL)
    id = run_id(experiment, profile, 0)
    request = Request(id, experiment, profile, 0, None, "cpu", 1, None, None, False)
    request.save(run_dir)
    return request


def evaluated(experiment: AnyExperiment, run_dir: Path, root: Path) -> list[dict[str, Any]]:
    """The detections of mmengine's own evaluation of the run's weights."""
    settings = config.for_machine(
        config.build(experiment, TINY, 0), data_root=root, work_dir=run_dir / "log", workers=0
    )
    settings["log_level"] = "WARNING"
    runner = Runner.from_cfg(Config(settings | {"experiment_name": run_dir.name}))
    model: Any = runner.model
    model.load_state_dict(torch.load(run_dir / checkpoint.FINAL, weights_only=True)["model"])
    model.to(memory_format=torch.channels_last)
    runner.val()
    metric: Any = runner.val_evaluator.metrics[0]
    return metric.detections


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_detections_are_the_evaluations_own(name: str, tmp_path: Path, root: Path) -> None:
    experiment = EXPERIMENTS[name]
    finished(tmp_path, experiment)
    done: list[tuple[int, int]] = []
    checksums = collect.predict(tmp_path, root, progress=lambda *told: done.append(told))
    assert done == [(2, 5), (4, 5), (5, 5)]
    found = schema.read(tmp_path / DETECTIONS, checksums[DETECTIONS]).to_pandas()
    expected = evaluated(experiment, tmp_path, root)
    assert len(found) == len(expected) > 20
    for ours, theirs in zip(found.itertuples(), expected, strict=True):
        box = np.float32([ours.x1, ours.y1, ours.x2 - ours.x1, ours.y2 - ours.y1])
        assert (ours.image_id, ours.category_id) == (theirs["image_id"], theirs["category_id"])
        assert (ours.score, *box.tolist()) == (theirs["score"], *theirs["bbox"])
    scores = found[["class_score", "quality_score"]]
    if name == "branch":
        np.testing.assert_allclose(scores.prod(axis=1), found["score"], rtol=1e-6)
        assert (scores < 1).all(axis=None)
    else:
        assert found["quality_score"].isna().all()
    if name == "joint":
        assert (found["class_score"] == found["score"]).all()
    assert (LOCATIONS in checksums) == (name != "other")


@pytest.mark.parametrize("method", METHODS)
def test_every_system_of_table_4_is_predicted_for(method: str, tmp_path: Path, root: Path) -> None:
    """A backbone that takes no initial weights among them: an hourglass."""
    system = System(method, next(iter(method_named(method).rows)))
    torch.manual_seed(0)
    model = build(config.build(system, TINY, 0)["model"])
    checkpoint.save({"model": model.state_dict()}, tmp_path / checkpoint.FINAL)
    request_of(system, TINY).save(tmp_path)
    checksums = collect.predict(tmp_path, root)
    found = schema.read(tmp_path / DETECTIONS, checksums[DETECTIONS]).to_pandas()
    expected = evaluated(system, tmp_path, root)
    assert found["score"].tolist() == [one["score"] for one in expected]
    assert found["image_id"].tolist() == [one["image_id"] for one in expected]


def test_detections_name_the_annotation_that_they_overlap_most(tmp_path: Path, root: Path) -> None:
    finished(tmp_path, EXPERIMENTS["branch"])
    checksums = collect.predict(tmp_path, root)
    found = schema.read(tmp_path / DETECTIONS, checksums[DETECTIONS]).to_pandas()
    truth = json.loads((root / "annotations/instances_val2017.json").read_text())["annotations"]
    assert (found["gt_id"] >= 0).any()
    for one in found.itertuples():
        same = [a for a in truth if a["image_id"] == one.image_id]
        overlaps = {
            a["id"]: overlap((one.x1, one.y1, one.x2, one.y2), a["bbox"])
            for a in same
            if a["category_id"] == one.category_id
        }
        assert one.iou == pytest.approx(max(overlaps.values(), default=0.0), abs=1e-5)
        assert one.iou == pytest.approx(overlaps.get(one.gt_id, 0.0), abs=1e-5)
    at = schema.read(tmp_path / LOCATIONS, checksums[LOCATIONS]).to_pandas()
    objects = {a["id"]: a for a in truth}
    positives = at[at["positive"]]
    assert set(positives["gt_id"]) == set(objects)
    for one in positives.itertuples():
        assert objects[one.gt_id]["image_id"] == one.image_id
        assert objects[one.gt_id]["category_id"] == one.category_id
        left = objects[one.gt_id]["bbox"][0]
        assert one.x - one.target_left * one.stride == pytest.approx(left, abs=0.02)


def overlap(box: tuple[float, ...], other: list[float]) -> float:
    x, y, width, height = other
    w = min(box[2], x + width) - max(box[0], x)
    h = min(box[3], y + height) - max(box[1], y)
    both = max(w, 0) * max(h, 0)
    return both / ((box[2] - box[0]) * (box[3] - box[1]) + width * height - both)


def test_a_loader_that_is_killed_is_one_line(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every prediction, also that of weights which others trained."""
    finished(tmp_path, EXPERIMENTS["branch"])
    trained = detector(tmp_path, "cpu")
    loader, truth = collect.evaluation(trained, root)

    def killed(self: Any) -> None:
        worker = multiprocessing.get_context("fork").Process(
            target=lambda: os.kill(os.getpid(), signal.SIGKILL)
        )
        worker.start()
        worker.join()
        monkeypatch.setattr(loaders, "_loaders", lambda: [worker])
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(type(loader), "__iter__", killed)
    with pytest.raises(UserError, match=r"^a loader process was killed \(out of memory\?\)"):
        collect.observe(trained, loader, truth)


def test_the_same_run_is_the_same_bytes(tmp_path: Path, root: Path) -> None:
    finished(tmp_path, EXPERIMENTS["branch"])
    assert collect.predict(tmp_path, root) == collect.predict(tmp_path, root)


def test_annotation_ids_skip_what_mmdet_leaves_out(tmp_path: Path) -> None:
    listed = [
        {"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 1, 0.5, 9]},  # too thin: left out
        {"id": 8, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 9]},
        {"id": 9, "image_id": 2, "category_id": 3, "bbox": [1, 1, 5, 9]},
        {"id": 10, "image_id": 1, "category_id": 4, "bbox": [2, 2, 5, 9]},  # a crowd
        {"id": 11, "image_id": 1, "category_id": 4, "bbox": [2, 2, 5, 9]},
    ]
    path = tmp_path / "boxes.json"
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in (1, 2, 3)]
    categories = [{"id": 3, "name": "cup"}, {"id": 4, "name": "bowl"}]
    whole = {"images": images, "annotations": listed, "categories": categories}
    path.write_text(json.dumps(whole))

    def instance(box: list[float], label: int, crowd: int = 0) -> dict[str, Any]:
        return {"bbox": box, "bbox_label": label, "ignore_flag": crowd}

    parsed = [
        [instance([1, 1, 6, 10], 0), instance([2, 2, 7, 11], 1, 1), instance([2, 2, 7, 11], 1)],
        [instance([1, 1, 6, 10], 0)],
        [],
    ]

    class Dataset:
        cat_ids = (3, 4)

        def __len__(self) -> int:
            return 3

        def get_data_info(self, index: int) -> dict[str, Any]:
            return {"img_id": index + 1, "instances": parsed[index]}

    assert collect.object_ids(Dataset(), path) == {1: [8, 11], 2: [9], 3: []}


@pytest.mark.parametrize(
    ("images", "count", "last"), [(5, 5, 4), (1000, 1000, 999), (2001, 1000, 1998)]
)
def test_locations_are_of_at_most_a_thousand_images(images: int, count: int, last: int) -> None:
    shown = collect.spread(images)
    assert (len(shown), min(shown), max(shown)) == (count, 0, last)


@pytest.mark.parametrize(
    ("profile", "changes", "problem", "expected"),
    [
        (LAPTOP, {}, "", True),
        (LAPTOP, {"max_iters": 3}, "", False),
        (LAPTOP, {}, "the loss is not finite", False),
        (SMOKE, {}, "", False),
    ],
)
def test_what_ends_well_at_a_profile_with_figures_is_predicted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile, changes, problem, expected
) -> None:
    experiment = Experiment()
    request = Request(
        run_id(experiment, profile, 0), experiment, profile, 0, None, "cpu", 1, None, None, False,
        predicts=profile.name in PREDICTING,
    )  # fmt: skip
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Outcome))
    metrics = {} if problem else dict.fromkeys(METRICS, 1.0)
    values |= {"is_first": True, "problem": problem, "metrics": metrics, "hardware": {}}
    values |= {"curve": [], "evals": [], "detections": [], "started": "then"}
    order: list[str] = []

    def run(*args: Any, **kwargs: Any) -> Outcome:
        order.append("trained")
        return Outcome(**values)

    def predict(run_dir: Path, *args: Any, **kwargs: Any) -> dict[str, str]:
        order.append("predicted")
        assert not (run_dir / "record.json").exists()
        kwargs["progress"](16, 16)
        return {DETECTIONS: "ab" * 32}

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(train, "_data", lambda request, emit: tmp_path)
    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(collect, "predict", predict)
    told: list[SimpleNamespace] = []
    train.train(
        replace(request, **changes),
        tmp_path,
        lambda event, **content: told.append(SimpleNamespace(event=event, **content)),
    )
    record = RunRecord.load(tmp_path / "record.json")
    assert order == ["trained", "predicted"][: 1 + expected]
    assert record.predictions == ({DETECTIONS: "ab" * 32} if expected else {})
    assert any(t.event == "phase" and t.name == "predicting" for t in told) == expected
