"""FCOS's assignment against mmdet's own, cases by hand, and what batching must not change."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from boxes_drawn import MOST, examples, random_boxes, spoil
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.dense_heads import FCOSHead
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.assign import fcos, pad_boxes
from gfl.boxes import PriorGenerator

RADIUS = 1.5  # as mmdet's FCOSHead has it by default


class Batch(NamedTuple):
    strides: tuple[int, ...]
    shapes: list[tuple[int, int]]
    boxes: list[Tensor]  # (G_i, 4)


def assign(batch: Batch) -> Tensor:
    levels = PriorGenerator(batch.strides, 0.5).grid_priors(batch.shapes, batch.boxes[0].dtype)
    sizes = [len(level) for level in levels]
    return fcos(torch.cat(levels), sizes, *pad_boxes(batch.boxes), RADIUS)


@functools.cache
def stock_head(strides: tuple[int, ...]) -> FCOSHead:
    ends = [-1, *(8 * stride for stride in strides[:-1]), 1e8]
    return FCOSHead(
        num_classes=MOST,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        strides=strides,
        regress_ranges=tuple(itertools.pairwise(ends)),
        center_sampling=True,
        norm_on_bbox=True,
    )


def stock_assign(batch: Batch) -> Tensor:
    """Run mmdet; the class of every object is its index, so that labels tell it."""
    head = stock_head(batch.strides)
    dtype = batch.boxes[0].dtype
    points = head.prior_generator.grid_priors(batch.shapes, dtype=dtype, device="cpu")
    objects = [InstanceData(bboxes=b, labels=torch.arange(len(b))) for b in batch.boxes]
    labels, _ = head.get_targets(points, objects)
    found = torch.cat([level.view(len(batch.boxes), -1) for level in labels], 1)
    return found.where(found < MOST, -1)


@st.composite
def batches(
    draw,
    pyramids: Sequence[tuple[int, ...]] = ((8, 16, 32, 64, 128), (4, 8, 16), (8, 16), (8,)),
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
) -> Batch:
    """Up to three images of up to 256 px, with 0 to 100 objects, on a raster or off it."""
    strides, dtype = draw(st.sampled_from(pyramids)), draw(st.sampled_from(dtypes))
    height, width = draw(st.integers(1, 256)), draw(st.integers(1, 256))
    shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from((0, 1, 3, 10, MOST)))
        image = random_boxes(seed, count, height, width, dtype)
        boxes.append(spoil(image, seed) if draw(st.booleans()) else image)
    return Batch(strides, shapes, boxes)


@examples(400)
@given(batches())
def test_equals_mmdet(batch):
    assert torch.equal(assign(batch), stock_assign(batch))


@examples(60)
@given(batches())
def test_batched_equals_one_by_one(batch):
    alone = [assign(batch._replace(boxes=[image])) for image in batch.boxes]
    assert torch.equal(assign(batch), torch.cat(alone))


def assign_one(boxes: list[list[float]], rows: int, columns: int, *strides: int) -> list[int]:
    shapes = [(rows * strides[0] // stride, columns * strides[0] // stride) for stride in strides]
    objects = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return assign(Batch(strides, shapes, [objects]))[0].tolist()


def test_worked_by_hand():
    # Points at 4, 12, ..., 44. The centre (22, 22) is within 12 px, exclusive, of 12, 20 and 28 -
    # and not of 36, 14 px away; the box ends at 44, so it has them all.
    square = assign_one([[0, 0, 44, 44]], 6, 6, 8)
    assert [i for i, gt in enumerate(square) if gt == 0] == [
        row * 6 + column for row in (1, 2, 3) for column in (1, 2, 3)
    ]
    # A flat box has only the row of points inside it.
    flat = assign_one([[0, 18, 44, 23]], 6, 6, 8)
    assert [i for i, gt in enumerate(flat) if gt == 0] == [2 * 6 + 1, 2 * 6 + 2, 2 * 6 + 3]


def test_of_several_objects_the_smallest_and_of_equals_the_first():
    large, small = [0.0, 0, 48, 48], [8.0, 8, 40, 40]
    assert assign_one([large, small], 6, 6, 8)[2 * 6 + 2] == 1
    assert assign_one([small, large], 6, 6, 8)[2 * 6 + 2] == 0
    assert assign_one([large, small, small], 6, 6, 8)[2 * 6 + 2] == 1


@pytest.mark.parametrize(
    ("side", "levels"), [(40, {0}), (120, {0, 1}), (150, {1}), (400, {2}), (900, {2})]
)
def test_the_level_is_the_one_whose_reach_has_the_farthest_side(side, levels):
    """A square of 120 px around (256, 256) has points with 60 to 72 px to the farthest side."""
    strides = (8, 16, 32)
    lower, upper = 256 - side / 2, 256 + side / 2
    matched = assign_one([[lower, lower, upper, upper]], 64, 64, *strides)
    ends = [0]
    for stride in strides:
        ends.append(ends[-1] + (512 // stride) ** 2)
    found = {i for i in range(3) if any(gt == 0 for gt in matched[ends[i] : ends[i + 1]])}
    assert found == levels


def test_no_objects_and_padding_only_leave_everything_negative():
    assert assign_one([], 3, 3, 8) == [-1] * 9
    priors = torch.cat(PriorGenerator((8,), 0.5).grid_priors([(3, 3)]))
    box = torch.tensor([[[0.0, 0, 24, 24]]])
    assert fcos(priors, [9], box, torch.tensor([[False]]), RADIUS).eq(-1).all()
    assert fcos(priors, [9], box, torch.tensor([[True]]), RADIUS).eq(0).all()


def test_no_target_is_beyond_the_reach_but_on_the_last_level():
    """So that n = 16 never clips (Table 2a's FCOS): 8 strides where there is a level above."""
    generator = torch.Generator().manual_seed(0)
    strides = (8, 16, 32, 64, 128)
    shapes = [(1024 // stride, 1024 // stride) for stride in strides]
    boxes = random_boxes(0, MOST, 1024, 1024, torch.float32)
    boxes[:, 2:] = boxes[:, :2] + 1000 * torch.rand(MOST, 2, generator=generator)
    matched = assign(Batch(strides, shapes, [boxes]))[0]
    priors = torch.cat(PriorGenerator(strides, 0.5).grid_priors(shapes))
    at = matched >= 0
    points, gt = priors[at], boxes[matched[at]]
    farthest = torch.cat([points[:, :2] - gt[:, :2], gt[:, 2:] - points[:, :2]], -1).amax(-1)
    reach = torch.where(points[:, 2] == 128, math.inf, 8 * points[:, 2])
    assert at.sum() > 50
    assert (farthest <= reach).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@examples(30)
@given(batches())
def test_same_on_cuda(batch):
    on_device = batch._replace(boxes=[image.cuda() for image in batch.boxes])
    levels = PriorGenerator(batch.strides, 0.5).grid_priors(
        batch.shapes, batch.boxes[0].dtype, device="cuda"
    )
    sizes = [len(level) for level in levels]
    matched = fcos(torch.cat(levels), sizes, *pad_boxes(on_device.boxes), RADIUS)
    assert torch.equal(assign(batch), matched.cpu())
