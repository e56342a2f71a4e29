"""A run of the smoke profile in a process of its own: what it tells and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
from request_made import request_of

from experiments.profiles import COCO, GPU, LAPTOP, SMOKE
from gfl.experiment import Experiment
from gfl.predictions import matches
from gfl.predictions.schema import MATCHES, OBJECTS
from gfl.records import digests
from gfl.records.record import METRICS, RunRecord, read_json, run_id
from gfl.shapes import embedded
from gfl.training import worker
from gfl.training.checkpoint import load
from gfl.training.session import Outcome

EPOCHS = 2
EXPERIMENT = Experiment(quality="joint", boxes="general", dfl=True)
PROFILE = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=EPOCHS), eval_interval=1)
STEPS = 8  # an epoch: 32 images in batches of 4


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is over."""
    folder = tmp_path_factory.mktemp("run")
    request_of(EXPERIMENT, PROFILE).save(folder)
    with (folder / "events").open("wb") as events:
        done = subprocess.run(
            [sys.executable, "-m", "gfl.training.worker", str(folder)],
            stdout=events,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    assert done.returncode == 0, done.stderr
    return folder


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events").read_text().splitlines()]


def test_a_run_leaves_its_record_its_predictions_and_its_weights(ended):
    folder = ended
    record = RunRecord.load(folder / "record.json")
    assert record.state == "finished"
    assert record.id == run_id(EXPERIMENT, PROFILE, 0)
    assert record.metrics.keys() == set(METRICS)
    assert [found["epoch"] for found in record.evals] == [1, 2]
    assert record.evals[-1]["AP"] == record.metrics["AP"]
    assert [point["iter"] for point in record.curve] == list(range(1, EPOCHS * STEPS + 1))
    for point in record.curve:
        parts = point["loss_cls"] + point["loss_bbox"] + point["loss_dfl"]
        assert point["loss"] == pytest.approx(parts, abs=3e-6)  # each is rounded
    assert record.versions == digests.versions()
    assert record.code == {}  # the request names none: what trained it is not known
    assert isinstance(read_json(folder / "predictions.json")["detections"], list)
    assert not list(folder.glob("epoch_*"))
    assert all(w.isfinite().all() for w in load(folder / "final.pth")["model"].values())


def test_a_run_on_coco_leaves_what_its_evaluation_knew(shared: Path, tmp_path: Path) -> None:
    """Its metrics follow from that to the last digit; it is not predicted for."""
    schedule = replace(PROFILE.schedule, epochs=1, lr=0.02)  # so that it finds something
    bare = replace(PROFILE, dataset=None, schedule=schedule)
    data = shared / "data/coco-tiny"
    request_of(EXPERIMENT, bare, data_root=str(data)).save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "gfl.training.worker", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    record = RunRecord.load(tmp_path / "record.json")
    assert set(record.predictions) == {MATCHES, OBJECTS}
    stored = matches.read(tmp_path, record.predictions)
    assert stored.metrics() == record.metrics
    detections = read_json(tmp_path / "predictions.json")["detections"]
    assert len(stored.image) == len(detections) > 0
    dataset = json.loads((data / "annotations/instances_val2017.json").read_text())
    assert stored.truth == matches.digest_of(dataset)


def test_code_that_is_edited_while_the_worker_starts_is_named(monkeypatch):
    here = {"gfl/losses.py": "1", "gfl/head.py": "1"}
    monkeypatch.setattr(digests, "code", lambda: here)
    asked = request_of(EXPERIMENT, PROFILE, code=here)
    assert worker._as_loaded(asked) == asked
    begun = replace(asked, code=here | {"gfl/head.py": "0 then 1"})
    assert worker._as_loaded(begun) == begun
    edited = worker._as_loaded(replace(asked, code=here | {"gfl/losses.py": "0"}))
    assert edited == replace(asked, code=here | {"gfl/losses.py": "0 then 1"}, dirty=True)
    assert worker._as_loaded(request_of(EXPERIMENT, PROFILE)) == request_of(EXPERIMENT, PROFILE)


def test_standard_output_is_events_alone(ended):
    found = events(ended)
    kinds = [event["event"] for event in found]
    assert kinds.count("start") == 1
    assert kinds.count("eval") == EPOCHS
    assert found[-1] == {"event": "end", "state": "finished"}


@pytest.mark.parametrize(
    ("profile", "device", "expected"),
    [
        (SMOKE, "cpu", 0),
        (LAPTOP, "cpu", 0),
        (LAPTOP, "cuda", 0),  # its images are not seeded one by one
        (GPU, "cpu", 0),
        (GPU, "cuda", 3),
        (COCO, "cpu", 3),
        (COCO, "cuda", 3),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_processes_load_images_only_where_each_image_is_seeded(
    tmp_path, monkeypatch, profile, device, expected
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "" if device == "cpu" else "0")
    here = worker._settings(request_of(EXPERIMENT, profile, cores=3), tmp_path, tmp_path)
    for split in ("train", "val", "test"):
        assert here[f"{split}_dataloader"]["num_workers"] == expected
    if here["train_dataloader"]["num_workers"]:
        assert here["train_dataloader"]["dataset"]["pipeline"][0]["type"] == "SeedAugmentation"


def test_a_damaged_data_set_is_drawn_again_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path)
    spec = embedded.ShapesSpec(image_size=64, train=3, val=1)
    request = request_of(EXPERIMENT, replace(SMOKE, dataset=spec))
    told: list[dict[str, Any]] = []

    def tell(event: str, **content: Any) -> None:
        if event == "message":
            told.append(content)

    root = worker._data(request, tell)
    pixels = embedded.pixels_path(root, "train")
    expected = pixels.read_bytes()
    pixels.write_bytes(bytes(len(expected)))
    assert worker._data(request, tell) == root
    assert pixels.read_bytes() == expected
    assert [str(root) in one["text"] for one in told] == [True]


def test_a_record_has_the_schedule_that_was_trained() -> None:
    ssd = Experiment(host="ssd512", quality="none")
    request = request_of(ssd, COCO)
    empty: dict[str, Any] = dict.fromkeys(field.name for field in fields(Outcome))
    schedule = worker._record(request, Outcome(**empty)).profile["schedule"]
    assert (schedule["epochs"], schedule["batch"], schedule["lr"]) == (120, 64, 0.002)
    usual = replace(request, experiment=Experiment())
    assert worker._record(usual, Outcome(**empty)).profile == asdict(COCO)
