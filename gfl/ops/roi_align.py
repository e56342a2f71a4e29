"""RoIAlign, average and max, with mmcv's signatures."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import RoIAlign

MAX = 0  # mmcv's pool_mode; 1 is the average


def roi_align_forward(
    features: Float[Tensor, "B C H W"],
    rois: Float[Tensor, "R 5"],
    output: Float[Tensor, "R C h w"],
    argmax_y: Float[Tensor, "..."],
    argmax_x: Float[Tensor, "..."],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled features to `output`; a roi is (image, x1, y1, x2, y2).

    In max mode `argmax_y` and `argmax_x` receive the sample of its bin that each value came from,
    unlike mmcv's image coordinates; as there, only the backward pass reads them.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    features, rois = features.to(dtype), rois.to(dtype)
    size = (aligned_height, aligned_width)
    if pool_mode != MAX:
        pooled = RoIAlign(size, spatial_scale, sampling_ratio, aligned)(features, rois)
        output.copy_(pooled)
        return
    for chosen, grid in _by_grid(rois, size, spatial_scale, sampling_ratio, aligned):
        samples = _samples(features, rois[chosen], size, grid, spatial_scale, aligned)
        pooled, index = F.max_pool2d(samples, grid, return_indices=True)
        width = samples.shape[-1]
        output[chosen] = pooled.to(output.dtype)
        argmax_y[chosen] = (index // width % grid[0]).to(argmax_y.dtype)
        argmax_x[chosen] = (index % width % grid[1]).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Float[Tensor, "R C h w"],
    rois: Float[Tensor, "R 5"],
    argmax_y: Float[Tensor, "..."],
    argmax_x: Float[Tensor, "..."],
    grad_features: Float[Tensor, "B C H W"],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add d loss / d features to `grad_features`."""
    dtype = torch.promote_types(grad_features.dtype, torch.float32)
    grad_output, rois = grad_output.to(dtype), rois.to(dtype)
    size, shape = (aligned_height, aligned_width), grad_features.shape
    if pool_mode != MAX:
        grad_features += _spread(
            grad_output, rois, shape, size, spatial_scale, sampling_ratio, aligned
        )
        return
    for chosen, grid in _by_grid(rois, size, spatial_scale, sampling_ratio, aligned):
        fine = (size[0] * grid[0], size[1] * grid[1])
        row = _first_sample(size[0], grid[0], rois)[:, None] + argmax_y[chosen].long()
        column = _first_sample(size[1], grid[1], rois) + argmax_x[chosen].long()
        index = row * fine[1] + column
        # Not max_unpool2d, which CUDA rejects in deterministic mode.
        slope = grad_output.new_zeros(*index.shape[:2], *fine)
        slope.flatten(2).scatter_(2, index.flatten(2), grad_output[chosen].flatten(2))
        grad_features += _spread(slope, rois[chosen], shape, fine, spatial_scale, 1, aligned)


def _spread(
    grad_pooled: Float[Tensor, "R C h w"],
    rois: Float[Tensor, "R 5"],
    shape: torch.Size,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Float[Tensor, "B C H W"]:
    """Return the gradient of features of a shape from that of their averages."""
    if torch.are_deterministic_algorithms_enabled() and grad_pooled.device.type != "cpu":
        # The kernel refuses; RoIAlign then pools by plain torch, which has a gradient of its own.
        with torch.enable_grad():
            features = grad_pooled.new_zeros(shape).requires_grad_()
            pooled = RoIAlign(size, spatial_scale, sampling_ratio, aligned)(features, rois)
            return torch.autograd.grad(pooled, features, grad_pooled)[0]
    # Through RoIAlign, autograd would first pool once more.
    return torch.ops.torchvision._roi_align_backward(
        grad_pooled.contiguous(), rois, spatial_scale, *size, *shape, sampling_ratio, aligned
    )


def _samples(
    features: Float[Tensor, "B C H W"],
    rois: Float[Tensor, "R 5"],
    size: tuple[int, int],
    grid: tuple[int, int],
    spatial_scale: float,
    aligned: bool,
) -> Float[Tensor, "R C sh sw"]:
    """Sample every bin: a bin with a grid of samples is a grid of bins with one sample."""
    fine = (size[0] * grid[0], size[1] * grid[1])
    return RoIAlign(fine, spatial_scale, 1, aligned)(features, rois)


def _first_sample(bins: int, per_bin: int, like: Tensor) -> Tensor:
    return torch.arange(bins, device=like.device) * per_bin


def _by_grid(
    rois: Float[Tensor, "R 5"],
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[Bool[Tensor, " R"], tuple[int, int]]]:
    """Group the rois by their sampling grid (height, width) per bin."""
    if sampling_ratio > 0:
        yield rois.new_ones(len(rois), dtype=torch.bool), (sampling_ratio, sampling_ratio)
        return
    sides = (rois[:, [4, 3]] - rois[:, [2, 1]]) * spatial_scale
    if not aligned:
        sides = sides.clamp(min=1)
    grids = (sides / sides.new_tensor(size)).ceil().clamp(min=1).long()
    for grid in grids.unique(dim=0):
        height, width = grid.tolist()
        yield (grids == grid).all(dim=1), (height, width)
