"""Deformable convolution, v1 and v2, forward and backward, with mmcv's signatures.

Dai et al., Deformable Convolutional Networks, Eq. 2; Zhu et al., Deformable ConvNets v2, Eq. 1. The
parameters `columns`, `ones` and `im2col_step` are the scratch memory of mmcv's kernels and unused.
Gradients are added to the tensors passed in. On CUDA the operators are torchvision's.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gfl.ops import deform_conv_cpu
from gfl.ops.deform_conv_cpu import Geometry

Features = Float[Tensor, "B C H W"]
Weight = Float[Tensor, "O C_per_group kh kw"]
Offset = Float[Tensor, "B yx_per_tap h w"]
Mask = Float[Tensor, "B taps h w"]
Output = Float[Tensor, "B O h w"]
Bias = Float[Tensor, " O_or_0"]


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
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
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
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    of = _gradients(grad_output, features, weight, offset, None, geometry, of_parameters=False)
    grad_features += of.features
    grad_offset += of.offset


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
    geometry = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The weight's gradient does not depend on the weight: only its shape is needed.
    of = _gradients(grad_output, features, grad_weight, offset, None, geometry, of_inputs=False)
    grad_weight += scale * of.weight


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
    geometry = Geometry(
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
    geometry = Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    of = _gradients(grad_output, features, weight, offset, mask, geometry)
    grad_features += of.features
    grad_weight += of.weight
    grad_offset += of.offset
    assert of.mask is not None
    grad_mask += of.mask
    if with_bias:
        grad_bias += of.bias


def _convolve(
    features: Features,
    weight: Weight,
    offset: Offset,
    mask: Mask | None,
    bias: Bias | None,
    geometry: Geometry,
) -> Output:
    features, weight, offset, mask, bias = _raised(features, weight, offset, mask, bias)
    if features.device.type == "cpu":
        return deform_conv_cpu.convolve(features, weight, offset, mask, bias, geometry)
    operands = (features, weight, offset, *_present(features, weight, mask, bias))
    return torch.ops.torchvision.deform_conv2d(*operands, *geometry, mask is not None)


def _gradients(
    grad_output: Output,
    features: Features,
    weight: Weight,
    offset: Offset,
    mask: Mask | None,
    geometry: Geometry,
    *,
    of_inputs: bool = True,
    of_parameters: bool = True,
) -> deform_conv_cpu.Gradients:
    """Return at least the gradients asked for."""
    features, weight, offset, mask = _raised(features, weight, offset, mask)
    grad_output = grad_output.to(features.dtype)
    if features.device.type == "cpu":
        return deform_conv_cpu.gradients(
            *(grad_output, features, weight, offset, mask, geometry),
            of_inputs=of_inputs,
            of_parameters=of_parameters,
        )
    operands = (features, weight, offset, *_present(features, weight, mask, None))
    # Through the public function, autograd would first repeat the convolution.
    return deform_conv_cpu.Gradients(
        *torch.ops.torchvision._deform_conv2d_backward(
            grad_output, *operands, *geometry, mask is not None
        )
    )


def _raised(*operands: Any) -> list[Any]:
    """Return the operands, or None, in float32 or more: the kernels lack bfloat16."""
    dtype = torch.promote_types(operands[0].dtype, torch.float32)
    return [None if operand is None else operand.to(dtype) for operand in operands]


def _present(
    features: Features, weight: Weight, mask: Mask | None, bias: Bias | None
) -> tuple[Tensor, Tensor]:
    """Return the mask and the bias, which torchvision's operators need in any case."""
    return (
        features.new_zeros(len(features), 1) if mask is None else mask,
        weight.new_zeros(len(weight)) if bias is None else bias,
    )
