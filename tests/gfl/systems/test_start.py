"""Deformable convolutions of every row start undeformed: as plain ones, times 1/2 in version 2."""

from __future__ import annotations

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet_models import build
from torch import nn

from experiments.profiles import SMOKE
from experiments.tables.table4 import TABLE
from gfl import config
from gfl.experiment import at_scale

DEFORMABLE = [row.key for row in TABLE.rows if row.key.endswith("-DCN")]


@pytest.mark.parametrize("key", DEFORMABLE)
def test_a_row_from_scratch_starts_undeformed(key: str) -> None:
    row = next(row for row in TABLE.rows if row.key == key)
    assert row.experiment is not None
    settings = config.build(at_scale(row.experiment, SMOKE), SMOKE, 0)["model"]
    torch.manual_seed(0)
    model = build(settings)
    model.init_weights()
    offsets = [
        module
        for name, module in model.named_modules()
        if name.endswith("conv_offset") and isinstance(module, nn.Conv2d)
    ]
    assert offsets
    for one in offsets:
        assert not one.weight.any()
        assert one.bias is None or not one.bias.any()
