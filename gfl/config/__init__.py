"""(Experiment, Profile, seed) -> mmengine's configuration; only this package knows mmdet's keys.

``build`` gives the resolved configuration: everything that can change a run's result and nothing
else, so that its hash is the run's identity. ``for_machine`` adds what may differ between machines:
paths, worker processes, the device.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gfl.config import fcos, hosts, larger
from gfl.config.data import COCO, annotation_file, dataloader
from gfl.config.detector import detector
from gfl.config.schedule import optim_wrapper, param_scheduler
from gfl.experiment import ABLATED_HOSTS, Experiment, Profile

Config = dict[str, Any]


def build(experiment: Experiment, profile: Profile, seed: int) -> Config:
    """Return the resolved configuration of one run: plain, without paths and hardware.

    Raises:
        UserError: the profile's scale is not one that the experiment can be run at.
    """
    config: Config = {
        "default_scope": "mmdet",
        "custom_imports": {"imports": ["gfl.register"], "allow_failed_imports": False},
        "dataset": asdict(profile.dataset) if profile.dataset else COCO,
        "model": detector(experiment, profile),
        "train_dataloader": dataloader("train", profile),
        "val_dataloader": dataloader("val", profile),
        "val_evaluator": {"type": "ExactCocoMetric"},
        "train_cfg": {
            "type": "EpochBasedTrainLoop",
            "max_epochs": profile.schedule.epochs,
            "val_interval": profile.eval_interval,
        },
        "val_cfg": {"type": "ValLoop"},
        "optim_wrapper": optim_wrapper(profile.schedule),
        "param_scheduler": param_scheduler(profile.schedule),
        "randomness": {"seed": seed},
    }
    if experiment.host == "fcos":
        fcos.publish(config, profile)
    elif experiment.host not in ABLATED_HOSTS:
        hosts.publish(config, experiment, profile)
    larger.enlarge(config, experiment, profile)
    return config


def for_machine(
    config: Config,
    *,
    data_root: Path,
    work_dir: Path,
    workers: int,
    gpus: int = 1,
    max_iters: int | None = None,
) -> Config:
    """Return the configuration with this machine's paths, workers and, if asked for, a cap.

    A capped run trains the schedule's first ``max_iters`` steps and evaluates as many images as it
    trained on, or all that there are.
    """
    config = copy.deepcopy(config)
    config["work_dir"] = str(work_dir)
    for split in ("train", "val"):
        loader = config[f"{split}_dataloader"]
        loader["num_workers"] = workers
        # Workers that stay keep the embedded data set's decoded images.
        loader["persistent_workers"] = workers > 0 and config["dataset"] != COCO
        loader["dataset"]["data_root"] = str(data_root)
    if max_iters is not None:
        config["train_cfg"] |= {"type": "CappedTrainLoop", "cap": max_iters}
        batch = config["train_dataloader"]["batch_size"] * gpus
        config["val_dataloader"]["dataset"]["indices"] = max_iters * batch
    if gpus > 1:
        config["launcher"] = "pytorch"
        config["model_wrapper_cfg"] = {"type": "ChannelsLastDataParallel"}
        # Each device has its own batches' statistics; all evaluate with, and keep, their mean.
        config["custom_hooks"] = [{"type": "SyncBuffersHook"}]
    config["val_evaluator"]["ann_file"] = str(data_root / annotation_file("val"))
    # Where the devices' predictions meet, for a moment.
    config["val_evaluator"]["collect_dir"] = str(work_dir / ".predictions")
    config["default_hooks"] = {
        "checkpoint": None,
        "logger": {"type": "LoggerHook", "interval": 100},
    }
    # The stand-ins for test time of mmengine's Runner: it wants all three or none.
    config["test_dataloader"] = copy.deepcopy(config["val_dataloader"])
    config["test_evaluator"] = copy.deepcopy(config["val_evaluator"])
    config["test_cfg"] = {"type": "TestLoop"}
    return config
