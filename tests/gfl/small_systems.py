"""Small versions of Table 4's systems, as a small profile's network makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.profiles import LAPTOP
from gfl.config import network
from gfl.config.systems.method import Method, Small, assign, bundled, changed
from gfl.experiment import Experiment, Profile
from gfl.hosts import HOSTS


def small_of(profile: Profile, backbone: Mapping[str, Any] | None = None) -> Small:
    """Return a small profile's network, R-50's row, with changed settings of the backbone."""
    model = profile.model
    return Small(
        backbone=network.backbone(Experiment(), profile) | dict(backbone or {}),
        neck=network.fpn(HOSTS["retinanet"], model),
        channels=model.channels,
        stacked_convs=model.stacked_convs,
        strides=tuple(network.strides(model)),
        classes=network.classes(profile),
        size=max(profile.scale),
        backbone_channels=tuple(network.widths(model)),
    )


def small_model(method: Method, backbone: str, profile: Profile = LAPTOP) -> dict[str, Any]:
    """Return a row's model settings at a small profile."""
    row, small = method.rows[backbone], small_of(profile)
    model = changed(bundled(row.bundled), row.differences)["model"]
    model["data_preprocessor"] = network.PREPROCESSOR
    model["backbone"], model["neck"] = small.backbone, small.neck
    for path, value in method.small(small).items():
        assign(model, path, value)
    return model
