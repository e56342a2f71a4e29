"""On a CPU the operator is this project's own: held against torchvision's."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmcv.ops import deform_conv2d, modulated_deform_conv2d
from torch import Tensor

from gfl.ops import deform_conv_cpu

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # relative to the largest value


class Case(NamedTuple):
    size: tuple[int, int] = (6, 7)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    deform_groups: int = 1
    spread: float = 1.0  # standard deviation of the offsets, px


CASES = [
    Case(),
    Case(stride=(2, 1), padding=(0, 2)),
    Case(kernel=(3, 2), dilation=(2, 1), groups=2),
    Case(kernel=(1, 1), padding=(0, 0), groups=4),
    Case(groups=4, deform_groups=2),
    Case(kernel=(2, 3), stride=(2, 2), padding=(2, 1), dilation=(1, 2), groups=2, deform_groups=4),
    Case(size=(5, 1)),
    Case(size=(1, 6)),
    Case(size=(1, 1), deform_groups=2),
    Case(size=(33, 17)),  # 2**n + 1: no padding
    Case(spread=8.0),  # most taps lie outside
    Case(spread=1e6),
]
SIDES = (1, 2, 3, 5, 6, 7, 12, 25, 42, 100)
BATCH, CHANNELS, OUT = 3, 8, 4


class Operands(NamedTuple):
    features: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor


def operands(case: Case, dtype: torch.dtype = torch.float64) -> Operands:
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int, spread: float = 1.0) -> Tensor:
        values = spread * torch.randn(*shape, generator=random, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    height, width = (
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, s, p, d in zip(*case[:5], strict=True)
    )
    taps = case.kernel[0] * case.kernel[1]
    return Operands(
        normal(BATCH, CHANNELS, *case.size),
        normal(BATCH, case.deform_groups * taps * 2, height, width, spread=case.spread),
        normal(BATCH, case.deform_groups * taps, height, width),
        normal(OUT, CHANNELS // case.groups, *case.kernel),
        normal(OUT),
    )


def torchvision_s(case: Case, given: Operands, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    features, offset, _, weight, _ = given
    return torchvision.ops.deform_conv2d(
        features, offset, weight, bias, *case[2:5], mask
    )  # fmt: skip


def assert_same(actual: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    tolerance = TOLERANCE[actual.dtype]
    random = torch.Generator().manual_seed(1)
    slope = torch.randn(actual.shape, generator=random, dtype=torch.float64).to(actual.dtype)
    found = (actual, *torch.autograd.grad(actual, leaves, slope))
    wanted = (expected, *torch.autograd.grad(expected, leaves, slope))
    for a, e in zip(found, wanted, strict=True):
        assert a.shape == e.shape
        assert (a - e).abs().max() <= tolerance * e.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_version_2_is_torchvision_s(case: Case, dtype: torch.dtype):
    given = operands(case, dtype)
    actual = modulated_deform_conv2d(*given, *case[2:7])
    assert_same(actual, torchvision_s(case, given, given.mask, given.bias), given)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_version_1_is_torchvision_s(case: Case, dtype: torch.dtype):
    given = operands(case, dtype)
    actual = deform_conv2d(given.features, given.offset, given.weight, *case[2:7])
    leaves = (given.features, given.offset, given.weight)
    assert_same(actual, torchvision_s(case, given, None, None), leaves)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("side", SIDES)
def test_a_whole_offset_has_the_slope_to_its_right_whatever_the_image_s_size(
    side: int, dtype: torch.dtype
):
    """As torchvision's: before the first step every offset is zero, and the slope has two sides."""
    case = Case(size=(side, side + 3))
    given = operands(case, dtype)
    given = given._replace(offset=given.offset.detach().round().requires_grad_())
    actual = modulated_deform_conv2d(*given, *case[2:7])
    assert_same(actual, torchvision_s(case, given, given.mask, given.bias), given)


