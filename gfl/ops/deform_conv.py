"""Deformable convolution, v1 and v2, forward and backward, with mmcv's signatures.

Dai et al., Deformable Convolutional Networks, Eq. 2; Zhu et al., Deformable ConvNets v2, Eq. 1. The
parameters `columns`, `ones` and `im2col_step` are the scratch memory of mmcv's kernels and unused:
torchvision manages its own. Gradients are added to the tensors passed in.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "B C H W"]
Weight = Float[Tensor, "O C_per_group kh kw"]
Offset = Float[Tensor, "B yx_per_tap h w"]
Mask = Float[Tensor, "B taps h w"]
Output = Float[Tensor, "B O h w"]
Bias = Float[Tensor, " O_or_0"]


class _Geometry(NamedTuple):
    """Geometry in the order of torchvision's operators."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int


def deform_conv_forward(
    features: Features,
    weight: Weight,
    offset: Offset,
    output: Output,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the convolution to `output`; raise RuntimeError if the shapes do not match."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_convolve(features, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    features: Features,
    offset: Offset,
    grad_output: Output,
    grad_features: Features,
    grad_offset: Offset,
    weight: Weight,
    columns: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Add the gradients of the features and the offsets."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    of_features, _, of_offset, *_ = _gradients(
        grad_output, features, weight, offset, None, geometry
    )
    grad_features += of_features
    grad_offset += of_offset


def deform_conv_backward_parameters(
    features: Features,
    offset: Offset,
    grad_output: Output,
    grad_weight: Weight,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: int | float,
    im2col_step: int,
) -> None:
    """Add `scale` times the gradient of the weight."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The weight's gradient does not depend on the weight: only its shape is needed.
    of_weight = _gradients(grad_output, features, grad_weight, offset, None, geometry)[1]
    grad_weight += scale * of_weight


def modulated_deform_conv_forward(
    features: Features,
    weight: Weight,
    bias: Bias,
    ones: Tensor,
    offset: Offset,
    mask: Mask,
    output: Output,
    columns: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the modulated convolution to `output`; raise RuntimeError if shapes do not match."""
    geometry = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    output.copy_(_convolve(features, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    features: Features,
    weight: Weight,
    bias: Bias,
    ones: Tensor,
    offset: Offset,
    mask: Mask,
    columns: Tensor,
    grad_features: Features,
    grad_weight: Weight,
    grad_bias: Bias,
    grad_offset: Offset,
    grad_mask: Mask,
    grad_output: Output,
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Add the gradients of features, weight, offsets, mask and, if present, bias."""
    geometry = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    of_features, of_weight, of_offset, of_mask, of_bias = _gradients(
        grad_output, features, weight, offset, mask, geometry
    )
    grad_features += of_features
    grad_weight += of_weight
    grad_offset += of_offset
    grad_mask += of_mask
    if with_bias:
        grad_bias += of_bias


def _convolve(
    features: Features,
    weight: Weight,
    offset: Offset,
    mask: Mask | None,
    bias: Bias | None,
    geometry: _Geometry,
) -> Output:
    operands = _operands(features, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*operands, *geometry, mask is not None)


def _gradients(
    grad_output: Output,
    features: Features,
    weight: Weight,
    offset: Offset,
    mask: Mask | None,
    geometry: _Geometry,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of features, weight, offset, mask and bias."""
    operands = _operands(features, weight, offset, mask, None)
    # Through the public function, autograd would first repeat the convolution.
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output.to(operands[0].dtype), *operands, *geometry, mask is not None
    )


def _operands(
    features: Features, weight: Weight, offset: Offset, mask: Mask | None, bias: Bias | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return operands in torchvision's order, in float32 or more (it lacks bfloat16)."""
    if mask is None:
        mask = features.new_zeros(len(features), 1)
    if bias is None:
        bias = weight.new_zeros(len(weight))
    dtype = torch.promote_types(features.dtype, torch.float32)
    return (
        features.to(dtype),
        weight.to(dtype),
        offset.to(dtype),
        mask.to(dtype),
        bias.to(dtype),
    )
