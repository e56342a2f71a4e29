"""ATSS against mmdet's own, a case worked by hand, and what batching must not change."""

import functools
from collections.abc import Sequence
from typing import NamedTuple
from unittest import mock

import gfl.register  # noqa: F401  # before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from boxes_drawn import MOST, examples, random_boxes, spoil
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.dense_heads import ATSSHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.assign import atss, pad_boxes

TOPK = 9  # as published


class Batch(NamedTuple):
    anchors: Tensor  # (N, 4)
    level_sizes: list[int]
    valid: Tensor  # (B, N)
    boxes: list[Tensor]  # (G_i, 4)
    strides: tuple[int, ...]


def assign(batch: Batch) -> Tensor:
    return atss(batch.anchors, batch.level_sizes, batch.valid, *pad_boxes(batch.boxes), TOPK)


@functools.cache
def stock_head(strides: tuple[int, ...]) -> ATSSHead:
    return ATSSHead(
        num_classes=MOST,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        anchor_generator={
            "type": "AnchorGenerator",
            "ratios": [1.0],
            "octave_base_scale": 8,
            "scales_per_octave": 1,
            "strides": list(strides),
        },
        train_cfg=ConfigDict(
            assigner={"type": "ATSSAssigner", "topk": TOPK}, allowed_border=-1, pos_weight=-1
        ),
    )


def stock_assign(batch: Batch) -> Tensor:
    """Run mmdet image by image; the class of every object is its index, so labels tell it."""
    head = stock_head(batch.strides)
    matched = []
    for valid, boxes in zip(batch.valid, batch.boxes, strict=True):
        objects = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)))
        labels = head._get_targets_single(
            batch.anchors, valid, batch.level_sizes, objects, {"img_shape": (0, 0)}
        )[1]
        matched.append(labels.where(labels < MOST, -1))
    return torch.stack(matched)


def definite_stock_assign(batch: Batch) -> Tensor:
    """Run mmdet with the two things it leaves open settled as ours are, and no other change.

    `topk` takes the lowest of equal distances. Mean and standard deviation are rounded once:
    stock float32 sums differ in the last bit with the number of objects, which decides whether
    candidates that all have the same IoU reach their mean.
    """

    def topk(self: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
        values, order = self.sort(dim=dim, descending=largest, stable=True)
        return values.narrow(dim, 0, k), order.narrow(dim, 0, k)

    def rounded_once(statistic):
        return lambda self, dim: statistic(self.double(), dim).to(self.dtype)

    with mock.patch.multiple(
        Tensor, topk=topk, mean=rounded_once(Tensor.mean), std=rounded_once(Tensor.std)
    ):
        return stock_assign(batch)


@st.composite
def batches(
    draw,
    pyramids: Sequence[tuple[int, ...]] = ((8, 16, 32, 64, 128), (4, 8, 16, 32), (8, 16)),
    rastered: bool = False,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
) -> Batch:
    """Images of up to 256 px, each with its own padding to the batch's size, 0 to 100 objects."""
    strides, dtype = draw(st.sampled_from(pyramids)), draw(st.sampled_from(dtypes))
    sides = st.integers(1, 256)
    images = draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=3))
    height, width = (max(side) for side in zip(*images, strict=True))
    generator = stock_head(strides).prior_generator
    shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    levels = generator.grid_priors(shapes, dtype=dtype, device="cpu")
    valid = [torch.cat(generator.valid_flags(shapes, image, device="cpu")) for image in images]
    boxes = []
    for h, w in images:
        seed = draw(st.integers(0, 2**32 - 1))
        image_boxes = random_boxes(seed, draw(st.sampled_from((0, 1, 3, 10, MOST))), h, w, dtype)
        rough = rastered and draw(st.booleans())
        boxes.append(spoil(image_boxes, seed) if rough else image_boxes)
    sizes = [len(level) for level in levels]
    return Batch(torch.cat(levels), sizes, torch.stack(valid), boxes, strides)


@pytest.mark.filterwarnings("ignore:std\\(\\)")  # mmdet's, of an object's only candidate
@examples(500)
@given(batches(pyramids=((8, 16, 32, 64, 128), (4, 8, 16, 32), (8, 16), (8,)), rastered=True))
def test_equals_mmdet_with_ties_settled(batch):
    assert torch.equal(assign(batch), definite_stock_assign(batch))


@pytest.mark.filterwarnings("ignore:std\\(\\)")
@examples(150)
@given(batches(dtypes=(torch.float32, torch.float64)))
def test_equals_mmdet_untouched_where_nothing_ties(batch):
    # Continuous coordinates tie no distances, several levels no IoUs.
    assert torch.equal(assign(batch), stock_assign(batch))


@examples(100)
@given(batches(rastered=True))
def test_batched_equals_one_by_one(batch):
    alone = [
        assign(batch._replace(valid=valid[None], boxes=[boxes]))
        for valid, boxes in zip(batch.valid, batch.boxes, strict=True)
    ]
    assert torch.equal(assign(batch), torch.cat(alone))


