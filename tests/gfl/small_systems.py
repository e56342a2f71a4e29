"""Small versions of Table 4's systems on R-50's small counterpart, whatever the row's backbone."""

from __future__ import annotations

from typing import Any

from experiments.profiles import LAPTOP
from gfl.config import network
from gfl.config.systems.method import Method, Small, assign, bundled, changed
from gfl.experiment import Profile


def small_of(profile: Profile) -> Small:
    """Return a small profile's network."""
    model = profile.model
    widths = network.widths(model)
    return Small(
        backbone=network.scratch(model),
        neck={
            "type": "FPN",
            "in_channels": widths,
            "out_channels": model.channels,
            "num_outs": model.levels,
        },
        channels=model.channels,
        stacked_convs=model.stacked_convs,
        strides=tuple(network.strides(model)),
        classes=network.classes(profile),
        size=max(profile.scale),
        backbone_channels=tuple(widths),
    )


def small_model(method: Method, backbone: str, profile: Profile = LAPTOP) -> dict[str, Any]:
    """Return a row's model settings at a small profile."""
    row, small = method.rows[backbone], small_of(profile)
    model = changed(bundled(row.bundled), row.differences)["model"]
    model["data_preprocessor"] = dict(network.PREPROCESSOR)
    model["backbone"], model["neck"] = small.backbone, small.neck
    for path, value in method.small(small).items():
        assign(model, path, value)
    return model
