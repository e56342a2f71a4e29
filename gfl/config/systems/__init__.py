"""Table 4's systems as mmdet configurations: bundled files, declared differences, small versions.

Imports ``gfl.experiment`` and the rest of ``gfl.config``; the detectors that mmdet lacks or gets
wrong are in ``gfl.systems``.
"""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from functools import cache
from typing import Any

from gfl.config import network
from gfl.config.data import dataloader, has_loaders, resized
from gfl.config.systems.corners import STACKS, hourglass
from gfl.config.systems.method import Method, Small, assign, bundled, changed
from gfl.config.table4 import check_network, small_backbone
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Profile, Schedule, System

Config = dict[str, Any]

# Module and name of each method's record, imported when needed: most commands read none.
METHODS: dict[str, tuple[str, str]] = {
    "faster-rcnn": ("two_stage", "FASTER_RCNN"),
    "cascade-rcnn": ("two_stage", "CASCADE_RCNN"),
    "grid-rcnn": ("two_stage", "GRID_RCNN"),
    "libra-rcnn": ("two_stage", "LIBRA_RCNN"),
    "reppoints": ("reppoints", "METHOD"),
    "tridentnet": ("trident", "METHOD"),
    "tsd": ("tsd", "METHOD"),
    "cornernet": ("corners", "CORNERNET"),
    "centernet": ("centernet", "METHOD"),
    "centripetalnet": ("corners", "CENTRIPETALNET"),
    "retinanet": ("dense", "RETINANET"),
    "freeanchor": ("dense", "FREEANCHOR"),
    "foveabox": ("dense", "FOVEABOX"),
    "fsaf": ("dense", "FSAF"),
    "fcos": ("dense", "FCOS"),
    "sapd": ("sapd", "METHOD"),
    "atss": ("dense", "ATSS"),
}
# GPUs of the paper's recipes. A recipe's batch is divided among these; on fewer, the batch and the
# rate are in proportion.
DEVICES = 8


def method_named(name: str) -> Method:
    """Look up a method.

    Raises:
        UserError: there is no such method.
    """
    if (place := METHODS.get(name)) is None:
        raise UserError(f"unknown method {name!r}{did_you_mean(name, METHODS)}")
    module, attribute = place
    return getattr(importlib.import_module(f"gfl.config.systems.{module}"), attribute)


def method_of(system: System) -> Method:
    """Look up a system's method.

    Raises:
        UserError: there is no such method, or it has no row of this backbone.
    """
    method = method_named(system.method)
    if system.backbone not in method.rows:
        known = did_you_mean(system.backbone, method.rows)
        raise UserError(f"{method.title}: unknown backbone {system.backbone!r}{known}")
    return method


@cache
def _published(system: System) -> Config:
    row = method_of(system).rows[system.backbone]
    return changed(bundled(row.bundled), row.differences)


def published(system: System) -> Config:
    """Return a row's whole configuration at full size, in mmdet's form; the caller's to change."""
    return copy.deepcopy(_published(system))


def detector(system: System, profile: Profile) -> Config:
    """Return mmdet's model settings, at full size or for a small profile.

    Raises:
        UserError: the profile has no network for it.
    """
    check_network(system.slug, profile)
    model: Config = copy.deepcopy(_published(system)["model"])
    if profile.has_published_network:
        return model
    small = _small(system, profile)
    parts: Config = {
        "data_preprocessor": network.PREPROCESSOR,
        "backbone": small.backbone,
        "neck": small.neck,
    }
    model |= copy.deepcopy(parts)  # shared by all systems, and changed here
    for path, value in method_of(system).small(small).items():
        assign(model, path, value)
    return model


def schedule_of(system: System, profile: Profile) -> Schedule:
    """Return a row's published schedule, or the small profile's with the method's own rate.

    Always in float32: only this project's heads take care of what bfloat16 loses.
    """
    if not profile.has_published_network:
        schedule, rate = profile.schedule, system.rate or method_of(system).rate
        return replace(schedule, lr=schedule.lr if rate is None else rate, precision="float32")
    config = _published(system)
    optimizer, share = config["optim_wrapper"]["optimizer"], profile.gpus / DEVICES
    scheduler = config["param_scheduler"]
    milestones = [m for part in scheduler for m in part.get("milestones", ())]
    warmup = [part["end"] for part in scheduler if not part["by_epoch"]]
    clip = config["optim_wrapper"].get("clip_grad") or {}
    return Schedule(
        epochs=config["train_cfg"]["max_epochs"],
        batch=round(config["auto_scale_lr"]["base_batch_size"] * share),
        lr=optimizer["lr"] * share,
        optimizer=optimizer["type"].lower(),
        weight_decay=optimizer.get("weight_decay", 0.0),
        warmup_iters=max(warmup, default=0),
        milestones=tuple(milestones),
        clip_grad=clip.get("max_norm"),
    )


def optimization(system: System, profile: Profile) -> tuple[Config, list[Config]]:
    """Return the optimizer and the learning rate's schedule as a row's source has them."""
    config, schedule = published(system), schedule_of(system, profile)
    wrapper = config["optim_wrapper"]
    wrapper |= {"type": "AutocastOptimWrapper", "precision": schedule.precision}
    wrapper["optimizer"]["lr"] = schedule.lr
    return wrapper, config["param_scheduler"]


def hooks(system: System) -> list[Config]:
    """Return the hooks that a row's training needs, at either scale."""
    return _published(system).get("custom_hooks", [])


def loader(split: str, system: System, profile: Profile) -> Config:
    """Return the loader settings of a split: a row's own pipeline, or the small profile's."""
    settings = dataloader(split, profile, schedule_of(system, profile), resized(profile))
    if not profile.has_published_network:
        return settings
    theirs = _published(system)[f"{split}_dataloader"]
    seeding = [{"type": "SeedAugmentation"}] if split == "train" and has_loaders(profile) else []
    settings["dataset"]["pipeline"] = [*seeding, *theirs["dataset"]["pipeline"]]
    settings["batch_sampler"] = theirs.get("batch_sampler")
    return settings


def _small(system: System, profile: Profile) -> Small:
    model = profile.model
    if stacks := STACKS.get(system.backbone):
        backbone = hourglass(stacks)
        channels = [backbone["feat_channel"]]
    else:
        stages = network.stages(model)
        backbone = network.scratch(model) | small_backbone(system.backbone, model, stages)
        channels = network.widths(model, system.backbone)
    return Small(
        backbone=backbone,
        neck={
            "type": "FPN",
            "in_channels": channels,
            "out_channels": model.channels,
            "start_level": network.first_output(model),
            "num_outs": model.levels,
        },
        channels=model.channels,
        stacked_convs=model.stacked_convs,
        strides=tuple(network.strides(model)),
        classes=network.classes(profile),
        size=profile.scale[0],
        backbone_channels=tuple(channels),
    )
