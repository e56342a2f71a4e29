"""Overlaps by hand, and against mmdet's to the last digits."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from gfl.geometry import giou_loss, iou

#        first box                  second box                 IoU      GIoU
BY_HAND = [
    ([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0], 1.0, 1.0),
    ([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], 1 / 3, 1 / 3),  # hull = union
    ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], 1 / 7, 1 / 7 - 2 / 9),
    ([0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0], 0.25, 0.25),  # one inside the other
    ([0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], 0.0, 0.0),  # touching
    ([0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0], 0.0, -0.5),  # apart
    ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0], 0.0, 0.0),  # a point inside a box
]


@pytest.mark.parametrize(("a", "b", "overlap", "giou"), BY_HAND)
def test_by_hand(a, b, overlap, giou):
    first, second = torch.tensor([a, b]).double(), torch.tensor([b, a]).double()  # both ways round
    torch.testing.assert_close(
        iou(first, second), torch.full((2,), overlap).double(), rtol=1e-7, atol=0
    )
    expected = torch.full((2,), 1 - giou, dtype=torch.float64)
    torch.testing.assert_close(giou_loss(first, second), expected)


def test_two_points_in_one_place_have_no_overlap_and_finite_gradients():
    point = torch.ones(1, 4, requires_grad=True)
    assert iou(point, torch.ones(1, 4)).item() == 0
    loss = giou_loss(point, torch.ones(1, 4))
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


def boxes(dtype: torch.dtype, scale: float) -> tuple[Tensor, Tensor]:
    """Pairs that overlap, and, at the end, pairs that are equal, apart, empty and inside out."""
    torch.manual_seed(0)
    corner = scale * torch.rand(2, 500, 2, dtype=torch.float64)
    first, second = torch.cat((corner, corner + scale * torch.rand_like(corner)), -1)
    second[400:420] = first[400:420]
    second[420:440] = first[420:440] + 3 * scale
    second[440:460, 2:] = second[440:460, :2]
    second[460:480, 2:] -= 2 * scale
    first[470:500] = second[470:500] = first[470:500, [0, 1, 0, 1]]
    return first.to(dtype), second.to(dtype)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("scale", [1.0, 20.0, 800.0])
def test_equals_mmdet(scale, dtype, atol):
    importlib.import_module("gfl.register")
    from mmdet.models.losses import GIoULoss
    from mmdet.structures.bbox import bbox_overlaps

    first, second = boxes(dtype, scale)
    torch.testing.assert_close(
        iou(first, second), bbox_overlaps(first, second, is_aligned=True), rtol=0, atol=atol
    )
    first.requires_grad_()
    ours, theirs = giou_loss(first, second), GIoULoss(reduction="none")(first, second)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    gradients = [torch.autograd.grad(loss.sum(), first)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=atol)


def test_gradcheck():
    first, second = (x[:30] for x in boxes(torch.float64, 4.0))
    assert torch.autograd.gradcheck(giou_loss, (first.requires_grad_(), second.requires_grad_()))
    assert torch.autograd.gradcheck(iou, (first, second))


def test_leading_axes_are_kept_and_empty_input_is_fine():
    first, second = (x.view(5, 100, 4) for x in boxes(torch.float32, 20.0))
    assert torch.equal(
        iou(first, second), iou(first.flatten(0, 1), second.flatten(0, 1)).view(5, 100)
    )
    empty = torch.zeros(0, 4, requires_grad=True)
    assert iou(empty, empty).shape == (0,)
    giou_loss(empty, empty).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_boxes_are_computed_in_float32(dtype):
    box = torch.tensor([[0.0, 0.0, 512.0, 512.0]], dtype=dtype)  # area overflows float16
    assert iou(box, box).tolist() == [1.0]
    assert giou_loss(box, box).tolist() == [0.0]
