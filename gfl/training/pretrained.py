"""ImageNet weights that a model starts from: fetched, or missed before training starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def fetch(model: dict[str, Any], capped: bool, report: Callable[[str], None]) -> bool:
    """Download the weights that a model's settings start from, unless they are here already.

    A capped run, being a trial, continues from random weights without a network, says so and
    returns False.

    Raises:
        UserError: the weights of a full run are unavailable.
    """
    for name in sorted({part["init_cfg"]["checkpoint"] for part in _parts(model)}):
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
    for part in list(_parts(model)):
        del part["init_cfg"]


def _parts(settings: Any) -> Iterator[dict[str, Any]]:
    """Yield each part of a model's settings that starts from downloaded weights."""
    if isinstance(settings, list | tuple):
        for part in settings:
            yield from _parts(part)
    elif isinstance(settings, dict):
        init = settings.get("init_cfg")
        if isinstance(init, dict) and init["type"] == "Pretrained":
            yield settings
        for part in settings.values():
            yield from _parts(part)
