"""Schedule, optimizer and learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gfl.config import systems
from gfl.experiment import AnyExperiment, Profile, Schedule, System, recipe_of
from gfl.hosts import Recipe

Config = dict[str, Any]


def schedule_of(experiment: AnyExperiment, profile: Profile) -> Schedule:
    """Return the profile's schedule or twice that, on COCO 24 epochs with steps 16 and 22.

    A host with a published schedule of its own keeps it, with batch and rate in proportion to the
    devices, and so does a system of Table 4.
    """
    if isinstance(experiment, System):
        return systems.schedule_of(experiment, profile)
    if (own := recipe_of(experiment, profile).training) is not None:
        return Schedule(
            epochs=own.epochs,
            batch=own.batch // own.devices * profile.gpus,
            lr=own.lr * profile.gpus / own.devices,
            weight_decay=own.weight_decay,
            milestones=own.milestones,
        )
    schedule = profile.schedule
    if experiment.lasting == "1x":
        return schedule
    milestones = tuple(2 * epoch for epoch in schedule.milestones)
    return replace(schedule, epochs=2 * schedule.epochs, milestones=milestones)


def optim_wrapper(schedule: Schedule, recipe: Recipe) -> Config:
    """Return the optimizer, with the recipe's rate and decay of the biases."""
    optimizers: dict[str, Config] = {
        "sgd": {"type": "SGD", "momentum": 0.9},
        "adam": {"type": "Adam"},
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
    biases = {"bias_lr_mult": recipe.bias_lr, "bias_decay_mult": recipe.bias_decay}
    if set(biases.values()) != {1.0}:
        config["paramwise_cfg"] = biases
    return config


def param_scheduler(schedule: Schedule, warmup_start: float) -> list[Config]:
    """Return the warm-up of the learning rate, from a fraction of it, and its decay."""
    warmup = {
        "type": "LinearLR",
        "start_factor": warmup_start,
        "by_epoch": False,
        "begin": 0,
        "end": schedule.warmup_iters,
    }
    if schedule.milestones:
        steps = {"type": "MultiStepLR", "milestones": list(schedule.milestones), "gamma": 0.1}
        return [warmup, steps | {"by_epoch": True, "begin": 0, "end": schedule.epochs}]
    cosine = {"type": "CosineAnnealingLR", "T_max": schedule.epochs, "eta_min": 0}
    # Per iteration, although given in epochs, for a smooth decay.
    span = {"begin": 0, "end": schedule.epochs, "by_epoch": True, "convert_to_iter_based": True}
    return [warmup, cosine | span]
