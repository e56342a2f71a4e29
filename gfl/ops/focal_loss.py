"""Sigmoid focal loss (Lin et al., Focal Loss, Eq. 5) and its gradient, with mmcv's signatures.

With z the logit of the correct decision (x for the label's class, -x for the others), p =
sigmoid(z) and a = alpha for the label's class, 1 - alpha else: FL = -a (1 - p)^gamma log p.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def sigmoid_focal_loss_forward(
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    weight: Float[Tensor, " C_or_0"],
    output: Float[Tensor, "N C"],
    gamma: float,
    alpha: float,
) -> None:
    """Write the unreduced loss to `output`; an invalid label (mmdet uses C) is background.

    `weight`, if not empty, weights each row by its label's class; background rows weigh 1.
    """
    sign, scale = _sign_and_scale(logits, labels, weight, alpha)
    z = sign * logits.to(scale.dtype)
    output.copy_(-scale * torch.sigmoid(-z) ** gamma * F.logsigmoid(z))


def sigmoid_focal_loss_backward(
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    weight: Float[Tensor, " C_or_0"],
    grad_logits: Float[Tensor, "N C"],
    gamma: float,
    alpha: float,
) -> None:
    """Write d loss / d logits, element by element, to `grad_logits`."""
    sign, scale = _sign_and_scale(logits, labels, weight, alpha)
    z = sign * logits.to(scale.dtype)
    wrong = torch.sigmoid(-z)
    slope = wrong - gamma * torch.sigmoid(z) * F.logsigmoid(z)
    grad_logits.copy_(-sign * scale * wrong**gamma * slope)


def _sign_and_scale(
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    weight: Float[Tensor, " C_or_0"],
    alpha: float,
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    """Return the sign of z, and alpha times the class weight, at least in float32."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    classes = logits.shape[1]
    own = labels[:, None] == torch.arange(classes, device=labels.device)
    sign = torch.where(own, 1.0, -1.0).to(dtype)
    scale = torch.where(own, alpha, 1.0 - alpha).to(dtype)
    if weight.numel():
        is_class = (labels >= 0) & (labels < classes)
        row = torch.where(is_class, weight[labels.clamp(0, classes - 1)].to(dtype), 1.0)
        scale = scale * row[:, None]
    return sign, scale
