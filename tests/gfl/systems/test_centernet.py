"""CenterNet: the released code's rules worked out by hand, and mmdet's CornerHead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from corner_models import (
    CLASSES,
    METHODS,
    SIZE,
    batch,
    build,
    exact_maps,
    published,
    samples,
    small,
    varied,
)
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import CornerPool
from mmdet.models.dense_heads import CornerHead
from mmdet.models.utils import gen_gaussian_target
from mmdet_models import untrained
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from gfl.config.systems.centernet import HEAD
from gfl.systems import keypoints
from gfl.systems.centernet import CascadeCornerPool, CenterPool, RowOrColumnMaximum, TripletHead

LARGE = 150**2
TEST = ConfigDict(
    corner_topk=70,
    local_maximum_kernel=3,
    distance_threshold=0.5,
    large_area=LARGE,
    max_per_img=100,
    nms={"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian"},
)
META = {"img_shape": (SIZE, SIZE), "batch_input_shape": (SIZE, SIZE), "scale_factor": (1.0, 1.0)}
BOXES = torch.tensor(
    [[5.5, 9.25, 40.0, 61.75], [64.0, 12.5, 118.25, 43.0], [30.75, 70.0, 99.5, 120.25]]
)
LABELS = torch.tensor([3, 0, 3])


def head(num_feat_levels: int = 1, channels: int = 8, **settings: Any) -> TripletHead:
    torch.manual_seed(0)
    sizes = {
        "num_classes": CLASSES,
        "in_channels": channels,
        "num_feat_levels": num_feat_levels,
        "feat_channels": channels,
        "pool_channels": channels,
    }
    published = {key: value for key, value in HEAD.items() if key != "type"}
    return TripletHead(**published | sizes | settings, test_cfg=TEST)


def perfect(boxes: Tensor = BOXES, labels: Tensor = LABELS, centers: Tensor | None = None) -> Any:
    """Return the maps of a head that knows the boxes, and the given centers or theirs."""
    tags = 2.0 * torch.arange(len(boxes))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 if centers is None else centers
    return (
        [exact_maps(boxes[:, :2], labels, tags)],
        [exact_maps(boxes[:, 2:], labels, tags)],
        [exact_maps(middle, labels[: len(middle)], None)],
    )


def found(maps: Any, meta: dict[str, Any] = META) -> InstanceData:
    return head().predict_by_feat(*maps, batch_img_metas=[meta])[0]


def sure(detections: InstanceData) -> InstanceData:
    """Return the detections of keypoints that are certain, in the order of their left sides."""
    kept: Any = detections[detections.scores > 0.9]
    return kept[kept.bboxes[:, 0].argsort()]


# Pooling


@pytest.mark.parametrize(("dim", "there", "back"), [(2, "top", "bottom"), (3, "left", "right")])
def test_center_pooling_is_corner_pooling_there_and_back(dim, there, back):
    x = torch.randn(2, 3, 7, 9)
    assert torch.equal(RowOrColumnMaximum(dim)(x), CornerPool(back)(CornerPool(there)(x)))


def as_identity(pool: nn.Module) -> None:
    """Make every convolution of one channel pass its input on, and every BatchNorm, too."""
    pool.eval()
    for module in pool.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12


def test_center_pooling_adds_row_and_column_maximum():
    pool = CenterPool(1, 1)
    as_identity(pool)
    x = torch.rand(1, 1, 5, 6)
    expected = x.amax(2, keepdim=True) + x.amax(3, keepdim=True) + x
    torch.testing.assert_close(pool(x), expected)


def test_cascade_corner_pooling_looks_into_the_box_and_then_along_its_side():
    """By loops over the cells: into the box of a top left corner is rightward and downward."""
    x = torch.rand(6, 5, generator=torch.Generator().manual_seed(3))
    expected = torch.zeros_like(x)
    rightward = torch.stack([x[:, i:].amax(1) for i in range(5)], 1)
    downward = torch.stack([x[i:].amax(0) for i in range(6)], 0)
    for i in range(6):
        for j in range(5):
            top = (x[i:, j] + rightward[i:, j]).amax()  # down the left side
            left = (x[i, j:] + downward[i, j:]).amax()  # along the top side
            expected[i, j] = top + left + x[i, j]
    pool = CascadeCornerPool(1, ("top", "left"), 1)
    as_identity(pool)
    torch.testing.assert_close(pool(x[None, None])[0, 0], expected)
    turned = CascadeCornerPool(1, ("bottom", "right"), 1)
    as_identity(turned)
    mirrored = turned(x.flip(0, 1)[None, None])[0, 0].flip(0, 1)
    torch.testing.assert_close(mirrored, expected)


# Targets


@given(
    width=st.integers(1, 128),
    height=st.integers(1, 128),
    overlap=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_the_radius_is_the_least_root_of_three_undivided_quadratics(width, height, overlap):
    """CornerNet's equations; a root times its leading coefficient is what is released."""
    total, area = width + height, width * height
    first = (1, -total, area * (1 - overlap) / (1 + overlap))
    second = (4, -2 * total, (1 - overlap) * area)
    third = (4 * overlap, 2 * overlap * total, (overlap - 1) * area)
    undivided = [max(np.roots(equation).real) * equation[0] for equation in (first, second, third)]
    radius = keypoints.peak_radius(torch.tensor([[width, height]]).double(), overlap)
    assert abs(radius.item() - min(undivided)) < 1 + 1e-6
    assert radius.item() == pytest.approx(math.floor(min(undivided) + 1e-9), abs=1e-6)


