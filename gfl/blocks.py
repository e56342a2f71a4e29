"""Classification losses over very many locations on a CPU, block by block.

At COCO's size the logits of eight images take 57 MB. The system allocates and frees such memory at
every operation, which costs ten times the arithmetic; a block stays in the processor's cache. The
operations and their order are the same as on the whole tensor, and so is every bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

FEW = 2**20  # elements up to which the whole tensor is as fast
BLOCK = 2**17  # elements: 512 KiB per tensor, so that a loss's few tensors fit in a core's cache
# Block sizes are multiples of this: torch computes the remainder of its vectors with other
# instructions, whose last bit differs, so remainders must fall where the whole tensor has them.
ALIGNED = 64

Loss = Callable[[Tensor, Tensor], Tensor]


def is_faster_in_blocks(logits: Float[Tensor, "B N C"]) -> bool:
    """Return whether there are so many logits, on a CPU, that blocks are faster."""
    return logits.device.type == "cpu" and logits.numel() > FEW


def loss_by_block(
    loss: Loss,
    logits: Float[Tensor, "B N C"],
    where: tuple[Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "P"]],
    value: Float[Tensor, "P"],
    expected: Float[Tensor, "B N"],
) -> Float[Tensor, "B N"]:
    """Return each location's loss, summed over the classes.

    ``loss`` takes logits and targets and works element by element. ``where`` gives the image,
    location and class at which the target is ``value``, in ascending order of image and location;
    it is 0 everywhere else and has no gradient. ``expected`` is the most likely gradient of the
    result: the logits' gradient is computed for it while a block is in the cache, and computed
    again if a different one arrives.
    """
    image, location, label = where
    row = image * logits.shape[1] + location
    sums = _ByBlock.apply(
        logits.flatten(0, 1), row, label, value.detach(), expected.flatten(), loss
    )
    return sums.unflatten(0, logits.shape[:2])  # type: ignore[union-attr]


class _ByBlock(torch.autograd.Function):
    """Discards each block once its sums and gradient are computed."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Float[Tensor, "M C"],
        row: Int[Tensor, "P"],
        label: Int[Tensor, "P"],
        value: Float[Tensor, "P"],
        expected: Float[Tensor, " M"],
        loss: Loss,
    ) -> Float[Tensor, " M"]:
        ctx.save_for_backward(logits, row, label, value, expected)
        ctx.loss = loss
        upstream = expected if ctx.needs_input_grad[0] else None
        sums, ctx.gradient = _sums_and_gradient(loss, logits, (row, label, value), upstream)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, " M"]) -> tuple[Tensor | None, ...]:
        logits, row, label, value, expected = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None  # the recipient may write to it
        if gradient is None or not torch.equal(grad, expected):
            _, gradient = _sums_and_gradient(ctx.loss, logits, (row, label, value), grad)
        return gradient, None, None, None, None, None


def _sums_and_gradient(
    loss: Loss,
    logits: Float[Tensor, "M C"],
    positives: tuple[Int[Tensor, "P"], Int[Tensor, "P"], Float[Tensor, "P"]],
    upstream: Float[Tensor, " M"] | None,
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M C"] | None]:
    """Return the sums over the classes and, for a gradient of them, the logits'."""
    rows = max(BLOCK // logits.shape[1] // ALIGNED, 1) * ALIGNED
    blocks = zip(logits.split(rows), _targets(logits, rows, *positives), strict=True)
    if upstream is None:
        return torch.cat([loss(block, target).sum(-1) for block, target in blocks]), None
    gradient, sums = torch.empty_like(logits), []
    of_block = zip(blocks, upstream.split(rows), gradient.split(rows), strict=True)
    for (block, target), of_sums, out in of_block:
        with torch.enable_grad():
            leaf = block.detach().requires_grad_()
            summed = loss(leaf, target).sum(-1)
        out.copy_(torch.autograd.grad(summed, leaf, of_sums)[0])
        sums.append(summed.detach())
    return torch.cat(sums), gradient


def _targets(
    logits: Tensor, rows: int, row: Tensor, label: Tensor, value: Tensor
) -> Iterator[Tensor]:
    """Yield each block's targets; a single zero, which broadcasts, for blocks without positives."""
    ends = torch.searchsorted(row, torch.arange(0, len(logits) + rows, rows)).tolist()
    for first, (start, end) in zip(range(0, len(logits), rows), pairwise(ends), strict=False):
        if start == end:
            yield value.new_zeros(1, 1)
            continue
        target = value.new_zeros(min(rows, len(logits) - first), logits.shape[1])
        target[row[start:end] - first, label[start:end]] = value[start:end]
        yield target
