"""Representations against mmdet's coders, and for any n and delta against their definition."""

from __future__ import annotations

import math

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads.gfl_head import Integral
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from torch import Tensor

from gfl.boxes import (
    AnchorDelta,
    BoxDecoder,
    Distance,
    Gaussian,
    General,
    anchors_at,
    boxes_at,
    distances,
)

GRIDS = [(16, 1.0), (8, 2.0), (32, 0.5), (4, 4.0), (1, 3.0), (20, 0.3)]
grids = pytest.mark.parametrize(("n", "delta"), GRIDS)


def priors(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    random = torch.Generator().manual_seed(0)
    stride = 2.0 ** torch.randint(3, 8, (count, 1), generator=random)
    cell = torch.randint(0, 20, (count, 2), generator=random)
    return torch.cat([cell * stride, stride, stride], -1).to(dtype)


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def at_one_distance(general: General, y: Tensor) -> Tensor:
    """Logits whose distribution is Eq. 6's linear split of y (strides) on the nearest two bins."""
    position = y / general.delta
    left = position.floor().clamp(max=general.n - 1)
    split = torch.zeros(*y.shape, general.n + 1, dtype=y.dtype)
    split.scatter_(-1, left.long()[..., None], (left + 1 - position)[..., None])
    split.scatter_(-1, left.long()[..., None] + 1, (position - left)[..., None])
    return split.clamp(min=1e-300).log().flatten(-2)


def test_distances_by_hand():
    prior = torch.tensor([40.0, 80.0, 8.0, 8.0])
    box = torch.tensor([32.0, 40.0, 56.0, 96.0])
    assert distances(prior, box).tolist() == [1.0, 5.0, 2.0, 2.0]
    assert boxes_at(prior, torch.tensor([1.0, 5.0, 2.0, 2.0])).tolist() == box.tolist()
    assert anchors_at(prior).tolist() == [8.0, 48.0, 72.0, 112.0]


coordinates = st.floats(-2000, 2000, width=32)


@settings(deadline=None)
@given(
    point=st.tuples(coordinates, coordinates),
    stride=st.sampled_from([4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
    box=st.lists(coordinates, min_size=4, max_size=4),
)
def test_distances_and_boxes_are_inverse(point, stride, box):
    """For any box and location, inside or not, sides crossed or not."""
    prior = torch.tensor([*point, stride, stride], dtype=torch.float64)
    corners = torch.tensor(box, dtype=torch.float64)
    there = boxes_at(prior, distances(prior, corners))
    torch.testing.assert_close(there, corners, rtol=1e-12, atol=1e-9)
    back = distances(prior, boxes_at(prior, corners))
    torch.testing.assert_close(back, corners, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("max_shape", [None, (300, 500)])
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["usual", "beyond the clip"])
def test_anchor_delta_is_mmdets(max_shape, scale):
    here, raw = priors(500), scale * normal(500, 4)
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    theirs = coder.decode(anchors_at(here), raw, max_shape=max_shape)
    ours = BoxDecoder(AnchorDelta()).decode(here, raw, max_shape=max_shape)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_delta_of_zero_is_the_anchor():
    here = priors(50)
    assert torch.equal(AnchorDelta().decode(torch.zeros_like(here), here), anchors_at(here))


@pytest.mark.parametrize("max_shape", [None, (300, 500)])
def test_general_is_mmdets_integral(max_shape):
    here, raw = priors(500), 3 * normal(500, 4 * 17)
    integral = Integral(16).double()
    theirs = DistancePointBBoxCoder().decode(
        here[:, :2], integral(raw) * here[:, 2:3], max_shape=max_shape
    )
    ours = BoxDecoder(General(16, 1.0)).decode(here, raw, max_shape=max_shape)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@grids
def test_certainty_of_a_bin_is_its_distance(n, delta):
    general = General(n, delta).double()
    for i in range(n + 1):
        raw = torch.full((1, 4, n + 1), -1000.0, dtype=torch.float64)
        raw[..., i] = 0
        boxes = general.decode(raw.flatten(1), priors(1))
        expected = torch.full((1, 4), i * delta, dtype=torch.float64)
        # delta = .3 is held to float32's digits
        torch.testing.assert_close(distances(priors(1), boxes), expected, rtol=1e-7, atol=1e-12)


@grids
def test_the_linear_split_means_the_distance_and_is_the_minimum_of_dfl(n, delta):
    """Section 3: the optimum of Eq. 6 is P(y_i), P(y_i+1) around y whose expectation is y."""
    general, here = General(n, delta).double(), priors(200)
    random = torch.Generator().manual_seed(2)
    y = torch.rand(200, 4, generator=random, dtype=torch.float64) * (n - 0.1) * delta
    raw = at_one_distance(general, y).requires_grad_()
    mean = distances(here, general.decode(raw, here))
    torch.testing.assert_close(mean, y, rtol=1e-6, atol=1e-6)
    loss = general.dfl(raw, here, boxes_at(here, y))
    (gradient,) = torch.autograd.grad(loss.sum(), raw)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    elsewhere = general.dfl(raw + 0.1 * normal(*raw.shape), here, boxes_at(here, y))
    assert (elsewhere > loss).all()


@grids
def test_dfl_looks_at_bin_y_over_delta(n, delta):
    """Eq. 6 divided by delta, by hand for each bin: y a quarter of the way to the next."""
    general, here = General(n, delta).double(), priors(1)
    raw = normal(1, 4 * (n + 1))
    log_p = raw.view(4, n + 1).log_softmax(-1)
    for i in range(n):
        box = boxes_at(here, torch.full((1, 4), (i + 0.25) * delta, dtype=torch.float64))
        expected = -(0.75 * log_p[:, i] + 0.25 * log_p[:, i + 1]).mean()
        assert general.dfl(raw, here, box).item() == pytest.approx(expected.item())


@grids
def test_targets_are_held_between_zero_and_n_less_a_tenth(n, delta):
    general, here = General(n, delta).double(), priors(20)
    raw = normal(20, 4 * (n + 1))

    def loss(y: float) -> Tensor:
        sides = torch.full((20, 4), y, dtype=torch.float64)
        return general.dfl(raw, here, boxes_at(here, sides))

    last = loss((n - 0.1) * delta)
    for beyond in (n - 0.05, n, n + 1, 100 * n):
        torch.testing.assert_close(loss(beyond * delta), last)
    torch.testing.assert_close(loss(-3.0), loss(0.0))
    assert not torch.equal(loss((n - 0.15) * delta), last)


@grids
def test_density_is_a_distribution_for_each_side(n, delta):
    density = General(n, delta).double().density(normal(3, 7, 4 * (n + 1)))
    assert density.shape == (3, 7, 4, n + 1)
    torch.testing.assert_close(density.sum(-1), torch.ones(3, 7, 4, dtype=torch.float64))
    assert (density > 0).all()


def test_sides_come_in_the_order_left_top_right_bottom():
    general = General(4, 1.0)
    raw = torch.full((4, 5), -1000.0)
    raw[torch.arange(4), torch.tensor([1, 2, 3, 4])] = 0
    box = general.decode(raw.flatten(), torch.tensor([100.0, 100.0, 10.0, 10.0]))
    assert box.tolist() == [90.0, 80.0, 130.0, 140.0]


def test_bins_are_no_weights():
    """A model-zoo checkpoint has none, and delta may differ between two that are the same."""
    assert not General(16, 1.0).state_dict()
    assert not list(General(16, 1.0).parameters())


@pytest.mark.parametrize(
    "representation",
    [AnchorDelta(), Distance(), Gaussian(), General(16, 1.0)],
    ids=["dirac", "FCOS's dirac", "gaussian", "general"],
)
def test_boxes_are_float32_whatever_is_predicted(representation):
    decoder = BoxDecoder(representation)
    here, raw = priors(50, torch.float32), normal(50, decoder.encode_size, dtype=torch.float32)
    boxes = decoder.decode(here, raw)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decoder.decode(here, raw), boxes)
    half = decoder.decode(here, raw.bfloat16())
    assert half.dtype == torch.float32
    assert torch.equal(half, decoder.decode(here, raw.bfloat16().float()))


def test_density_of_bfloat16_logits_is_float32():
    raw = normal(10, 4 * 17).bfloat16()
    assert torch.equal(General(16, 1.0).density(raw), General(16, 1.0).density(raw.float()))


@settings(deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_a_uniform_distribution_lies_in_the_middle(n, delta):
    box = General(n, delta).decode(torch.zeros(4 * (n + 1)), torch.tensor([0.0, 0.0, 8.0, 8.0]))
    half = 8 * n * delta / 2
    assert all(math.isclose(abs(side), half, rel_tol=1e-5) for side in box.tolist())


@pytest.mark.parametrize("max_shape", [None, (150, 250)])
def test_distance_is_mmdets(max_shape):
    """FCOSHead with norm_on_bbox: what is below 0 is 0, and strides become pixels."""
    here, raw = priors(100), normal(100, 4) * 5
    coder = DistancePointBBoxCoder()
    expected = coder.decode(here[:, :2], raw.clamp(min=0) * here[:, 2:3], max_shape=max_shape)
    assert torch.equal(BoxDecoder(Distance()).decode(here, raw, max_shape), expected)


def test_the_likelihood_is_that_of_torchs_normal_distribution():
    """Less its constant, log(2 pi) / 2, and in strides: the mean over the four sides."""
    here, raw = priors(50), normal(50, 8)
    targets = boxes_at(here, normal(50, 4).abs() * 3)
    mean, log_variance = raw.chunk(2, -1)
    law = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = -law.log_prob(distances(here, targets)).mean(-1) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(Gaussian().likelihood_loss(raw, here, targets), expected)


def test_the_likelihoods_minimum_is_the_targets_mean_and_variance():
    """Of many targets at one location: what a Gaussian is to learn about an ambiguous side."""
    here = torch.tensor([[80.0, 80.0, 8.0, 8.0]], dtype=torch.float64).expand(1000, 4)
    lengths = 4 + 0.5 * normal(1000, 4)
    mean, variance = lengths.mean(0), lengths.var(0, correction=0)
    raw = torch.cat([mean, variance.log()]).requires_grad_()
    loss = Gaussian().likelihood_loss(raw.expand(1000, 8), here, boxes_at(here, lengths)).sum()
    (gradient,) = torch.autograd.grad(loss, raw)
    torch.testing.assert_close(gradient, torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-9)
    found = Gaussian().moments(raw)
    torch.testing.assert_close(found, (mean, variance))


def test_a_gaussian_is_detected_at_its_mean():
    here, raw = priors(20), normal(20, 8)
    torch.testing.assert_close(
        Gaussian().decode(raw, here), boxes_at(here, raw[:, :4].clamp(min=0)), rtol=0, atol=0
    )
