"""The backbone's ImageNet weights: there, or said to be missing before an hour is spent."""

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

# Of the models that a scheme names.
ADDRESSES = {"torchvision": get_torchvision_models, "open-mmlab": get_external_models}


def fetch(backbone: dict[str, Any], capped: bool, tell: Callable[[str], None]) -> None:
    """Download the weights that a backbone starts from, unless they are here already.

    A capped run, which is a trial, goes on from random weights where there is no network, and
    says so: ``init_cfg`` is then set to None.

    Raises:
        UserError: a run that counts cannot have its weights.
    """
    init = backbone["init_cfg"]
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
        tell(f"{what} cannot be downloaded ({reason}): this trial starts from random ones")
        backbone["init_cfg"] = None
