"""The head's losses worked out location by location, from the paper's equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from equations import eq_11

CELLS: dict[str, dict[str, Any]] = {
    "ATSS": {},
    "QFL": {"quality": "joint"},
    "DFL": {"boxes": "general", "dfl": True},
    "GFL": {"quality": "joint", "boxes": "general", "dfl": True},
    "General without DFL": {"boxes": "general"},
    "n = 8, delta = 2": {"quality": "joint", "boxes": "general", "dfl": True, "n": 8, "delta": 2.0},
    "n = 4, all clamped": {"boxes": "general", "dfl": True, "n": 4, "delta": 0.5},
    "beta = 0": {"quality": "joint", "beta": 0.0},
    "beta = 1": {"quality": "joint", "beta": 1.0},
    "without quality": {"quality": "none"},
    "IoU-branch": {"quality": "iou-branch"},
    "IoU-branch, General": {"quality": "iou-branch", "boxes": "general"},
    "centerness-guided": {"quality": "centerness-guided"},
    "IoU-guided": {"quality": "iou-guided"},
    "Gaussian": {"boxes": "gaussian"},
    "Gaussian, joint": {"boxes": "gaussian", "quality": "joint"},
    "FCOS": {"host": "fcos"},
    "FCOS without quality": {"host": "fcos", "quality": "none"},
    "FCOS, IoU-branch": {"host": "fcos", "quality": "iou-branch"},
    "FCOS, centerness-guided": {"host": "fcos", "quality": "centerness-guided"},
    "FCOS, IoU-guided": {"host": "fcos", "quality": "iou-guided"},
    "FCOS, QFL": {"host": "fcos", "quality": "joint"},
    "FCOS, Gaussian": {"host": "fcos", "boxes": "gaussian"},
    "FCOS, DFL": {"host": "fcos", "boxes": "general", "dfl": True},
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_losses_are_the_equations(make_head, make_batch, cell):
    head = make_head(**cell).double()
    features, samples = make_batch((3, 0, 4), torch.float64)
    losses = head.loss(features, samples)
    with torch.no_grad():
        quality = cell.get("quality", "centerness-branch")
        expected = eq_11(head, head(features), samples, quality)
    terms = {"loss_cls", "loss_bbox"}
    terms |= {"loss_dfl"} if cell.get("dfl") else set()
    terms |= {"loss_quality"} if "branch" in quality else set()
    assert losses.keys() == terms
    for name in terms:
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-9), name
