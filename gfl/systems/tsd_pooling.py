"""Pooling of regions whose bins are shifted, each by an offset of its own (TSD, Section 3.1).

The geometry is that of the deformable position-sensitive pooling which the TSD authors' code calls
(Sense-X/TSD ``ops/dcn/src/deform_pool_cuda_kernel.cu``), not that of mmcv's newer
``DeformRoIPool``: corners are rounded to whole pixels of the image, the second corner's pixel
belongs to the region, and the samples of a bin lie at its left and upper edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gfl.losses import at_least_float32

SMALLEST = 0.1  # side of a region, px of its feature map


class _Samples(NamedTuple):
    """Samples along one axis, in pixels of the feature map; ``inside`` those that count."""

    at: Float[Tensor, "R h w k"]
    inside: Bool[Tensor, "R h w k"]


def pool_shifted(
    features: Sequence[Float[Tensor, "B C _ _"]],
    strides: Sequence[int],
    rois: Float[Tensor, "R 5"],
    levels: Int[Tensor, "R"],
    shifts: Float[Tensor, "R 2 h w"],
    samples: int,
) -> Float[Tensor, "R C h w"]:
    """Average each bin's ``samples`` x ``samples`` bilinear samples that lie in the feature map.

    A bin without any is 0. All levels are pooled at once, as weighted sums of the rows of one
    table of pixels: no sample is stored, of which 512 regions have 400 MB at full size.

    Args:
        features: one map per level.
        strides: of the levels, px.
        rois: index of the image, then xyxy in its pixels.
        levels: index of each region's level.
        shifts: of each bin, x then y, in widths and heights of the region.
        samples: a side of a bin.
    """
    features = [at_least_float32(level) for level in features]
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in features])
    sizes = torch.tensor([level.shape[-2:] for level in features], device=rois.device)
    starts = F.pad(sizes.prod(1) * len(features[0]), (1, 0)).cumsum(0)
    levels = levels.clamp(0, len(features) - 1)  # of a region that is NaN, as diverged runs have
    height, width = sizes[levels].unbind(1)
    first = starts[levels] + rois[:, 0].long() * height * width  # row of the image's first pixel
    rois, shifts = rois.to(table.dtype), shifts.to(table.dtype)
    scale = 1 / rois.new_tensor(strides)[levels]
    x = _samples(rois[:, 1], rois[:, 3], scale, shifts[:, 0], width, samples, axis=1)
    y = _samples(rois[:, 2], rois[:, 4], scale, shifts[:, 1], height, samples, axis=0)
    rows, weights = _corners(x, y, first, height, width)
    pooled = F.embedding_bag(
        rows.flatten(0, 2).flatten(1),
        table,
        mode="sum",
        per_sample_weights=weights.flatten(0, 2).flatten(1),
    )
    return pooled.unflatten(0, (len(rois), *shifts.shape[2:])).permute(0, 3, 1, 2)


def _samples(
    first: Float[Tensor, "R"],
    last: Float[Tensor, "R"],
    scale: Float[Tensor, "R"],
    shift: Float[Tensor, "R h w"],
    size: Int[Tensor, "R"],
    samples: int,
    axis: int,
) -> _Samples:
    """Return the samples along one axis (0: y, 1: x) of regions from ``first`` to ``last``."""
    start = _rounded(first) * scale - 0.5
    side = ((_rounded(last) + 1) * scale - 0.5 - start).clamp(min=SMALLEST)
    bins = shift.shape[1 + axis]
    index = torch.arange(bins, device=shift.device, dtype=shift.dtype)
    index = index[:, None] if axis == 0 else index[None, :]
    bin_size = (side / bins)[:, None, None]
    bin_start = index * bin_size + start[:, None, None] + shift * side[:, None, None]
    within = torch.arange(samples, device=shift.device, dtype=shift.dtype) / samples
    at = bin_start[..., None] + within * bin_size[..., None]
    end = size.to(at.dtype)[:, None, None, None]
    inside = (at >= -0.5) & (at <= end - 0.5)
    return _Samples(torch.minimum(at.clamp(min=0), end - 1), inside)


def _rounded(x: Float[Tensor, "R"]) -> Float[Tensor, "R"]:
    """Round to whole numbers, halves away from zero, as C's ``round``."""
    return x.sign() * (x.abs() + 0.5).floor()


def _corners(
    x: _Samples,
    y: _Samples,
    first: Int[Tensor, "R"],
    height: Int[Tensor, "R"],
    width: Int[Tensor, "R"],
) -> tuple[Int[Tensor, "R h w k2 4"], Float[Tensor, "R h w k2 4"]]:
    """Return the four pixels that each sample lies between, as rows of the table, and weights."""
    first, height, width = (n[:, None, None, None, None] for n in (first, height, width))
    inside = y.inside[..., :, None] & x.inside[..., None, :]
    count = inside.sum((-1, -2), keepdim=True).clamp(min=1)
    weight = inside.to(x.at.dtype) / count
    rows, weights = [], []
    x_at, y_at = x.at[..., None, :], y.at[..., :, None]
    # A NaN's pixel is as good as any: its weight is NaN too.
    left, top = (at.detach().floor().nan_to_num() for at in (x_at, y_at))
    from_left, from_top = x_at - left, y_at - top
    for row, along_y in ((top.long(), 1 - from_top), (top.long() + 1, from_top)):
        for column, along_x in ((left.long(), 1 - from_left), (left.long() + 1, from_left)):
            # Beyond the last pixel the weight is 0: any row of the image will do.
            pixel = torch.minimum(row, height - 1) * width + torch.minimum(column, width - 1)
            rows.append((first + pixel).flatten(-2))
            weights.append((along_y * along_x * weight).flatten(-2))
    return torch.stack(rows, -1), torch.stack(weights, -1)
