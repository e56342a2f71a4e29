import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import (
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)
from torch import Tensor


class Case(NamedTuple):
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    deform_groups: int = 1


CASES = [
    Case(),
    Case(stride=(2, 1), padding=(0, 2)),
    Case(kernel=(3, 2), dilation=(2, 1)),
    Case(kernel=(1, 1), padding=(0, 0), groups=2),
    Case(groups=4, deform_groups=2),
    Case(kernel=(2, 3), stride=(2, 2), padding=(2, 1), dilation=(1, 2), groups=2, deform_groups=4),
]
B, C, OUT, H, W = 2, 4, 8, 5, 6


class Operands(NamedTuple):
    features: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor


def operands(case: Case, device: torch.device | str = "cpu") -> Operands:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(device).requires_grad_()

    height, width = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip((H, W), *case[:4], strict=True)
    )
    taps = case.kernel[0] * case.kernel[1]
    return Operands(
        normal(B, C, H, W),
        normal(B, case.deform_groups * taps * 2, height, width),
        normal(B, case.deform_groups * taps, height, width),
        normal(OUT, C // case.groups, *case.kernel),
        normal(OUT),
    )


def sample(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear at (y, x) of a plane (channels, H, W) that is 0 outside, differentiable in all."""
    value = plane.new_zeros(plane.shape[0])
    top, left = math.floor(y.item()), math.floor(x.item())
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < plane.shape[1] and 0 <= j < plane.shape[2]:
                value = value + plane[:, i, j] * (1 - (y - i).abs()) * (1 - (x - j).abs())
    return value


def reference(
    case: Case, features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Eq. 1 of Deformable ConvNets v2, tap by tap: sum over taps of w * x(p + tap + offset) * m."""
    kh, kw = case.kernel
    height, width = offset.shape[-2:]
    per_group = C // case.deform_groups
    output = []
    for b in range(B):
        for row in range(height):
            for column in range(width):
                window = []
                for tap in range(kh * kw):
                    y = row * case.stride[0] - case.padding[0] + tap // kw * case.dilation[0]
                    x = column * case.stride[1] - case.padding[1] + tap % kw * case.dilation[1]
                    for g in range(case.deform_groups):
                        at = g * kh * kw + tap
                        dy, dx = offset[b, 2 * at : 2 * at + 2, row, column]
                        plane = features[b, g * per_group : (g + 1) * per_group]
                        window.append(sample(plane, y + dy, x + dx) * mask[b, at, row, column])
                taps = torch.cat(window).view(kh, kw, C).permute(2, 0, 1)
                output.append(F.conv2d(taps[None], weight, bias, groups=case.groups).flatten())
    return torch.stack(output).view(B, height, width, OUT).permute(0, 3, 1, 2)


def assert_same(actual: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(actual, expected)
    slope = torch.linspace(-1, 2, actual.numel(), dtype=actual.dtype, device=actual.device)
    slope = slope.view_as(actual)
    torch.testing.assert_close(
        torch.autograd.grad(actual, leaves, slope), torch.autograd.grad(expected, leaves, slope)
    )


@pytest.mark.parametrize("case", CASES)
def test_version_1_and_its_gradients(case: Case, device: torch.device):
    features, offset, mask, weight, bias = operands(case, device)
    actual = deform_conv2d(features, offset, weight, *case[1:])
    ones, zeros = torch.ones_like(mask), torch.zeros_like(bias)
    expected = reference(case, features, offset, ones, weight, zeros)
    assert_same(actual, expected, (features, offset, weight))


@pytest.mark.parametrize("case", CASES)
def test_version_2_and_its_gradients(case: Case, device: torch.device):
    leaves = operands(case, device)
    actual = modulated_deform_conv2d(*leaves, *case[1:])
    assert_same(actual, reference(case, *leaves), leaves)


def test_version_2_without_bias(device: torch.device):
    case = CASES[1]
    features, offset, mask, weight, bias = operands(case, device)
    actual = modulated_deform_conv2d(features, offset, mask, weight, None, *case[1:])
    expected = reference(case, features, offset, mask, weight, torch.zeros_like(bias))
    assert_same(actual, expected, (features, offset, mask, weight))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,)])
def test_version_1_gives_only_the_gradient_asked_for(wanted: tuple[int]):
    features, offset, mask, weight, bias = operands(CASES[0])
    leaves = [
        t.detach().requires_grad_(i in wanted) for i, t in enumerate((features, offset, weight))
    ]
    actual = deform_conv2d(*leaves, *CASES[0][1:])
    ones, zeros = torch.ones_like(mask), torch.zeros_like(bias)
    expected = reference(CASES[0], leaves[0], leaves[1], ones, leaves[2], zeros)
    assert_same(actual, expected, tuple(leaves[i] for i in wanted))


@pytest.mark.parametrize("im2col_step", [1, 2, 32])
def test_the_step_of_mmcv_s_kernels_changes_nothing(im2col_step: int):
    features, offset, _, weight, _ = operands(CASES[0])
    whole = deform_conv2d(features, offset, weight, 1, 1)
    stepped = deform_conv2d(features, offset, weight, 1, 1, 1, 1, 1, False, im2col_step)
    assert torch.equal(whole, stepped)


def test_without_offset_and_with_a_mask_of_one_it_is_convolution(device: torch.device):
    features, offset, mask, weight, bias = operands(CASES[1], device)
    straight = F.conv2d(features, weight, bias, *CASES[1][1:4])
    actual = modulated_deform_conv2d(
        features, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, *CASES[1][1:]
    )
    torch.testing.assert_close(actual, straight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype: torch.dtype, device: torch.device):
    low = [t.detach().to(dtype).requires_grad_() for t in operands(CASES[4], device)]
    full = [t.detach().float().requires_grad_() for t in low]
    actual = modulated_deform_conv2d(*low, *CASES[4][1:])
    expected = modulated_deform_conv2d(*full, *CASES[4][1:])
    assert actual.dtype == dtype
    assert torch.equal(actual, expected.to(dtype))
    slope = torch.ones_like(actual)
    for a, e in zip(
        torch.autograd.grad(actual, low, slope),
        torch.autograd.grad(expected, full, slope.float()),
        strict=True,
    ):
        assert torch.equal(a, e.to(dtype))


@pytest.mark.parametrize("layer", [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_mmcv_s_layers_train_under_autocast(layer: type, device: torch.device):
    convolution = layer(4, 8, 3, padding=1, deform_groups=2).to(device)
    features = torch.randn(2, 4, 8, 8, device=device, requires_grad=True)
    with torch.autocast(device.type, torch.bfloat16):
        output = convolution(features)
    output.float().sum().backward()
    for leaf in (features, *convolution.parameters()):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.dtype == leaf.dtype


def test_an_offset_of_the_wrong_size_is_refused():
    features, offset, _, weight, _ = operands(CASES[0])
    with pytest.raises(RuntimeError, match="offset"):
        deform_conv2d(features, offset[:, :-2], weight, 1, 1)