@examples(100)
@given(batches(), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_order_and_padding_of_objects_do_not_matter(batch, seed, spare):
    boxes, valid = pad_boxes(batch.boxes)
    boxes = torch.cat((boxes, boxes.new_tensor([0, 0, 99, 99]).expand(len(boxes), spare, 4)), 1)
    valid = torch.cat((valid, valid.new_zeros(len(valid), spare)), 1)
    order = torch.randperm(valid.shape[1], generator=torch.Generator().manual_seed(seed))
    shuffled = atss(
        batch.anchors, batch.level_sizes, batch.valid, boxes[:, order], valid[:, order], TOPK
    )
    # -1, the negative, takes the last entry
    assert torch.equal(assign(batch), torch.cat((order, torch.tensor([-1])))[shuffled])


def square_anchors(rows: int, columns: int, stride: int, side: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = (torch.stack((x, y), dim=-1) * stride).view(-1, 2).float()
    return torch.cat((centre - side / 2, centre + side / 2), dim=-1)


def assign_one(
    anchors: Tensor, boxes: list[list[float]], topk: int = TOPK, sizes: list[int] | None = None
) -> list[int]:
    valid = torch.ones(1, len(anchors), dtype=torch.bool)
    padded = pad_boxes([torch.tensor(boxes, dtype=torch.float32).view(-1, 4)])
    return atss(anchors, sizes or [len(anchors)], valid, *padded, topk)[0].tolist()


def test_worked_by_hand():
    # A row of 8 px anchors at x = 0, 8, 16, and one of 16 px at (8, 0). Their IoUs with the box
    # are 1/17, 4/5, 1/17 and 5/16: mean .308, standard deviation .349, threshold .657.
    anchors = torch.cat((square_anchors(1, 3, 8, side=8), torch.tensor([[0.0, -8, 16, 8]])))
    assert assign_one(anchors, [[3, -4, 13, 4]], sizes=[3, 1]) == [-1, 0, -1, -1]
    # With the nearest of each level alone it is .556 + .345: of two unequal values the larger
    # never exceeds the mean by the unbiased standard deviation.
    assert assign_one(anchors, [[3, -4, 13, 4]], topk=1, sizes=[3, 1]) == [-1, -1, -1, -1]


def test_candidates_of_one_iou_are_positive_if_in_the_object():
    # All nine anchors contain the box, only the middle one's centre is in it.
    assert assign_one(square_anchors(3, 3, 8, side=64), [[3.3, 3.3, 10, 10]]) == [
        *([-1] * 4), 0, *([-1] * 4),
    ]  # fmt: skip


def test_of_equally_near_locations_the_lower_are_candidates():
    # The centre is halfway between four locations; all sixteen are in the box with one IoU.
    matched = assign_one(square_anchors(4, 4, 8, side=64), [[-1, -1, 25, 25]], topk=2)
    assert [i for i, gt in enumerate(matched) if gt == 0] == [1 * 4 + 1, 1 * 4 + 2]
    matched = assign_one(square_anchors(4, 4, 8, side=64), [[-1, -1, 25, 25]], topk=5)
    assert [i for i, gt in enumerate(matched) if gt == 0] == [1, 5, 6, 9, 10]


def test_location_of_two_objects_goes_to_the_higher_iou_then_to_the_first():
    anchors = square_anchors(3, 3, 8, side=16)
    near, exact = [1.0, 1, 15, 15], [0.0, 0, 16, 16]
    assert assign_one(anchors, [near])[4] == 0
    assert assign_one(anchors, [near, exact, exact])[4] == 1


def test_sole_candidate_is_negative():
    # The standard deviation of one value is 0/0.
    assert assign_one(square_anchors(1, 1, 8, side=64), [[-32, -32, 32, 32]]) == [-1]


def test_no_objects_and_padding_only_leave_everything_negative():
    anchors = square_anchors(3, 3, 8, side=64)
    assert assign_one(anchors, []) == [-1] * 9
    valid = torch.ones(1, 9, dtype=torch.bool)
    box = torch.tensor([[[-9.0, -9, 30, 30]]])
    assert atss(anchors, [9], valid, box, torch.tensor([[False]]), TOPK).eq(-1).all()
    assert atss(anchors, [9], valid, box, torch.tensor([[True]]), TOPK).ge(0).any()


def test_locations_outside_the_image_are_never_candidates():
    anchors = square_anchors(3, 3, 8, side=64)
    valid = torch.tensor([True, True, False] * 2 + [False] * 3)[None]
    box = torch.tensor([[[-9.0, -9, 30, 30]]])  # contains every location, all with one IoU
    matched = atss(anchors, [9], valid, box, torch.tensor([[True]]), TOPK)
    assert matched.tolist() == [[0, 0, -1, 0, 0, -1, -1, -1, -1]]


def test_pad_boxes():
    boxes, valid = pad_boxes([torch.ones(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
    assert boxes[:, :, 0].tolist() == [[1, 1], [0, 0], [1, 0]]
    assert valid.tolist() == [[True, True], [False, False], [True, False]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@examples(30)
@given(batches(rastered=True))
def test_same_on_cuda(batch):
    boxes, valid = pad_boxes([image.cuda() for image in batch.boxes])
    matched = atss(batch.anchors.cuda(), batch.level_sizes, batch.valid.cuda(), boxes, valid, TOPK)
    assert torch.equal(assign(batch), matched.cpu())
