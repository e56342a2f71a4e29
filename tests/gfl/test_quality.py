"""Centerness by hand and as mmdet has it."""

from __future__ import annotations

import importlib
from typing import get_args, get_type_hints

import pytest
import torch

from gfl.experiment import Experiment
from gfl.quality import USAGES, centerness, guide

BOX = torch.tensor([10.0, 20.0, 50.0, 100.0])


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ([30.0, 60.0], 1.0),  # the centre
        ([10.0, 60.0], 0.0),  # a side
        ([50.0, 100.0], 0.0),  # a corner
        ([20.0, 60.0], (1 / 3) ** 0.5),  # a quarter along: 10 : 30
        ([20.0, 40.0], 1 / 3),  # a quarter along both
    ],
)
def test_by_hand(point, value):
    assert centerness(torch.tensor(point), BOX).item() == pytest.approx(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_mmdet(dtype):
    importlib.import_module("gfl.register")
    from mmdet.models.dense_heads import ATSSHead

    random = torch.Generator().manual_seed(0)
    corner = 500 * torch.rand(1000, 2, generator=random, dtype=dtype)
    size = 300 * torch.rand(1000, 2, generator=random, dtype=dtype) + 1
    points = corner + size * torch.rand(1000, 2, generator=random, dtype=dtype)
    boxes = torch.cat([corner, corner + size], -1)
    anchors = torch.cat([points - 32, points + 32], -1)  # whose centre mmdet takes
    theirs = ATSSHead.centerness_target(None, anchors, boxes)
    rtol = 1e-3 if dtype == torch.float32 else 1e-9  # its centre is a rounded mean
    torch.testing.assert_close(centerness(points, boxes), theirs, rtol=rtol, atol=1e-3 * rtol)


def test_neither_scale_nor_reflection_matters():
    random = torch.Generator().manual_seed(0)
    points = BOX[:2] + torch.rand(100, 2, generator=random) * (BOX[2:] - BOX[:2])
    boxes = BOX.expand(100, 4)
    expected = centerness(points, boxes)
    torch.testing.assert_close(centerness(8 * points, 8 * boxes), expected)
    torch.testing.assert_close(centerness(-points, -boxes[:, [2, 3, 0, 1]]), expected)
    assert ((expected >= 0) & (expected <= 1)).all()


def test_no_boxes_no_values():
    assert centerness(torch.zeros(0, 2), torch.zeros(0, 4)).shape == (0,)


def test_every_declared_quality_has_a_meaning_here():
    assert set(get_args(get_type_hints(Experiment)["quality"])) == USAGES.keys()


def test_guiding_moves_loss_to_the_positives_of_high_quality_and_leaves_its_sum():
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    quality = torch.tensor([0.25, 1.0, 0.0, 0.25], dtype=torch.float64)
    # q^1.5 = 1/8, 1, 0, 1/8: of 10 in all, shared out over 1/8 + 2 + 0 + 1/2 = 2.625.
    guided = guide(losses, quality)
    assert guided.tolist() == pytest.approx([x * 10 / 2.625 for x in (1 / 8, 2, 0, 1 / 2)])
    assert guided.sum().item() == pytest.approx(10)
    # The weight is a constant: the gradient is the weight itself.
    (gradient,) = torch.autograd.grad(guided.sum(), losses)
    assert gradient.tolist() == pytest.approx([x * 10 / 2.625 for x in (1 / 8, 1, 0, 1 / 8)])


@pytest.mark.parametrize("quality", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1e-38, 1e-38, 1e-38]])
def test_guiding_changes_nothing_where_all_qualities_are_one(quality):
    losses = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(guide(losses, torch.tensor(quality)), losses)


def test_guiding_without_positives_is_nothing():
    assert guide(torch.zeros(0), torch.zeros(0)).shape == (0,)
    assert guide(torch.zeros(2), torch.ones(2)).tolist() == [0, 0]
