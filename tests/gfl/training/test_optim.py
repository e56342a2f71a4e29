"""The forward pass is under autocast where that is asked for and the device can."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gfl.register  # noqa: F401
from gfl.training import optim
from gfl.training.optim import AutocastOptimWrapper


def product_type(precision: str) -> torch.dtype:
    layer = nn.Linear(2, 2)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), precision)
    with wrapper.optim_context(layer):
        return layer(torch.ones(1, 2)).dtype


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_multiplies_in_bfloat16_only_if_asked_and_able(
    precision: str, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "computes_bfloat16", lambda device: able)
    expected = torch.bfloat16 if able and precision == "bfloat16" else torch.float32
    assert product_type(precision) == expected


def test_steps_and_clips_as_mmengines_wrapper() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    wrapper = AutocastOptimWrapper(
        torch.optim.SGD(layer.parameters(), lr=1.0), "float32", clip_grad={"max_norm": 0.5}
    )
    with wrapper.optim_context(layer):
        loss = layer(torch.full((1, 1), 8.0)).sum()  # its gradient is 8
    wrapper.update_params(loss)
    assert layer.weight.item() == pytest.approx(0.5, abs=1e-6)
