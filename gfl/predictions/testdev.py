"""Results file on test-dev for COCO's evaluation server (Table 4)."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it quietens it and supplies mmcv's operators

# isort: split
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from gfl import config
from gfl.data.coco import TEST_DEV
from gfl.data.json_values import read_json
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Profile
from gfl.predictions import trained
from gfl.training import loaders

FILE = "detections_test-dev2017_gfl_results.json"  # detections_[split]_[method]_results.json
IMAGES_BETWEEN_WORDS = 500


class ProgressHook(Hook):
    """Reports progress now and then, in images."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        loader = runner.test_dataloader
        done = min((batch_idx + 1) * loader.batch_size, len(loader.dataset))
        if done == len(loader.dataset) or (batch_idx + 1) % IMAGES_BETWEEN_WORDS == 0:
            self.report(f"{done} of {len(loader.dataset)} images")


def write(
    experiment: AnyExperiment,
    profile: Profile,
    seed: int,
    *,
    run_dir: Path,
    data_root: Path,
    workers: int,
    report: Callable[[str], None],
) -> Path:
    """Detect on test-dev's images with a finished run's weights; return the results file.

    It is what the server expects, a list of image_id, category_id, bbox (x, y, width, height in
    pixels) and score, in the run's folder. ``data_root`` must have passed
    ``gfl.data.coco.check_test_dev``.

    Raises:
        UserError: the run's weights are missing, damaged or another model's, or the categories
            differ from those of its labels.
    """
    weights = trained.weights(run_dir)
    # The log and mmengine's other files are deleted with the folder.
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".test-dev-") as folder:
        settings = config.for_test_dev(
            config.build(experiment, profile, seed),
            data_root=data_root,
            work_dir=Path(folder),
            workers=workers,
            results=Path(folder) / "found",
        )
        _check_labels(settings, data_root)
        loaders.prepare(settings, report)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            # mmengine reuses a visualizer of the same name and second, and its folder.
            name = {"experiment_name": run_dir.name + Path(folder).name}
            runner = Runner.from_cfg(Config(settings | name))
            model: Any = runner.model
            trained.load(model, weights, run_dir)
            runner.register_hook(ProgressHook(report))
            with loaders.explained():
                runner.test()
        result = run_dir / FILE
        os.replace(Path(folder) / "found.bbox.json", result)
    return result


def _check_labels(settings: dict[str, Any], data_root: Path) -> None:
    """Reject a list of other categories; order and ids are free, since labels go by name."""
    meta = settings["test_dataloader"]["dataset"].get("metainfo", CocoDataset.METAINFO)
    names = [category["name"] for category in read_json(data_root / TEST_DEV)["categories"]]
    if sorted(names) != sorted(meta["classes"]):
        raise UserError(
            f"{data_root / TEST_DEV}: its categories are not the {len(meta['classes'])} that the "
            "run was trained on"
        )
