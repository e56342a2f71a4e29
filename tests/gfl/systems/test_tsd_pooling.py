"""The pooling of regions with shifted bins, against a loop over its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gfl.systems.tsd_pooling import pool_shifted

STRIDES = (4, 8, 16)
SHAPE = (60, 80)  # of the images, px
BINS = 3
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def draw(regions: int = 12, images: int = 2) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Return feature maps, regions (some beyond the image), their levels and shifts; float64."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    features = [normal(images, 3, -(-SHAPE[0] // s), -(-SHAPE[1] // s)) for s in STRIDES]
    size = torch.tensor([SHAPE[1], SHAPE[0]])
    centre = torch.rand(regions, 2, generator=random, dtype=torch.float64) * size
    half = torch.rand(regions, 2, generator=random, dtype=torch.float64) * size * 0.3
    image = torch.randint(images, (regions, 1), generator=random)
    rois = torch.cat([image.double(), centre - half, centre + half], 1)
    levels = torch.randint(len(STRIDES), (regions,), generator=random)
    return features, rois, levels, 0.3 * normal(regions, 2, BINS, BINS)


def by_definition(features: Tensor, roi: list[float], stride: int, shift: Tensor, samples: int):
    """Pool one region of one image sample by sample."""
    x1, y1, x2, y2 = (math.copysign(math.floor(abs(v) + 0.5), v) / stride for v in roi)
    left, top = x1 - 0.5, y1 - 0.5
    width = max(x2 + 1 / stride - 0.5 - left, 0.1)
    height = max(y2 + 1 / stride - 0.5 - top, 0.1)
    channels, rows, columns = features.shape
    pooled = torch.zeros(channels, BINS, BINS, dtype=features.dtype)
    for i in range(BINS):
        for j in range(BINS):
            values = []
            for k in range(samples * samples):
                x = left + (j + k % samples / samples) * width / BINS + shift[0, i, j] * width
                y = top + (i + k // samples / samples) * height / BINS + shift[1, i, j] * height
                if -0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5:
                    values.append(bilinear(features, float(x), float(y)))
            if values:
                pooled[:, i, j] = torch.stack(values).mean(0)
    return pooled


def bilinear(features: Tensor, x: float, y: float) -> Tensor:
    _, rows, columns = features.shape
    x, y = min(max(x, 0), columns - 1), min(max(y, 0), rows - 1)
    column, row = int(x), int(y)
    total = torch.zeros_like(features[:, 0, 0])
    for r, along_y in ((row, 1 - (y - row)), (row + 1, y - row)):
        for c, along_x in ((column, 1 - (x - column)), (column + 1, x - column)):
            if along_x * along_y:
                total += along_x * along_y * features[:, r, c]
    return total


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("samples", [1, 2, 4])
def test_it_is_the_mean_of_the_samples_within_the_map(samples: int, device: str) -> None:
    features, rois, levels, shifts = draw()
    expected = [
        by_definition(features[level][int(roi[0])], roi[1:], STRIDES[level], shift, samples)
        for roi, level, shift in zip(rois.tolist(), levels.tolist(), shifts, strict=True)
    ]
    features = [level.to(device) for level in features]
    rois, levels, shifts = rois.to(device), levels.to(device), shifts.to(device)
    pooled = pool_shifted(features, STRIDES, rois, levels, shifts, samples)
    torch.testing.assert_close(pooled.cpu(), torch.stack(expected), rtol=0, atol=1e-13)


def test_gradients_of_features_and_shifts() -> None:
    features, rois, levels, shifts = draw(regions=4)
    for tensor in (*features, shifts):
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda shifts, *features: pool_shifted(features, STRIDES, rois, levels, shifts, 2),
        (shifts, *features),
    )


def test_the_memory_format_is_immaterial() -> None:
    features, rois, levels, shifts = draw()
    contiguous = pool_shifted(features, STRIDES, rois, levels, shifts, 2)
    last = [level.to(memory_format=torch.channels_last) for level in features]
    assert torch.equal(pool_shifted(last, STRIDES, rois, levels, shifts, 2), contiguous)


def test_constant_maps_give_constants_of_the_region_s_image_and_level() -> None:
    features, rois, levels, shifts = draw()
    rois = rois.clamp(min=0).minimum(torch.tensor([1.0, 79, 59, 79, 59]))
    constants = [
        torch.full_like(level, 10 * i) + torch.arange(2.0)[:, None, None, None]
        for i, level in enumerate(features)
    ]
    pooled = pool_shifted(constants, STRIDES, rois, levels, 0 * shifts, 4)
    expected = (10 * levels + rois[:, 0])[:, None, None, None].expand_as(pooled)
    torch.testing.assert_close(pooled, expected, rtol=1e-14, atol=1e-14)


def test_a_shift_by_whole_pixels_is_the_shifted_region() -> None:
    features, *_ = draw()
    rois = torch.tensor([[0.0, 8, 16, 23, 31], [1.0, 4, 8, 35, 23]], dtype=torch.float64)
    moved = rois + torch.tensor([0.0, 4, -8, 4, -8])
    sides = rois[:, 3:] - rois[:, 1:3] + 1  # powers of two, as are the bins: nothing is rounded
    whole = (torch.tensor([4.0, -8.0]) / sides)[:, :, None, None].expand(2, 2, 4, 4)
    levels, none = torch.tensor([0, 1]), torch.zeros_like(whole)
    expected = pool_shifted(features, STRIDES, moved, levels, none, 4)
    assert torch.equal(pool_shifted(features, STRIDES, rois, levels, whole, 4), expected)


@pytest.mark.parametrize(("corner", "rounded"), [(8.5, 9.0), (9.49, 9.0), (-0.5, -1.0), (7.5, 8.0)])
def test_corners_are_rounded_to_whole_pixels(corner: float, rounded: float) -> None:
    features, _, _, shifts = draw()
    levels, shifts = torch.tensor([0]), shifts[:1]
    pooled, expected = (
        pool_shifted(features, STRIDES, torch.tensor([[0.0, x, x, 33, 33]]), levels, shifts, 2)
        for x in (corner, rounded)
    )
    assert torch.equal(pooled, expected)


def test_bins_outside_the_map_are_zero() -> None:
    features, _, _, shifts = draw()
    rois = torch.tensor([[0.0, 300, 10, 340, 50]])
    pooled = pool_shifted(features, STRIDES, rois, torch.tensor([1]), 0 * shifts[:1], 2)
    assert not pooled.any()


def test_without_regions_there_is_nothing() -> None:
    features, rois, levels, shifts = draw()
    features[0].requires_grad_()
    pooled = pool_shifted(features, STRIDES, rois[:0], levels[:0], shifts[:0], 2)
    assert pooled.shape == (0, 3, BINS, BINS)
    pooled.sum().backward()
    assert not features[0].grad.any()


def test_a_diverged_region_is_nan_and_no_other_is() -> None:
    features, rois, levels, shifts = draw()
    expected = pool_shifted(features, STRIDES, rois, levels, shifts, 2)
    rois[3, 1:] = math.nan
    levels[3] = torch.tensor(math.nan).long()
    pooled = pool_shifted(features, STRIDES, rois, levels, shifts, 2)
    assert pooled[3].isnan().all()
    others = torch.arange(len(rois)) != 3
    assert torch.equal(pooled[others], expected[others])


def test_half_precision_features_are_pooled_in_float32() -> None:
    features, rois, levels, shifts = draw()
    halves = [level.bfloat16() for level in features]
    pooled = pool_shifted(halves, STRIDES, rois.float(), levels, shifts.float(), 2)
    floats = [level.float() for level in halves]
    assert torch.equal(
        pooled, pool_shifted(floats, STRIDES, rois.float(), levels, shifts.float(), 2)
    )
