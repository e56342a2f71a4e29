"""Locations: the loss's own positives, boxes decoded by hand, and a sample that repeats itself."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from gfl import head as head_module
from gfl.boxes import boxes_at
from gfl.geometry import iou
from gfl.predictions import locations
from gfl.predictions.locations import Batch, chosen, located
from gfl.predictions.schema import SIDES

KINDS = [
    ("atss", "iou-branch", "dirac"),
    ("atss", "joint", "general"),
    ("atss", "centerness-branch", "gaussian"),
    ("fcos", "centerness-branch", "dirac"),
]
COUNTS = (4, 0, 7)


class Case:
    """A head's predictions for a batch, their columns, and what the loss makes of them."""

    def __init__(self, make_head: Any, make_batch: Any, host: str, quality: str, boxes: str):
        self.head = make_head(quality=quality, boxes=boxes, host=host)
        features, self.samples = make_batch(COUNTS)
        for i, sample in enumerate(self.samples):
            sample.set_metainfo({"img_id": 10 + i})
        with torch.no_grad():
            self.outs = self.head(features)
            self.batch = Batch.of(self.head, self.outs, self.samples)
            self.columns = located(self.batch, 0, [True] * 3)
        self.positive = self.columns["positive"]

    def loss_of_objects(self) -> None:
        """Compute the loss on the objects at the network's scale, where training has them."""
        objects = []
        for sample in self.samples:
            height, width = sample.img_shape
            boxes = sample.gt_instances.bboxes * torch.tensor([0.5, 0.625, 0.5, 0.625])
            boxes = boxes.minimum(torch.tensor([width, height, width, height]))
            objects.append(InstanceData(bboxes=boxes, labels=sample.gt_instances.labels))
        metas = [sample.metainfo for sample in self.samples]
        self.head.loss_by_feat(*self.outs, objects, metas)


@pytest.fixture(params=KINDS, ids="-".join)
def case(request, make_head, make_batch) -> Case:
    return Case(make_head, make_batch, *request.param)


def test_the_positives_are_the_losses_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spying(*args: Any) -> Any:
        seen["targets"] = head_module_assign(*args)
        return seen["targets"]

    def label(predicted: Any, positives: Any) -> Any:
        seen["predicted"] = predicted
        return quality(predicted, positives)

    head_module_assign, quality = head_module.assign_batch, case.head._quality
    monkeypatch.setattr(head_module, "assign_batch", spying)
    monkeypatch.setattr(case.head, "_quality", label)
    case.loss_of_objects()
    theirs = seen["targets"].positives
    ours = {name: values[case.positive] for name, values in case.columns.items()}
    assert len(theirs.image) == case.positive.sum() > 0
    np.testing.assert_array_equal(ours["image_id"], 10 + theirs.image)
    np.testing.assert_array_equal(ours["category_id"], theirs.labels)
    np.testing.assert_array_equal(ours["x"], theirs.priors[:, 0])
    np.testing.assert_array_equal(ours["stride"], theirs.priors[:, 2])
    np.testing.assert_array_equal(ours["iou"], iou(seen["predicted"], theirs.boxes))
    case.head.usage = head_module.USAGES["centerness-branch"]
    np.testing.assert_array_equal(ours["centerness"], quality(seen["predicted"], theirs))
    if case.outs[2] is not None:
        flat = head_module.flatten(case.outs[2])[theirs.image, theirs.location, 0].sigmoid()
        np.testing.assert_allclose(ours["quality_score"], flat.detach(), rtol=1e-6)


def test_the_distances_give_the_boxes_back(case: Case) -> None:
    c, at = case.columns, case.positive
    priors = torch.tensor(np.stack([c["x"], c["y"], c["stride"], c["stride"]], 1)).float()
    sides = {
        what: torch.tensor(np.stack([c[f"{what}_{side}"] for side in SIDES], 1))
        for what in ("target", "mean", "sigma")
    }
    scale = torch.tensor([0.5, 0.625, 0.5, 0.625])
    objects = [
        case.samples[image - 10].gt_instances.bboxes[gt] * scale
        for image, gt in zip(c["image_id"][at], c["gt_id"][at], strict=True)
    ]
    found = boxes_at(priors, sides["target"])[at]
    torch.testing.assert_close(found, torch.stack(objects), atol=1e-3, rtol=0)
    overlap = iou(boxes_at(priors, sides["mean"])[at], torch.stack(objects))
    np.testing.assert_allclose(c["iou"][at], overlap, atol=1e-4)
    assert np.isnan(c["target_left"][~at]).all()
    assert np.isnan(c["centerness"][~at]).all()
    assert (c["gt_id"][~at] == -1).all()
    gaussian = case.batch.raw.shape[-1] == 8
    assert bool(sides["sigma"].isnan().any()) != gaussian


