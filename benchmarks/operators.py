"""Operators of gfl.ops beside torchvision's: deformable convolution, and RoIAlign's gradient.

A step of deformable convolution is the forward pass and the gradients of all operands. RoIAlign's
forward pass is torchvision's in both: only gradients are timed, for which torchvision's public
function has to pool first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import gfl.register  # noqa: F401  before mmcv: it supplies its operators

# isort: split
import torch
import torchvision
from mmcv.ops import RoIAlign, deform_conv2d, modulated_deform_conv2d
from torch import Tensor

from analysis.speed.record import Operator, Operators
from benchmarks import measure
from benchmarks.loss import write

# Images, channels, height and width of features: of a stage of the laptop's network, and of c4 of
# the paper's ResNet at about half of its image size.
SHAPES = ((8, 32, 32, 32), (1, 256, 50, 64))
ROIS, BINS, SAMPLES = 256, 7, 2  # all images' regions; bins a side; samples a side of a bin
SIDES = (0.1, 0.5)  # of a region, of the features'
AGREEMENT = 1e-4  # allowed difference, relative to the largest value

Shape = tuple[int, int, int, int]
Step = Callable[[], tuple[Tensor, ...]]


def measure_all(threads: int, repeat: int, out: Path) -> None:
    """Time every operator, write the table into a folder and print it."""
    machine = measure.machine("cpu", threads)
    write(Operators(machine, repeat, ROIS, tuple(timed(threads, repeat))), out)


def timed(threads: int, repeat: int) -> Iterator[Operator]:
    """Yield the operators' times, medians of turns that alternate, after comparing their results.

    Raises:
        AssertionError: ours and torchvision's results disagree.
    """
    torch.set_num_threads(threads)
    now, seconds = measure.clock("cpu", threads), measure.seconds
    for shape in SHAPES:
        for name, (ours, stock) in steps(shape).items():
            check(ours(), stock())  # also warms up both
            taken = [(seconds(ours, now), seconds(stock, now)) for _ in range(repeat)]
            yield Operator(name, shape, **asdict(measure.compare(*zip(*taken, strict=True))))


def steps(shape: Shape) -> dict[str, tuple[Step, Step]]:
    """Return steps of each operator, ours and torchvision's, on the same tensors."""
    random = torch.Generator().manual_seed(0)
    images, channels, height, width = shape

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=random).requires_grad_()

    features, offset = draw(*shape), draw(images, 18, height, width)
    mask, weight = draw(images, 9, height, width), draw(channels, channels, 3, 3)
    v1, v2 = (features, offset, weight), (features, offset, mask, weight)

    def theirs(mask: Tensor | None = None) -> Tensor:
        return torchvision.ops.deform_conv2d(
            features, offset, weight, stride=(1, 1), padding=(1, 1), mask=mask
        )

    convolutions = {
        "deformable convolution v1": (
            _differentiate(lambda: deform_conv2d(*v1, 1, 1), v1),
            _differentiate(theirs, v1),
        ),
        "deformable convolution v2": (
            _differentiate(lambda: modulated_deform_conv2d(*v2, None, 1, 1), v2),
            _differentiate(lambda: theirs(mask), v2),
        ),
    }
    rois = _regions(shape, random)
    pooled = RoIAlign((BINS, BINS), 1.0, SAMPLES, "avg", True)(features, rois)
    slope = torch.ones_like(pooled)

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(pooled, features, slope, retain_graph=True)

    def stock() -> tuple[Tensor, ...]:
        again = torchvision.ops.RoIAlign(BINS, 1.0, SAMPLES, True)(features, rois)
        return torch.autograd.grad(again, features, slope)

    return convolutions | {"RoIAlign's gradient": (ours, stock)}


def check(ours: tuple[Tensor, ...], stock: tuple[Tensor, ...]) -> None:
    """Assert that results agree."""
    for one, other in zip(ours, stock, strict=True):
        assert (one - other).abs().max() <= AGREEMENT * other.abs().max()


def _differentiate(forward: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> Step:
    def step() -> tuple[Tensor, ...]:
        output = forward()
        return output.detach(), *torch.autograd.grad(output, leaves, torch.ones_like(output))

    return step


def _regions(shape: Shape, random: torch.Generator) -> Tensor:
    """Draw regions as (image, x1, y1, x2, y2)."""
    images, _, height, width = shape
    extent = torch.tensor([width, height])
    low, high = SIDES
    size = extent * (low + (high - low) * torch.rand(ROIS, 2, generator=random))
    corner = (extent - size) * torch.rand(ROIS, 2, generator=random)
    image = torch.randint(images, (ROIS, 1), generator=random)
    return torch.cat([image, corner, corner + size], 1)
