"""ImageNet weights that a model starts from: fetched, or missed before training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import torch
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_external_models,
    get_torchvision_models,
)

from gfl import config
from gfl.errors import UserError

# Model addresses by URL scheme.
ADDRESSES = {"torchvision": get_torchvision_models, "open-mmlab": get_external_models}


def fetch(model: Any, capped: bool, report: Callable[[str], None]) -> bool:
    """Download the weights that a model's settings name, or those of several, unless they are here.

    A capped run, being a trial, continues from random weights without a network, says so and
    returns False.

    Raises:
        UserError: the weights of a full run are unavailable.
    """
    for name in sorted({part["init_cfg"]["checkpoint"] for part in config.pretrained_parts(model)}):
        try:
            CheckpointLoader.load_checkpoint(name, map_location="cpu")
        except OSError as err:  # URLError and time-outs are OSErrors
            scheme, _, stem = name.partition("://")
            url = ADDRESSES[scheme]()[stem]
            what = f"ImageNet weights {PurePosixPath(url).name}"
            reason = getattr(err, "reason", err)
            if not capped:
                raise UserError(
                    f"{what} cannot be downloaded ({reason}): put {url} into "
                    f"{torch.hub.get_dir()}/checkpoints"
                ) from err
            report(f"{what} cannot be downloaded ({reason}): this trial starts from random ones")
            forget(model)
            return False
    return True


def forget(model: dict[str, Any]) -> None:
    """Let every part of a model's settings start from random weights, in place."""
    for part in config.pretrained_parts(model):
        del part["init_cfg"]
