"""(Experiment, Profile, seed) -> mmengine's configuration; only this package knows mmdet's keys.

``build`` gives the resolved configuration: everything that can change a run's result and nothing
else, so that its hash is the run's identity. ``for_machine`` and its like add what may differ
between machines: paths, worker processes, the device. Imports ``gfl.experiment`` and ``gfl.data``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gfl.config import fcos, hosts, larger
from gfl.config.data import COCO, dataloader
from gfl.config.detector import detector
from gfl.config.machine import for_machine, for_stock_tool, for_test_dev
from gfl.config.schedule import optim_wrapper, param_scheduler
from gfl.experiment import ABLATED_HOSTS, Experiment, Profile

__all__ = ["Config", "build", "for_machine", "for_stock_tool", "for_test_dev"]

Config = dict[str, Any]


def build(experiment: Experiment, profile: Profile, seed: int) -> Config:
    """Return the resolved configuration of one run: plain, without paths and hardware.

    Raises:
        UserError: the profile's scale is not one that the experiment can be run at.
    """
    config: Config = {
        "default_scope": "mmdet",
        "custom_imports": {"imports": ["gfl.register"], "allow_failed_imports": False},
        "dataset": _identity(profile),
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


def _identity(profile: Profile) -> Config | str:
    """Return what names the data; a file that needs no normal form has none in its identity."""
    spec = profile.dataset or profile.own or profile.photos
    if spec is None:
        return COCO
    return asdict(spec, dict_factory=lambda items: {k: v for k, v in items if v is not None})
