"""A run's detector comes back as its training left it, or is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from runs_made import make_run

from experiments.profiles import COCO, SMOKE
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.predictions import trained
from gfl.shapes.embedded import CATEGORIES
from gfl.training import checkpoint


def refusal(run_dir: Path) -> str:
    with pytest.raises(UserError) as refused:
        trained.detector(run_dir)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(quality="joint", boxes="general", dfl=True),
        Experiment(host="fcos", boxes="gaussian"),
        Experiment(host="retinanet", quality="joint"),
        Experiment(host="foveabox", quality="none"),
        Experiment(host="ssd512", quality="joint"),
    ],
    ids=lambda experiment: experiment.slug,
)
def test_the_weights_are_the_saved_ones(tmp_path: Path, experiment: Experiment) -> None:
    made = make_run(tmp_path, experiment)
    found = trained.detector(tmp_path)
    assert not found.model.training
    assert found.device == torch.device("cpu")
    assert found.request.experiment == experiment
    assert found.classes == CATEGORIES
    state = found.model.state_dict()
    assert state.keys() == made.state_dict().keys()
    for name, value in made.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)


def test_a_run_on_coco_knows_its_classes_and_downloads_nothing(tmp_path: Path) -> None:
    model = replace(SMOKE.model, pretrained="torchvision://resnet18")
    make_run(tmp_path, Experiment(), replace(COCO, model=model))
    found = trained.detector(tmp_path)
    assert len(found.classes) == 80
    assert found.classes[:2] == ("person", "bicycle")
    assert [step["type"] for step in found.pipeline][:2] == ["LoadImageFromFile", "Resize"]


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    assert "request.json is missing" in refusal(tmp_path / "nowhere")
    make_run(tmp_path, Experiment())
    final = tmp_path / checkpoint.FINAL
    whole = final.read_bytes()
    final.unlink()
    assert "final.pth is missing: the run is not finished" in refusal(tmp_path)
    final.write_bytes(whole[:-100])
    assert "does not match its checksum" in refusal(tmp_path)
    checkpoint.save({"weights": {}}, final)
    assert "holds no model" in refusal(tmp_path)
    checkpoint.save({"model": {}}, final)
    assert "of a model that this code does not build" in refusal(tmp_path)
    request = json.loads((tmp_path / "request.json").read_text())
    request["experiment"]["boxes"] = "round"
    (tmp_path / "request.json").write_text(json.dumps(request))
    assert "unknown boxes 'round'" in refusal(tmp_path)
    (tmp_path / "request.json").write_text("{")
    assert "not a request of this code" in refusal(tmp_path)


def test_a_request_of_before_y_n_is_understood(tmp_path: Path) -> None:
    made = Experiment(quality="joint", boxes="general", dfl=True, y_n=16.0, delta=2.0)
    make_run(tmp_path, made)
    path = tmp_path / "request.json"
    request = json.loads(path.read_text())
    del request["experiment"]["y_n"], request["experiment"]["likelihood_weight"]
    path.write_text(json.dumps(request | {"experiment": request["experiment"] | {"n": 8}}))
    assert trained.detector(tmp_path).request.experiment == made
    path.write_text(json.dumps(request | {"experiment": request["experiment"] | {"n": 9}}))
    assert "was trained by other code; its id is now" in refusal(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CUDA device"):
        trained.detector(tmp_path, device="cuda")
