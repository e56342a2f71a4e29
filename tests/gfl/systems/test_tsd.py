"""TSD: its layers, shifts, targets and constraints, against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from mmdet_models import build
from mmengine.structures import InstanceData
from torch import Tensor, nn
from two_stage_made import CLASSES, SIZE, detect, full_size, images, losses, made, small

from gfl.systems.tsd import cls_constraint, loc_constraint, shifted

# The authors' names, with the parameters at full size: 256 channels, 80 classes.
LAYERS = {
    "shared_fcs": 13_895_680,
    "fc_cls": 83_025,
    "fc_reg": 328_000,
    "shared_fc": 3_211_520,
    "delta_c": 90_978,
    "delta_r": 66_306,
    "TSD_pc_fcs": 13_895_680,
    "TSD_pr_fcs": 13_895_680,
    "TSD_fc_cls": 83_025,
    "TSD_fc_reg": 328_000,
}
SIBLING = ("shared_fcs", "fc_cls", "fc_reg")
FASTER_RCNN = 60_745_184
ROIS = torch.tensor([[0.0, 10, 20, 40, 60], [0, 5, 5, 100, 90], [1, 30.5, 8.2, 61, 44]])


@pytest.fixture
def model() -> Any:
    return made(small("tsd"))


def features(images: int = 2, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 32, SIZE // s, SIZE // s, generator=random) for s in (4, 8, 16)]


def still(model: Any, x: float = 0.0, y: float = 0.0) -> Any:
    """Make all shifts the same tenths of a region's sides, whatever its features; in place."""
    head = model.roi_head.bbox_head
    with torch.no_grad():
        for layers in (head.delta_c, head.delta_r):
            layers[-1].weight.zero_()
            layers[-1].bias.copy_(torch.tensor([x, y]).repeat_interleave(len(layers[-1].bias) // 2))
    return model


def test_layers_have_the_authors_names_and_sizes() -> None:
    with torch.device("meta"):
        model = build(full_size("tsd"))
    head = model.roi_head.bbox_head
    counts = {
        name: sum(weights.numel() for weights in layers.parameters())
        for name, layers in head.named_children()
    }
    assert {name: count for name, count in counts.items() if count} == LAYERS
    total = sum(weights.numel() for weights in model.parameters())
    assert total == FASTER_RCNN + sum(LAYERS.values()) - sum(LAYERS[name] for name in SIBLING)
    assert total - sum(LAYERS[name] for name in SIBLING) == 78_009_668
    assert set(dict(head.delta_c.named_parameters())) == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
    assert set(dict(head.shared_fc.named_parameters())) == {"0.weight", "0.bias"}


def test_predictions_do_not_need_the_sibling_head(model: Any) -> None:
    nn.init.normal_(model.roi_head.bbox_head.TSD_fc_cls.weight)
    batch = images((2,))
    expected = detect(model, batch)[0].pred_instances
    assert len(expected) > 0
    for name in SIBLING:
        for weights in getattr(model.roi_head.bbox_head, name).parameters():
            nn.init.constant_(weights, torch.nan)
    found = detect(model, batch)[0].pred_instances
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.scores, expected.scores)


def test_shifts_start_as_a_tenth_of_normal_numbers_not_at_zero(model: Any) -> None:
    shifts = model.roi_head.bbox_head.shifts(torch.randn(500, 32, 7, 7).relu())
    assert shifts.classification.shape == (500, 2, 7, 7)
    assert shifts.localization.shape == (500, 2)
    assert 0.1 < shifts.classification.std() < 1


def test_planes_of_the_bins_shifts_are_x_then_y(model: Any) -> None:
    head = still(model).roi_head.bbox_head
    nn.init.ones_(head.delta_c[-1].bias[:49])
    shifts = head.shifts(torch.randn(3, 32, 7, 7)).classification
    assert (shifts[:, 0] == 1).all()
    assert (shifts[:, 1] == 0).all()


def test_without_shifts_all_regions_and_features_are_the_plain_ones(model: Any) -> None:
    head, x = still(model).roi_head, features()
    calls = []
    head.bbox_head.disentangled = lambda *pooled: (calls.extend(pooled), (ROIS, ROIS))[1]
    assert torch.equal(head._bbox_forward(x, ROIS)["rois"], ROIS)
    plain = head.pool(x, ROIS, torch.zeros(3, 2, 7, 7))
    assert all(torch.equal(pooled, plain) for pooled in calls)
    assert len(calls) == 2


def test_bins_all_shifted_alike_are_the_shifted_region(model: Any) -> None:
    """Delta C constant and equal to Delta R: both poolings are the same to the bit."""
    head = still(model, 1.5, -0.5).roi_head
    calls = []
    head.bbox_head.disentangled = lambda *pooled: (calls.extend(pooled), (ROIS, ROIS))[1]
    results = head._bbox_forward(features(), ROIS)
    assert torch.equal(*calls)
    assert torch.equal(results["rois"], shifted(ROIS, torch.tensor([[1.5, -0.5]]).expand(3, 2)))


def test_a_region_is_shifted_by_tenths_of_its_sides() -> None:
    rois = torch.tensor([[0.0, 10, 20, 30, 60], [1.0, 0, 0, 10, 100]])
    moved = shifted(rois, torch.tensor([[1.0, -2.0], [0.5, 0.25]]))
    expected = torch.tensor([[0.0, 12, 12, 32, 52], [1.0, 0.5, 2.5, 10.5, 102.5]])
    torch.testing.assert_close(moved, expected)


def test_boxes_are_decoded_from_shifted_regions(model: Any) -> None:
    head = still(model, 1.0, -1.0).roi_head
    for weights in head.bbox_head.TSD_fc_reg.parameters():
        nn.init.zeros_(weights)
    proposals = torch.tensor([[20.0, 40, 40, 80], [70, 50, 110, 60]])
    config = head.test_cfg | {"score_thr": 0.0}
    config = type(head.test_cfg)(config)
    metas = [{"img_shape": (SIZE, SIZE)}]
    found = head.predict_bbox(
        features(1), metas, [InstanceData(bboxes=proposals)], config, rescale=False
    )
    expected = {(22.0, 36, 42, 76), (74, 49, 114, 59)}
    assert {tuple(box) for box in found[0].bboxes.round(decimals=3).tolist()} == expected


def test_without_proposals_there_are_no_detections(model: Any) -> None:
    none = [InstanceData(bboxes=torch.zeros(0, 4)) for _ in range(2)]
    metas = [{"img_shape": (SIZE, SIZE)}] * 2
    found = model.roi_head.predict_bbox(features(), metas, none, model.roi_head.test_cfg)
    assert [len(result) for result in found] == [0, 0]


def sample(model: Any, objects: tuple[int, ...] = (3, 1)) -> list[Any]:
    """Return sampled regions of images: the objects themselves and two of the background."""
    _, samples = images(objects)
    head, results = model.roi_head, []
    for one in samples:
        truth = one.gt_instances
        background = torch.tensor([[100.0, 2, 126, 14], [60, 90, 66, 96]])
        proposals = InstanceData(priors=background)
        assigned = head.bbox_assigner.assign(proposals, truth, one.ignored_instances)
        results.append(head.bbox_sampler.sample(assigned, proposals, truth))
    return results


def test_a_box_that_fits_from_its_shifted_region_has_no_loss(model: Any) -> None:
    """Box targets and decoded boxes are relative to the shifted region, not to the proposal."""
    head = still(model, 2.0, 1.0).roi_head
    sampled = sample(model)
    rois = bbox2roi([result.priors for result in sampled])
    truth = torch.cat([result.priors for result in sampled])  # positives are the objects
    moved = shifted(rois, torch.tensor([[2.0, 1.0]]).expand(len(rois), 2))
    deltas = head.bbox_head.bbox_coder.encode(moved[:, 1:], truth).repeat(1, CLASSES)
    scores = torch.zeros(len(rois), CLASSES + 1)
    head.bbox_head.disentangled = lambda *_: (scores, deltas)
    found = head.bbox_loss(features(), sampled)["loss_bbox"]
    assert found["loss_tsd_bbox"] < 1e-12
    assert found["loss_pc_loc"] < 1e-6
    # Off by the shift: 0.2 of the width over a deviation of 0.1 is 2, of which 1.5 is lost; 0.1 of
    # the height is 1, of which 0.5 is. 4 of 8 regions are objects.
    head.bbox_head.disentangled = lambda *_: (scores, 0 * deltas)
    found = head.bbox_loss(features(), sampled)["loss_bbox"]
    torch.testing.assert_close(found["loss_tsd_bbox"], torch.tensor((1.5 + 0.5) * 4 / 8))


def test_the_shift_has_a_gradient_of_its_own_box_target(model: Any) -> None:
    head = still(model, 2.0, 1.0).roi_head
    rois = bbox2roi([result.priors for result in sample(model)])
    constant = torch.zeros(len(rois), CLASSES + 1), torch.zeros(len(rois), 4 * CLASSES)
    head.bbox_head.disentangled = lambda *_: constant  # no gradient of the pooling
    losses = head.bbox_loss(features(), sample(model))["loss_bbox"]
    bias = head.bbox_head.delta_r[-1].bias
    # d loss / d shift: 2 objects of 0.1 / 0.1 = 1 a unit, both beyond the quadratic part, or at it.
    slope = torch.autograd.grad(losses["loss_tsd_bbox"], bias, retain_graph=True)[0]
    torch.testing.assert_close(slope, torch.tensor([4 / 8, 4 / 8]))
    assert torch.autograd.grad(losses["loss_pc_loc"], bias)[0].abs().min() > 0


def test_tied_to_the_sibling_only_the_margins_are_lost(model: Any) -> None:
    """On constant maps all poolings agree: M is then the mean of min(1 - p, m)."""
    roi_head = still(model).roi_head
    head = roi_head.bbox_head
    with torch.no_grad():
        nn.init.normal_(head.fc_cls.weight)
        nn.init.normal_(head.fc_reg.weight, std=0.2)
        for tied, layers in (
            (head.TSD_pc_fcs, head.shared_fcs), (head.TSD_pr_fcs, head.shared_fcs),
            (head.TSD_fc_cls, head.fc_cls), (head.TSD_fc_reg, head.fc_reg),
        ):  # fmt: skip
            tied.load_state_dict(layers.state_dict())
    constant = torch.randn(32, generator=torch.Generator().manual_seed(0))[:, None, None]
    x = [0 * level + constant for level in features()]
    sampled = sample(model)
    results = roi_head.bbox_loss(x, sampled)
    found = results["loss_bbox"]
    torch.testing.assert_close(found["loss_tsd_cls"], found["loss_cls"])
    torch.testing.assert_close(found["loss_tsd_bbox"], found["loss_bbox"])
    labels = head.get_targets(sampled, roi_head.train_cfg)[0]
    p = results["cls_score"].softmax(1)[torch.arange(len(labels)), labels]
    torch.testing.assert_close(found["loss_pc_cls"], (1 - p).clamp(max=0.3).mean())
    assert 0 < found["loss_pc_loc"] <= 0.3


def test_constraints_by_hand() -> None:
    even = torch.zeros(2, 4, dtype=torch.float64)  # p = 1/4
    labels = torch.tensor([3, 0])
    sure = torch.tensor([[0.0, 0, 0, 3], [3, 0, 0, 0]], dtype=torch.float64)
    p = sure.softmax(1)[0, 3]
    assert p > 0.25 + 0.3
    assert cls_constraint(sure, even, labels, 0.3) == 0
    torch.testing.assert_close(cls_constraint(even, even, labels, 0.3), torch.tensor(0.3).double())
    # The margin shrinks to what is left up to 1.
    shortfall = cls_constraint(even, sure, labels, 0.3)
    assert 1 - p < 0.3
    torch.testing.assert_close(shortfall, 1 - torch.tensor(0.25).double())
    reached, usual = torch.tensor([0.5, 0.9]), torch.tensor([0.6, 0.9])
    torch.testing.assert_close(loc_constraint(reached, usual, 0.3), torch.tensor((0.4 + 0.1) / 2))


def test_only_the_disentangled_head_learns_of_the_constraints() -> None:
    scores, sibling = torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    cls_constraint(scores, sibling, torch.tensor([0, 3]), 0.3).backward()
    assert sibling.grad is None
    assert (scores.grad[[0, 1], [0, 3]] < 0).all()
    reached, usual = (torch.tensor([0.5], requires_grad=True) for _ in range(2))
    loc_constraint(reached, usual, 0.3).backward()
    assert usual.grad is None
    assert reached.grad == -1


def test_without_regions_or_positives_the_constraints_are_zero() -> None:
    assert cls_constraint(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0).long(), 0.3) == 0
    assert loc_constraint(torch.zeros(0), torch.zeros(0), 0.3) == 0


def test_losses_of_both_heads_and_both_constraints_are_there(model: Any) -> None:
    assert set(losses(model.train(), images((2,)))) == {
        "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_tsd_cls", "loss_tsd_bbox",
        "loss_pc_cls", "loss_pc_loc",
    }  # fmt: skip


def test_the_authors_weights_are_read_with_their_background_first(model: Any) -> None:
    head = model.roi_head.bbox_head
    expected = {name: weights.clone() for name, weights in head.state_dict().items()}
    theirs = dict(expected)
    for name in ("fc", "TSD_fc"):
        for kind in ("weight", "bias"):
            cls, reg = expected[f"{name}_cls.{kind}"], expected[f"{name}_reg.{kind}"]
            theirs[f"{name}_cls.{kind}"] = torch.cat([cls[-1:], cls[:-1]])
            theirs[f"{name}_reg.{kind}"] = torch.cat([torch.full_like(reg[:4], 9.0), reg])
    for weights in head.parameters():
        nn.init.zeros_(weights)
    for weights in (theirs, expected):  # and its own as they are
        head.load_state_dict(weights, strict=True)
        for name, loaded in head.state_dict().items():
            assert torch.equal(loaded, expected[name]), name
