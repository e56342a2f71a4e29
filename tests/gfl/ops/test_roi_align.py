import math

import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, roi_align
from torch import Tensor

# (image, x1, y1, x2, y2) at scale 1/2: inside, over two edges, thin, larger than the image
ROIS = [
    [0, 2.3, 1.7, 11.9, 9.1],
    [1, -3.1, 5.2, 6.3, 15.8],
    [1, 4.4, 4.9, 5.1, 12.3],
    [0, -4.7, -3.3, 21.2, 17.9],
]


def sample(plane: Tensor, y: float, x: float) -> Tensor:
    """Bilinear at (y, x): one pixel over the edge still counts as the edge, beyond it is 0."""
    height, width = plane.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.new_zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    value = plane.new_zeros(plane.shape[0])
    for i in {math.floor(y), math.ceil(y)}:
        for j in {math.floor(x), math.ceil(x)}:
            value = value + plane[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return value


def reference(
    features: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    mode: str,
    aligned: bool,
) -> Tensor:
    pooled = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0.0) for c in corners)
        least = -math.inf if aligned else 1.0
        bin_h, bin_w = max(y2 - y1, least) / size[0], max(x2 - x1, least) / size[1]
        grid_h = ratio if ratio > 0 else math.ceil(bin_h)
        grid_w = ratio if ratio > 0 else math.ceil(bin_w)
        for row in range(size[0]):
            for column in range(size[1]):
                samples = [
                    sample(
                        features[int(image)],
                        y1 + (row + (i + 0.5) / grid_h) * bin_h,
                        x1 + (column + (j + 0.5) / grid_w) * bin_w,
                    )
                    for i in range(grid_h)
                    for j in range(grid_w)
                ]
                stacked = torch.stack(samples)
                pooled.append(stacked.mean(0) if mode == "avg" else stacked.max(0).values)
    return torch.stack(pooled).view(len(rois), *size, -1).permute(0, 3, 1, 2)


def inputs(device: torch.device, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 7, 8, dtype=torch.float64, generator=generator)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    return features.to(device, dtype).requires_grad_(), rois.to(device, dtype)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("size", [(3, 2), (1, 4)])
def test_pooled_values_and_gradient(
    mode: str, aligned: bool, ratio: int, size: tuple[int, int], device: torch.device
):
    features, rois = inputs(device)
    actual = roi_align(features, rois, size, 0.5, ratio, mode, aligned)
    expected = reference(features, rois, size, 0.5, ratio, mode, aligned)
    torch.testing.assert_close(actual, expected)
    slope = torch.linspace(-1, 2, actual.numel(), dtype=torch.float64, device=device)
    slope = slope.view_as(actual)
    torch.testing.assert_close(
        torch.autograd.grad(actual, features, slope), torch.autograd.grad(expected, features, slope)
    )


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(mode: str, dtype: torch.dtype, device: torch.device):
    features, rois = inputs(device, dtype)
    full = features.detach().float().requires_grad_()
    actual = roi_align(features, rois, (3, 2), 0.5, 0, mode, True)
    expected = roi_align(full, rois.float(), (3, 2), 0.5, 0, mode, True)
    assert actual.dtype == dtype
    assert torch.equal(actual, expected.to(dtype))
    actual.sum().backward()
    expected.sum().backward()
    assert features.grad is not None
    assert full.grad is not None
    torch.testing.assert_close(features.grad.float(), full.grad, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_no_rois(mode: str, ratio: int, device: torch.device):
    features, rois = inputs(device)
    pooled = RoIAlign((3, 2), 0.5, ratio, mode, True)(features, rois[:0])
    assert pooled.shape == (0, 3, 3, 2)
    pooled.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize("aligned", [True, False])
def test_a_roi_without_area_is_finite(aligned: bool, device: torch.device):
    features, rois = inputs(device)
    point = rois.new_tensor([[0, 5, 5, 5, 5]])
    for mode in ("avg", "max"):
        pooled = roi_align(features, point, (3, 2), 0.5, 0, mode, aligned)
        pooled.sum().backward()
        assert pooled.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_the_gradient_is_computed_without_pooling_again(
    mode: str, ratio: int, monkeypatch: pytest.MonkeyPatch
):
    features, rois = inputs(torch.device("cpu"))
    pooled = roi_align(features, rois, (3, 2), 0.5, ratio, mode, True)
    slope = torch.linspace(-1, 2, pooled.numel(), dtype=torch.float64).view_as(pooled)
    monkeypatch.delattr("gfl.ops.roi_align.RoIAlign")
    (actual,) = torch.autograd.grad(pooled, features, slope)
    if mode == "avg":
        expected = torchvision.ops.roi_align(features, rois, (3, 2), 0.5, ratio, True)
        assert torch.equal(actual, torch.autograd.grad(expected, features, slope)[0])


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_deterministic_mode_has_the_same_gradient(mode: str, device: torch.device):
    """torchvision's kernel refuses that mode on CUDA."""
    features, rois = inputs(device)
    pooled = roi_align(features, rois, (3, 2), 0.5, 2, mode, True)
    slope = torch.linspace(-1, 2, pooled.numel(), dtype=torch.float64, device=device).view_as(
        pooled
    )
    (expected,) = torch.autograd.grad(pooled, features, slope, retain_graph=True)
    try:
        torch.use_deterministic_algorithms(True)
        (actual,) = torch.autograd.grad(pooled, features, slope)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(actual, expected)