def test_a_fraction_of_a_cell_counts_as_a_cell():
    sizes = torch.tensor([[20.0, 30.0], [19.1, 29.9]])
    one, other = keypoints.peak_radius(sizes, 0.7)
    assert one == other == 6


@given(x=st.integers(0, 31), y=st.integers(0, 23), radius=st.integers(0, 12))
def test_a_corners_peak_is_mmdets(x, y, radius):
    peak = keypoints.gaussian_peaks(
        torch.tensor([[float(x), float(y)]]), torch.tensor([float(radius)]), 6, 24, 32
    )
    torch.testing.assert_close(peak[0], gen_gaussian_target(torch.zeros(24, 32), [x, y], radius))


def test_a_centers_peak_is_wider_than_a_corners():
    cell, radius = torch.tensor([[8.0, 8.0]]), torch.tensor([4.0])
    corner, center = (keypoints.gaussian_peaks(cell, radius, n, 17, 17)[0] for n in (6, 5))
    assert corner[8, 10].item() == pytest.approx(math.exp(-4 / (2 * (9 / 6) ** 2)))
    assert center[8, 10].item() == pytest.approx(math.exp(-4 / (2 * (9 / 5) ** 2)))
    assert center[8, 13] == 0 < center[8, 12]


def test_targets_of_two_objects_by_hand():
    (one, two) = (10.0, 20.0, 70.0, 90.0), (12.0, 24.0, 127.9, 127.9)
    batch = samples([[], [one, two]], [[], [2, 5]])
    instances = [sample.gt_instances for sample in batch]
    tl, br, ct = head().keypoint_targets(instances, (2, CLASSES, 32, 32), (SIZE, SIZE))
    assert tl.image.tolist() == [1, 1]
    assert tl.cell.tolist() == [[2, 5], [3, 6]]
    assert br.cell.tolist() == [[17, 22], [31, 31]]
    assert ct.cell.tolist() == [[10, 13], [17, 18]]
    torch.testing.assert_close(tl.offset, torch.tensor([[0.5, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(ct.offset, torch.tensor([[0.0, 0.75], [0.4875, 0.9875]]))
    for target in (tl, br, ct):
        ones = target.heat.eq(1).nonzero().tolist()
        (x1, y1), (x2, y2) = target.cell.tolist()
        assert ones == [[1, 2, y1, x1], [1, 5, y2, x2]]


def test_overlapping_peaks_of_a_class_keep_the_higher_value():
    box, near = (8.0, 8.0, 80.0, 80.0), (16.0, 8.0, 88.0, 80.0)
    both = samples([[box, near]], [[1, 1]])[0].gt_instances
    target = head().keypoint_targets([both], (1, CLASSES, 32, 32), (SIZE, SIZE))[0]
    alone = [
        head().keypoint_targets(
            [samples([[one]], [[1]])[0].gt_instances], (1, CLASSES, 32, 32), (SIZE, SIZE)
        )[0]
        for one in (box, near)
    ]
    assert torch.equal(target.heat, torch.maximum(alone[0].heat, alone[1].heat))


# Losses


def released_loss(maps: Any, targets: Any) -> Tensor:
    """Return the released loss of one stack without the tags', by loops, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for (predicted,), target in zip(maps, targets, strict=True):
        score = predicted.heat.double().sigmoid().clamp(1e-4, 1 - 1e-4)
        truth = target.heat.double()
        positive = truth == 1
        here = (score[positive].log() * (1 - score[positive]) ** 2).sum()
        off = 1 - score[~positive]
        away = (off.log() * score[~positive] ** 2 * (1 - truth[~positive]) ** 4).sum()
        total = total - (here + away) / max(1, int(positive.sum()))
        for i, (x, y), at in zip(target.image, target.cell.tolist(), target.offset, strict=True):
            error = (predicted.offset[i, :, y, x] - at).abs().double()
            smooth = torch.where(error < 1, error**2 / 2, error - 0.5).sum()
            total = total + smooth / len(target.cell)
    return total


@pytest.mark.parametrize("counts", [(3, 2), (0, 4), (1,)])
def test_losses_are_the_released_ones(counts):
    made = varied(head())
    features = torch.randn(len(counts), 8, 32, 32)
    _, batched = batch(counts)
    instances = [sample.gt_instances for sample in batched]
    maps = made([features])
    losses = made.loss_by_feat(*maps, instances, [META] * len(counts))
    targets = made.keypoint_targets(instances, maps[0][0].heat.shape, (SIZE, SIZE))
    mine = losses["det_loss"][0] + losses["off_loss"][0]
    torch.testing.assert_close(mine.double(), released_loss(maps, targets), rtol=1e-5, atol=1e-5)


def test_tags_are_pulled_together_and_pushed_apart_by_hand():
    """Two objects, tags 0 and 1 of the first and 2 and 2 of the second."""
    maps = perfect(BOXES[:2], LABELS[:2])
    for kind, tags in zip(maps[:2], ([0.0, 2.0], [1.0, 2.0]), strict=True):
        for tag, point in zip(tags, BOXES[:2].unflatten(1, (2, 2)), strict=True):
            x, y = (point[0 if kind is maps[0] else 1] / 4).int().tolist()
            kind[0].tag[0, 0, y, x] = tag
    truth = InstanceData(bboxes=BOXES[:2], labels=LABELS[:2])
    losses = head().loss_by_feat(*maps, [truth], [META])
    # Means 0.5 and 2: (0.25 + 0.25) / 2 objects, and no push, for they are 1.5 apart.
    assert losses["pull_loss"][0].item() == pytest.approx(0.1 * 0.25)
    assert losses["push_loss"][0].item() == 0
    assert losses["off_loss"][0].item() == pytest.approx(0, abs=1e-9)


def test_two_stacks_have_the_mean_of_their_losses():
    one, two = head(1), head(2)
    for name in ("tl", "br", "ct"):
        for stack in (0, 1):
            source = getattr(one, name)[0].state_dict()
            getattr(two, name)[stack].load_state_dict(source)
    features = torch.randn(2, 8, 32, 32)
    _, batched = batch((2, 1))
    instances, metas = [sample.gt_instances for sample in batched], [META] * 2
    alone = one.loss_by_feat(*one([features]), instances, metas)
    both = two.loss_by_feat(*two([features, features]), instances, metas)
    for name, losses in alone.items():
        torch.testing.assert_close(sum(both[name]), losses[0])


# Detections


def test_perfect_maps_give_the_boxes_back():
    detections = sure(found(perfect()))
    order = BOXES[:, 0].argsort()
    torch.testing.assert_close(detections.bboxes, BOXES[order], atol=1e-4, rtol=0)
    assert detections.labels.tolist() == LABELS[order].tolist()
    torch.testing.assert_close(detections.scores, torch.ones(3))


@pytest.mark.parametrize("index", range(3))
def test_a_box_without_its_center_is_dropped(index):
    maps = perfect()
    others = [i for i in range(3) if i != index]
    middle = (BOXES[others, :2] + BOXES[others, 2:]) / 2
    maps[2][0] = exact_maps(middle, LABELS[others], None)
    left = sure(found(maps)).bboxes
    expected = BOXES[others]
    torch.testing.assert_close(left, expected[expected[:, 0].argsort()], atol=1e-4, rtol=0)


def test_a_center_beside_the_central_region_does_not_confirm():
    middle = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    size = BOXES[:, 2:] - BOXES[:, :2]
    just_in, just_out = middle.clone(), middle.clone()
    just_in[0, 0] += size[0, 0] * (1 / 6 - 0.01)
    just_out[0, 0] += size[0, 0] * (1 / 6 + 0.01)
    assert len(sure(found(perfect(centers=just_in)))) == 3
    assert sure(found(perfect(centers=just_out))).labels.tolist() == [3, 0]


def test_a_center_of_another_class_does_not_confirm():
    maps = perfect()
    middle = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    maps[2][0] = exact_maps(middle, torch.tensor([3, 1, 3]), None)
    assert sure(found(maps)).labels.tolist() == [3, 3]


def test_corners_with_other_tags_or_in_the_wrong_order_are_no_pair():
    maps = perfect()
    maps[1][0].tag.add_(0.6)
    assert len(sure(found(maps))) == 0
    top_left, bottom_right, centers = perfect()
    assert len(sure(found((bottom_right, top_left, centers)))) == 0


def candidates(rows: list[tuple[list[float], float, int, bool]]) -> InstanceData:
    boxes, scores, labels, centers = zip(*rows, strict=True)
    return InstanceData(
        bboxes=torch.tensor(boxes),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
        centers=torch.tensor(centers),
    )


def test_the_score_is_of_the_pair_and_its_first_center():
    """The original copy's centers come before the mirrored copy's, whatever their scores."""
    rows = [
        ([0.0, 0.0, 90.0, 90.0], 0.6, 2, False),
        ([45.0, 45.0, 45.0, 45.0], 0.3, 2, True),
        ([10.0, 10.0, 60.0, 60.0], 0.5, 2, False),
        ([44.0, 44.0, 44.0, 44.0], 0.9, 2, True),
        ([44.0, 46.0, 44.0, 46.0], 1.0, 1, True),
    ]
    result = head().confirmed(candidates(rows))
    # Of the second pair the middle third is 26.7 to 43.3 px: neither center is in it.
    assert result.scores.tolist() == pytest.approx([(2 * 0.6 + 0.3) / 3])


@pytest.mark.parametrize(("side", "kept"), [(150.0, True), (150.1, False)])
def test_a_large_box_needs_its_center_in_the_middle_fifth(side, kept):
    at = side / 2 + side / 8  # in the middle third, 1/6 about the middle; not in the fifth, 1/10
    rows = [([0.0, 0.0, side, side], 0.5, 0, False), ([at, at, at, at], 0.5, 0, True)]
    assert len(head().confirmed(candidates(rows))) == int(kept)


@pytest.mark.parametrize("parts", [3, 5])
def test_a_central_region_is_a_square_of_the_parts(parts):
    region = keypoints.central_region(BOXES, torch.full((3,), parts))
    size, whole = region[:, 2:] - region[:, :2], BOXES[:, 2:] - BOXES[:, :2]
    torch.testing.assert_close(size.prod(-1), whole.prod(-1) / parts**2)
    # As the paper writes it: (2 x1 + x2) / 3, or (3 x1 + 2 x2) / 5.
    many, few = (parts + 1) // 2, (parts - 1) // 2
    torch.testing.assert_close(region[:, 0], (many * BOXES[:, 0] + few * BOXES[:, 2]) / parts)
    torch.testing.assert_close(region[:, 3], (few * BOXES[:, 1] + many * BOXES[:, 3]) / parts)
    everything = keypoints.central_region(BOXES, torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(everything, BOXES)


def test_without_the_triplet_test_pairs_are_cornernets(monkeypatch):
    """Region the whole box, and a center in each: mmdet's boxes and scores from 70 corners."""
    random = torch.Generator().manual_seed(5)

    def maps(channels: int) -> Tensor:
        return torch.rand(1, channels, 32, 32, generator=random)

    heat1, heat2, tag1, tag2 = maps(2), maps(2), 4 * maps(1), 4 * maps(1)
    offset1, offset2 = maps(2), maps(2)
    stock = CornerHead(2, 8, 1, test_cfg=TEST)
    boxes, scores, labels = stock._decode_heatmap(
        heat1.sigmoid(), heat2.sigmoid(), offset1, offset2, tag1, tag2,
        img_meta=META, k=70, kernel=3, distance_threshold=0.5,
    )  # fmt: skip
    valid = scores[0, :, 0] > -1
    kinds = [keypoints.Keypoints(heat1, offset1, tag1), keypoints.Keypoints(heat2, offset2, tag2)]
    centers = keypoints.Keypoints(heat1, offset1, None)
    result = head().predict_by_feat(
        [kinds[0]], [kinds[1]], [centers], batch_img_metas=[META], with_nms=False
    )[0]
    pairs: Any = result[~result.centers]
    assert len(pairs) == int(valid.sum()) > 100
    # No box of mmdet's is clipped or left out, for none is beyond the image by 5 px.
    torch.testing.assert_close(pairs.scores, scores[0, valid, 0])
    torch.testing.assert_close(pairs.bboxes, boxes[0, valid].clamp(max=SIZE))
    assert torch.equal(pairs.labels, labels[0, valid, 0])
    whole = candidates(
        [([0.0, 0.0, 10.0 + i, 10.0], 0.5, 0, False) for i in range(5)]
        + [([9.0, 9.0, 9.0, 9.0], 0.5, 0, True)]
    )
    monkeypatch.setattr("gfl.systems.centernet.THIRDS", 1)
    confirmed = head().confirmed(whole)
    assert torch.equal(confirmed.bboxes, whole.bboxes[:5])
    assert torch.equal(confirmed.scores, whole.scores[:5])


def test_boxes_stick_out_by_less_than_five_pixels_and_are_cut():
    """An image of 100 x 90 px, 20 px from the left and 10 px from the top of its canvas."""
    meta = META | {"border": np.array([10, 100, 20, 120], dtype=np.float32)}
    boxes = torch.tensor([[30.0, 20.0, 124.0, 104.0], [14.5, 20.0, 60.0, 60.0]])
    detections = sure(found(perfect(boxes, LABELS[:2]), meta))
    torch.testing.assert_close(detections.bboxes, torch.tensor([[10.0, 10.0, 100.0, 90.0]]))


def test_boxes_are_rescaled_to_the_original_image():
    meta = META | {"scale_factor": (0.5, 0.25)}
    result = head().predict_by_feat(*perfect(), batch_img_metas=[meta], rescale=True)[0]
    order = BOXES[:, 0].argsort()
    expected = BOXES[order] * torch.tensor([2.0, 4.0, 2.0, 4.0])
    torch.testing.assert_close(sure(result).bboxes, expected, atol=1e-3, rtol=0)


# The detector


def detector(stacks: int) -> Any:
    return build(small(METHODS["centernet"], stacks))


def train(model: Any, counts: tuple[int, ...], size: int = SIZE, **options: Any) -> dict[str, Any]:
    images, batched = batch(counts, size)
    losses = model.loss(images.to(**options), batched)
    return {name: torch.stack(list(parts)) for name, parts in losses.items()}


@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("counts", [(3, 2), (0, 0), (1, 0)])
def test_every_parameter_has_a_gradient(stacks, counts):
    model = detector(stacks).to(memory_format=torch.channels_last)
    losses = train(model, counts, 64, memory_format=torch.channels_last)
    assert all(loss.isfinite().all() for loss in losses.values())
    sum(loss.sum() for loss in losses.values()).backward()
    # Where no image has an object, tags and offsets have nothing to learn, and gradients of 0.
    assert untrained(model) == []


def test_losses_are_float32_under_autocast():
    model = detector(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = train(model, (3, 2), 64)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    exact = train(model, (3, 2), 64)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, exact[name], rtol=0.05, atol=0.02)
    sum(loss.sum() for loss in losses.values()).backward()
    assert untrained(model) == []


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["hg52", "hg104"])
def test_the_published_network_trains(backbone):
    model = build(published("centernet", backbone)["model"])
    images, batched = batch((2, 1))
    losses = model.loss(images, batched)
    torch.stack([loss for parts in losses.values() for loss in parts]).sum().backward()
    assert untrained(model) == []
    with torch.no_grad():
        assert len(model.eval().predict(images[:1], batched[:1])) == 1
