"""The paper's four losses, Eq. 1, 2, 6 and 7: pure, unreduced functions of tensors.

They take logits, never probabilities, so that they stay exact where a sigmoid or a softmax
saturates, and compute in at least float32 whatever the autocast dtype. None reads a tensor's
values from Python: on CUDA that would make the training step wait for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Targets of the logits' shape, or of one that broadcasts to it.
Hard = Float[Tensor, "*#S"] | Int[Tensor, "*#S"] | Bool[Tensor, "*#S"]


def focal_loss(
    logits: Float[Tensor, "*S"], targets: Hard, gamma: float = 2.0, alpha: float | None = None
) -> Float[Tensor, "*S"]:
    """Return focal loss per element, Eq. 1: ``-(1 - p_t)^gamma log(p_t)``.

    ``targets`` are 0 or 1. ``alpha`` weights targets of 1 by alpha and of 0 by 1 - alpha (Lin et
    al., "Focal Loss for Dense Object Detection", Eq. 5); the paper omits it in Eq. 1, but its
    baselines FCOS and ATSS train with .25.

    Raises ValueError for a negative gamma.
    """
    _check_exponent("gamma", gamma)
    logits = at_least_float32(logits)
    targets = targets.to(logits.dtype)
    toward_target = (2 * targets - 1) * logits  # p_t = sigmoid(toward_target)
    # (1 - p_t)^gamma as an exponential: exact at p_t = 1, where a power of gamma < 1 has an
    # infinite slope and gamma = 0 would be 0^0.
    modulating = torch.exp(gamma * F.logsigmoid(-toward_target))
    loss = -modulating * F.logsigmoid(toward_target)
    if alpha is None:
        return loss
    return loss * (alpha * targets + (1 - alpha) * (1 - targets))


def quality_focal_loss(
    logits: Float[Tensor, "*S"], quality: Float[Tensor, "*#S"], beta: float = 2.0
) -> Float[Tensor, "*S"]:
    """Return quality focal loss per element, Eq. 2: ``|y - s|^beta`` times cross entropy.

    ``quality`` y is in [0, 1]: 0 for a negative, the localization quality at the ground truth's
    class. beta = 0 is plain cross entropy. The absolute value is the paper's and mmdet's; the
    authors' code raises y - s itself to beta, which is negative or NaN for beta other than 2 or 4.
    For 0 < beta <= 1 the modulating factor has no derivative at s = y: it counts as 0 there.

    The gradient reaches ``quality`` too: detach it where it is a label.

    Raises ValueError for a negative beta.
    """
    _check_exponent("beta", beta)
    logits = at_least_float32(logits)
    quality = quality.to(logits.dtype)
    # -(1 - y) log(1 - s) - y log(s) with one transcendental per element; exact at y = 0, which is
    # all but a few hundred of 28 million elements. Up to 40, softplus is not the identity even in
    # float64 (torch's default threshold of 20 is off by 2e-9 there).
    cross_entropy = F.softplus(logits, threshold=40) - quality * logits
    if beta == 0:
        return cross_entropy
    return _abs_power(logits.sigmoid() - quality, beta) * cross_entropy


def distribution_focal_loss(
    logits: Float[Tensor, "*S bins"], target: Float[Tensor, "*S"]
) -> Float[Tensor, "*S"]:
    """Return distribution focal loss, Eq. 6, of bins 0 ... n = bins - 1 for a position.

    ``target`` is in units of bins, y / delta: bin i stands for y_i = i delta, and Eq. 6's weights,
    which sum to delta, are divided by it. A target of exactly n has weight 1 on bin n. Targets
    outside [0, n] are clamped to the nearest end (mmdet and the authors clamp at n - 0.1, before
    the loss); a NaN target gives a NaN loss.

    Raises ValueError for fewer than two bins.
    """
    n = logits.shape[-1] - 1
    if n < 1:
        raise ValueError(f"distribution focal loss needs 2 bins or more, not {n + 1}")
    log_p = F.log_softmax(at_least_float32(logits), dim=-1)
    target = target.to(log_p.dtype).clamp(0, n)
    left = target.long().clamp(0, n - 1)  # also keeps NaN's index inside
    nearest_two = log_p.gather(-1, torch.stack((left, left + 1), dim=-1))
    log_left, log_right = nearest_two.unbind(-1)
    return generalized_focal_loss(log_left, log_right, left, left + 1, target, beta=0.0)  # Eq. 10


def generalized_focal_loss(
    log_p_left: Float[Tensor, "*S"],
    log_p_right: Float[Tensor, "*S"],
    y_left: Float[Tensor, "*S"] | Int[Tensor, "*S"] | float,
    y_right: Float[Tensor, "*S"] | Int[Tensor, "*S"] | float,
    y: Float[Tensor, "*S"],
    beta: float,
) -> Float[Tensor, "*S"]:
    """Return generalized focal loss per element, Eq. 7.

    ``log_p_left`` and ``log_p_right`` are the logarithms of the probabilities of ``y_left`` and
    ``y_right``, with y_left <= y <= y_right; finite, as ``log_softmax`` and ``logsigmoid`` return
    them (0 times an infinite logarithm is NaN). Focal, quality focal and distribution focal loss
    are its special cases, Eq. 8, 9 and 10.

    Raises ValueError for a negative beta.
    """
    _check_exponent("beta", beta)
    log_p_left, log_p_right = at_least_float32(log_p_left), at_least_float32(log_p_right)
    y = y.to(log_p_left.dtype)
    cross_entropy = -((y_right - y) * log_p_left + (y - y_left) * log_p_right)
    if beta == 0:
        return cross_entropy
    estimate = y_left * log_p_left.exp() + y_right * log_p_right.exp()
    return _abs_power(estimate - y, beta) * cross_entropy


def _abs_power(x: Float[Tensor, "*S"], exponent: float) -> Float[Tensor, "*S"]:
    """Return |x|^exponent for an exponent above 0, with derivative 0 at x = 0."""
    if exponent == 2:
        return x.square()  # the paper's choice; saves two tensors for the backward pass
    if exponent >= 1:
        return x.abs().pow(exponent)
    # Below 1 the slope at 0 is infinite, and infinity times abs's subgradient 0 is NaN.
    zero = x == 0
    return x.abs().masked_fill(zero, 1).pow(exponent).masked_fill(zero, 0)


def at_least_float32(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Convert half precision to float32, which losses and coordinates need."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _check_exponent(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
