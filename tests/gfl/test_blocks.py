"""A loss computed a block at a time is the loss of the whole tensor, to the bit."""

from __future__ import annotations

import functools
import math
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
    (gradient,) = torch.autograd.grad(whole, logits, upstream)
    for expected in (upstream, torch.ones_like(upstream)):  # the gradient that comes, and another
        by_block = blocks.loss_by_block(loss, logits, where, value, expected)
        assert torch.equal(by_block, whole)
        for _ in range(2):
            (found,) = torch.autograd.grad(by_block, logits, upstream, retain_graph=True)
            assert torch.equal(found, gradient)
            found.zero_()  # whoever gets a gradient may write to it


@pytest.mark.parametrize("counts", [(4, 0, 7), (0, 0)], ids=str)
@pytest.mark.parametrize("quality", ["joint", "centerness-branch", "iou-guided"])
def test_a_head_trains_to_the_same_bits(make_head, make_batch, monkeypatch, quality, counts):
    head = make_head(quality=quality)
    features, samples = make_batch(counts)

    def step() -> tuple[dict[str, Tensor], list[Any]]:
        losses = head.loss(features, samples)
        parameters = list(head.parameters())
        return losses, list(torch.autograd.grad(sum(losses.values()), parameters))

    assert not blocks.is_faster_in_blocks(
        torch.zeros(8, 1344, 8)
    )  # the laptop profile's go as they always have
    losses, gradients = step()
    monkeypatch.setattr(blocks, "FEW", 0)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    by_block, gradients_by_block = step()
    assert all(torch.equal(by_block[name], losses[name]) for name in losses)
    assert all(map(torch.equal, gradients_by_block, gradients))


def test_without_a_gradient_it_takes_no_memory_for_one(monkeypatch):
    monkeypatch.setattr(torch, "empty_like", None)  # of the logits: what gradients are written to
    none = torch.empty(0, dtype=torch.long)
    loss = functools.partial(quality_focal_loss, beta=2.0)
    found = blocks.loss_by_block(
        loss, torch.zeros(1, 4, 3), (none, none, none), torch.empty(0), torch.ones(1, 4)
    )
    torch.testing.assert_close(found, torch.full((1, 4), 3 * 0.25 * math.log(2)))


def test_a_head_expects_the_gradient_that_comes(make_head, make_batch, monkeypatch):
    """In a training step, whose gradient is of the sum of the losses, nothing is computed twice."""
    monkeypatch.setattr(blocks, "FEW", 0)
    computed = []
    compute = blocks._sums_and_gradient
    monkeypatch.setattr(
        blocks, "_sums_and_gradient", lambda *args: computed.append(args) or compute(*args)
    )
    head = make_head(quality="joint")
    sum(head.loss(*make_batch((4, 0, 7))).values()).backward()
    assert len(computed) == 1


def test_it_is_not_for_few_logits_nor_other_devices():
    assert not blocks.is_faster_in_blocks(torch.empty(2, blocks.FEW // 2, 1))
    assert blocks.is_faster_in_blocks(torch.empty(2, blocks.FEW // 2, 2))
    assert not blocks.is_faster_in_blocks(torch.empty(2, blocks.FEW, 2, device="meta"))
