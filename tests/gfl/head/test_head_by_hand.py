"""The head's losses worked out location by location, from the paper's equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cells import CELLS as DECLARED
from equations import eq_11

MORE: dict[str, dict[str, Any]] = {
    "n = 4, all clamped": {"boxes": "general", "dfl": True, "n": 4, "delta": 0.5},
    "IoU-branch, General": {"quality": "iou-branch", "boxes": "general"},
    "Gaussian, joint": {"boxes": "gaussian", "quality": "joint"},
}
CELLS = DECLARED | MORE


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
