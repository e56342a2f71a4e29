"""Eq. 1, 2, 6, 7: what they say, their identities and their minima."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from grids import BETAS, gradient, grid
from torch import Tensor

from gfl.losses import (
    distribution_focal_loss,
    focal_loss,
    generalized_focal_loss,
    quality_focal_loss,
)


def probabilities(z: Tensor) -> tuple[Tensor, Tensor]:
    """sigma and 1 - sigma by their definition; in float64, for |z| up to 30."""
    return 1 / (1 + torch.exp(-z)), 1 / (1 + torch.exp(z))


def qfl_as_written(z: Tensor, y: Tensor, beta: float) -> Tensor:
    """Eq. 2, on probabilities."""
    s, not_s = probabilities(z)
    return -((y - s).abs() ** beta) * ((1 - y) * torch.log(not_s) + y * torch.log(s))


def dfl_as_written(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 6, on probabilities, one target at a time."""
    losses = []
    for row, y in zip(logits, target.tolist(), strict=True):
        p = row.exp() / row.exp().sum()
        i = min(math.floor(y), len(row) - 2)
        losses.append(-((i + 1 - y) * p[i].log() + (y - i) * p[i + 1].log()))
    return torch.stack(losses)


# --- against a float64 reference computed from probabilities


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_equation_1(gamma, alpha):
    z, y = grid(torch.linspace(-12, 12, 97, dtype=torch.float64), torch.tensor([0, 1]).double())
    s, not_s = probabilities(z)
    p_t = torch.where(y == 1, s, not_s)
    expected = -((1 - p_t) ** gamma) * p_t.log()
    if alpha is not None:
        expected = expected * torch.where(y == 1, alpha, 1 - alpha)
    torch.testing.assert_close(focal_loss(z, y, gamma, alpha), expected, rtol=1e-9, atol=1e-15)
    single = focal_loss(z.float(), y.float(), gamma, alpha)
    torch.testing.assert_close(single.double(), expected, rtol=2e-5, atol=1e-12)


def test_focal_loss_takes_integer_and_boolean_targets():
    z = torch.tensor([-1.0, 2.0])
    expected = focal_loss(z, torch.tensor([1.0, 0.0]))
    assert torch.equal(focal_loss(z, torch.tensor([1, 0])), expected)
    assert torch.equal(focal_loss(z, torch.tensor([True, False])), expected)


def test_focal_loss_equals_torchvision():
    from torchvision.ops import sigmoid_focal_loss

    z = torch.randn(50, 7, dtype=torch.float64)
    y = (torch.rand_like(z) < 0.3).double()
    torch.testing.assert_close(focal_loss(z, y, 2.0, 0.25), sigmoid_focal_loss(z, y, 0.25, 2.0))


@pytest.mark.parametrize("beta", BETAS)
def test_qfl_is_equation_2(beta):
    z, y = grid(
        torch.linspace(-12, 12, 97, dtype=torch.float64),
        torch.linspace(0, 1, 21, dtype=torch.float64),
    )
    z.requires_grad_()
    expected = qfl_as_written(z, y, beta)
    actual = quality_focal_loss(z, y, beta)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-14)
    single_z = z.detach().float().requires_grad_()
    single = quality_focal_loss(single_z, y.float(), beta)
    torch.testing.assert_close(single.double(), expected, rtol=2e-5, atol=1e-6)

    if beta < 1:  # where sigma = y, the written form's derivative is infinite times zero
        return
    torch.testing.assert_close(gradient(actual, z), gradient(expected, z), rtol=1e-7, atol=1e-12)
    reference = gradient(qfl_as_written(z, y, beta), z)
    torch.testing.assert_close(gradient(single, single_z).double(), reference, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("bins", [2, 5, 17])
def test_dfl_is_equation_6(bins):
    torch.manual_seed(0)
    target = torch.linspace(0, bins - 1, 41, dtype=torch.float64)
    logits = (3 * torch.randn(41, bins, dtype=torch.float64)).requires_grad_()
    expected, actual = dfl_as_written(logits, target), distribution_focal_loss(logits, target)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(actual, logits), gradient(expected, logits))
    single = distribution_focal_loss(logits.float(), target.float())
    torch.testing.assert_close(single.double(), expected, rtol=2e-5, atol=1e-5)