def test_a_general_distributions_mean_is_the_decoded_distance(make_head, make_batch) -> None:
    case = Case(make_head, make_batch, "atss", "joint", "general")
    p = case.columns["p"].astype(float)
    p /= p.sum(-1, keepdims=True)
    mean = np.stack([case.columns[f"mean_{side}"] for side in SIDES], 1)
    # 17 bins, each off by at most half of 1/255, and then normalised.
    np.testing.assert_allclose((p * np.arange(17)).sum(-1), mean, atol=0.5)
    assert np.isnan(case.columns["quality_score"]).all()
    np.testing.assert_array_equal(case.columns["score"], case.columns["class_score"])


def test_elsewhere_the_best_class_and_the_best_overlap_count(case: Case) -> None:
    c = case.columns
    for row in np.flatnonzero(~case.positive)[:20]:
        image = c["image_id"][row] - 10
        same = (case.batch.priors[:, :2] == torch.tensor([c["x"][row], c["y"][row]])).all(-1)
        (location,) = (same & (case.batch.priors[:, 2] == int(c["stride"][row]))).nonzero()[:, 0]
        logits = case.batch.logits[image, location]
        assert logits.argmax() == c["category_id"][row]
        assert logits.max().sigmoid().item() == pytest.approx(c["class_score"][row], rel=1e-6)
        box = case.head.representation.decode(
            case.batch.raw[image, location], case.batch.priors[location]
        )
        objects = case.batch.objects[image]
        overlaps = iou(box.expand_as(objects), objects).tolist()
        assert c["iou"][row] == pytest.approx(max(overlaps, default=0.0), abs=1e-6)


def test_the_sample_depends_on_seed_and_image_alone(make_head, make_batch) -> None:
    one = Case(make_head, make_batch, "atss", "iou-branch", "dirac")
    other = Case(make_head, make_batch, "atss", "joint", "general")
    for image in (10, 11, 12):
        found = []
        for case in (one, other):
            at = case.columns["sampled"] & (case.columns["image_id"] == image)
            found.append(np.stack([case.columns[n][at] for n in ("stride", "x", "y")]))
        assert found[0].shape == (3, 8)
        np.testing.assert_array_equal(*found)
    again = located(one.batch, 1, [True] * 3)
    where = [np.stack([c["x"], c["y"]])[:, c["sampled"]] for c in (one.columns, again)]
    assert not np.array_equal(*where)
    # The stated rule, by hand, on the second image, which has padding beyond its own.
    able = one.batch.targets.valid[1].nonzero()[:, 0].numpy()
    assert len(able) < len(one.batch.priors)
    drawn = np.sort(np.random.default_rng((0, 11)).choice(able, 8, replace=False))
    at = one.columns["sampled"] & (one.columns["image_id"] == 11)
    np.testing.assert_array_equal(one.columns["x"][at], one.batch.priors[drawn, 0])


def test_images_that_are_not_shown_have_no_rows(make_head, make_batch) -> None:
    case = Case(make_head, make_batch, "atss", "iou-branch", "dirac")
    some = located(case.batch, 0, [True, False, False])
    assert set(some["image_id"]) == {10}
    for name in ("x", "y", "iou", "class_score"):
        keep = (case.columns["image_id"] == 10) & (case.positive | case.columns["sampled"])
        mine = some["positive"] | some["sampled"]
        np.testing.assert_allclose(some[name][mine], case.columns[name][keep], rtol=1e-6)


def test_background_of_the_highest_quality_is_kept(
    make_head, make_batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "CONFIDENT", 5)
    case = Case(make_head, make_batch, "atss", "iou-branch", "dirac")
    class_score, quality = case.batch.logits.amax(-1).sigmoid(), case.batch.quality
    assert quality is not None
    background = case.batch.targets.valid & (class_score < 0.3)
    positives = case.batch.targets.positives
    background[positives.image, positives.location] = False
    for image, objects in enumerate(case.batch.objects):
        for x1, y1, x2, y2 in objects.tolist():
            x, y = case.batch.priors[:, 0], case.batch.priors[:, 1]
            background[image, (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)] = False
    for row, objects in enumerate(case.batch.objects):
        for left, top, right, bottom in objects.tolist():
            x, y = case.batch.priors[:, 0], case.batch.priors[:, 1]
            inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
            background[row, inside] = False
    expected = quality[background].sort(descending=True).values[:5]
    both = chosen([case.columns, case.columns])  # each batch's five, of which five remain
    extra = ~both["positive"] & ~both["sampled"]
    assert set(both["quality_score"][extra]) <= set(expected.tolist())
    one = chosen([case.columns])
    assert "confident" not in one
    kept = one["quality_score"][~one["positive"] & (one["class_score"] < 0.3)]
    assert set(expected.tolist()) <= set(kept.tolist())
    extra = ~one["positive"] & ~one["sampled"]
    assert 0 < extra.sum() <= 5
