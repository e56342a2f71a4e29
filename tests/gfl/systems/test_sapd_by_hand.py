"""SAPD's loss of two objects, cell by cell and class by class in Python."""

from __future__ import annotations

import math
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from sapd_made import CLASSES, STRIDES, in_float64, make_head
from torch import Tensor

from gfl.systems.sapd import point_weights

IMAGE = 64
SMALL_STRIDES = (8, 16, 32)
# Boxes, class by class, whose shrunk boxes overlap at no level.
OBJECTS = ((5.0, 6.0, 33.0, 30.0, 1), (30.0, 34.0, 62.0, 60.0, 3))


def one_image(objects: Any = OBJECTS, dtype: torch.dtype = torch.float64) -> Any:
    shape = (IMAGE, IMAGE)
    sample = DetDataSample(
        metainfo={"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape}
    )
    boxes = torch.tensor([one[:4] for one in objects], dtype=dtype).reshape(-1, 4)
    labels = torch.tensor([one[4] for one in objects], dtype=torch.long)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    return sample


def drawn_outputs(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor]]:
    random = torch.Generator().manual_seed(3)
    sizes = [IMAGE // stride for stride in SMALL_STRIDES]
    draw = [torch.randn(1, CLASSES, n, n, generator=random).to(dtype) for n in sizes]
    return draw, [torch.rand(1, 4, n, n, generator=random).to(dtype) for n in sizes]


def positives_by_hand() -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return each object's cells at each level: over 1/100 in its shrunk box, the centre in it."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for one, (x1, y1, x2, y2, _) in enumerate(OBJECTS):
        u1, u2 = (x1 + x2) / 2 - (x2 - x1) / 10, (x1 + x2) / 2 + (x2 - x1) / 10
        v1, v2 = (y1 + y2) / 2 - (y2 - y1) / 10, (y1 + y2) / 2 + (y2 - y1) / 10
        for level, s in enumerate(SMALL_STRIDES):
            for i in range(IMAGE // s):
                for j in range(IMAGE // s):
                    x, y = (j + 0.5) * s, (i + 0.5) * s
                    common = max(0, min(u2, x + s / 2) - max(u1, x - s / 2)) * max(
                        0, min(v2, y + s / 2) - max(v1, y - s / 2)
                    )
                    if common > s * s / 100 and x1 < x < x2 and y1 < y < y2:
                        found.setdefault((one, level), []).append((i, j))
    return found


def focal_by_hand(logit: float, positive: bool) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)


def box_loss_by_hand(tblr: list[float], one: int, x: float, y: float, s: int) -> float:
    """Return -ln IoU of the box that a point predicts."""
    x1, y1, x2, y2, _ = OBJECTS[one]
    top, bottom, left, right = (max(value, 1e-4) * 4 * s for value in tblr)
    a = (x - left, y - top, x + right, y + bottom)
    common = max(0, min(a[2], x2) - max(a[0], x1)) * max(0, min(a[3], y2) - max(a[1], y1))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (x2 - x1) * (y2 - y1) - common
    return -math.log(common / union)


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_of_two_objects_by_hand(soft):
    """Every cell and class in Python: weights of points and levels, divisor, the network's loss."""
    head = in_float64(make_head(strides=SMALL_STRIDES, levels_kept=2))
    head.is_soft = soft
    scores, distances = drawn_outputs()
    logits = torch.tensor([[0.3, -0.2, 0.9], [0.1, 1.2, 0.8]], dtype=torch.float64)
    sample = one_image()
    losses = head.loss_by_feat(
        scores, distances, [sample.gt_instances], [sample.metainfo], level_logits=logits
    )
    cells = positives_by_hand()
    own, box = {}, {}
    for (one, level), places in cells.items():
        s = SMALL_STRIDES[level]
        for i, j in places:
            at = (level, i, j)
            tblr = distances[level][0, :, i, j].tolist()
            box[at] = one, box_loss_by_hand(tblr, one, (j + 0.5) * s, (i + 0.5) * s, s)
            own[at] = sum(
                focal_by_hand(scores[level][0, c, i, j].item(), c == OBJECTS[one][4])
                for c in range(CLASSES)
            )
    mean = {
        key: sum(own[key[1], *p] + box[key[1], *p][1] for p in places) / len(places)
        for key, places in cells.items()
    }
    best = [min((mean[key], key[1]) for key in mean if key[0] == one)[1] for one in (0, 1)]
    p = logits.softmax(-1).tolist()
    of_level = [[p[0][0], 0, p[0][2]], [0, p[1][1], p[1][2]]]  # k = 2
    if not soft:
        of_level = [[float(level == best[one]) for level in range(3)] for one in (0, 1)]
    total = loss_cls = loss_bbox = 0.0
    for level, s in enumerate(SMALL_STRIDES):
        for i in range(IMAGE // s):
            for j in range(IMAGE // s):
                one, overlap = box.get((level, i, j), (None, 0.0))
                weight, label = 0.0, None
                if one is not None:
                    x1, y1, x2, y2, label = OBJECTS[one]
                    x, y = (j + 0.5) * s, (i + 0.5) * s
                    left, right, top, bottom = x - x1, x2 - x, y - y1, y2 - y
                    square = min(left, right) * min(top, bottom)
                    square /= max(left, right) * max(top, bottom)
                    weight = of_level[one][level] * square
                total += weight
                loss_bbox += weight * overlap
                loss_cls += sum(
                    (weight if c == label else 1)
                    * focal_by_hand(scores[level][0, c, i, j].item(), c == label)
                    for c in range(CLASSES)
                )
    assert {key[1] for key in cells} == {0, 1, 2}
    assert losses["loss_cls"].item() == pytest.approx(loss_cls / max(total, 1), rel=1e-9)
    assert losses["loss_bbox"].item() == pytest.approx(loss_bbox / max(total, 1), rel=1e-9)
    meta = -sum(math.log(p[one][best[one]]) for one in (0, 1)) / 2
    assert losses["loss_meta"].item() == pytest.approx(0.1 * meta, rel=1e-9)


def test_with_one_level_only_the_points_weight_remains():
    head = in_float64(make_head(strides=(8,), levels_kept=1))
    scores, distances = (part[:1] for part in drawn_outputs())
    sample = one_image()
    losses = []
    for soft in (False, True):
        head.is_soft = soft
        logits = torch.randn(2, 1, dtype=torch.float64)
        arguments = (scores, distances, [sample.gt_instances], [sample.metainfo])
        losses.append(head.loss_by_feat(*arguments, level_logits=logits))
        found = head._targets(scores, [sample.gt_instances], [sample.metainfo], None)
        weights = head._weights(found, logits, torch.zeros(2, dtype=torch.long))
        points = (found.anchors[:, :2] + found.anchors[:, 2:]) / 2
        assert torch.equal(weights, point_weights(points, found.boxes, 1.0))
    assert losses[0] == losses[1]
    assert losses[0]["loss_meta"] == 0


def test_where_objects_of_one_class_overlap_the_smaller_is_trained():
    """mmdet's FSAF trains neither: it ignores the class there."""
    small, large = (20.0, 20.0, 40.0, 40.0, 2), (10.0, 10.0, 50.0, 50.0, 2)
    head = make_head(strides=SMALL_STRIDES, levels_kept=2)
    sizes = [torch.zeros(1, CLASSES, IMAGE // s, IMAGE // s) for s in SMALL_STRIDES]
    for objects, index in (((small, large), 0), ((large, small), 1)):
        sample = one_image(objects, torch.float32)
        found = head._targets(sizes, [sample.gt_instances], [sample.metainfo], None)
        both = one_image((small,), torch.float32)
        alone = head._targets(sizes, [both.gt_instances], [both.metainfo], None)
        of_small = found.positives[found.objects == index]
        assert torch.equal(of_small, alone.positives)
        assert len(of_small) > 0
        assert (found.labels[of_small] == 2).all()


def test_a_point_is_its_cells_centre():
    head = make_head()
    assert [(x, y) for x, y in head.prior_generator.strides] == [(s, s) for s in STRIDES]
    cells = head.prior_generator.grid_priors([(2, 3)] * 5, device="cpu")
    assert cells[0][:2].tolist() == [[0, 0, 8, 8], [8, 0, 16, 8]]