def test_losses_keep_the_shape_of_their_input():
    z, y = torch.randn(2, 3, 5), torch.rand(2, 3, 5)
    assert quality_focal_loss(z, y).shape == focal_loss(z, y.round()).shape == (2, 3, 5)
    assert distribution_focal_loss(z, y[..., 0]).shape == (2, 3)
    assert quality_focal_loss(torch.zeros(0, 80), torch.zeros(0, 80)).shape == (0, 80)
    assert distribution_focal_loss(torch.zeros(0, 4, 17), torch.zeros(0, 4)).shape == (0, 4)


# --- the identities of Eq. 8, 9, 10


@pytest.mark.parametrize("gamma", BETAS)
def test_gfl_is_focal_loss_on_hard_labels_eq_8(gamma):
    z, y = grid(torch.linspace(-9, 9, 73).double(), torch.tensor([0.0, 1.0]).double())
    gfl = generalized_focal_loss(F.logsigmoid(-z), F.logsigmoid(z), 0.0, 1.0, y, gamma)
    torch.testing.assert_close(gfl, focal_loss(z, y, gamma), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("beta", BETAS)
def test_gfl_is_quality_focal_loss_eq_9(beta):
    z, y = grid(torch.linspace(-9, 9, 73).double(), torch.linspace(0, 1, 11).double())
    gfl = generalized_focal_loss(F.logsigmoid(-z), F.logsigmoid(z), 0.0, 1.0, y, beta)
    torch.testing.assert_close(gfl, quality_focal_loss(z, y, beta), rtol=1e-9, atol=1e-9**beta)


def test_gfl_is_distribution_focal_loss_eq_10():
    torch.manual_seed(0)
    logits = torch.randn(64, 9, dtype=torch.float64)
    y = 8 * torch.rand(64, dtype=torch.float64)
    left = y.floor()
    row, log_p = torch.arange(64), F.log_softmax(logits, -1)
    gfl = generalized_focal_loss(
        log_p[row, left.long()], log_p[row, left.long() + 1], left, left + 1, y, beta=0.0
    )
    torch.testing.assert_close(gfl, distribution_focal_loss(logits, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", BETAS)
def test_qfl_with_hard_labels_is_focal_loss(gamma):
    z, y = grid(torch.linspace(-9, 9, 73).double(), torch.tensor([0.0, 1.0]).double())
    z.requires_grad_()
    qfl, fl = quality_focal_loss(z, y, gamma), focal_loss(z, y, gamma)
    torch.testing.assert_close(qfl, fl, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(gradient(qfl, z), gradient(fl, z), rtol=1e-9, atol=1e-12)


def test_qfl_with_beta_0_is_cross_entropy():
    z, y = grid(torch.linspace(-9, 9, 73).double(), torch.linspace(0, 1, 11).double())
    expected = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    torch.testing.assert_close(quality_focal_loss(z, y, 0.0), expected)
    at_the_minimum = quality_focal_loss(torch.zeros(1), torch.full((1,), 0.5), 0.0)  # 0^0 = 1
    torch.testing.assert_close(at_the_minimum, torch.tensor([math.log(2)]))


def test_focal_loss_with_gamma_0_is_cross_entropy():
    z, y = grid(torch.linspace(-9, 9, 73).double(), torch.tensor([0.0, 1.0]).double())
    expected = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    torch.testing.assert_close(focal_loss(z, y, 0.0), expected)


def test_dfl_on_a_bin_is_cross_entropy_with_that_bin():
    logits = torch.randn(17, 17)
    bins = torch.arange(17)
    torch.testing.assert_close(
        distribution_focal_loss(logits, bins.float()),
        F.cross_entropy(logits, bins, reduction="none"),
    )


def test_dfl_outside_the_bins_counts_as_the_nearest_end():
    logits = torch.randn(2, 9)
    inside = distribution_focal_loss(logits, torch.tensor([0.0, 8.0]))
    assert torch.equal(distribution_focal_loss(logits, torch.tensor([-3.0, 8.5])), inside)


def test_dfl_of_a_nan_target_is_nan_and_not_a_crash():
    loss = distribution_focal_loss(torch.randn(2, 9), torch.tensor([math.nan, 1.0]))
    assert loss.isnan().tolist() == [True, False]


# --- the minima


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("y", [0.1, 0.25, 0.5, 0.9])
def test_qfl_is_least_where_sigma_is_y_and_only_there(beta, y):
    quality = torch.full((2001,), y, dtype=torch.float64)
    best = math.log(y / (1 - y))
    z = (best + torch.linspace(-8, 8, 2001, dtype=torch.float64)).requires_grad_()
    loss = quality_focal_loss(z, quality, beta)
    assert loss.argmin() == 1000
    slope = gradient(loss, z)
    assert (slope[:1000] < 0).all()  # falls all the way to the minimum, then rises: no other one
    assert (slope[1001:] > 0).all()


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("y", [0.0, 0.5, 1.0])
def test_qfl_at_its_minimum_is_0_but_for_beta_0(beta, y):
    z = torch.tensor([{0.0: -1e4, 0.5: 0.0, 1.0: 1e4}[y]], requires_grad=True)  # sigma = y exactly
    loss = quality_focal_loss(z, torch.tensor([y]), beta)
    entropy = math.log(2) if y == 0.5 else 0.0
    torch.testing.assert_close(loss, torch.tensor([entropy if beta == 0 else 0.0]))
    assert gradient(loss, z).item() == 0


@pytest.mark.parametrize("target", [0.0, 0.3, 2.0, 2.5, 3.999, 4.0])
def test_dfl_is_least_at_the_linear_split_whose_expectation_is_the_target(target):
    y = torch.tensor([target], dtype=torch.float64)
    left = min(math.floor(target), 3)
    split = torch.zeros(5, dtype=torch.float64)
    split[left], split[left + 1] = left + 1 - target, target - left
    assert (split * torch.arange(5)).sum().item() == pytest.approx(target, abs=1e-12)

    logits = split.clamp(min=1e-300).log()[None].requires_grad_()
    loss = distribution_focal_loss(logits, y)
    entropy = -torch.special.xlogy(split, split).sum()
    torch.testing.assert_close(loss, entropy[None], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(loss, logits), torch.zeros(1, 5).double())
    others = 3 * torch.randn(1000, 5, dtype=torch.float64)
    assert (distribution_focal_loss(others, y.expand(1000)) > loss).all()


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("y_left", "y_right", "y"), [(0.0, 1.0, 0.3), (2.0, 4.0, 2.5)])
def test_gfl_is_least_where_the_estimate_is_the_label(beta, y_left, y_right, y):
    p_right = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    loss = generalized_focal_loss(
        (1 - p_right).log(), p_right.log(), y_left, y_right, torch.full_like(p_right, y), beta
    )
    best = p_right[loss.argmin()].item()
    assert best == pytest.approx((y - y_left) / (y_right - y_left), abs=1e-9)


# --- wrong arguments, and what an import costs


@pytest.mark.parametrize("exponent", [-1.0, math.nan])
def test_a_negative_exponent_is_refused(exponent):
    z = torch.zeros(1)
    with pytest.raises(ValueError, match="beta must be 0 or more"):
        quality_focal_loss(z, z, exponent)
    with pytest.raises(ValueError, match="gamma must be 0 or more"):
        focal_loss(z, z, exponent)
    with pytest.raises(ValueError, match="beta must be 0 or more"):
        generalized_focal_loss(z, z, 0.0, 1.0, z, exponent)


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="2 bins or more, not 1"):
        distribution_focal_loss(torch.zeros(3, 1), torch.zeros(3))


def test_importing_the_losses_does_not_import_mmdet():
    code = "import sys, gfl.losses, gfl.geometry; print({'mmdet', 'mmcv'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
