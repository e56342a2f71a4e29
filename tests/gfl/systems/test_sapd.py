"""SAPD's head: with equal points and the level of least loss it is FSAF's, and else as by hand."""

from __future__ import annotations

import math
from typing import Any, cast

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.models.dense_heads import FCOSHead
from sapd_made import CLASSES, STRIDES, in_float64, make_head, towers
from torch import Tensor

from gfl.systems.sapd import (
    NO_LOSS,
    MetaSelectionNetwork,
    SAPDHead,
    level_weights,
    mean_losses,
    point_weights,
    selection_loss,
)


def gradients(head: Any, features: tuple[Tensor, ...], loss: Tensor) -> dict[str, Tensor]:
    named = {k: p for k, p in head.named_parameters() if not k.startswith("meta.")}
    found = torch.autograd.grad(loss, [*named.values(), *features])
    return dict(zip([*named, *map(str, STRIDES)], found, strict=True))


@pytest.mark.parametrize("counts", [(4, 0, 7), (9, 5, 6), (1,)])
@pytest.mark.parametrize("soft", [False, True])
def test_with_equal_points_and_the_level_of_least_loss_it_is_fsaf(counts, soft, make_batch):
    """Losses and gradients, in the hard stage and in the soft one with a certain network."""
    ours, stock = in_float64(make_head(eta=0.0, levels_kept=1)), in_float64(make_head("FSAFHead"))
    stock.load_state_dict(towers(ours))
    features, samples = make_batch(counts, dtype=torch.float64)
    features = tuple(feature.requires_grad_() for feature in features)
    if soft:
        ours.is_soft = True
        ours.meta = Certain(ours, samples)
    losses = ours.loss(features, samples)
    theirs = stock.loss(features, samples)
    expected = {name: torch.stack(theirs[name]).sum() for name in ("loss_cls", "loss_bbox")}
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-12, atol=0)
    one = gradients(ours, features, losses["loss_cls"] + losses["loss_bbox"])
    other = gradients(stock, features, expected["loss_cls"] + expected["loss_bbox"])
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=1e-9, atol=1e-12, msg=key)


class Certain(torch.nn.Module):
    """A meta-selection network that is certain of the level of least loss."""

    def __init__(self, head: SAPDHead, samples: list[Any]) -> None:
        super().__init__()
        self.head, self.samples = [head], samples  # in a list: no submodule

    def forward(self, features: Any, boxes: Any) -> Tensor:
        means = least_losses(self.head[0], features, self.samples)
        return 1e4 * torch.nn.functional.one_hot(means.argmin(-1), means.shape[1]).to(means.dtype)


def least_losses(head: SAPDHead, features: Any, samples: list[Any]) -> Tensor:
    """Return each object's mean loss at each level, object by object."""
    instances = [sample.gt_instances for sample in samples]
    scores, distances = head(features)
    found = head._targets(scores, instances, [sample.metainfo for sample in samples], None)
    rows = [
        torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in part], 1).flatten(0, 1)
        for part in (scores, distances)
    ]
    focal = head.loss_cls(rows[0], found.labels, found.label_weights)
    boxes = head.bbox_coder.decode(found.anchors, rows[1][found.positives].clamp(min=1e-4))
    loss = focal[found.positives].sum(-1) + head.loss_bbox(boxes, found.boxes)
    means = torch.full((sum(map(len, instances)), len(scores)), NO_LOSS, dtype=loss.dtype)
    for one in range(means.shape[0]):
        for level in range(means.shape[1]):
            at = (found.objects == one) & (found.levels == level)
            if at.any():
                means[one, level] = loss[at].mean()
    return means.detach()


def test_the_mean_losses_are_those_of_a_loop(make_batch):
    head = in_float64(make_head())
    features, samples = make_batch((4, 0, 7), dtype=torch.float64)
    expected = least_losses(head, features, samples)
    assert (expected == NO_LOSS).any()
    instances = [sample.gt_instances for sample in samples]
    scores, _ = head(features)
    found = head._targets(scores, instances, [sample.metainfo for sample in samples], None)
    assert len(found.objects.unique()) == 11
    random = torch.rand(len(found.objects), dtype=torch.float64)
    means = mean_losses(random, found.objects, found.levels, expected.shape)
    for (one, level), mean in [((i, j), means[i, j]) for i in range(11) for j in range(5)]:
        at = (found.objects == one) & (found.levels == level)
        wanted = random[at].mean() if at.any() else torch.tensor(NO_LOSS, dtype=torch.float64)
        torch.testing.assert_close(mean, wanted)


# --- the weights -----------------------------------------------------------------------------


