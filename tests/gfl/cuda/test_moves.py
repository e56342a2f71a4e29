"""What moves tensors to CUDA besides the tables' training: all that a user can ask for."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import own_folder
import pytest
import torch
from fake_cuda import fake_device
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from runs_made import make_run
from torch import Tensor, nn

from benchmarks import steps
from benchmarks.detectors import draw_pictures
from benchmarks.loads import load
from experiments import own
from experiments.profiles import SMOKE
from gfl import config
from gfl.data.images import Picture
from gfl.experiment import Experiment
from gfl.pictures import detecting
from gfl.predictions import collect, trained
from gfl.training import checkpoint, loaders

GENERAL = Experiment(quality="joint", boxes="general", dfl=True)
STATE = torch.arange(16, dtype=torch.uint8)  # of CUDA's random numbers

pytestmark = pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="torch is built without CUDA"
)


@pytest.fixture
def a_device(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """This project, not torch itself, finds CUDA; return the random states that are restored."""
    given: list[Tensor] = []

    def is_available() -> bool:
        return sys._getframe(1).f_globals["__name__"].startswith("gfl.")

    monkeypatch.setattr("torch.cuda.is_available", is_available)
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda: STATE.clone())
    monkeypatch.setattr("torch.cuda.set_rng_state", given.append)
    return given


def runner_of(model: nn.Module, folder: Path) -> Any:
    """Return what of mmengine's Runner a checkpoint reads."""
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    return SimpleNamespace(
        model=model, optim_wrapper=wrapper, param_schedulers=[], epoch=3, iter=30,
        message_hub=SimpleNamespace(log_scalars={}),
        work_dir=str(folder), train_loop=SimpleNamespace(_epoch=0, _iter=0, batches_done=0),
    )  # fmt: skip


def test_a_run_resumes_on_cuda_with_its_random_state(tmp_path: Path, a_device: list[Tensor]):
    """Weights and moments move to the device; the states of random numbers stay on the host."""
    first = runner_of(nn.Linear(3, 2), tmp_path)
    first.optim_wrapper.update_params(first.model(torch.ones(1, 3)).sum())
    stored = checkpoint._capture(first) | {"processes": [checkpoint._part(first, {})]}
    checkpoint.save(stored, tmp_path / "epoch_3.pth")
    state = checkpoint.load(tmp_path / "epoch_3.pth")
    model = nn.Linear(3, 2)
    with fake_device():
        second = runner_of(model.to("cuda"), tmp_path)
        checkpoint._restore(second, state, checkpoint._own(state, 0))
        moments = second.optim_wrapper.optimizer.state
        assert {p.device.type for p in second.model.parameters()} == {"cuda"}
        assert len(moments) == 2
        for one in moments.values():
            assert {one[name].device.type for name in ("exp_avg", "exp_avg_sq")} == {"cuda"}
    assert (second.train_loop._epoch, second.train_loop._iter) == (3, 30)
    (given,) = a_device
    assert given.device.type == "cpu"
    assert torch.equal(given, STATE)


def test_a_checkpoint_of_cuda_is_resumed_without_one(
    tmp_path: Path, a_device: list[Tensor], monkeypatch: pytest.MonkeyPatch
):
    trained = runner_of(nn.Linear(3, 2), tmp_path)
    state = checkpoint._capture(trained) | {"processes": [checkpoint._part(trained, {})]}
    own = checkpoint._own(state, 0)
    assert torch.equal(own["random"]["cuda"], STATE)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    checkpoint._restore(runner_of(nn.Linear(3, 2), tmp_path), state, own)
    assert a_device == []


