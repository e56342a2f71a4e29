"""(Experiment, Profile, seed) -> mmengine's configuration; the only file that knows mmdet's keys.

``build`` gives the resolved configuration: everything that can change a run's result and nothing
else, so that its hash is the run's identity. ``for_machine`` adds what may differ between machines:
paths, worker processes, the device.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gfl.data.shapes import CATEGORIES
from gfl.experiment import Experiment, Model, Profile, Schedule

Config = dict[str, Any]

COCO = "coco-2017"
COCO_CLASSES = 80
# ImageNet's statistics, RGB, as mmdet's configurations have them.
PIXEL_MEAN, PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
SIZE_DIVISOR = 32


def build(experiment: Experiment, profile: Profile, seed: int) -> Config:
    """Return the resolved configuration of one run: plain, without paths and hardware."""
    return {
        "default_scope": "mmdet",
        "custom_imports": {"imports": ["gfl.register"], "allow_failed_imports": False},
        "dataset": asdict(profile.dataset) if profile.dataset else COCO,
        "model": _model(experiment, profile),
        "train_dataloader": _dataloader("train", profile),
        "val_dataloader": _dataloader("val", profile),
        "val_evaluator": {"type": "ExactCocoMetric"},
        "train_cfg": {
            "type": "EpochBasedTrainLoop",
            "max_epochs": profile.schedule.epochs,
            "val_interval": profile.eval_interval,
        },
        "val_cfg": {"type": "ValLoop"},
        "optim_wrapper": _optim_wrapper(profile.schedule),
        "param_scheduler": _param_scheduler(profile.schedule),
        "randomness": {"seed": seed},
    }


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
    config["val_evaluator"]["ann_file"] = str(data_root / _annotations("val"))
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


def _model(experiment: Experiment, profile: Profile) -> Config:
    model = profile.model
    widths = [
        model.base_channels * 2**i * (4 if model.depth >= 50 else 1) for i in range(_stages(model))
    ]
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": PIXEL_MEAN,
            "std": PIXEL_STD,
            "bgr_to_rgb": True,
            "pad_size_divisor": SIZE_DIVISOR,
        },
        "backbone": _backbone(model),
        "neck": {
            "type": "FPN",
            "in_channels": widths,
            "out_channels": model.channels,
            "start_level": model.first_level - 2,
            "add_extra_convs": "on_output",  # P6 from a convolution on P5's output
            "num_outs": model.levels,
        },
        "bbox_head": _head(experiment, profile),
        "train_cfg": {"topk": 9},
        "test_cfg": {
            "nms_pre": 1000,
            "min_bbox_size": 0,
            "score_thr": 0.05,
            "nms": {"type": "nms", "iou_threshold": 0.6},
            "max_per_img": 100,
        },
    }


def _backbone(model: Model) -> Config:
    scratch = model.pretrained is None
    return {
        "type": "ResNet",
        "depth": model.depth,
        "base_channels": model.base_channels,
        "stem_channels": model.base_channels,
        "num_stages": _stages(model),
        "strides": (1, 2, 2, 2)[: _stages(model)],
        "dilations": (1,) * _stages(model),
        "out_indices": tuple(range(_stages(model))),
        # A network from scratch has neither statistics nor filters worth freezing.
        "frozen_stages": -1 if scratch else 1,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": not scratch,
        "style": "pytorch",
        "init_cfg": None if scratch else {"type": "Pretrained", "checkpoint": model.pretrained},
    }


def _stages(model: Model) -> int:
    """How many of the ResNet's four stages the levels are made of; stage 1 has stride 4."""
    return min(4, model.first_level - 2 + model.levels)


def _head(experiment: Experiment, profile: Profile) -> Config:
    model = profile.model
    return {
        "type": "AblationHead",
        "num_classes": len(CATEGORIES) if profile.dataset else COCO_CLASSES,
        "in_channels": model.channels,
        "feat_channels": model.channels,
        "stacked_convs": model.stacked_convs,
        "strides": [2 ** (model.first_level + i) for i in range(model.levels)],
        "quality": experiment.quality,
        # Only what is in effect: two experiments that differ elsewhere are the same run.
        "beta": experiment.beta if experiment.quality == "joint" else None,
        "boxes": experiment.boxes,
        "dfl": experiment.dfl,
        "n": experiment.n if experiment.boxes == "general" else None,
        "delta": experiment.delta if experiment.boxes == "general" else None,
    }


def _dataloader(split: str, profile: Profile) -> Config:
    train = split == "train"
    dataset: Config = {
        "type": "CocoDataset",
        "ann_file": _annotations(split),
        "data_prefix": {"img": f"{split}2017/"},
        "pipeline": _pipeline(split, profile),
    }
    if profile.dataset:
        dataset["metainfo"] = {"classes": CATEGORIES}
    if train:
        dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": 32}
    else:
        dataset["test_mode"] = True
    return {
        # The validation batch changes nothing: images of a batch share padding, not statistics.
        "batch_size": profile.schedule.batch // profile.gpus if train else profile.eval_batch,
        "sampler": {"type": "DefaultSampler", "shuffle": train},
        "batch_sampler": {"type": "AspectRatioBatchSampler"} if train else None,
        "dataset": dataset,
    }


def _pipeline(split: str, profile: Profile) -> list[Config]:
    load = {"type": "LoadImageFromMemory" if profile.dataset else "LoadImageFromFile"}
    resize = {"type": "Resize", "scale": profile.scale, "keep_ratio": True}
    annotations = {"type": "LoadAnnotations", "with_bbox": True}
    if split == "train":
        flip = {"type": "RandomFlip", "prob": 0.5}
        return [load, annotations, resize, flip, {"type": "PackDetInputs"}]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    return [load, resize, annotations, {"type": "PackDetInputs", "meta_keys": keys}]


def _annotations(split: str) -> str:
    return f"annotations/instances_{split}2017.json"


def _optim_wrapper(schedule: Schedule) -> Config:
    optimizers: dict[str, Config] = {
        "sgd": {"type": "SGD", "momentum": 0.9},
        "adamw": {"type": "AdamW", "fused": True},  # a seventh of a small model's step on a CPU
    }
    rate = {"lr": schedule.lr, "weight_decay": schedule.weight_decay}
    config: Config = {
        "type": "AutocastOptimWrapper",
        "precision": schedule.precision,
        "optimizer": optimizers[schedule.optimizer] | rate,
    }
    if schedule.clip_grad is not None:
        config["clip_grad"] = {"max_norm": schedule.clip_grad}
    return config


def _param_scheduler(schedule: Schedule) -> list[Config]:
    warmup = {
        "type": "LinearLR",
        "start_factor": 0.001,
        "by_epoch": False,
        "begin": 0,
        "end": schedule.warmup_iters,
    }
    if schedule.milestones:
        steps = {"type": "MultiStepLR", "milestones": list(schedule.milestones), "gamma": 0.1}
        return [warmup, steps | {"by_epoch": True, "begin": 0, "end": schedule.epochs}]
    cosine = {"type": "CosineAnnealingLR", "T_max": schedule.epochs, "eta_min": 0}
    # In iterations, although given in epochs: the rate falls smoothly.
    span = {"begin": 0, "end": schedule.epochs, "by_epoch": True, "convert_to_iter_based": True}
    return [warmup, cosine | span]
