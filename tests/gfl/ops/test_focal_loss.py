import pytest
import torch
from mmcv.ops import sigmoid_focal_loss
from torch import Tensor

C = 4


def reference(
    logits: Tensor, labels: Tensor, gamma: float, alpha: float, weight: Tensor | None
) -> Tensor:
    """Focal loss as the sum of its two terms, Eq. 5 of its paper, element by element."""
    rows = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        p = row.sigmoid()
        terms = [
            -alpha * (1 - p[c]) ** gamma * p[c].log()
            if c == label
            else -(1 - alpha) * p[c] ** gamma * (1 - p[c]).log()
            for c in range(C)
        ]
        factor = 1.0 if weight is None or label == C else weight[label]
        rows.append(torch.stack(terms) * factor)
    return torch.stack(rows)


def batch(device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, C, dtype=torch.float64, generator=generator) * 3
    labels = torch.arange(12) % (C + 1)  # C is background
    return logits.to(device).requires_grad_(), labels.to(device)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.4), (0.5, 0.9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient(gamma: float, alpha: float, weighted: bool, device: torch.device):
    logits, labels = batch(device)
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64, device=device)
    weight = weight if weighted else None
    expected = reference(logits, labels, gamma, alpha, weight)
    slope = torch.linspace(-1, 2, logits.numel(), device=device, dtype=torch.float64)
    slope = slope.view_as(logits)
    actual = sigmoid_focal_loss(logits, labels, gamma, alpha, weight, "none")
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, logits, slope), torch.autograd.grad(expected, logits, slope)
    )


def test_reductions(device: torch.device):
    logits, labels = batch(device)
    elements = reference(logits, labels, 2.0, 0.25, None)
    total = sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "sum")
    torch.testing.assert_close(total, elements.sum())
    mean = sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "mean")
    torch.testing.assert_close(mean, elements.sum() / len(logits))  # mmcv: over rows


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_a_large_logit_costs_its_size_when_wrong_and_nothing_when_right(size: float):
    logits = torch.tensor([[size, size], [-size, -size]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 0]), 2.0, 0.25, None, "none")
    assert loss.tolist() == [[0.0, pytest.approx(0.75 * size)], [pytest.approx(0.25 * size), 0.0]]
    gradient = torch.autograd.grad(loss.sum(), logits)[0]
    assert gradient.tolist() == [[0.0, pytest.approx(0.75)], [pytest.approx(-0.25), 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype: torch.dtype, device: torch.device):
    logits, labels = batch(device)
    low = logits.detach().to(dtype).requires_grad_()
    full = low.detach().float().requires_grad_()
    actual = sigmoid_focal_loss(low, labels, 2.0, 0.25, None, "none")
    expected = sigmoid_focal_loss(full, labels, 2.0, 0.25, None, "none")
    assert torch.equal(actual, expected.to(dtype))
    actual.sum().backward()
    expected.sum().backward()
    assert low.grad is not None
    assert full.grad is not None
    assert torch.equal(low.grad, full.grad.to(dtype))


def test_no_rows(device: torch.device):
    logits = torch.zeros(0, C, device=device, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.int64, device=device)
    sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "sum").backward()
    assert logits.grad is not None
    assert logits.grad.shape == (0, C)