@pytest.mark.parametrize("boxes", ["dirac", "gaussian", "general"])
def test_a_picture_s_detections_come_back_from_cuda(
    boxes: Any, tmp_path: Path, a_device: list[Tensor]
):
    experiment = Experiment(quality="joint", boxes=boxes)
    make_run(tmp_path / "run", experiment)
    picture = Picture(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8), "")
    with fake_device():
        run = detecting.detector(tmp_path / "run", "cuda")
        assert run.device.type == "cuda"
        found = detecting.detect(run, picture)
    assert len(found) == 4
    for one in found:
        assert one.score == 0.5
        assert (one.distributions is None) == (boxes == "dirac")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> own.Plan:
    """A run on a data set of one's own, of two classes, at 64 px."""
    data = own.read(own_folder.write(tmp_path_factory.mktemp("own")))
    return own.plan(data, own.Settings(scale="laptop", size=64, batch=2))


def loader_of(plan: own.Plan, split: str, folder: Path) -> Any:
    """A loader of the user's images, as training and evaluation build it."""
    run, root = plan.run, Path(str(plan.machine.data_root))
    settings = config.build(run.experiment, run.profile, run.seed)
    here = config.for_machine(settings, data_root=root, work_dir=folder, workers=0)
    loaders.prepare(here, lambda text: None)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return Runner.build_dataloader(here[f"{split}_dataloader"])


def test_a_data_set_of_one_s_own_trains_on_cuda(owned: own.Plan, tmp_path: Path):
    """Up to the loss: autograd has no backward pass on a device that is not there."""
    batch = next(iter(loader_of(owned, "train", tmp_path)))
    detector: Any = make_run(tmp_path / "run", owned.run.experiment, owned.profile)
    with fake_device():
        detector.to("cuda").train()
        data = detector.data_preprocessor(batch, True)
        assert data["inputs"].device.type == "cuda"
        losses = detector.loss(data["inputs"], data["data_samples"])
        found = [x for v in losses.values() for x in (v if isinstance(v, list) else [v])]
        assert {x.device.type for x in found} == {"cuda"}


@pytest.mark.parametrize("quality", ["joint", "iou-branch"])
def test_predictions_are_collected_from_cuda(
    quality: Any, owned: own.Plan, tmp_path: Path, a_device: list[Tensor]
):
    """Of a data set of one's own, too: every column is on the host, one row a detection."""
    experiment = Experiment(quality=quality, boxes="general", dfl=True)
    make_run(tmp_path, experiment, owned.profile)
    with fake_device():
        run = trained.detector(tmp_path, "cuda")
        loader, ground_truth = collect.evaluation(run, Path(str(owned.machine.data_root)))
        found = collect.observe(run, loader, ground_truth)
    images = own_folder.SPLITS["val"]
    assert len(loader.dataset) == images
    assert {len(column) for column in found.detections.values()} == {4 * images}
    assert set(found.detections["category_id"]) <= {3, 7}
    assert found.locations is not None
    assert found.p is not None
    assert {len(column) for column in found.locations.values()} == {len(found.p)}


def test_the_speed_benchmark_measures_on_cuda():
    pictures = draw_pictures(SMOKE, 1, (64, 64))
    with fake_device():
        made, subject = load(config.build(GENERAL, SMOKE, 0)["model"], pictures, "cuda", 4)
        assert {p.device.type for p in made.model.parameters()} == {"cuda"}
        assert made.detect(0) == 4
    assert subject.counts["detections"] == 4


def test_the_step_benchmark_s_pair_trains_and_detects_on_cuda():
    """Up to the loss: autograd has no backward pass on a device that is not there."""
    wanted = steps.plan(
        "smoke", image=None, batch=2, rounds=1, threads=1, device="cuda", precision=None
    )
    with fake_device():
        ours, stock = steps.pair("GFL", wanted)
        batch = steps.drawn(wanted)
        for model in (ours, stock):
            losses = model(**model.data_preprocessor(copy.deepcopy(batch), True), mode="loss")
            found = [x for v in losses.values() for x in (v if isinstance(v, list) else [v])]
            assert {x.device.type for x in found} == {"cuda"}
            turn = steps._inference(model, steps._pictures(model, wanted))
            (sample,) = turn(0)  # type: ignore[misc]
            assert sample.pred_instances.bboxes.device.type == "cuda"
