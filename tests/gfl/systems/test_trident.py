"""TridentNet trains each branch on its range of sizes, and detects each object once."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import numpy as np
import pytest
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.structures.bbox import HorizontalBoxes, bbox_overlaps
from mmdet_models import build
from mmengine.structures import InstanceData
from torch import Tensor
from trident_made import (
    BOXES,
    CLASSES,
    SIZE,
    full_size,
    images,
    plain,
    randomise,
    samples,
    small,
    total,
)

from gfl.config.systems.trident import METHOD, SMALL_RANGES
from gfl.systems.trident import CentreCrop, ScaleAwareAssigner, in_range

EVERYTHING = ((0, 1e8),) * 3
RANGES_2X = ((0, 90), (30, 160), (90, 1e8))
RANGES_3X = ((0, 150), (50, 270), (150, 1e8))
# All proposals pass, none is suppressed.
UNSUPPRESSED = {
    "test_cfg.rcnn.score_thr": 0.0,
    "test_cfg.rcnn.nms.iou_threshold": 1.0,
    "test_cfg.rcnn.max_per_img": 10_000,
}


def made(depth: int = 18, deformable: bool = False, **values: Any) -> Any:
    """Return a small detector with random weights, in eval mode."""
    model = build(small(depth, deformable, values))
    randomise(model)
    return model.eval()


def rows(found: Any) -> Tensor:
    """Return a sample's detections: box, score, label."""
    found = found.pred_instances
    return torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None]], 1)


def same(ours: Tensor, theirs: Tensor) -> bool:
    """Return whether two sets of detections are equal but for rounding, in any order."""
    if ours.shape != theirs.shape:
        return False
    distances = (ours[:, None] - theirs).abs().amax(-1)
    return bool((distances.amin(0) < 1e-2).all() and (distances.amin(1) < 1e-2).all())


def test_the_rows_have_their_sources_ranges():
    assert full_size("r101")["ranges"] == RANGES_2X
    assert full_size("r101")["range_unit"] == "original"
    assert full_size("r101-dcn")["ranges"] == RANGES_3X
    assert full_size("r101-dcn")["range_unit"] == "resized"


@pytest.mark.parametrize("ranges", [RANGES_2X, RANGES_3X, SMALL_RANGES])
def test_an_object_of_any_size_is_in_a_branchs_range(ranges):
    assert ranges[0][0] == 0
    assert all(next[0] < this[1] < next[1] for this, next in pairwise(ranges))
    box = torch.tensor([[0.0, 0, 1e6, 1e6]])
    assert in_range(box, ranges[-1]).item()


def test_a_size_is_the_square_root_of_the_area_and_both_ends_are_in_the_range():
    boxes = torch.tensor([[0.0, 0, 30, 120], [0, 0, 90, 90], [3, 3, 3, 50], [9, 9, 5, 5]])
    assert in_range(boxes, (60.0, 90.0)).tolist() == [True, True, False, False]
    assert in_range(boxes, (0.0, 60.0)).tolist() == [True, False, True, True]


def test_samples_are_copied_branch_major_with_their_ranges_in_resized_px():
    model = build(small(values={"ranges": RANGES_2X, "range_unit": "original"}))
    given_samples = samples([BOXES, BOXES[:1]], scale_factor=(0.5, 0.5))
    copies = model.branches(given_samples)
    assert [copy.metainfo["img_id"] for copy in copies] == [0, 1, 0, 1, 0, 1]
    assert [copy.metainfo["size_range"] for copy in copies[::2]] == [
        (0, 45), (15, 80), (45, 5e7)
    ]  # fmt: skip
    # Of 20, 60 and 110 px: 40, 120 and 220 px in the original image.
    flags = [copy.gt_instances.in_range.tolist() for copy in copies[::2]]
    assert flags == [[True, False, False], [True, True, False], [False, True, True]]
    assert "in_range" not in given_samples[0].gt_instances
    assert "size_range" not in given_samples[0].metainfo


def test_ranges_of_the_resized_image_are_not_scaled():
    model = build(small(values={"ranges": RANGES_3X, "range_unit": "resized"}))
    copies = model.branches(samples([BOXES], scale_factor=(0.5, 0.5)))
    assert [copy.metainfo["size_range"] for copy in copies] == [
        tuple(map(float, r)) for r in RANGES_3X
    ]


def test_there_is_a_range_for_each_branch():
    with pytest.raises(ValueError, match="2 ranges for 3 branches"):
        build(small(values={"ranges": RANGES_2X[:2]}))


