"""(Experiment, Profile, seed) -> mmengine's configuration; only this package knows mmdet's keys.

``build`` returns the resolved configuration: everything that can change a run's result and nothing
else, so that its hash is the run's identity. ``for_machine`` and its like add what may differ
between machines: paths, worker processes, the device. Imports ``gfl.hosts``, ``gfl.experiment``
and ``gfl.data``.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from gfl.config import ssd, systems, table4
from gfl.config.data import COCO, Images, dataloader, resized
from gfl.config.detector import detector
from gfl.config.machine import for_machine, for_stock_tool, for_test_dev
from gfl.config.network import pretrained_parts
from gfl.config.schedule import optim_wrapper, param_scheduler, schedule_of
from gfl.experiment import AnyExperiment, Experiment, Profile, Schedule, System, recipe_of
from gfl.hosts import HOSTS, SSD, Recipe

__all__ = [
    "Config",
    "build",
    "for_machine",
    "for_stock_tool",
    "for_test_dev",
    "pretrained_parts",
    "schedule_of",
]

Config = dict[str, Any]


def build(experiment: AnyExperiment, profile: Profile, seed: int) -> Config:
    """Return the resolved configuration of one run: plain, without paths and hardware.

    Raises:
        UserError: the experiment cannot be run at the profile's scale.
    """
    if isinstance(experiment, System):
        parts = _system(experiment, profile)
    else:
        parts = _experiment(experiment, profile)
    config: Config = {
        "default_scope": "mmdet",
        "custom_imports": {"imports": ["gfl.register"], "allow_failed_imports": False},
        "dataset": _identity(profile),
        "val_evaluator": {"type": "ExactCocoMetric"},
        "val_cfg": {"type": "ValLoop"},
        "randomness": {"seed": seed},
        **parts,
    }
    return copy.deepcopy(config)  # the pieces are shared by all configurations


def _experiment(experiment: Experiment, profile: Profile) -> Config:
    table4.check(experiment, profile)
    schedule, recipe = schedule_of(experiment, profile), recipe_of(experiment, profile)
    images = _images(experiment, profile)
    training = recipe.training
    return {
        "model": detector(experiment, profile),
        "train_dataloader": dataloader("train", profile, schedule, images),
        "val_dataloader": dataloader("val", profile, schedule, images),
        "train_cfg": _loop(schedule, training.eval_interval if training else profile.eval_interval),
        "optim_wrapper": optim_wrapper(schedule, recipe),
        "param_scheduler": param_scheduler(schedule, recipe.warmup_start),
    }


def _system(system: System, profile: Profile) -> Config:
    schedule = schedule_of(system, profile)
    if profile.has_published_network:
        optimizer, rates = systems.optimization(system, profile)
    else:
        recipe = Recipe()
        optimizer = optim_wrapper(schedule, recipe)
        rates = param_scheduler(schedule, recipe.warmup_start)
    hooks = systems.hooks(system)
    return ({"custom_hooks": hooks} if hooks else {}) | {
        "model": systems.detector(system, profile),
        "train_dataloader": systems.loader("train", system, profile),
        "val_dataloader": systems.loader("val", system, profile),
        "train_cfg": _loop(schedule, profile.eval_interval),
        "optim_wrapper": optimizer,
        "param_scheduler": rates,
    }


def _loop(schedule: Schedule, eval_interval: int) -> Config:
    return {
        "type": "EpochBasedTrainLoop",
        "max_epochs": schedule.epochs,
        "val_interval": eval_interval,
    }


def _images(experiment: Experiment, profile: Profile) -> Images:
    host = HOSTS[experiment.host]
    if isinstance(host, SSD) and profile.has_published_network:
        return ssd.images(host)
    if experiment.lasting == "2x-ms":
        return table4.images(profile)
    return resized(profile)


def _identity(profile: Profile) -> Config | str:
    """Return the data's identity; fields that are None (no normal form needed) are left out."""
    spec = profile.dataset or profile.own or profile.photos
    if spec is None:
        return COCO
    return asdict(spec, dict_factory=lambda items: {k: v for k, v in items if v is not None})