def test_a_points_weight_is_the_square_of_fcos_centerness():
    distances = torch.rand(200, 4, dtype=torch.float64) * 50 + 1
    boxes = torch.cat([-distances[:, :2], distances[:, 2:]], 1)
    weight = point_weights(torch.zeros(200, 2, dtype=torch.float64), boxes, eta=1.0)
    expected = FCOSHead.centerness_target(cast("FCOSHead", None), distances) ** 2
    torch.testing.assert_close(weight, expected)
    other = point_weights(torch.zeros(200, 2, dtype=torch.float64), boxes, eta=0.5)
    torch.testing.assert_close(other, expected.sqrt())


def test_a_points_weight_is_1_at_the_centre_and_falls_towards_every_side():
    box = torch.tensor([[10.0, 20.0, 50.0, 40.0]])
    centre = torch.tensor([[30.0, 30.0]])
    assert point_weights(centre, box, 1.0).item() == 1
    for direction in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)):
        steps = torch.arange(10)[:, None] * torch.tensor(direction)
        weights = point_weights(centre + steps, box.expand(10, 4), 1.0)
        assert (weights.diff() < 0).all()
    assert (point_weights(centre + 3, box, 0.0) == 1).all()
    assert point_weights(torch.tensor([[20.0, 30.0]]), box, 1.0).item() == pytest.approx(1 / 3)


def test_the_levels_weights_are_the_largest_of_a_softmax():
    logits = torch.randn(50, 5, dtype=torch.float64)
    every = level_weights(logits, 5)
    torch.testing.assert_close(every, logits.softmax(-1))
    torch.testing.assert_close(every.sum(-1), torch.ones(50, dtype=torch.float64))
    for k in (1, 2, 3, 4):
        weights = level_weights(logits, k)
        kept = weights > 0
        assert (kept.sum(-1) == k).all()
        assert torch.equal(weights[kept], every[kept])  # not renormalised
        assert (every.masked_fill(kept, 0).amax(-1) <= every.masked_fill(~kept, 1).amin(-1)).all()
    ties = level_weights(torch.zeros(3, 5), 3)
    assert ((ties > 0).sum(-1) == 3).all()


def test_the_networks_target_is_the_level_of_least_loss():
    """Cross entropy by hand; an object without a point at any level has no target."""
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, 0.0]], requires_grad=True)
    means = torch.tensor([[2.0, 1.0], [NO_LOSS, 4.0], [NO_LOSS, NO_LOSS]])
    loss = selection_loss(logits, means)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    (slope,) = torch.autograd.grad(loss, logits)
    assert torch.equal(slope[2], torch.zeros(2))
    torch.testing.assert_close(slope[0], torch.tensor([0.25, -0.25]))


# --- the meta-selection network --------------------------------------------------------------


def test_the_networks_gradient_reaches_the_pyramid_and_no_tower(make_batch):
    head = make_head()
    features, samples = make_batch((3, 2, 0))
    features = tuple(feature.requires_grad_() for feature in features)
    head.loss(features, samples)["loss_meta"].backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad is not None) == name.startswith("meta."), name
    assert all(feature.grad.any() for feature in features)


@pytest.mark.parametrize("soft", [False, True])
def test_the_detectors_loss_does_not_train_the_network(soft, make_batch):
    head = make_head()
    head.is_soft = soft
    losses = head.loss(*make_batch((3, 2, 0)))
    (losses["loss_cls"] + losses["loss_bbox"]).backward()
    assert all(p.grad is None for p in head.meta.parameters())
    assert all(p.grad is not None for n, p in head.named_parameters() if not n.startswith("meta."))