ASSIGNMENT = {"pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3}


def assigned(boxes: Tensor, inside: list[bool] | None, priors: Tensor) -> Tensor:
    objects = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    if inside is not None:
        objects.in_range = torch.tensor(inside)
    assigner = ScaleAwareAssigner(**ASSIGNMENT)
    result = assigner.assign(InstanceData(priors=priors), objects)
    assert ((result.labels >= 0) == (result.gt_inds > 0)).all()
    return result.gt_inds


def test_a_60_px_object_is_positive_in_two_branches_and_ignored_in_the_third():
    model = build(full_size("r101"))
    (anchors,), _ = model.rpn_head.get_anchors([(20, 20)], [{"pad_shape": (320, 320)}], "cpu")
    anchors = anchors[0]
    box = torch.tensor([[100.0, 130, 160, 190]])
    overlaps = bbox_overlaps(box, anchors)[0]
    assert (overlaps > 0.3).sum() > 10
    sample = samples([box.tolist()], size=320)
    for branch, copied in enumerate(model.branches(sample)):
        found = model.rpn_head.assigner.assign(InstanceData(priors=anchors), copied.gt_instances)
        positive, ignored = found.gt_inds == 1, found.gt_inds == -1
        if branch < 2:
            expected = MaxIoUAssigner(**ASSIGNMENT).assign(
                InstanceData(priors=anchors), copied.gt_instances
            )
            assert torch.equal(found.gt_inds, expected.gt_inds)
            assert positive.any()
        else:
            assert not positive.any()
            assert torch.equal(ignored, overlaps > 0.3)
            assert (found.gt_inds[~ignored] == 0).all()


def test_an_anchor_at_an_object_out_of_range_is_ignored_whatever_else_it_matches():
    boxes = torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 22]])
    priors = torch.tensor([
        [0.0, 0, 40, 40],  # IoU 1 with the first, 0.55 with the second
        [0, 0, 40, 60],  # 0.67, 0.37
        [0, 15, 40, 55],  # 0.45, 0.13
        [60, 60, 90, 90],
        [0, 0, 40, 22],  # 0.55, 1
    ])  # fmt: skip
    assert assigned(boxes, None, priors).tolist() == [1, -1, -1, 0, 2]
    assert assigned(boxes, [True, True], priors).tolist() == [1, -1, -1, 0, 2]
    assert assigned(boxes, [True, False], priors).tolist() == [-1, -1, -1, 0, -1]
    assert assigned(boxes[:1], [True], priors).tolist() == [1, -1, -1, 0, -1]
    assert assigned(boxes[:1], [False], priors).tolist() == [-1, -1, -1, 0, -1]
    assert assigned(boxes[:0], [], priors).tolist() == [0, 0, 0, 0, 0]


def test_a_low_quality_match_of_an_object_out_of_range_is_ignored():
    priors = torch.tensor([[0.0, 0, 40, 40], [50, 50, 60, 60]])
    objects = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 40, 8]]), labels=torch.tensor([0]),
        in_range=torch.tensor([False]),
    )  # fmt: skip
    assigner = ScaleAwareAssigner(**ASSIGNMENT | {"min_pos_iou": 0.0})
    found = assigner.assign(InstanceData(priors=priors), objects)
    assert found.gt_inds.tolist() == [-1, 0]


def test_the_roi_head_sees_proposals_and_objects_of_a_branchs_range(monkeypatch):
    seen = []
    monkeypatch.setattr(
        StandardRoIHead, "loss", lambda _, __, found, samples: seen.append((found, samples)) or {}
    )
    model = build(small(values={"ranges": ((0, 30), (40, 80), (200, 1e8))}))
    copies = model.branches(samples([BOXES]))
    proposals = InstanceData(
        bboxes=torch.tensor([*BOXES, [1.0, 1, 26, 26]]), scores=torch.tensor([0.9, 0.8, 0.7, 0.6])
    )
    model.roi_head.loss(
        (torch.zeros(3, 1, 1, 1),), [copy.deepcopy(proposals) for _ in copies], copies
    )
    ((kept, kept_samples),) = seen
    # Sizes 20, 60, 110 and 25; none is in the last range, which keeps the best.
    assert [found.scores.tolist() for found in kept] == [
        pytest.approx([0.9, 0.6]), pytest.approx([0.8]), pytest.approx([0.9])
    ]  # fmt: skip
    assert [sample.gt_instances.labels.tolist() for sample in kept_samples] == [[0], [1], []]
    assert kept_samples[1].metainfo["img_shape"] == (SIZE, SIZE)


