"""A run on photographs, from a COCO folder to a record and predictions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401  before mmdet

# isort: split
import numpy as np
import torch
from coco_folder import SPEC
from coco_folder import write as write_coco
from frozen_network import drawn, published
from PIL import Image
from request_made import request_of

from experiments import profiles
from experiments.profiles import PHOTOS
from gfl.data import images, photos
from gfl.data.features import frozen
from gfl.data.json_values import read_json
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.pictures import detecting
from gfl.predictions import schema
from gfl.records.record import Request, RunRecord
from gfl.training import checkpoint, worker
from gfl.training.evaluate import coco_metrics

TINY = replace(
    PHOTOS,
    photos=SPEC,
    scale=(SPEC.size, SPEC.size),
    schedule=replace(PHOTOS.schedule, batch=2, epochs=6, lr=4e-3, warmup_iters=2),
    eval_interval=6,
    eval_batch=2,
)
GFL = Experiment(quality="joint", boxes="general", dfl=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A COCO folder, an empty folder for what is made of it, and a network's random weights."""
    folder = tmp_path_factory.mktemp("here")
    network = PHOTOS.model.frozen
    assert network is not None
    write_coco(folder / "coco")
    threads = torch.get_num_threads()
    with (
        published(network, drawn(network), folder),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(worker, "EMBEDDED", folder / "data")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield folder
    torch.set_num_threads(threads)


def asked(here: Path, data: bool = True, experiment: Experiment = GFL) -> Request:
    data_root = str(here / "coco") if data else None
    return request_of(experiment, TINY, data_root=data_root, predicts=True)


def trained(request: Request, run_dir: Path) -> tuple[RunRecord, list[dict[str, Any]]]:
    run_dir.mkdir()
    request.save(run_dir)
    said: list[dict[str, Any]] = []
    worker.train(request, run_dir, lambda event, **content: said.append({"event": event} | content))
    return RunRecord.load(run_dir / "record.json"), said


@pytest.fixture(scope="module")
def ended(here: Path) -> tuple[Path, RunRecord, list[dict[str, Any]]]:
    return (here / "run", *trained(asked(here), here / "run"))


def test_photographs_and_features_are_made_once_and_a_second_run_is_the_same_to_the_bit(
    here: Path, ended: tuple[Path, RunRecord, list[dict[str, Any]]]
) -> None:
    run_dir, first, said = ended
    phases = [one["name"] for one in said if one["event"] == "phase"]
    assert "preparing the photographs" in phases
    assert "computing the backbone's features" in phases
    second, said = trained(asked(here, data=False), here / "again")
    phases = [one["name"] for one in said if one["event"] == "phase"]
    assert "preparing the photographs" not in phases
    assert "computing the backbone's features" not in phases
    assert second.metrics == first.metrics
    assert second.curve == first.curve
    assert second.predictions == first.predictions
    weights = [checkpoint.load(d / checkpoint.FINAL)["model"] for d in (run_dir, here / "again")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_record_names_the_images_and_has_no_speed_without_the_backbone(
    ended: tuple[Path, RunRecord, list[dict[str, Any]]],
) -> None:
    run_dir, record, _ = ended
    prepared = photos.found(SPEC, worker.photos_root(SPEC))
    assert prepared is not None
    assert record.state == "finished"
    assert record.versions["photographs"] == prepared.images
    assert record.versions["backbone"] == frozen.NETWORKS[PHOTOS.model.frozen or ""].sha256
    assert record.fps is None
    files = {*schema.least(TINY), schema.LOCATIONS}
    assert record.predictions.keys() == files
    assert schema.MATCHES in files  # an audit without the photographs needs no more
    assert not [name for name in checkpoint.load(run_dir / checkpoint.FINAL)["model"]
                if name.startswith("backbone")]  # fmt: skip


def test_figures_are_pycocotools_in_pixels_of_the_originals(
    ended: tuple[Path, RunRecord, list[dict[str, Any]]],
) -> None:
    run_dir, record, _ = ended
    truth = photos.annotation_path(worker.photos_root(SPEC), "val")
    found = read_json(run_dir / "predictions.json")["detections"]
    assert coco_metrics(truth, found) == record.metrics
    sizes = {i["id"]: (i["width"], i["height"]) for i in read_json(truth)["images"]}
    assert {one["image_id"] for one in found} == sizes.keys()
    for image, (width, height) in sizes.items():
        boxes = [one["bbox"] for one in found if one["image_id"] == image]
        right, lower = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
        assert right <= width + 1e-2
        assert lower <= height + 1e-2
        # Far beyond the prepared image, which has at most 160 px.
        assert right > 0.75 * width
        assert lower > 0.75 * height
    table = schema.read(run_dir / schema.DETECTIONS, record.predictions[schema.DETECTIONS])
    assert table.num_rows == len(found)


def test_without_data_a_run_says_what_to_download(here: Path, tmp_path: Path) -> None:
    request = asked(here, data=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "EMBEDDED", tmp_path / "empty")
        with pytest.raises(UserError, match="needs COCO 2017 val"):
            trained(request, tmp_path / "run")


def test_a_picture_is_detected_in_as_its_photograph_was_evaluated(
    ended: tuple[Path, RunRecord, list[dict[str, Any]]],
) -> None:
    """The prepared file as a picture: the same features, and boxes in its own pixels."""
    run_dir, _, _ = ended
    root = worker.photos_root(SPEC)
    image = read_json(photos.annotation_path(root, "val"))["images"][0]
    picture = images.read(root / photos.SPLIT / image["file_name"])
    run = detecting.detector(run_dir)
    found = detecting.detect(run, picture)
    evaluated = read_json(run_dir / "predictions.json")["detections"]
    evaluated = [one for one in evaluated if one["image_id"] == image["id"]]
    assert len(found) == len(evaluated) > 10
    scale = np.array([picture.width / image["width"], picture.height / image["height"]] * 2)
    boxes = np.array([one["bbox"] for one in evaluated])
    boxes[:, 2:] += boxes[:, :2]
    order = np.argsort([-one["score"] for one in evaluated], kind="stable")
    np.testing.assert_allclose(
        [one.score for one in found], [evaluated[i]["score"] for i in order], rtol=1e-3
    )
    np.testing.assert_allclose([one.box for one in found], boxes[order] * scale, atol=0.1)
    assert {one.category for one in found} == {"person"}


def test_a_picture_of_which_nothing_is_left_is_refused(
    ended: tuple[Path, RunRecord, list[dict[str, Any]]], tmp_path: Path
) -> None:
    run_dir, _, _ = ended
    Image.new("RGB", (1000, 1)).save(tmp_path / "line.png")
    with pytest.raises(UserError, match=r"1000 x 1 pixels, too narrow: .* scale, 160 x 160"):
        detecting.detect(detecting.detector(run_dir), images.read(tmp_path / "line.png"))


def test_a_prepared_folder_that_is_deleted_is_made_again_where_there_is_data(
    here: Path, ended: tuple[Path, RunRecord, list[dict[str, Any]]]
) -> None:
    run_dir, record, _ = ended
    shutil.rmtree(worker.photos_root(SPEC))
    with pytest.raises(UserError, match="needs COCO 2017 val"):
        worker.predict(asked(here, data=False), run_dir, lambda *_, **__: None, device="cpu")
    made = worker.predict(asked(here), run_dir, lambda *_, **__: None, device="cpu")
    assert made == record.predictions


def test_a_run_is_of_one_device() -> None:
    with pytest.raises(UserError, match="photos profile uses one device, not 2"):
        profiles.get("photos", 2)
