"""A run on photographs, from a COCO folder to a record and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from coco_folder import SPEC
from coco_folder import write as write_coco
from mmdet.models.backbones import MobileNetV2

from experiments.profiles import PHOTOS
from gfl import checkpoint, frozen, predictions, train
from gfl.data import features, photos
from gfl.data.json_values import read_json
from gfl.errors import UserError
from gfl.evaluate import coco_metrics
from gfl.experiment import Experiment
from gfl.record import Request, RunRecord, run_id

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
    torch.manual_seed(0)
    network = MobileNetV2(out_indices=(1, 2, 4, 6))
    torch.save(network.state_dict(), folder / "weights.pt")
    write_coco(folder / "coco")
    features._network.cache_clear()
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "weights", lambda name, tell=None: folder / "weights.pt")
        patch.setattr(train, "EMBEDDED", folder / "data")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield folder
    features._network.cache_clear()
    torch.set_num_threads(threads)


def request_of(here: Path, data: bool = True, experiment: Experiment = GFL) -> Request:
    return Request(
        id=run_id(experiment, TINY, 0),
        experiment=experiment,
        profile=TINY,
        seed=0,
        data_root=str(here / "coco") if data else None,
        device="cpu",
        gpus=1,
        max_iters=None,
        commit=None,
        dirty=False,
    )


def trained(request: Request, run_dir: Path) -> tuple[RunRecord, list[dict[str, Any]]]:
    run_dir.mkdir()
    request.save(run_dir)
    said: list[dict[str, Any]] = []
    train.train(request, run_dir, lambda event, **content: said.append({"event": event} | content))
    return RunRecord.load(run_dir / "record.json"), said


@pytest.fixture(scope="module")
def ended(here: Path) -> tuple[Path, RunRecord, list[dict[str, Any]]]:
    return (here / "run", *trained(request_of(here), here / "run"))


def test_photographs_and_features_are_made_once_and_a_second_run_is_the_same_to_the_bit(
    here: Path, ended: tuple[Path, RunRecord, list[dict[str, Any]]]
) -> None:
    run_dir, first, said = ended
    phases = [one["name"] for one in said if one["event"] == "phase"]
    assert "preparing the photographs" in phases
    assert "computing the backbone's features" in phases
    second, said = trained(request_of(here, data=False), here / "again")
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
    prepared = photos.found(SPEC, train.photos_root(SPEC))
    assert prepared is not None
    assert record.state == "finished"
    assert record.versions["photographs"] == prepared.images
    assert record.fps is None
    files = {*predictions.least(TINY), predictions.LOCATIONS}
    assert record.predictions.keys() == files
    assert predictions.MATCHES in files  # an audit without the photographs needs no more
    assert not [name for name in checkpoint.load(run_dir / checkpoint.FINAL)["model"]
                if name.startswith("backbone")]  # fmt: skip


def test_figures_are_pycocotools_in_pixels_of_the_originals(
    ended: tuple[Path, RunRecord, list[dict[str, Any]]],
) -> None:
    run_dir, record, _ = ended
    truth = photos.annotation_path(train.photos_root(SPEC), "val")
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
    table = predictions.read(
        run_dir / predictions.DETECTIONS, record.predictions[predictions.DETECTIONS]
    )
    assert table.num_rows == len(found)


def test_without_data_a_run_says_what_to_download(here: Path, tmp_path: Path) -> None:
    request = request_of(here, data=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "EMBEDDED", tmp_path / "empty")
        with pytest.raises(UserError, match="needs COCO 2017 val"):
            trained(request, tmp_path / "run")
