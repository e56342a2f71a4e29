"""What holds of the head whatever its weights: batching, normalisation, extremes, precision."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from cells import CELLS
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.boxes import PriorGenerator, anchors_at

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
SIZES = ((24, 32), (12, 16), (6, 8), (3, 4), (2, 2))
STRIDES = (8, 16, 32, 64, 128)


def ground_truth(samples: list[Any]) -> tuple[list[InstanceData], list[dict[str, Any]]]:
    return [s.gt_instances for s in samples], [s.metainfo for s in samples]


def assert_close(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-9, atol=0)


@cells
def test_the_order_of_images_and_objects_is_immaterial(make_head, make_batch, cell):
    head = make_head(**cell).double()
    features, samples = make_batch((4, 0, 7), torch.float64)
    losses = head.loss(features, samples)
    order = [2, 0, 1]
    features = tuple(level[order] for level in features)
    for sample in samples:
        backwards = torch.arange(len(sample.gt_instances)).flip(0)
        sample.gt_instances = sample.gt_instances[backwards]
    assert_close(head.loss(features, [samples[i] for i in order]), losses)


@cells
def test_a_batch_is_the_sum_of_its_images(make_head, make_batch, monkeypatch, cell):
    """Before the division by N_pos and the weights' sum, which are over the whole batch.

    Guided rows share the sum of the positives' losses out over the whole batch too: left out here,
    and in ``test_quality.py``.
    """
    monkeypatch.setattr("gfl.head.guide", lambda losses, quality: losses)
    monkeypatch.setattr("gfl.head.reduce_mean", torch.ones_like)
    head = make_head(**cell).double()
    features, samples = make_batch((4, 0, 7), torch.float64)
    alone = [
        head.loss(tuple(level[i : i + 1] for level in features), samples[i : i + 1])
        for i in range(len(samples))
    ]
    total = {name: sum(losses[name] for losses in alone) for name in alone[0]}
    assert_close(head.loss(features, samples), total)


@cells
def test_a_batch_twice_over_has_the_same_losses(make_head, make_batch, cell):
    head = make_head(**cell).double()
    features, samples = make_batch((4, 0, 7), torch.float64)
    twice = head.loss(tuple(torch.cat([level, level]) for level in features), samples * 2)
    assert_close(twice, head.loss(features, samples))


@cells
def test_both_normalisers_are_means_over_the_devices(make_head, make_batch, monkeypatch, cell):
    """With three times the positives and weights elsewhere on average, losses are a third."""
    head = make_head(**cell).double()
    batch = make_batch((4, 0, 7), torch.float64)
    losses = head.loss(*batch)
    monkeypatch.setattr("gfl.head.reduce_mean", lambda x: 3 * x)
    assert_close(head.loss(*batch), {name: value / 3 for name, value in losses.items()})


def test_a_sum_of_weights_below_one_counts_as_one(make_head, make_batch, monkeypatch):
    head = make_head(**CELLS["atss-joint-general-dfl"]).double()
    features, samples = make_batch((4, 0, 7), torch.float64)
    logits, raw, _ = head(features)
    unsure = [level.detach() * 0.01 - 10 for level in logits]
    losses = head.loss_by_feat(unsure, raw, None, *ground_truth(samples))
    monkeypatch.setattr("gfl.head.reduce_mean", torch.ones_like)
    sums = head.loss_by_feat(unsure, raw, None, *ground_truth(samples))
    assert 0 < losses["loss_bbox"] < 1
    for name in ("loss_bbox", "loss_dfl"):
        torch.testing.assert_close(losses[name], sums[name], rtol=1e-12, atol=0)


@cells
@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bf16 autocast"])
def test_losses_and_gradients_are_finite_and_reach_every_weight(
    make_head, make_batch, cell, counts, bfloat16
):
    """Also without objects: data-parallel training waits for a gradient of every weight."""
    head = make_head(**cell)
    features, samples = make_batch(counts)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        losses = head.loss(features, samples)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    if not any(counts):
        assert all(not value.any() for name, value in losses.items() if name != "loss_cls")
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@cells
def test_autocast_leaves_the_losses_of_given_predictions_alone(make_head, make_batch, cell):
    head = make_head(**cell)
    features, samples = make_batch()
    outputs = head(features)
    plain = head.loss_by_feat(*outputs, *ground_truth(samples))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head.loss_by_feat(*outputs, *ground_truth(samples))
    assert all(torch.equal(plain[name], mixed[name]) for name in plain)


@cells
def test_bfloat16_predictions_lose_no_more_than_their_own_rounding(make_head, make_batch, cell):
    """Locations, boxes and losses are float32: bfloat16 knows no odd pixel beyond 256."""
    head = make_head(**cell)
    features, samples = make_batch()
    rounded = [
        None if levels is None else [level.bfloat16() for level in levels]
        for levels in head(features)
    ]
    exact = [None if levels is None else [level.float() for level in levels] for levels in rounded]
    ours = head.loss_by_feat(*rounded, *ground_truth(samples))
    expected = head.loss_by_feat(*exact, *ground_truth(samples))
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name])


@cells
@pytest.mark.parametrize("extreme", [1e4, -1e4, "both"])
def test_extreme_predictions_have_finite_losses_and_gradients(make_head, make_batch, cell, extreme):
    head = make_head(**cell)
    features, samples = make_batch()
    with torch.no_grad():
        outputs = head(features)
    outputs = [
        None
        if levels is None
        else [1e4 * level.sign() if extreme == "both" else 0 * level + extreme for level in levels]
        for levels in outputs
    ]
    leaves = [level.requires_grad_() for levels in outputs if levels for level in levels]
    losses = head.loss_by_feat(*outputs, *ground_truth(samples))
    assert all(value.isfinite() for value in losses.values())
    for gradient in torch.autograd.grad(sum(losses.values()), leaves):
        assert gradient.isfinite().all()


@cells
def test_weights_come_back_from_a_state_dict(make_head, make_batch, cell):
    head, other = make_head(**cell), make_head(**cell, seed=1)
    batch = make_batch()
    assert any(
        not torch.equal(a, b) for a, b in zip(head.parameters(), other.parameters(), strict=True)
    )
    other.load_state_dict(head.state_dict(), strict=True)
    losses = other.loss(*batch)
    assert all(torch.equal(losses[name], value) for name, value in head.loss(*batch).items())


@cells
@torch.no_grad()
def test_prediction_needs_no_object_and_finds_none_in_silence(make_head, cell):
    head = make_head(**cell).eval()
    silent = [torch.full((1, 5, *size), -20.0) for size in SIZES]
    raw = [torch.zeros(1, head.representation.channels, *size) for size in SIZES]
    has_branch = "branch" in cell.get("quality", "centerness-branch")
    branch = [torch.zeros(1, 1, *size) for size in SIZES] if has_branch else None
    meta = {"img_shape": (150, 250), "scale_factor": (1.0, 1.0)}
    found = head.predict_by_feat(silent, raw, branch, [meta], rescale=True)[0]
    assert len(found) == 0
    assert found.bboxes.shape == (0, 4)


def test_a_degenerate_box_does_no_harm(make_head, make_batch):
    """A box without area contains no location, so nothing is to predict it."""
    head = make_head(**CELLS["atss-joint-general-dfl"])
    features, samples = make_batch((0,))
    empty = head.loss(features, samples)
    point = torch.tensor([[50.5, 60.5, 50.5, 60.5]])
    samples[0].gt_instances = InstanceData(bboxes=point, labels=torch.tensor([1]))
    assert_close(head.loss(features, samples), empty)


@pytest.mark.parametrize(
    ("factors", "complaint"),
    [
        ({"quality": "joint", "beta": None}, "'joint' needs beta"),
        ({"dfl": True}, "'dirac' have no bins"),
        ({"boxes": "gaussian", "likelihood_weight": None}, "'gaussian' need likelihood_weight"),
        ({"boxes": "general", "n": None}, "n = None"),
        ({"boxes": "gausian"}, "'gausian'; known: dirac, gaussian, general"),
    ],
)
def test_a_head_that_cannot_be_says_why(make_head, factors, complaint):
    """``Experiment`` refuses these first; a configuration written by hand reaches the head."""
    with pytest.raises(ValueError, match=complaint):
        make_head(**factors)


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # mmdet's call
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_locations_are_mmdets_points(offset):
    ours = PriorGenerator(STRIDES, offset).grid_priors(SIZES)
    theirs = MlvlPointGenerator(STRIDES, offset).grid_priors(SIZES, device="cpu", with_stride=True)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_anchors_are_mmdets():
    theirs = AnchorGenerator(STRIDES, ratios=[1.0], octave_base_scale=8, scales_per_octave=1)
    ours = [anchors_at(level) for level in PriorGenerator(STRIDES, 0.0).grid_priors(SIZES)]
    for a, b in zip(ours, theirs.grid_priors(SIZES, device="cpu"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_locations_are_exact_in_every_precision(dtype):
    (priors,) = PriorGenerator((8,), 0.5).grid_priors([(100, 168)], dtype)
    assert priors.dtype == (torch.float32 if dtype.itemsize == 2 else dtype)
    assert priors[-1].tolist() == [167.5 * 8, 99.5 * 8, 8, 8]
