"""A loss computed a block at a time is the loss of the whole tensor, to the bit."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from gfl import blocks
from gfl.losses import focal_loss, quality_focal_loss

LOSSES = {
    "focal loss": functools.partial(focal_loss, gamma=2.0, alpha=0.25),
    "beta 0": functools.partial(quality_focal_loss, beta=0.0),
    "beta 1/2": functools.partial(quality_focal_loss, beta=0.5),
    "beta 2": functools.partial(quality_focal_loss, beta=2.0),
}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few thousand logits be many, and take several blocks."""
    monkeypatch.setattr(blocks, "FEW", 0)
    monkeypatch.setattr(blocks, "BLOCK", 1000)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(2, 333, 7), (3, 64, 80), (1, 1, 3), (2, 50, 1500)], ids=str)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_sums_and_gradients_are_the_whole_tensors(loss, shape, dtype):
    random = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(shape, generator=random)).to(dtype).requires_grad_()
    image, location = (torch.rand(shape[:2], generator=random) < 0.1).nonzero(as_tuple=True)
    where = (image, location, torch.randint(shape[2], image.shape, generator=random))
    value = torch.rand(image.shape, generator=random).to(torch.promote_types(dtype, torch.float32))
    upstream = torch.rand(shape[:2], generator=random, dtype=value.dtype)
    target = torch.zeros(shape, dtype=value.dtype)
    target[where] = value
    whole = loss(logits, target).sum(-1)
    by_block = blocks.loss_by_block(loss, logits, where, value)
    assert torch.equal(by_block, whole)
    assert torch.equal(*(torch.autograd.grad(x, logits, upstream)[0] for x in (by_block, whole)))


@pytest.mark.parametrize("counts", [(4, 0, 7), (0, 0)], ids=str)
@pytest.mark.parametrize("quality", ["joint", "centerness-branch", "iou-guided"])
def test_a_head_trains_to_the_same_bits(make_head, make_batch, monkeypatch, quality, counts):
    head = make_head(quality=quality)
    features, samples = make_batch(counts)

    def step() -> tuple[dict[str, Tensor], list[Any]]:
        losses = head.loss(features, samples)
        parameters = list(head.parameters())
        return losses, list(torch.autograd.grad(sum(losses.values()), parameters))

    assert not blocks.pays(torch.zeros(8, 1344, 8))  # the laptop profile's go as they always have
    losses, gradients = step()
    monkeypatch.setattr(blocks, "FEW", 0)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    by_block, gradients_by_block = step()
    assert all(torch.equal(by_block[name], losses[name]) for name in losses)
    assert all(map(torch.equal, gradients_by_block, gradients))


def test_it_is_not_for_few_logits_nor_other_devices():
    assert not blocks.pays(torch.empty(2, blocks.FEW // 2, 1))
    assert blocks.pays(torch.empty(2, blocks.FEW // 2, 2))
    assert not blocks.pays(torch.empty(2, blocks.FEW, 2, device="meta"))
