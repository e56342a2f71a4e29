"""The losses in floating point: where it saturates, in half precision, beside mmdet's."""

from __future__ import annotations

import importlib

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

EXTREME = torch.tensor([-1e4, -88.0, -20.0, -1.0, 0.0, 1.0, 20.0, 88.0, 1e4])


# --- where floats saturate


def assert_finite(loss: Tensor, *inputs: Tensor) -> None:
    assert loss.isfinite().all()
    for x, g in zip(inputs, torch.autograd.grad(loss.sum(), inputs), strict=True):
        assert g.isfinite().all(), f"gradient of {tuple(x.shape)} is not finite"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("beta", [*BETAS, 0.01])
def test_everything_is_finite_at_extreme_logits(beta, autocast, dtype):
    z, y = grid(EXTREME.to(dtype), torch.tensor([0.0, 1e-30, 0.5, 1.0], dtype=dtype))
    z.requires_grad_()
    y.requires_grad_()
    hard = (y.detach() > 0.4).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        qfl = quality_focal_loss(z, y, beta)
        fl = focal_loss(z, hard, beta, 0.25)
        gfl = generalized_focal_loss(F.logsigmoid(-z), F.logsigmoid(z), 0.0, 1.0, y, beta)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert qfl.dtype == fl.dtype == wide
    assert_finite(qfl, z, y)
    assert_finite(fl, z)
    if autocast or dtype in (torch.float32, torch.float64):
        assert_finite(gfl, z, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_dfl_is_finite_at_extreme_logits_and_on_the_edges_of_bins(autocast, dtype):
    n = 16
    edges = torch.arange(n + 1.0)
    eps = 1e-6
    target = torch.cat((edges, edges + eps, edges - eps, torch.tensor([n - 0.1]))).clamp(0, n)
    one_hot = torch.eye(n + 1)[torch.arange(len(target)) % (n + 1)]
    for logits in (1e4 * one_hot, -1e4 * one_hot, 1e4 * (2 * one_hot - 1)):
        logits = logits.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = distribution_focal_loss(logits, target)
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert (loss >= 0).all()
        assert_finite(loss, logits)


def test_autocast_changes_nothing_of_float32_input():
    z, y = torch.randn(99, 17), torch.rand(99, 17)
    plain = quality_focal_loss(z, y), distribution_focal_loss(z, 16 * y[:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        cast = quality_focal_loss(z, y), distribution_focal_loss(z, 16 * y[:, 0])
    assert torch.equal(plain[0], cast[0])
    assert torch.equal(plain[1], cast[1])


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_gradient_where_sigma_is_y_counts_as_0(beta):
    z = torch.zeros(3, requires_grad=True)
    loss = quality_focal_loss(z, torch.full((3,), 0.5), beta)
    assert gradient(loss, z).tolist() == [0, 0, 0]


@pytest.mark.parametrize("beta", BETAS)
def test_gradcheck(beta):
    torch.manual_seed(0)
    z = torch.randn(12, dtype=torch.float64, requires_grad=True)
    y = torch.rand(12, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    logits = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    target = torch.arange(12).mul(0.33).add(0.1).double().requires_grad_()
    hard = (y.detach() > 0.5).double()
    check = torch.autograd.gradcheck
    assert check(lambda z, y: quality_focal_loss(z, y, beta), (z, y))
    assert check(lambda z: focal_loss(z, hard, beta, 0.25), (z,))
    assert check(distribution_focal_loss, (logits, target))
    log_p = F.logsigmoid(-z).detach().requires_grad_(), F.logsigmoid(z).detach().requires_grad_()
    assert check(lambda a, b, y: generalized_focal_loss(a, b, 0.0, 1.0, y, beta), (*log_p, y))


# --- against mmdet


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float32, 1e-4, 1e-6), (torch.float64, 1e-9, 1e-12)]
)
@pytest.mark.parametrize("beta", [1.0, 2.0, 2.5])
def test_qfl_equals_mmdet(beta, dtype, rtol, atol):
    importlib.import_module("gfl.register")
    from mmdet.models.losses import QualityFocalLoss

    torch.manual_seed(0)
    z = (3 * torch.randn(200, 8, dtype=dtype)).requires_grad_()
    label = torch.randint(0, 9, (200,))  # 8 is background
    score = torch.rand(200, dtype=dtype)
    theirs = QualityFocalLoss(beta=beta, reduction="none")(z, (label, score))
    quality = F.one_hot(label, 9)[:, :8] * score[:, None]
    ours = quality_focal_loss(z, quality, beta).sum(-1)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float32, 1e-5, 1e-6), (torch.float64, 1e-12, 1e-12)]
)
def test_dfl_equals_mmdet(dtype, rtol, atol):
    importlib.import_module("gfl.register")
    from mmdet.models.losses import DistributionFocalLoss

    torch.manual_seed(0)
    logits = (3 * torch.randn(200, 17, dtype=dtype)).requires_grad_()
    target = 15.9 * torch.rand(200, dtype=dtype)
    theirs = DistributionFocalLoss(reduction="none")(logits, target)
    ours = distribution_focal_loss(logits, target)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    theirs_grad = gradient(theirs, logits)
    torch.testing.assert_close(gradient(ours, logits), theirs_grad, rtol=rtol, atol=atol)
