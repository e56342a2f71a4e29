"""Machine-dependent settings: paths, worker processes, devices and the launching tool."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from gfl.config.data import COCO
from gfl.data.coco import TEST_DEV, TEST_IMAGES

Config = dict[str, Any]


def for_machine(
    config: Config,
    *,
    data_root: Path,
    work_dir: Path,
    workers: int,
    gpus: int = 1,
    max_iters: int | None = None,
) -> Config:
    """Return the configuration with this machine's paths and workers and, if given, a cap.

    A capped run trains the schedule's first ``max_iters`` steps and evaluates as many images as it
    trained on, or all there are.
    """
    config = _placed(config, data_root, work_dir, workers)
    loader, loop = config["train_dataloader"], config["train_cfg"]
    loader["batch_sampler"] = {"type": "ResumableBatchSampler", "batches": loader["batch_sampler"]}
    loop["type"] = "ResumableTrainLoop"
    if max_iters is not None:
        loop |= {"type": "CappedTrainLoop", "cap": max_iters}
        batch = loader["batch_size"] * gpus
        config["val_dataloader"]["dataset"]["indices"] = max_iters * batch
    return _completed(config, gpus)


def _placed(config: Config, data_root: Path, work_dir: Path, workers: int) -> Config:
    """Return the configuration with this machine's paths and workers."""
    config = copy.deepcopy(config)
    config["work_dir"] = str(work_dir)
    for split in ("train", "val"):
        loader = config[f"{split}_dataloader"]
        loader["num_workers"] = workers
        # Persistent workers keep the embedded data set's decoded images.
        loader["persistent_workers"] = workers > 0 and config["dataset"] != COCO
        loader["dataset"]["data_root"] = str(data_root)
        if _is_repaired(config["dataset"], split):  # it lies in the run's folder
            loader["dataset"]["ann_file"] = str(work_dir / loader["dataset"]["ann_file"])
    boxes = config["val_dataloader"]["dataset"]["ann_file"]
    config["val_evaluator"]["ann_file"] = str(data_root / boxes)
    # Temporary folder in which the devices' predictions are collected.
    config["val_evaluator"]["collect_dir"] = str(work_dir / ".predictions")
    return config


def _completed(config: Config, gpus: int) -> Config:
    """Add, in place, what several devices need and what mmengine's Runner requires."""
    if gpus > 1:
        _share(config)
    logger = {"type": "LoggerHook", "interval": 100}
    config["default_hooks"] = {"checkpoint": None, "logger": logger}
    # Test-time stand-ins for mmengine's Runner, which requires all three or none.
    config["test_dataloader"] = copy.deepcopy(config["val_dataloader"])
    config["test_evaluator"] = copy.deepcopy(config["val_evaluator"])
    config["test_cfg"] = {"type": "TestLoop"}
    return config


def _is_repaired(dataset: Any, split: str) -> bool:
    """Return True if a split of the user's data is read from a normal form written for it."""
    parts = dataset.get(split) if isinstance(dataset, dict) else None
    return isinstance(parts, dict) and "normal" in parts


def for_stock_tool(
    config: Config, *, data_root: Path, work_dir: Path, workers: int, gpus: int
) -> Config:
    """Return the configuration for mmdet's own ``tools/train.py``, without this project's hooks.

    mmengine's checkpoint hook keeps the last two epochs instead.
    """
    config = _completed(_placed(config, data_root, work_dir, workers), gpus)
    hook = {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2}
    config["default_hooks"]["checkpoint"] = hook
    return config


def for_test_dev(
    config: Config, *, data_root: Path, work_dir: Path, workers: int, results: Path
) -> Config:
    """Return the configuration that tests loaded weights on COCO's test-dev.

    Detections are written to ``results`` with ".bbox.json" appended.
    """
    config = for_machine(config, data_root=data_root, work_dir=work_dir, workers=workers)
    config["log_level"] = "WARNING"
    dataset = config["test_dataloader"]["dataset"]
    dataset |= {"ann_file": TEST_DEV, "data_prefix": {"img": f"{TEST_IMAGES}/"}}
    # Load every image once, with its size only: there are no boxes.
    dataset["pipeline"] = [s for s in dataset["pipeline"] if s["type"] != "LoadAnnotations"]
    config["test_evaluator"] = {
        "type": "CocoMetric",
        "ann_file": str(data_root / TEST_DEV),
        "format_only": True,
        "outfile_prefix": str(results),
    }
    return config


def _share(config: Config) -> None:
    """Train on several devices, in place."""
    config["launcher"] = "pytorch"
    config["model_wrapper_cfg"] = {"type": "ChannelsLastDataParallel"}
    # Each device has its own batch statistics; all evaluate with, and save, their mean.
    config.setdefault("custom_hooks", []).append({"type": "SyncBuffersHook"})
