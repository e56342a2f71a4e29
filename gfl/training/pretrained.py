"""ImageNet weights of the backbone: fetched, or reported missing before training starts."""

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

from gfl.errors import UserError

# Model addresses by URL scheme.
ADDRESSES = {"torchvision": get_torchvision_models, "open-mmlab": get_external_models}


def fetch(backbone: dict[str, Any], capped: bool, report: Callable[[str], None]) -> None:
    """Download the backbone's initial weights, unless they are here already.

    A capped run, being a trial, continues from random weights without a network, and says so:
    ``init_cfg`` is then set to None.

    Raises:
        UserError: the weights of a full run are unavailable.
    """
    init = backbone.get("init_cfg")  # an hourglass has none
    if init is None:
        return
    try:
        CheckpointLoader.load_checkpoint(init["checkpoint"], map_location="cpu")
    except OSError as err:  # URLError and time-outs are OSErrors
        scheme, _, name = init["checkpoint"].partition("://")
        url = ADDRESSES[scheme]()[name]
        what = f"ImageNet weights {PurePosixPath(url).name}"
        reason = getattr(err, "reason", err)
        if not capped:
            raise UserError(
                f"{what} cannot be downloaded ({reason}): put {url} into "
                f"{torch.hub.get_dir()}/checkpoints"
            ) from err
        report(f"{what} cannot be downloaded ({reason}): this trial starts from random ones")
        backbone["init_cfg"] = None
