"""Deformable convolution on a CPU: bilinear sampling by ``grid_sample``, then a matrix product.

torchvision's own kernel computes its gradients one element at a time there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Elements of the sampled columns that are in memory at a time: 64 MiB in float32.
COLUMNS = 2**24
BILINEAR, ZEROS = 0, 0  # interpolation and padding, as grid_sample's gradient names them


class Geometry(NamedTuple):
    """Geometry in the order of torchvision's operators."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int


class Gradients(NamedTuple):
    """Gradients of the operands; without a mask, its own is None."""

    features: Float[Tensor, "B C H W"]
    weight: Float[Tensor, "O C_per_group kh kw"]
    offset: Float[Tensor, "B yx_per_tap h w"]
    mask: Float[Tensor, "B taps h w"] | None
    bias: Float[Tensor, " O"]


@dataclass(frozen=True)
class _Images:
    """Operands of some images, ready to be sampled; a row is an offset group of an image."""

    features: Float[Tensor, "rows C_per_row H2 W2"]
    grid: Float[Tensor, "rows taps hw 2"]
    mask: Float[Tensor, "rows 1 taps hw"] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the sampled columns."""
        return (*self.features.shape[:2], *self.grid.shape[1:3])

    @cached_property
    def samples(self) -> Float[Tensor, "rows C_per_row taps hw"]:
        """Sample each output's taps; 0 outside of the image."""
        return F.grid_sample(self.features, self.grid, padding_mode="zeros", align_corners=True)

    def modulate_(self, columns: Float[Tensor, "rows C_per_row taps hw"]) -> Tensor:
        """Multiply by the mask, if there is one; in place, as new memory costs more than this."""
        return columns if self.mask is None else columns.mul_(self.mask)

    def gradients(
        self, of_samples: Float[Tensor, "rows C_per_row taps hw"]
    ) -> tuple[Float[Tensor, "rows C_per_row H2 W2"], Float[Tensor, "rows taps 2 hw"]]:
        """Return the gradients of the padded features and of the positions (y, x), px."""
        of_features, of_grid = torch.ops.aten.grid_sampler_2d_backward(
            of_samples, self.features, self.grid, BILINEAR, ZEROS, True, (True, True)
        )
        height, width = self.features.shape[2:]
        scale = of_grid.new_tensor([2 / (height - 1), 2 / (width - 1)])
        return of_features, of_grid.flip(-1).mul_(scale).transpose(2, 3)


def convolve(
    features: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "O C_per_group kh kw"],
    offset: Float[Tensor, "B yx_per_tap h w"],
    mask: Float[Tensor, "B taps h w"] | None,
    bias: Float[Tensor, " O"] | None,
    geometry: Geometry,
) -> Float[Tensor, "B O h w"]:
    """Return the convolution; raise RuntimeError if the shapes do not match."""
    height, width = _check(features, weight, offset, mask, geometry)
    output = features.new_empty(len(features), len(weight), height, width)
    kernel = _by_group(weight, geometry)
    for part in _parts(features, weight, offset):
        images = _images(features[part], weight, offset[part], _some(mask, part), geometry)
        columns = _columns(images.modulate_(images.samples), kernel)
        output[part] = _multiply(kernel, columns).view_as(output[part])
    return output if bias is None else output.add_(bias.view(-1, 1, 1))


def gradients(
    grad_output: Float[Tensor, "B O h w"],
    features: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "O C_per_group kh kw"],
    offset: Float[Tensor, "B yx_per_tap h w"],
    mask: Float[Tensor, "B taps h w"] | None,
    geometry: Geometry,
    *,
    of_inputs: bool,
    of_parameters: bool,
) -> Gradients:
    """Return the gradients; those of the inputs, or the parameters, are undefined unless wanted."""
    _check(features, weight, offset, mask, geometry)
    kernel = _by_group(weight, geometry)
    of_kernel = torch.zeros_like(kernel)
    of_features, of_offset = torch.empty_like(features), torch.empty_like(offset)
    of_mask = None if mask is None else torch.empty_like(mask)
    height, width = features.shape[2:]
    for part in _parts(features, weight, offset):
        images = _images(features[part], weight, offset[part], _some(mask, part), geometry)
        upstream = grad_output[part].reshape(-1, kernel.shape[1], images.grid.shape[2])
        if of_inputs:
            of_columns = _multiply(kernel.mT, upstream).view(images.shape)
            if of_mask is not None:
                of_mask[part] = (of_columns * images.samples).sum(1).view_as(of_mask[part])
            of_padded, of_positions = images.gradients(images.modulate_(of_columns))
            of_features[part] = of_padded[..., :height, :width].reshape_as(features[part])
            of_offset[part] = of_positions.reshape_as(offset[part])
        if of_parameters:  # last, because the samples change
            columns = _columns(images.modulate_(images.samples), kernel)
            of_kernel += torch.bmm(upstream, columns.mT).view(-1, *kernel.shape).sum(0)
    return Gradients(
        of_features, of_kernel.view_as(weight), of_offset, of_mask, grad_output.sum((0, 2, 3))
    )


