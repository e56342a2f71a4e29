"""RetinaNet, FoveaBox and SSD: plain they are mmdet's, and all six train on any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gfl.register  # noqa: F401  before mmdet

# isort: split
from mmdet.models.dense_heads import FoveaHead, RetinaHead, SSDHead

STOCK = {"retinanet": RetinaHead, "foveabox": FoveaHead, "ssd512": SSDHead}
CLASSES = 8
BATCHES = {"no objects": (0, 0), "one image empty": (3, 0), "a single object": (0, 1)}

qualities = pytest.mark.parametrize("quality", ["none", "joint"])


def totals(losses: dict[str, Any]) -> dict[str, Tensor]:
    """Add a loss's levels or images up, as mmdet's detectors do."""
    lists = {name: x if isinstance(x, list) else [x] for name, x in losses.items()}
    return {name: torch.stack([x.mean() for x in parts]).sum() for name, parts in lists.items()}


def gradients(head: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    head.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in head.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("counts", [(3, 2), *BATCHES.values()])
def test_the_plain_head_is_mmdets(host, counts, make_host_head, make_host_batch):
    """Losses and gradients to the bit, in the class that the bfloat16 profiles have too."""
    ours = make_host_head(host, half=True)
    stock = make_host_head(host, type=STOCK[host].__name__)
    assert type(ours) is not type(stock) is STOCK[host]
    batch = make_host_batch(host, counts)
    losses = [totals(head.loss(*batch)) for head in (ours, stock)]
    assert losses[0] == losses[1]
    one, other = (
        gradients(head, torch.stack([*loss.values()]).sum())
        for head, loss in zip((ours, stock), losses, strict=True)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
@pytest.mark.parametrize("host", ["retinanet", "foveabox"])
def test_the_plain_heads_detections_are_mmdets(host, make_host_head, make_host_batch):
    batch = make_host_batch(host, (3, 2))
    ours = make_host_head(host, half=True).eval().predict(*batch, rescale=False)
    stock = make_host_head(host, type=STOCK[host].__name__).eval().predict(*batch, rescale=False)
    for one, other in zip(ours, stock, strict=True):
        assert len(one) > 20
        assert all(torch.equal(one[key], other[key]) for key in ("bboxes", "scores", "labels"))


def test_the_plain_head_is_mmdets_own_class_where_nothing_is_half_precision(make_host_head):
    for host in ("retinanet", "foveabox"):
        assert type(make_host_head(host)) is STOCK[host]


def test_mmdets_own_ssd_head_cannot_predict_and_ours_can(make_host_head, make_host_batch):
    """Where the first predicts, the subclass that mends it is needed no more."""
    batch = make_host_batch("ssd512", (1, 2))
    with pytest.raises(AttributeError, match="loss_cls"):
        make_host_head("ssd512", type="SSDHead").predict(*batch)
    mended = make_host_head("ssd512").eval()
    with torch.no_grad():
        assert all(len(found) > 0 for found in mended.predict(*batch, rescale=False))
    assert (
        mended.state_dict().keys() == make_host_head("ssd512", type="SSDHead").state_dict().keys()
    )


@torch.no_grad()
@qualities
def test_nms_ranks_by_the_class_score(host, quality, make_host_head, make_host_batch):
    """Every candidate before NMS, against sigmoids (plain SSD: softmax) computed by hand."""
    head = make_host_head(host, quality).eval()
    features, samples = make_host_batch(host, (1,))
    # Boxes without area, clipped at the image, are candidates too.
    head.test_cfg.update(score_thr=0.0, nms_pre=100_000, min_bbox_size=-1)
    predictions = head(features)
    channels = CLASSES + ((host, quality) == ("ssd512", "none"))
    rows = torch.cat([x[0].permute(1, 2, 0).reshape(-1, channels) for x in predictions[0]])
    if channels == CLASSES:
        by_hand = 1 / (1 + torch.exp(-rows))
    else:
        by_hand = (rows.exp() / rows.exp().sum(1, keepdim=True))[:, :CLASSES]
    metas = [sample.metainfo for sample in samples]
    (found,) = head.predict_by_feat(*predictions, batch_img_metas=metas, with_nms=False)
    assert len(found) == by_hand.numel()
    for label in range(CLASSES):
        ours = found.scores[found.labels == label].sort()[0]
        torch.testing.assert_close(ours, by_hand[:, label].sort()[0])
    (kept,) = head.predict_by_feat(*predictions, batch_img_metas=metas)
    assert set(kept.scores.tolist()) <= set(found.scores.tolist())
    assert kept.scores[0] == found.scores.max()


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("counts", BATCHES.values(), ids=BATCHES)
@qualities
def test_losses_and_gradients_are_finite(
    host, quality, counts, autocast, make_host_head, make_host_batch
):
    head = make_host_head(host, quality, half=True)
    features, samples = make_host_batch(host, counts)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        predictions = head(features)
        losses = totals(head.loss(features, samples))
    assert (predictions[0][0].dtype == torch.bfloat16) == autocast
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert bool(losses["loss_bbox"] > 0) == (sum(counts) > 0)
    found = gradients(head, torch.stack([*losses.values()]).sum())
    assert all(gradient.isfinite().all() for gradient in found.values())
    # Plain SSD mines as many negatives as there are positives, thrice: in no objects nothing.
    mined = (host, quality) == ("ssd512", "none")
    assert any(gradient.any() for gradient in found.values()) == (sum(counts) > 0 or not mined)


def divisor(host: str, head: Any, loss: str, features: Any, samples: list[Any]) -> int:
    """What a head divides a loss of one image by."""
    objects = samples[0].gt_instances
    sizes = [level.shape[-2:] for level in features]
    if host == "foveabox":
        points = head.prior_generator.grid_priors(sizes, device="cpu")
        labels, _ = head.get_targets([objects], sizes, points)
        positives = int((labels < CLASSES).sum())
        return positives + 1 if loss == "loss_cls" else positives
    anchors, valid = head.get_anchors(sizes, [samples[0].metainfo], device="cpu")
    labels, *_ = head.get_targets(anchors, valid, [objects], [samples[0].metainfo])
    return max(sum(int((level < CLASSES).sum()) for level in labels), 1)


@qualities
def test_a_batch_is_its_images(host, quality, make_host_head, make_host_batch):
    """Undivided, the images' losses add up to the batch's; then all are divided by one number."""
    head = make_host_head(host, quality)
    features, samples = make_host_batch(host, (3, 0, 4))
    together = totals(head.loss(features, samples))
    sums, divisors = dict.fromkeys(together, 0.0), dict.fromkeys(together, 0)
    for image in range(3):
        alone = tuple(level[image : image + 1] for level in features)
        sample = samples[image : image + 1]
        for name, value in totals(head.loss(alone, sample)).items():
            by = divisor(host, head, name, alone, sample)
            sums[name] += value.item() * by
            divisors[name] += by
    for name, value in together.items():
        assert value.item() == pytest.approx(sums[name] / divisors[name], rel=1e-5), name


@qualities
def test_a_state_dict_makes_the_same_head(host, quality, make_host_head, make_host_batch):
    trained, new = make_host_head(host, quality), make_host_head(host, quality)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.1)
    batch = make_host_batch(host, (2, 1))
    assert totals(trained.loss(*batch)) != totals(new.loss(*batch))
    new.load_state_dict(trained.state_dict(), strict=True)
    assert totals(trained.loss(*batch)) == totals(new.loss(*batch))


def test_class_scores_start_at_a_hundredth(host, make_host_head):
    """Biases of joint heads; SSD's own has none of that, as its softmax needs none."""
    head = make_host_head(host, "joint")
    head.init_weights()
    names = {"retinanet": "retina_cls.bias", "foveabox": "conv_cls.bias"}
    name = names.get(host, "cls_convs.0.0.bias")
    bias = dict(head.named_parameters())[name].detach()
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))


def test_the_joint_loss_is_of_sigmoids():
    from gfl.joint import JointLoss

    with pytest.raises(ValueError, match="use_sigmoid=False"):
        JointLoss(beta=2.0, use_sigmoid=False)
