"""The joint heads against a second implementation: one location after the other, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

COUNTS = (3, 0, 1)
CLASSES = 8
Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def anchor_matches(anchors: list[Box], objects: list[Box], low: float, every: bool) -> list[Any]:
    """MaxIoU: the object of IoU .5 or the highest; an object's best anchors; else -1, or None.

    None is the ignored band, from ``low`` to .5. ``every``: all anchors of an object's best IoU.
    """
    if not objects:
        return [-1] * len(anchors)
    table = torch.tensor([[overlap(anchor, o) for o in objects] for anchor in anchors]).float()
    best, index = table.max(1)
    match: list[Any] = [-1 if iou < low else None for iou in best.tolist()]
    for anchor in (best >= 0.5).nonzero().flatten().tolist():
        match[anchor] = int(index[anchor])
    for number in range(len(objects)):
        ties = (table[:, number] == table[:, number].max()).nonzero().flatten().tolist()
        for anchor in ties if every else ties[:1]:
            match[anchor] = number
    return match


def decode_anchor(anchor: Box, deltas: list[float], stds: list[float]) -> Box:
    x, y, w, h = (d * std for d, std in zip(deltas, stds, strict=True))
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = (anchor[0] + anchor[2]) / 2 + x * width
    y = (anchor[1] + anchor[3]) / 2 + y * height
    width, height = width * math.exp(w), height * math.exp(h)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def fovea_matches(level: int, side: int, objects: list[Box]) -> list[int]:
    """The object of each of a level's locations, row by row: of several the smallest, else -1."""
    stride = 8 * 2**level
    low, high = [(1, 64), (32, 128), (64, 512)][level]
    match = [-1] * side**2
    sizes = [math.sqrt((o[2] - o[0]) * (o[3] - o[1])) for o in objects]
    for number in sorted(range(len(objects)), key=lambda i: -sizes[i]):
        if not low <= sizes[number] <= high:
            continue
        spans = []
        for first, last in ((0, 2), (1, 3)):
            start, half = objects[number][first] / stride, objects[number][last] / stride
            half = (half - start) / 2
            begin, end = math.ceil(start + 0.6 * half - 0.5), math.floor(start + 1.4 * half - 0.5)
            spans.append(range(max(0, min(begin, side - 1)), max(0, min(end, side - 1)) + 1))
        for column in spans[0]:
            for row in spans[1]:
                match[row * side + column] = number
    return match


def rows(levels: list[Tensor], image: int, channels: int) -> list[list[float]]:
    found = [level[image].permute(1, 2, 0).reshape(-1, channels) for level in levels]
    return torch.cat(found).double().tolist()


def decoded(host: str, head: Any, deltas: list[Tensor], image: int, objects: list[Box]) -> Any:
    """Each location's predicted box and match in an image."""
    raw = rows(deltas, image, 4)
    if host == "foveabox":
        boxes, matches = [], []
        for level, map_ in enumerate(deltas):
            side, stride = map_.shape[-1], 8 * 2**level
            matches += fovea_matches(level, side, objects)
            for index in range(side**2):
                x, y = ((index % side + 0.5) * stride, (index // side + 0.5) * stride)
                left, top, right, bottom = (2 * stride * math.exp(d) for d in raw[len(boxes)])
                boxes.append((x - left, y - top, x + right, y + bottom))
        return boxes, matches
    sizes = [map_.shape[-2:] for map_ in deltas]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device="cpu")).tolist()
    retina = host == "retinanet"
    stds = [1.0] * 4 if retina else [0.1, 0.1, 0.2, 0.2]
    boxes = [decode_anchor(a, d, stds) for a, d in zip(anchors, raw, strict=True)]
    return boxes, anchor_matches(anchors, objects, 0.4 if retina else 0.5, every=retina)


def cross_entropy(logit: float, y: float) -> float:
    """-y log s - (1 - y) log(1 - s)."""
    return y * math.log1p(math.exp(-logit)) + (1 - y) * math.log1p(math.exp(logit))