def _check(
    features: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, geometry: Geometry
) -> tuple[int, int]:
    """Return the output's height and width; raise RuntimeError if the shapes do not match."""
    channels, taps = features.shape[1], weight[0, 0].numel()
    if weight.shape[1] * geometry.groups != channels or len(weight) % geometry.groups:
        raise RuntimeError(
            f"weight of shape {tuple(weight.shape)} in {geometry.groups} groups does not match "
            f"features of {channels} channels"
        )
    if channels % geometry.offset_groups:
        raise RuntimeError(f"{channels} channels in {geometry.offset_groups} offset groups")
    height, width = (
        (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for side, pad, dilation, kernel, stride in zip(
            features.shape[2:], geometry[2:4], geometry[4:6], weight.shape[2:], geometry[:2],
            strict=True,
        )
    )  # fmt: skip
    for name, tensor, per_tap in (("offset", offset, 2), ("mask", mask, 1)):
        expected = (len(features), geometry.offset_groups * taps * per_tap, height, width)
        if tensor is not None and tensor.shape != expected:
            raise RuntimeError(f"{name} of shape {tuple(tensor.shape)}, expected {expected}")
    return height, width


def _parts(features: Tensor, weight: Tensor, offset: Tensor) -> Iterator[slice]:
    """Yield as many images at a time as COLUMNS permits, at least one."""
    per_image = features.shape[1] * weight[0, 0].numel() * offset[0, 0].numel()
    images = max(COLUMNS // per_image, 1)
    for first in range(0, len(features), images):
        yield slice(first, first + images)


def _images(
    features: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, geometry: Geometry
) -> _Images:
    """Pad the features, and express the taps' positions as grid_sample does: -1 to 1.

    With sides of 2**n + 1 pixels, a whole number of pixels is exact in that unit. All positions are
    whole before the first step: one rounded down would lie in the cell to its left, and its offset
    would get that cell's slope.
    """
    rows, taps = len(features) * geometry.offset_groups, weight[0, 0].numel()
    height, width = features.shape[2:]
    padded = features.new_zeros(*features.shape[:2], _whole(height) + 1, _whole(width) + 1)
    padded[..., :height, :width] = features
    by_tap = offset.reshape(rows, taps, 2, *offset.shape[2:])
    grid = offset.new_empty(rows, taps, *offset.shape[2:], 2)
    rows_at, columns_at = _positions(weight, offset, geometry)
    torch.add(by_tap[:, :, 1], columns_at, out=grid[..., 0])
    torch.add(by_tap[:, :, 0], rows_at, out=grid[..., 1])
    grid *= grid.new_tensor([2 / _whole(width), 2 / _whole(height)])
    grid -= 1
    return _Images(
        padded.view(rows, -1, *padded.shape[2:]),
        grid.flatten(2, 3),
        None if mask is None else mask.reshape(rows, 1, taps, -1),
    )


def _positions(
    weight: Tensor, offset: Tensor, geometry: Geometry
) -> tuple[Float[Tensor, "taps h 1"], Float[Tensor, "taps 1 w"]]:
    """Return the rows and columns of the taps where the offset is zero, px."""
    (kh, kw), (height, width) = weight.shape[2:], offset.shape[2:]
    whole = {"dtype": offset.dtype, "device": offset.device}
    tap_rows = torch.arange(kh, **whole) * geometry.dilation_h - geometry.pad_h
    tap_columns = torch.arange(kw, **whole) * geometry.dilation_w - geometry.pad_w
    rows = torch.arange(height, **whole) * geometry.stride_h
    columns = torch.arange(width, **whole) * geometry.stride_w
    return (
        tap_rows.repeat_interleave(kw)[:, None, None] + rows[:, None],
        tap_columns.repeat(kh)[:, None, None] + columns,
    )


def _whole(side: int) -> int:
    """Return the smallest power of two that is not less than ``side`` - 1."""
    return 1 << max(side - 2, 0).bit_length()


def _by_group(
    weight: Tensor, geometry: Geometry
) -> Float[Tensor, "groups O_per_group C_per_group_taps"]:
    """Return the weight as one matrix a group."""
    return weight.reshape(geometry.groups, len(weight) // geometry.groups, -1)


def _columns(sampled: Tensor, kernel: Tensor) -> Float[Tensor, "B_groups C_per_group_taps hw"]:
    """Return the samples as one matrix an image and group."""
    return sampled.view(-1, kernel.shape[2], sampled.shape[-1])


def _multiply(kernel: Tensor, columns: Tensor) -> Tensor:
    """Multiply every image's columns by its groups' matrices."""
    images = len(columns) // len(kernel)
    return torch.bmm(kernel.expand(images, *kernel.shape).flatten(0, 1), columns)


def _some(mask: Tensor | None, part: slice) -> Tensor | None:
    """Return the mask of some images."""
    return None if mask is None else mask[part]