@pytest.mark.parametrize("training_norms", [False, True], ids=["frozen norms", "trained norms"])
def test_without_ranges_and_dilation_it_is_faster_rcnn_on_the_batch_thrice(training_norms):
    config = small(values={
        "ranges": EVERYTHING, "backbone.trident_dilations": (1, 1, 1),
        "backbone.norm_eval": not training_norms,
        # Low, so that regions of random weights have positives.
        **{f"train_cfg.rcnn.assigner.{key}": 0.1
           for key in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou")},
    })  # fmt: skip
    ours, theirs = build(config), build(plain(config))
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    pictures, objects = images(2), [BOXES, BOXES[1:]]
    results = []
    for model, batch, given_objects in (
        (ours, pictures, objects), (theirs, pictures.repeat(3, 1, 1, 1), objects * 3)
    ):  # fmt: skip
        model.double().train()  # in which sums of other batches agree
        torch.manual_seed(0)  # of the samplers
        losses = model.loss(batch.double(), samples(given_objects))
        total(losses).backward()
        assert losses["loss_bbox"] > 0  # so that there are positives
        results.append((total(losses), {k: p.grad for k, p in model.named_parameters()}))
    (loss, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(loss, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-6, atol=1e-9)


@torch.no_grad()
def test_unsuppressed_detections_are_the_disjoint_union_of_the_branches():
    nowhere = (1e8, 1e9)
    model, pictures = made(**UNSUPPRESSED, ranges=EVERYTHING), images(1)
    (everything,) = model.predict(pictures, samples([[]]))
    everything = rows(everything)
    width, height = (everything[:, 2:4] - everything[:, :2]).unbind(1)
    small_ones, large = (width * height).sqrt().quantile(torch.tensor([0.3, 0.6])).tolist()
    disjoint = ((0, small_ones), (small_ones + 1e-3, large), (large + 1e-3, 1e8))
    model.ranges = disjoint
    (found,) = model.predict(pictures, samples([[]]))
    together, parts = rows(found), []
    for branch in range(3):
        model.ranges = tuple(r if i == branch else nowhere for i, r in enumerate(disjoint))
        (found,) = model.predict(pictures, samples([[]]))
        assert len(found.pred_instances) > 10
        assert in_range(found.pred_instances.bboxes, disjoint[branch]).all()
        parts.append(rows(found))
    assert same(together, torch.cat(parts))
    assert len(together) < len(everything)


@torch.no_grad()
def test_branches_are_suppressed_together():
    """Equal branches see each object three times, and report it once."""
    model = made(**{"ranges": EVERYTHING, "backbone.trident_dilations": (1, 1, 1)})
    (found,) = model.predict(images(1), samples([[]]))
    single = build(plain(small(values={"backbone.trident_dilations": (1, 1, 1)}))).eval()
    single.load_state_dict(model.state_dict())
    (expected,) = single.predict(images(1), samples([[]]))
    assert len(found.pred_instances) > 10
    assert same(rows(found), rows(expected))


@torch.no_grad()
def test_one_sample_in_is_one_sample_out_and_two_are_two_of_one():
    model, pictures = made(), images(2)
    together = model.predict(pictures, samples([[], []]))
    assert [sample.metainfo["img_id"] for sample in together] == [0, 1]
    for i, sample in enumerate(together):
        (alone,) = model.predict(pictures[i : i + 1], samples([[]]))
        assert len(alone.pred_instances) > 10
        assert same(rows(sample), rows(alone))
    assert not same(*(rows(sample) for sample in together))


@torch.no_grad()
def test_boxes_are_rescaled_and_ranges_are_of_the_original_image():
    values = UNSUPPRESSED | {"ranges": ((0, 50), (400, 500), (600, 1e8)), "range_unit": "original"}
    model, pictures = made(**values), images(1)
    given_samples = samples([[]], scale_factor=(0.5, 0.5))
    (resized,) = model.predict(pictures, copy.deepcopy(given_samples), rescale=False)
    (original,) = model.predict(pictures, copy.deepcopy(given_samples), rescale=True)
    boxes = original.pred_instances.bboxes
    assert len(boxes) > 10
    torch.testing.assert_close(boxes, 2 * resized.pred_instances.bboxes)
    assert in_range(boxes, (0, 50)).all()
    assert (resized.pred_instances.bboxes >= 0).all()
    assert (resized.pred_instances.bboxes <= SIZE).all()


@torch.no_grad()
def test_nothing_found_is_an_empty_result():
    for values in (
        {"test_cfg.rcnn.score_thr": 1.0},
        {"test_cfg.rpn.min_bbox_size": 10_000},  # no proposals
        {"ranges": ((1e8, 1e9),) * 3},
    ):
        (found,) = made(**values).predict(images(1), samples([[]]))
        found = found.pred_instances
        assert found.bboxes.shape == (0, 4)
        assert len(found.scores) == len(found.labels) == 0


def check_step(model: Any, size: int, objects: list[Any], autocast: bool = False) -> None:
    """Check one training step in channels_last: losses in float32, a gradient everywhere."""
    model = model.to(memory_format=torch.channels_last).train()
    batch = images(len(objects), size).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model.loss(batch, samples(objects, size))
    assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"} <= losses.keys()
    for name, value in losses.items():
        for one in value if isinstance(value, list) else [value]:
            assert one.dtype == torch.float32, name
            assert one.isfinite(), name
    total(losses).backward()
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert not missing


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("objects", [[BOXES, BOXES[:1]], [BOXES, ()], [(), ()]])
@pytest.mark.parametrize(("depth", "deformable"), [(18, False), (44, False), (44, True)])
def test_a_small_step_has_finite_gradients(depth, deformable, objects, autocast):
    model = made(depth, deformable)
    check_step(model, SIZE, objects, autocast)
    model.eval()
    with torch.no_grad():
        found = model.predict(images(2), samples([[], []]))
    assert all(sample.pred_instances.bboxes.isfinite().all() for sample in found)


@torch.no_grad()
@pytest.mark.parametrize("deformable", [False, True])
def test_a_state_dict_survives_a_round_trip(deformable, tmp_path):
    model = made(26, deformable)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = build(small(26, deformable))
    again.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    ours, theirs = (
        net.eval().predict(images(1), samples([[]]))[0] for net in (model, again)
    )  # fmt: skip
    assert len(ours.pred_instances) > 0
    assert torch.equal(rows(ours), rows(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("row", METHOD.rows)
def test_a_full_size_step_has_finite_gradients(row):
    settings = full_size(row)
    # A few regions, which each pass through c5: the network is whole, and more would be like these.
    settings["train_cfg"]["rcnn"]["sampler"]["num"] = 32
    settings["test_cfg"]["rpn"]["max_per_img"] = 32
    model = build(settings)
    check_step(model, 160, [[(20.0, 30.0, 120.0, 110.0), (5.0, 5.0, 45.0, 50.0)]])
    model.eval()
    with torch.no_grad():
        (found,) = model.predict(images(1, 160), samples([[]], 160))
    assert found.pred_instances.bboxes.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "expected", "offset"),
    [
        ((1000, 1500), (800, 1200), (150, 100)),  # width, then height
        ((1500, 1000), (1200, 800), (100, 150)),
        ((700, 1400), (700, 1200), (100, 0)),
        ((600, 900), (600, 900), (0, 0)),
    ],
)
def test_a_crop_is_of_the_middle_and_lies_as_the_image_does(shape, expected, offset):
    height, width = shape
    image = np.zeros((*shape, 3), np.uint8)
    image[height // 2, width // 2] = 255
    boxes = torch.tensor([[width / 2, height / 2, width / 2 + 10, height / 2 + 20], [0, 0, 2, 2]])
    found = CentreCrop(crop_size=(1200, 800)).transform({
        "img": image, "gt_bboxes": HorizontalBoxes(boxes),
        "gt_bboxes_labels": np.array([3, 4]), "gt_ignore_flags": np.array([False, False]),
    })  # fmt: skip
    assert found is not None
    assert found["img"].shape[:2] == found["img_shape"] == expected
    assert found["img"][expected[0] // 2, expected[1] // 2].all()
    moved = boxes[0] - torch.tensor([*offset, *offset])
    assert found["gt_bboxes"].tensor[0].tolist() == moved.tolist()
    kept = [3] if any(offset) else [3, 4]
    assert found["gt_bboxes_labels"].tolist() == kept


def test_there_are_as_many_classes_as_declared():
    assert build(small()).roi_head.bbox_head.fc_cls.out_features == CLASSES + 1
