"""Eq. 11 location by location, with Python's own numbers: what the head's losses are held to.

mmdet has no head for most cells of Tables 1 to 3: the other ways of using quality, joint with a
Dirac delta, Gaussian boxes, other n, delta and beta, and all of that on FCOS.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from gfl.assign import atss, fcos, pad_boxes
from gfl.boxes import Distance, Gaussian, General, anchors_at

STRIDES, CLASSES = (8, 16, 32, 64, 128), 5
ETA = 1.5  # of the guided rows


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
        offset = self.stride // 2 if is_fcos(head) else 0
        self.x, self.y = column * self.stride + offset, row * self.stride + offset
        self.scores = [sigmoid(v) for v in logits[level][at].tolist()]
        self.raw = raw[level][at].tolist()
        self.quality = sigmoid(quality[level][at].item()) if quality else None

    def distributions(self) -> list[list[float]]:
        bins = self.head.representation.n + 1
        return [softmax(self.raw[side * bins : (side + 1) * bins]) for side in range(4)]

    def box(self) -> list[float]:
        representation = self.head.representation
        if isinstance(representation, General):
            means = [
                sum(p * i * representation.delta for i, p in enumerate(side))
                for side in self.distributions()
            ]
        elif isinstance(representation, Distance | Gaussian):
            means = [max(v, 0.0) for v in self.raw[:4]]
        else:
            return self.moved_anchor()
        left, top, right, bottom = (v * self.stride for v in means)
        return [self.x - left, self.y - top, self.x + right, self.y + bottom]

    def moved_anchor(self) -> list[float]:
        """The square of 8 strides, by R-CNN's deltas."""
        side = 8 * self.stride
        dx, dy, dw, dh = (v * std for v, std in zip(self.raw, (0.1, 0.1, 0.2, 0.2), strict=True))
        x, y = self.x + side * dx, self.y + side * dy
        w, h = side * math.exp(dw), side * math.exp(dh)
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]

    def likelihood(self, gt: list[float]) -> float:
        """The Gaussian's negative log likelihood in strides, the mean of four sides."""
        total = 0.0
        for side, y in enumerate(self.sides(gt)):
            mean, log_variance = self.raw[side], self.raw[side + 4]
            error = y / self.stride - mean
            total += error**2 / (2 * math.exp(log_variance)) + log_variance / 2
        return total / 4

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


def is_fcos(head: Any) -> bool:
    return head.prior_generator.offset == 0.5


def focal(p: float, positive: bool) -> float:
    return -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)


def eq_11(head: Any, outputs: Any, samples: list[Any], quality: str) -> dict[str, float]:
    """Eq. 11 (and the BCE of a quality branch), summed location by location."""
    sums = {"loss_cls": 0.0, "loss_bbox": 0.0, "loss_dfl": 0.0, "loss_quality": 0.0}
    n_pos = weights = 0.0
    guided: list[tuple[float, float]] = []  # quality and loss of each positive's own class
    for image, sample in enumerate(samples):
        in_image = 0
        for location, gt, label in locations(head, outputs, image, sample):
            positive = gt is not None
            y = 0.0
            if positive:
                overlap = iou_and_giou(location.box(), gt)[0]
                y = location.centerness(gt) if "centerness" in quality else overlap
            for c, p in enumerate(location.scores):
                own = positive and c == label
                if quality == "joint":
                    target = y if own else 0.0
                    sums["loss_cls"] += abs(target - p) ** head.beta * cross_entropy(p, target)
                elif own and "guided" in quality:
                    guided.append((y, focal(p, True)))
                else:
                    sums["loss_cls"] += focal(p, own)
            if not positive:
                continue
            in_image += 1
            weight = {"joint": max(location.scores), "centerness-branch": y}.get(quality, 1.0)
            weights += weight
            sums["loss_bbox"] += weight * box_loss(head, location, gt)
            if head.dfl:
                sums["loss_dfl"] += weight * location.dfl(gt) / 4
            if "branch" in quality:
                sums["loss_quality"] += cross_entropy(location.quality, y)
        n_pos += in_image if is_fcos(head) else max(in_image, 1)
    if guided:
        share = sum(loss for _, loss in guided) / sum(y**ETA * loss for y, loss in guided)
        sums["loss_cls"] += sum(y**ETA * share * loss for y, loss in guided)
    assert weights > 1
    divisors = {"loss_cls": n_pos, "loss_quality": n_pos, "loss_bbox": weights, "loss_dfl": weights}
    return {name: value / divisors[name] for name, value in sums.items()}


def box_loss(head: Any, location: Location, gt: list[float]) -> float:
    if isinstance(head.representation, Gaussian):
        return 0.25 * location.likelihood(gt)
    return (1 if is_fcos(head) else 2) * (1 - iou_and_giou(location.box(), gt)[1])


def locations(head: Any, outputs: Any, image: int, sample: Any) -> Any:
    """Yield the locations in an image's own padding, with their object and class, if any."""
    shapes = [level.shape[-2:] for level in outputs[0]]
    priors = head.prior_generator.grid_priors(shapes, torch.float64)
    height, width = sample.pad_shape
    inside = (torch.cat(priors)[:, 0] < width) & (torch.cat(priors)[:, 1] < height)
    boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
    everywhere, sizes, objects = torch.cat(priors), [len(p) for p in priors], pad_boxes([boxes])
    # Both compared with mmdet's, in test_assign.py and test_assign_fcos.py.
    if is_fcos(head):
        inside = torch.ones_like(inside)
        matched = fcos(everywhere, sizes, *objects, radius=1.5)[0].tolist()
    else:
        matched = atss(anchors_at(everywhere), sizes, inside[None], *objects, topk=9)[0].tolist()
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