def test_the_network_sees_an_object_on_every_level():
    """A constant pyramid is pooled to constants: the logits are those of 7x7 constants."""
    network = MetaSelectionNetwork(2, 4, (8, 16)).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    levels = [torch.full((2, 2, 64 // s, 64 // s), float(s)).double() for s in (8, 16)]
    boxes = [torch.tensor([[8.0, 8.0, 40.0, 30.0]]), torch.tensor([[9.0, 5.0, 50.0, 50.0]])]
    logits = network(levels, [one.double() for one in boxes])
    pooled = torch.tensor([8.0, 8.0, 16.0, 16.0]).double()[None, :, None, None].expand(1, 4, 7, 7)
    expected = network.fc(network.convs(pooled).flatten(1))
    torch.testing.assert_close(logits, expected.expand(2, 2))
    assert network(levels, [boxes[0][:0].double()] * 2).shape == (0, 2)


def test_the_network_has_its_published_size():
    network = MetaSelectionNetwork(256, 256, STRIDES)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in (*network.convs, network.fc)]
    assert [size for size in sizes if size] == [2_949_376, 590_080, 590_080, 1_285]


def test_all_weights_but_the_networks_are_fsafs():
    ours, stock = make_head(), make_head("FSAFHead")
    assert towers(ours).keys() == stock.state_dict().keys()
    assert {k for k in ours.state_dict() if k not in stock.state_dict()} == {
        f"meta.{k}" for k in ours.meta.state_dict()
    }


def test_initial_weights():
    torch.manual_seed(0)
    head = make_head()
    head.init_weights()
    assert (head.retina_reg.bias == 0.1).all()
    torch.testing.assert_close(head.retina_cls.bias.sigmoid(), torch.full((CLASSES,), 0.01))
    for name, parameter in head.named_parameters():
        if name.endswith("weight"):
            assert parameter.std().item() == pytest.approx(0.01, rel=0.15), name
        elif "retina" not in name:
            assert not parameter.any(), name


# --- batches ---------------------------------------------------------------------------------


@torch.no_grad()
def test_predictions_do_not_depend_on_the_network_or_the_stage(make_batch):
    head, stock = make_head(), make_head("FSAFHead")
    features, samples = make_batch((3, 2, 0))
    stock.load_state_dict(towers(head))
    expected = stock.predict(features, samples)
    for parameter in head.meta.parameters():
        parameter.fill_(torch.nan)
    for head.is_soft in (False, True):
        found = head.predict(features, samples)
        assert len(found) == 3
        for one, other in zip(found, expected, strict=True):
            assert len(one) > 20
            assert all(torch.equal(one[k], other[k]) for k in ("bboxes", "scores", "labels"))


@pytest.mark.parametrize("soft", [False, True])
def test_a_batch_of_two_is_two_of_one(soft, make_batch):
    """Sums of the losses, each the mean times its divisor, and the same detections."""
    head = in_float64(make_head()).eval()
    head.is_soft = soft
    (features, samples) = make_batch((4, 7), dtype=torch.float64)
    alone = [
        (tuple(feature[i : i + 1] for feature in features), samples[i : i + 1]) for i in range(2)
    ]
    with torch.no_grad():
        logits = [head.meta(f, [s[0].gt_instances.bboxes]) for f, s in alone]
        both = head.meta(features, [sample.gt_instances.bboxes for sample in samples])
        torch.testing.assert_close(both, torch.cat(logits))
        sums = []
        for batch in ((features, samples), *alone):
            losses = head.loss(*batch)
            objects = sum(len(sample.gt_instances) for sample in batch[1])
            total = divisor(head, *batch)
            assert total > 1
            sums.append(
                torch.stack(
                    [losses["loss_cls"] * total, losses["loss_bbox"] * total,
                     losses["loss_meta"] * objects]
                )
            )  # fmt: skip
        torch.testing.assert_close(sums[0], sums[1] + sums[2], rtol=1e-9, atol=0)
        together = head.predict(features, samples)
        for found, batch in zip(together, alone, strict=True):
            (single,) = head.predict(*batch)
            assert torch.equal(found.labels, single.labels)
            torch.testing.assert_close(found.bboxes, single.bboxes)
            torch.testing.assert_close(found.scores, single.scores)


def divisor(head: SAPDHead, features: Any, samples: list[Any]) -> Tensor:
    """Return the sum of the positives' weights."""
    instances = [sample.gt_instances for sample in samples]
    scores, _ = head(features)
    found = head._targets(scores, instances, [sample.metainfo for sample in samples], None)
    logits = head.meta(features, [one.bboxes for one in instances])
    least = least_losses(head, features, samples).argmin(-1)
    return head._weights(found, logits, least).sum()


@pytest.mark.parametrize("soft", [False, True])
def test_images_without_objects_have_a_loss_and_a_gradient(soft, make_batch):
    """Negatives alone, divided by 1: FSAF divides by their number."""
    head = make_head()
    head.is_soft = soft
    features, samples = make_batch((0, 0))
    losses = head.loss(features, samples)
    scores, _ = head(features)
    p = torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in scores], 1).flatten(0, 1).sigmoid()
    instances, metas = zip(*((one.gt_instances, one.metainfo) for one in samples), strict=True)
    inside = head._targets(scores, list(instances), list(metas), None).label_weights
    assert 0 < inside.mean() < 1  # an image is smaller than the batch
    focal = -0.75 * p**2 * (1 - p).log() * inside
    torch.testing.assert_close(losses["loss_cls"], focal.sum())
    assert losses["loss_bbox"] == losses["loss_meta"] == 0
    torch.stack([*losses.values()]).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert not any(p.grad.any() for p in head.meta.parameters())
    with torch.no_grad():
        assert len(head.eval().predict(features, samples)) == 2


def test_impossible_settings_are_refused(make_batch):
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"levels_kept={k}: the pyramid has 5 levels"):
            make_head(levels_kept=k)
    with pytest.raises(ValueError, match="decoded boxes"):
        make_head(reg_decoded_bbox=False)
    with pytest.raises(ValueError, match="reductions"):
        make_head(loss_bbox={"type": "IoULoss"})
    head = make_head()
    features, samples = make_batch((1,))
    with pytest.raises(ValueError, match="level_logits"):
        head.loss_by_feat(*head(features), [samples[0].gt_instances], [samples[0].metainfo])
