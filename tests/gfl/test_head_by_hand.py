"""The head's losses and scores worked out location by location, with Python's own numbers.

mmdet has no head for the cells between GFL and ATSS: joint with a Dirac delta, centerness with a
General distribution, other n, delta and beta. Here they are computed from the paper's equations.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gfl.assign import atss, pad_boxes
from gfl.boxes import anchors_at

STRIDES, CLASSES = (8, 16, 32, 64, 128), 5
CELLS: dict[str, dict[str, Any]] = {
    "ATSS": {},
    "QFL": {"quality": "joint"},
    "DFL": {"boxes": "general", "dfl": True},
    "GFL": {"quality": "joint", "boxes": "general", "dfl": True},
    "General without DFL": {"boxes": "general"},
    "n = 8, delta = 2": {"quality": "joint", "boxes": "general", "dfl": True, "n": 8, "delta": 2.0},
    "n = 4, all clamped": {"boxes": "general", "dfl": True, "n": 4, "delta": 0.5},
    "beta = 1": {"quality": "joint", "beta": 1.0},
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def cross_entropy(p: float, y: float) -> float:
    return -(1 - y) * math.log(1 - p) - y * math.log(p)


def area(x1: float, y1: float, x2: float, y2: float) -> float:
    return max(x2 - x1, 0) * max(y2 - y1, 0)


def iou_and_giou(a: list[float], b: list[float]) -> tuple[float, float]:
    overlap = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = area(*a) + area(*b) - overlap
    hull = area(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    return overlap / union, overlap / union - (hull - union) / hull


class Location:
    """What a head predicts at one location, and where that is."""

    def __init__(self, head: Any, outputs: Any, image: int, level: int, row: int, column: int):
        logits, raw, quality = outputs
        at = (image, slice(None), row, column)
        self.head, self.stride = head, STRIDES[level]
        self.x, self.y = column * self.stride, row * self.stride
        self.scores = [sigmoid(v) for v in logits[level][at].tolist()]
        self.raw = raw[level][at].tolist()
        self.quality = sigmoid(quality[level][at].item()) if quality else None

    def distributions(self) -> list[list[float]]:
        bins = self.head.representation.n + 1
        return [softmax(self.raw[side * bins : (side + 1) * bins]) for side in range(4)]

    def box(self) -> list[float]:
        if self.head.representation.channels == 4:  # of the anchor of 8 strides, R-CNN's deltas
            side = 8 * self.stride
            dx, dy, dw, dh = (
                v * std for v, std in zip(self.raw, (0.1, 0.1, 0.2, 0.2), strict=True)
            )
            x, y, w, h = (
                self.x + side * dx,
                self.y + side * dy,
                side * math.exp(dw),
                side * math.exp(dh),
            )
            return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        delta = self.head.representation.delta
        left, top, right, bottom = (
            sum(p * i * delta for i, p in enumerate(side)) * self.stride
            for side in self.distributions()
        )
        return [self.x - left, self.y - top, self.x + right, self.y + bottom]

    def centerness(self, gt: list[float]) -> float:
        left, top, right, bottom = self.sides(gt)
        horizontal = min(left, right) / max(left, right)
        return math.sqrt(horizontal * min(top, bottom) / max(top, bottom))

    def sides(self, gt: list[float]) -> list[float]:
        return [self.x - gt[0], self.y - gt[1], gt[2] - self.x, gt[3] - self.y]

    def dfl(self, gt: list[float]) -> float:
        """Eq. 6, the mean of four sides."""
        delta, n = self.head.representation.delta, self.head.representation.n
        total = 0.0
        for side, p in zip(self.sides(gt), self.distributions(), strict=True):
            y = min(max(side / self.stride, 0), (n - 0.1) * delta)
            i = math.floor(y / delta)
            left, right = i * delta, (i + 1) * delta
            total -= (right - y) / delta * math.log(p[i])
            total -= (y - left) / delta * math.log(p[i + 1])
        return total / 4


def eq_11(head: Any, outputs: Any, samples: list[Any]) -> dict[str, float]:
    """Eq. 11 (and the BCE of the centerness branch), summed location by location."""
    sums = {"loss_cls": 0.0, "loss_bbox": 0.0, "loss_dfl": 0.0, "loss_quality": 0.0}
    n_pos = weights = 0.0
    joint = outputs[2] is None
    for image, sample in enumerate(samples):
        in_image = 0
        for location, gt, label in locations(head, outputs, image, sample):
            positive = gt is not None
            for c, p in enumerate(location.scores):
                if joint:
                    y = iou_and_giou(location.box(), gt)[0] if positive and c == label else 0.0
                    sums["loss_cls"] += abs(y - p) ** head.beta * cross_entropy(p, y)
                elif positive and c == label:
                    sums["loss_cls"] -= 0.25 * (1 - p) ** 2 * math.log(p)
                else:
                    sums["loss_cls"] -= 0.75 * p**2 * math.log(1 - p)
            if not positive:
                continue
            in_image += 1
            weight = max(location.scores) if joint else location.centerness(gt)
            weights += weight
            sums["loss_bbox"] += 2 * weight * (1 - iou_and_giou(location.box(), gt)[1])
            if head.dfl:
                sums["loss_dfl"] += weight * location.dfl(gt) / 4
            if not joint:
                sums["loss_quality"] += cross_entropy(location.quality, location.centerness(gt))
        n_pos += max(in_image, 1)
    assert weights > 1
    divisors = {"loss_cls": n_pos, "loss_quality": n_pos, "loss_bbox": weights, "loss_dfl": weights}
    return {name: value / divisors[name] for name, value in sums.items()}


def locations(head: Any, outputs: Any, image: int, sample: Any) -> Any:
    """Yield the locations in an image's own padding, with their object and class, if any."""
    shapes = [level.shape[-2:] for level in outputs[0]]
    priors = head.prior_generator.grid_priors(shapes, torch.float64)
    height, width = sample.pad_shape
    inside = (torch.cat(priors)[:, 0] < width) & (torch.cat(priors)[:, 1] < height)
    boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
    # Compared with mmdet's in test_assign.py.
    matched = atss(
        anchors_at(torch.cat(priors)), [len(p) for p in priors], inside[None], *pad_boxes([boxes])
    )[0].tolist()
    index = -1
    for level, (rows, columns) in enumerate(shapes):
        for row in range(rows):
            for column in range(columns):
                index += 1
                if not inside[index]:
                    continue
                gt = matched[index]
                here = Location(head, outputs, image, level, row, column)
                yield here, *((boxes[gt].tolist(), labels[gt].item()) if gt >= 0 else (None, None))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_losses_are_the_equations(make_head, make_batch, cell):
    head = make_head(**cell).double()
    features, samples = make_batch((3, 0, 4), torch.float64)
    losses = head.loss(features, samples)
    with torch.no_grad():
        expected = eq_11(head, head(features), samples)
    terms = {"loss_cls", "loss_bbox"}
    terms |= {"loss_dfl"} if cell.get("dfl") else set()
    terms |= {"loss_quality"} if cell.get("quality") != "joint" else set()
    assert losses.keys() == terms
    for name in terms:
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-9), name


