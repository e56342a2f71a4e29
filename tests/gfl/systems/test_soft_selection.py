"""SAPD's change of stage in the midst of training, in a run that is stopped and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import DefaultSampler
from mmengine.dataset import pseudo_collate as gathered
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader, Dataset

from experiments.profiles import SMOKE
from gfl.config import build
from gfl.experiment import System
from gfl.training.checkpoint import FINAL, ExactCheckpointHook, load
from gfl.training.loop import ResumableBatchSampler

EPOCHS, STEPS = 3, 3  # the stage changes within the second epoch, before its third step
SIZE = 64
STAGES = [step >= EPOCHS * STEPS / 2 for step in range(EPOCHS * STEPS)]
NONE: dict[str, Any] = {"checkpoint": None, "logger": None}  # mmengine's own
Image = dict[str, Any]


class Images(Dataset[Image]):
    def __len__(self) -> int:
        return 2 * STEPS

    def __getitem__(self, index: int) -> Image:
        random = torch.Generator().manual_seed(index)
        shape = (SIZE, SIZE)
        sample = DetDataSample(
            metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        )
        corner = torch.rand(2, 2, generator=random) * 30
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 20], 1), labels=torch.tensor([0, 3])
        )
        image = torch.randint(256, (3, *shape), generator=random, dtype=torch.uint8)
        return {"inputs": image, "data_samples": sample}


class StoppedError(Exception):
    pass


class Watch(Hook):
    """Notes each iteration's stage, and stops the run before an iteration."""

    priority = "LOWEST"

    def __init__(self, stop: int | None) -> None:
        self.stop, self.stages = stop, dict[int, bool]()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.stop:
            raise StoppedError
        self.stages[runner.iter] = runner.model.bbox_head.is_soft


def session(folder: Path, stop: int | None, name: str) -> dict[int, bool]:
    """Train until the end or a stop, from the folder's newest checkpoint; return the stages."""
    torch.manual_seed(0)
    settings = build(System("sapd", "r101"), SMOKE, 0)
    images = Images()
    runner = Runner(
        model=settings["model"],
        work_dir=str(folder),
        experiment_name=name,
        default_scope="mmdet",
        train_dataloader=DataLoader(
            images,
            batch_sampler=ResumableBatchSampler(DefaultSampler(images, seed=0), 2, None),
            collate_fn=gathered,
        ),
        train_cfg={"type": "ResumableTrainLoop", "max_epochs": EPOCHS},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}},
        param_scheduler=[{"type": "MultiStepLR", "milestones": [2], "by_epoch": True}],
        custom_hooks=settings["custom_hooks"],
        randomness={"seed": 0},
        default_hooks=NONE,
        log_level="ERROR",
    )
    watch = Watch(stop)
    runner.register_hook(ExactCheckpointHook(folder, {}, print))
    runner.register_hook(watch)
    if stop is None:
        runner.train()
    else:
        with pytest.raises(StoppedError):
            runner.train()
    return watch.stages


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    stages = session(folder, None, "undisturbed")
    assert stages == dict(enumerate(STAGES))
    assert STAGES.index(True) == 5
    return folder


@pytest.mark.parametrize("stop", [4, 5, 7, 8], ids="stopped at {}".format)
def test_the_stage_survives_a_resumption(stop, undisturbed, tmp_path):
    """The epoch that was stopped is repeated; stages and weights are those of one session."""
    before = session(tmp_path, stop, f"first-{stop}")
    after = session(tmp_path, None, f"second-{stop}")
    assert min(after) == stop // STEPS * STEPS  # the end of the last whole epoch
    assert before | after == dict(enumerate(STAGES))
    assert all(before[step] == after[step] for step in before.keys() & after.keys())
    weights, expected = (load(folder / FINAL)["model"] for folder in (tmp_path, undisturbed))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
