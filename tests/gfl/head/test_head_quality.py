"""What the ways of using quality mean: labels without gradient, joint's limits, NMS's scores."""

from __future__ import annotations

import math
from typing import Any

import gfl.register

# isort: split
import pytest
import torch
import torch.nn.functional as F
from equations import CLASSES, locations
from torchvision.ops import sigmoid_focal_loss

import gfl.head

HOSTS = pytest.mark.parametrize("host", ["atss", "fcos"])


@HOSTS
@pytest.mark.parametrize(
    "cell",
    [
        {"quality": "joint"},
        {"quality": "joint", "boxes": "general", "dfl": True},
        {"quality": "iou-guided"},
        {"quality": "iou-branch"},
    ],
    ids=["joint", "GFL", "IoU-guided", "IoU-branch"],
)
def test_an_iou_is_a_label_and_a_weight_without_gradient(make_head, make_batch, host, cell):
    """Class losses teach classes alone, box losses boxes alone, the branch's loss the branch alone.

    A quality target that is not detached collapses to 0 (GFocal#3).
    """
    head = make_head(host=host, **cell)
    features, samples = make_batch()
    outputs = head(features)
    losses = head.loss_by_feat(*outputs, *ground_truth(samples))
    teachers = [{"loss_cls"}, {"loss_bbox", "loss_dfl"}, {"loss_quality"}]
    for taught, names in zip(outputs, teachers, strict=True):
        if taught is None:
            continue
        for name, value in losses.items():
            found = torch.autograd.grad(value, taught, retain_graph=True, allow_unused=True)
            assert any(g is not None and g.any() for g in found) == (name in names), name


@HOSTS
def test_joint_with_beta_0_is_cross_entropy_on_soft_labels(make_head, make_batch, host):
    """Through the whole head: torch's own cross entropy, its labels the IoUs."""
    logits, labels, loss = joint_batch(make_head, make_batch, host, beta=0.0)
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


@HOSTS
def test_joint_with_beta_2_on_hard_labels_is_focal_loss_without_alpha(
    make_head, make_batch, monkeypatch, host
):
    """Through the whole head, were every box perfect: torchvision's focal loss, with no alpha."""
    monkeypatch.setattr("gfl.head.iou", lambda predicted, gt: torch.ones_like(gt[..., 0]))
    logits, labels, loss = joint_batch(make_head, make_batch, host, beta=2.0)
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    expected = sigmoid_focal_loss(logits, labels, alpha=-1, gamma=2, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def joint_batch(make_head: Any, make_batch: Any, host: str, beta: float) -> tuple[Any, Any, Any]:
    """Logits and labels at all locations that count, and the head's L_Q times N_pos."""
    head = make_head(quality="joint", host=host, beta=beta).double()
    features, samples = make_batch((3, 0, 4), torch.float64)
    with torch.no_grad():
        logits, raw, _ = head(features)
        scores, labels, n_pos = [], [], 0
        for image, sample in enumerate(samples):
            positives = 0
            for location, gt, label in locations(head, (logits, raw, None), image, sample):
                scores.append([logit(p) for p in location.scores])
                labels.append([0.0] * CLASSES)
                if gt is not None:
                    box = torch.tensor([location.box(), gt], dtype=torch.float64)
                    labels[-1][label] = gfl.head.iou(box[0], box[1]).item()
                    positives += 1
            n_pos += positives if host == "fcos" else max(positives, 1)
        loss = head.loss(features, samples)["loss_cls"] * n_pos
    logits, labels = (torch.tensor(x, dtype=torch.float64) for x in (scores, labels))
    return logits, labels, loss


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


@HOSTS
@pytest.mark.parametrize(
    ("quality", "winner", "score"),
    [
        ("joint", 0, 0.9),
        ("none", 0, 0.9),
        ("centerness-guided", 0, 0.9),
        ("iou-guided", 0, 0.9),
        ("centerness-branch", 1, 0.6 * 0.8),
        ("iou-branch", 1, 0.6 * 0.8),
    ],
)
def test_nms_ranks_by_the_class_score_or_by_class_times_quality(
    make_head, quality, winner, score, host
):
    """Two predictions of one box: class .9 quality .3, and class .6 quality .8."""
    head = make_head(quality, boxes="general", strides=(8,), host=host).eval()
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
    boxes += 4 if host == "fcos" else 0  # its locations lie in the middle of a cell
    meta = {"img_shape": (48, 48), "scale_factor": (1.0, 1.0)}
    has_branch = "branch" in quality
    found = head.predict_by_feat([logits], [raw], [branch] if has_branch else None, [meta])[0]
    assert found.labels.tolist() == [3]
    assert found.scores.tolist() == pytest.approx([score], abs=1e-6)
    torch.testing.assert_close(found.bboxes, boxes[winner][None])