def qfl_by_hand(host: str, head: Any, batch: Any, beta: float, hard: bool = False) -> Any:
    """The sum over a batch divided as the host divides, and the labels of its positives."""
    features, samples = batch
    with torch.no_grad():
        logits, deltas = head(features)
    total, divisor, labels = 0.0, 0, []
    for image, sample in enumerate(samples):
        objects = [tuple(box) for box in sample.gt_instances.bboxes.double().tolist()]
        boxes, matches = decoded(host, head, deltas, image, objects)
        scores = rows(logits, image, CLASSES)
        assert len(scores) == len(boxes) == len(matches)
        positives = 0
        for box, match, row in zip(boxes, matches, scores, strict=True):
            if match is None:
                continue
            y = [0.0] * CLASSES
            if match >= 0:
                positives += 1
                quality = 1.0 if hard else overlap(box, objects[match])
                labels.append(quality)
                y[int(sample.gt_instances.labels[match])] = quality
            for logit, label in zip(row, y, strict=True):
                sigmoid = 1 / (1 + math.exp(-logit))
                total += abs(label - sigmoid) ** beta * cross_entropy(logit, label)
        divisor += positives + 1 if host == "foveabox" else max(positives, 1)
    return total / divisor, labels


def loss_cls(head: Any, batch: Any) -> float:
    found = head.loss(*batch)["loss_cls"]
    return float(sum(found)) if isinstance(found, list) else float(found)


@torch.no_grad()
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_qfl_by_hand(host, beta, make_host_head, make_host_batch):
    """Beta 0 is plain cross entropy on soft labels: the modulating factor is 1."""
    head, batch = make_host_head(host, "joint", beta), make_host_batch(host, COUNTS)
    expected, labels = qfl_by_hand(host, head, batch, beta)
    assert len(labels) > 3
    assert max(labels) > 0.3
    assert loss_cls(head, batch) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_on_hard_labels_beta_2_is_focal_loss_without_alpha(
    host, make_host_head, make_host_batch, monkeypatch
):
    """Labels of 1 wherever there is an object, against mmdet's own focal loss of the plain head."""
    from mmdet.models.losses import FocalLoss

    monkeypatch.setattr("gfl.joint.iou", lambda boxes, others: torch.ones(len(boxes)))
    head, batch = make_host_head(host, "joint"), make_host_batch(host, COUNTS)
    expected, _ = qfl_by_hand(host, head, batch, beta=2.0, hard=True)
    assert loss_cls(head, batch) == pytest.approx(expected, rel=1e-5)
    if host != "ssd512":  # alpha .5 weighs both sides alike, by a half
        plain = make_host_head(host, "none")
        plain.load_state_dict(head.state_dict())
        plain.loss_cls = FocalLoss(gamma=2.0, alpha=0.5, loss_weight=2.0)
        assert loss_cls(head, batch) == pytest.approx(loss_cls(plain, batch), rel=1e-5)


def test_the_label_teaches_no_box(host, make_host_head, make_host_batch):
    """The IoU is detached: the classification loss has no gradient at what predicts boxes."""
    head, batch = make_host_head(host, "joint"), make_host_batch(host, COUNTS)
    found = head.loss(*batch)["loss_cls"]
    (sum(found) if isinstance(found, list) else found).backward()
    boxes = [p for name, p in head.named_parameters() if "reg" in name]
    assert boxes
    assert all(p.grad is None or not p.grad.any() for p in boxes)


@torch.no_grad()
def test_the_box_loss_is_the_plain_heads(host, make_host_head, make_host_batch):
    joint, plain = make_host_head(host, "joint"), make_host_head(host, "none")
    boxes = {k: v for k, v in joint.state_dict().items() if "reg" in k}
    plain.load_state_dict(boxes, strict=False)
    batch = make_host_batch(host, COUNTS)
    one, other = joint.loss(*batch)["loss_bbox"], plain.loss(*batch)["loss_bbox"]
    torch.testing.assert_close(one, other)
