"""Classification losses of very many locations on a CPU, a block at a time.

At COCO's size a tensor of all logits is 57 MB for eight images. Memory of that size comes fresh
from the system at every operation and goes back after it, which costs ten times the arithmetic;
a block stays in the processor's cache. The operations and their order are those of the whole
tensor, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

FEW = 2**20  # elements up to which the whole tensor is as fast
BLOCK = 2**16  # elements: 256 KiB a tensor, so that a loss's few tensors fit in a core's cache
# A block is a multiple of so many rows: torch computes what is left over of its vectors by other
# instructions, whose last bit differs, and leftovers must be only where the whole tensor has them.
ALIGNED = 64

Loss = Callable[[Tensor, Tensor], Tensor]


def pays(logits: Float[Tensor, "B N C"]) -> bool:
    """Tell whether blocks are the faster way: many logits, on a CPU."""
    return logits.device.type == "cpu" and logits.numel() > FEW


def loss_by_block(
    loss: Loss,
    logits: Float[Tensor, "B N C"],
    where: tuple[Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "P"]],
    value: Float[Tensor, "P"],
) -> Float[Tensor, "B N"]:
    """Return each location's loss, summed over the classes.

    ``loss`` takes logits and targets and works element by element. ``where`` says at which image,
    location and class the target is ``value``, in ascending order of image and location; it is 0
    everywhere else and has no gradient.
    """
    image, location, label = where
    row = image * logits.shape[1] + location
    sums = _ByBlock.apply(logits.flatten(0, 1), row, label, value.detach(), loss)
    return sums.unflatten(0, logits.shape[:2])  # type: ignore[union-attr]


class _ByBlock(torch.autograd.Function):
    """Forgets each block once it is summed, and computes it again for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Float[Tensor, "M C"],
        row: Int[Tensor, "P"],
        label: Int[Tensor, "P"],
        value: Float[Tensor, "P"],
        loss: Loss,
    ) -> Float[Tensor, " M"]:
        rows = max(BLOCK // logits.shape[1] // ALIGNED, 1) * ALIGNED
        first = torch.arange(0, len(logits) + rows, rows)
        ends = torch.searchsorted(row, first).tolist()
        ctx.save_for_backward(logits, row, label, value)
        ctx.loss, ctx.rows, ctx.ends = loss, rows, ends
        blocks = zip(logits.split(rows), _targets(ctx, logits, row, label, value), strict=True)
        return torch.cat([loss(block, target).sum(-1) for block, target in blocks])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, " M"]) -> tuple[Tensor | None, ...]:
        logits = ctx.saved_tensors[0]
        gradient = torch.empty_like(logits)
        splits = (x.split(ctx.rows) for x in (logits, grad, gradient))
        for block, upstream, out, target in zip(
            *splits, _targets(ctx, *ctx.saved_tensors), strict=True
        ):
            with torch.enable_grad():
                leaf = block.detach().requires_grad_()
                summed = ctx.loss(leaf, target).sum(-1)
            out.copy_(torch.autograd.grad(summed, leaf, upstream)[0])
        return gradient, None, None, None, None


def _targets(ctx: Any, logits: Tensor, row: Tensor, label: Tensor, value: Tensor) -> Any:
    """Yield each block's targets."""
    for index, block in enumerate(logits.split(ctx.rows)):
        target = torch.zeros_like(block, dtype=value.dtype)
        inside = slice(ctx.ends[index], ctx.ends[index + 1])
        target[row[inside] - index * ctx.rows, label[inside]] = value[inside]
        yield target
