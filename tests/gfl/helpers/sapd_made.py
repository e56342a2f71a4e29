"""Narrow heads of SAPD, and of FSAF with the same settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet_models import build
from torch import Tensor

from gfl.config.systems.method import bundled, changed
from gfl.config.systems.sapd import METHOD

CLASSES, CHANNELS = 5, 16  # of tests/gfl/conftest.py's features and images
STRIDES = (8, 16, 32, 64, 128)


def make_head(type: str = "SAPDHead", strides: tuple[int, ...] = STRIDES, **values: Any) -> Any:
    """Build a narrow head of SAPD's R-101 row, with random weights and changed settings."""
    row = METHOD.rows["r101"]
    model = changed(bundled(row.bundled), row.differences)["model"]
    own = set() if type == "SAPDHead" else {"levels_kept", "eta", "meta_weight"}
    settings = {key: value for key, value in model["bbox_head"].items() if key not in own}
    settings |= {
        "type": type, "num_classes": CLASSES, "in_channels": CHANNELS, "feat_channels": CHANNELS,
        "stacked_convs": 2, "train_cfg": model["train_cfg"], "test_cfg": model["test_cfg"],
    }  # fmt: skip
    settings["anchor_generator"]["strides"] = list(strides)
    head = build(settings | values)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=random) / fan_in**0.5)
    return head


def in_float64(head: Any) -> Any:
    """Convert a head, its anchors included."""
    anchors = head.prior_generator
    anchors.grid_priors = partial(anchors.grid_priors, dtype=torch.float64)
    return head.double()


def towers(head: Any) -> dict[str, Tensor]:
    """Return all weights but the meta-selection network's."""
    return {k: v for k, v in head.state_dict().items() if not k.startswith("meta.")}