@pytest.mark.parametrize("boxes", ["dirac", "general"])
def test_joint_labels_and_weights_carry_no_gradient(make_head, make_batch, boxes):
    """QFL teaches classes alone, the box losses teach boxes alone: label and weight are constants.

    A quality target that is not detached collapses to 0 (GFocal#3).
    """
    head = make_head(quality="joint", boxes=boxes, dfl=boxes == "general")
    features, samples = make_batch()
    logits, raw, _ = head(features)
    losses = head.loss_by_feat(logits, raw, None, *ground_truth(samples))
    for name, value in losses.items():
        by_class = torch.autograd.grad(value, logits, retain_graph=True, allow_unused=True)
        by_box = torch.autograd.grad(value, raw, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in by_class) == (name == "loss_cls")
        assert any(g is not None and g.any() for g in by_box) == (name != "loss_cls")


def test_the_quality_branch_is_taught_by_its_own_loss_alone(make_head, make_batch):
    head = make_head()
    features, samples = make_batch()
    outputs = head(features)
    for name, value in head.loss_by_feat(*outputs, *ground_truth(samples)).items():
        taught = torch.autograd.grad(value, outputs[2], retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in taught) == (name == "loss_quality")


def ground_truth(samples: list[Any]) -> tuple[list[Any], list[Any]]:
    return [s.gt_instances for s in samples], [s.metainfo for s in samples]


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("quality", "winner", "score"),
    [("joint", 0, 0.9), ("centerness-branch", 1, 0.6 * 0.8)],
    ids=["joint", "centerness-branch"],
)
def test_nms_ranks_by_the_class_score_or_by_class_times_quality(make_head, quality, winner, score):
    """Two predictions of one box: class .9 quality .3, and class .6 quality .8."""
    head = make_head(quality, boxes="general", strides=(8,)).eval()
    logits = torch.full((1, CLASSES, 4, 4), -20.0)
    branch = torch.full((1, 1, 4, 4), 20.0)
    raw = torch.full((1, 4 * 17, 4, 4), -50.0)
    # At (8, 8) and (16, 16), the box 0, 0, 32, 40 but for a stride on its lower side.
    for column, p, q, bins in [(1, 0.9, 0.3, (1, 1, 3, 4)), (2, 0.6, 0.8, (2, 2, 2, 2))]:
        logits[0, 3, column, column] = logit(p)
        branch[0, 0, column, column] = logit(q)
        for side, index in enumerate(bins):
            raw[0, side * 17 + index, column, column] = 50.0
    boxes = torch.tensor([[0.0, 0.0, 32.0, 40.0], [0.0, 0.0, 32.0, 32.0]])
    meta = {"img_shape": (48, 48), "scale_factor": (1.0, 1.0)}
    has_branch = quality != "joint"
    found = head.predict_by_feat([logits], [raw], [branch] if has_branch else None, [meta])[0]
    assert found.labels.tolist() == [3]
    assert found.scores.tolist() == pytest.approx([score], abs=1e-6)
    torch.testing.assert_close(found.bboxes, boxes[winner][None])