@pytest.mark.parametrize("case", [CASES[2], CASES[5], CASES[6]])
def test_the_gradients_are_those_of_finite_differences(case: Case):
    given = operands(case)

    def version_1(features: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        return deform_conv2d(features, offset, weight, *case[2:7])

    def version_2(*leaves: Tensor) -> Tensor:
        return modulated_deform_conv2d(*leaves, *case[2:7])

    assert torch.autograd.gradcheck(version_1, (given.features, given.offset, given.weight))
    assert torch.autograd.gradcheck(version_2, tuple(given))


def test_features_in_channels_last_give_the_same():
    case = CASES[4]
    given = operands(case)
    last = given.features.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    whole = modulated_deform_conv2d(*given, *case[2:7])
    actual = modulated_deform_conv2d(last, *given[1:], *case[2:7])
    assert torch.equal(actual, whole)
    (expected,) = torch.autograd.grad(whole.sum(), given.features)
    assert torch.equal(torch.autograd.grad(actual.sum(), last)[0], expected)


@pytest.mark.parametrize(("images", "calls"), [(0.5, 3), (1, 3), (2, 2), (3, 1)])
def test_what_is_in_memory_at_a_time_is_limited(
    images: float, calls: int, monkeypatch: pytest.MonkeyPatch
):
    """Never more columns than the limit, but for those of a single image, and the same result."""
    case = CASES[5]
    given = operands(case)
    whole = modulated_deform_conv2d(*given, *case[2:7])
    slope = torch.ones_like(whole)
    expected = torch.autograd.grad(whole, given, slope)
    columns = CHANNELS * 6 * whole[0, 0].numel()
    sizes = []

    def sample(*args: Tensor, **settings: str | bool) -> Tensor:
        sampled = grid_sample(*args, **settings)
        sizes.append(sampled.numel())
        return sampled

    grid_sample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", sample)
    monkeypatch.setattr(deform_conv_cpu, "COLUMNS", int(images * columns))
    actual = modulated_deform_conv2d(*given, *case[2:7])
    assert len(sizes) == calls
    assert max(sizes) == max(int(images), 1) * columns
    torch.testing.assert_close(actual, whole)
    torch.testing.assert_close(torch.autograd.grad(actual, given, slope), expected)
    assert len(sizes) == 2 * calls  # once more in the backward pass, for mask and weight together


def test_version_1_samples_once_a_direction(monkeypatch: pytest.MonkeyPatch):
    """mmcv asks for its gradients in two calls: neither computes the other's."""
    features, offset, _, weight, _ = operands(CASES[0])
    calls = {"forward": 0, "backward": 0}
    grid_sample, gradients = F.grid_sample, deform_conv_cpu._Images.gradients

    def sample(*args: Tensor, **settings: str | bool) -> Tensor:
        calls["forward"] += 1
        return grid_sample(*args, **settings)

    def differentiate(self: deform_conv_cpu._Images, of_samples: Tensor) -> tuple[Tensor, Tensor]:
        calls["backward"] += 1
        return gradients(self, of_samples)

    output = deform_conv2d(features, offset, weight, 1, 1)
    monkeypatch.setattr(F, "grid_sample", sample)
    monkeypatch.setattr(deform_conv_cpu._Images, "gradients", differentiate)
    output.sum().backward()
    assert calls == {"forward": 1, "backward": 1}


@pytest.mark.parametrize(
    ("operand", "cut", "told"),
    [
        (
            1,
            (slice(None), slice(0, -1)),
            r"offset of shape \(3, 17, 6, 7\), expected \(3, 18, 6, 7\)",
        ),
        (1, (slice(None), slice(None), slice(1)), r"offset of shape \(3, 18, 1, 7\)"),
        (2, (slice(0, 1),), r"mask of shape \(1, 9, 6, 7\), expected \(3, 9, 6, 7\)"),
        (
            3,
            (slice(None), slice(0, -1)),
            r"weight of shape \(4, 7, 3, 3\) in 1 groups .* 8 channels",
        ),
    ],
)
def test_shapes_that_do_not_match_are_named(operand: int, cut: tuple[slice, ...], told: str):
    given = list(operands(CASES[0]))
    given[operand] = given[operand][cut]
    with pytest.raises(RuntimeError, match=told):
        modulated_deform_conv2d(*given, 1, 1)
