"""RetinaNet, FoveaBox and SSD512 with the joint representation: only the differences (Table 1b).

The plain hosts are mmdet's heads. The authors never published how they combined these with QFL:
this module is inferred, as each class states. In all three, a positive's label is the detached IoU
of its decoded box with its matched object, at the object's class; 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from mmdet.models.dense_heads import FoveaHead, RetinaHead, SSDHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.losses import smooth_l1_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from gfl.geometry import iou
from gfl.losses import at_least_float32, quality_focal_loss

PRIOR = 0.01  # initial probability of a class, as in RetinaNet and FoveaBox


@MODELS.register_module()
class JointLoss(nn.Module):
    """QFL of joint class and quality scores, replacing a head's classification loss.

    Args:
        beta: QFL's exponent, Eq. 2.
        use_sigmoid: required by mmdet's heads of a classification loss; QFL uses sigmoids.

    Raises:
        ValueError: ``use_sigmoid`` is False.
    """

    def __init__(self, beta: float, use_sigmoid: bool = True) -> None:
        super().__init__()
        if not use_sigmoid:
            raise ValueError("QFL is of sigmoid scores: use_sigmoid=False is impossible")
        self.beta = beta

    def forward(
        self,
        logits: Float[Tensor, "N C"],
        labels: Int[Tensor, "N"],
        positive: Int[Tensor, "P"],
        quality: Float[Tensor, "P"],
        avg_factor: int,
        weights: Float[Tensor, "N"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the sum over locations and classes, divided by ``avg_factor``.

        ``positive`` are indices in ascending order, ``quality`` the label of each.
        """
        target = torch.zeros_like(logits)
        target[positive, labels[positive]] = quality
        loss = quality_focal_loss(logits, target, self.beta).sum(-1)
        return (loss if weights is None else loss * weights).sum() / avg_factor


class _Float32Losses(BaseDenseHead):
    """Computes a head's loss in float32 where autocast made its predictions bfloat16.

    mmdet's own losses would be computed, and rounded, in bfloat16 on a CPU.
    """

    def loss_by_feat(
        self,
        cls_scores: list[Float[Tensor, "B _ _ _"]],
        bbox_preds: list[Float[Tensor, "B _ _ _"]],
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[Any] | None = None,
    ) -> dict[str, Any]:
        head: Any = super()  # mmdet's
        return head.loss_by_feat(
            [at_least_float32(level) for level in cls_scores],
            [at_least_float32(level) for level in bbox_preds],
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )


@MODELS.register_module()
class Float32RetinaHead(_Float32Losses, RetinaHead):
    """mmdet's RetinaHead with its losses in float32."""


@MODELS.register_module()
class Float32FoveaHead(_Float32Losses, FoveaHead):
    """mmdet's FoveaHead with its losses in float32."""


@MODELS.register_module()
class PlainSSDHead(_Float32Losses, SSDHead):
    """mmdet's SSDHead, able to predict, with its losses in float32.

    The prediction that mmdet's heads inherit asks ``self.loss_cls`` whether it has a custom
    activation; SSDHead, which calls cross entropy as a function, has no such attribute. A class
    attribute of this subclass supplies the answer without changing mmdet's class for other users;
    it is neither a weight nor in a state dict.
    """

    loss_cls = None


@MODELS.register_module()
class JointRetinaHead(Float32RetinaHead):
    """RetinaNet whose class score is the IoU; ``loss_cls`` is a ``JointLoss``.

    Inferred: QFL replaces focal loss, with RetinaNet's own normaliser, the number of positives;
    anchors of IoU 0.4 to 0.5 have no loss, as in RetinaNet, through the label weights.
    """

    def loss_by_feat_single(
        self,
        cls_score: Float[Tensor, "B AC H W"],
        bbox_pred: Float[Tensor, "B A4 H W"],
        anchors: Float[Tensor, "B N 4"],
        labels: Int[Tensor, "B N"],
        label_weights: Float[Tensor, "B N"],
        bbox_targets: Float[Tensor, "B N 4"],
        bbox_weights: Float[Tensor, "B N 4"],
        avg_factor: int,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return one level's classification and box loss."""
        predicted, targets = _rows(bbox_pred, 4), bbox_targets.reshape(-1, 4)
        labels = labels.reshape(-1)
        positive = _positive(labels, self.num_classes)
        quality = _anchor_quality(self, anchors.reshape(-1, 4), predicted, targets, positive)
        loss_cls = self.loss_cls(
            _rows(cls_score, self.num_classes),
            labels,
            positive,
            quality,
            avg_factor,
            label_weights.reshape(-1),
        )
        loss_bbox = self.loss_bbox(
            predicted, targets, bbox_weights.reshape(-1, 4), avg_factor=avg_factor
        )
        return loss_cls, loss_bbox


@MODELS.register_module()
class JointFoveaHead(FoveaHead):
    """FoveaBox whose class score is the IoU; ``loss_cls`` is a ``JointLoss``.

    Inferred: QFL replaces its focal loss (gamma 1.5, alpha 0.4), with FoveaBox's own normaliser,
    positives plus images.
    """

    def loss_by_feat(
        self,
        cls_scores: list[Float[Tensor, "B C _ _"]],
        bbox_preds: list[Float[Tensor, "B 4 _ _"]],
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[Any] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the classification and box loss of a batch."""
        sizes: list[Any] = [level.shape[-2:] for level in cls_scores]
        logits = at_least_float32(torch.cat([_rows(x, self.num_classes) for x in cls_scores]))
        predicted = at_least_float32(torch.cat([_rows(x, 4) for x in bbox_preds]))
        points = self.prior_generator.grid_priors(sizes, predicted.dtype, predicted.device)
        found: Any = self.get_targets(batch_gt_instances, sizes, points)
        labels, targets = found
        positive = _positive(labels, self.num_classes)
        predicted, targets = predicted[positive], targets[positive]
        count = len(predicted)
        quality = iou(_about_origin(predicted.detach()), _about_origin(targets))
        images = len(batch_img_metas)
        loss_bbox = self.loss_bbox(predicted, targets, avg_factor=max(count, 1))
        return {
            "loss_cls": self.loss_cls(logits, labels, positive, quality, count + images),
            "loss_bbox": loss_bbox,
        }


@MODELS.register_module()
class JointSSDHead(_Float32Losses, SSDHead):
    """SSD whose class score is the IoU.

    Inferred: softmax over the classes and background, with three hard negatives per positive,
    becomes one sigmoid per class with QFL over all anchors, divided by the number of positives;
    the scores start at 0.01, because of the many negatives that now count.

    Args:
        loss_cls: a ``JointLoss``.
        num_classes, in_channels, anchor_generator, bbox_coder, train_cfg, test_cfg: SSDHead's.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        anchor_generator: dict[str, Any],
        bbox_coder: dict[str, Any],
        loss_cls: dict[str, Any],
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            anchor_generator=anchor_generator,
            bbox_coder=bbox_coder,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg={
                "type": "Xavier",
                "layer": "Conv2d",
                "distribution": "uniform",
                "bias": 0,
                "override": {
                    "type": "Xavier",
                    "name": "cls_convs",
                    "distribution": "uniform",
                    "bias_prob": PRIOR,
                },
            },
        )
        self.loss_cls = MODELS.build(loss_cls)
        self.use_sigmoid_cls = True
        self.train_cfg: Any = train_cfg

    def _init_layers(self) -> None:
        self.cls_out_channels = self.num_classes  # no background
        super()._init_layers()

    def loss_by_feat_single(
        self,
        cls_score: Float[Tensor, "N C"],
        bbox_pred: Float[Tensor, "N 4"],
        anchor: Float[Tensor, "N 4"],
        labels: Int[Tensor, "N"],
        label_weights: Float[Tensor, "N"],
        bbox_targets: Float[Tensor, "N 4"],
        bbox_weights: Float[Tensor, "N 4"],
        avg_factor: int,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return one image's classification and box loss."""
        positive = _positive(labels, self.num_classes)
        quality = _anchor_quality(self, anchor, bbox_pred, bbox_targets, positive)
        loss_cls = self.loss_cls(cls_score, labels, positive, quality, avg_factor, label_weights)
        loss_bbox = smooth_l1_loss(
            bbox_pred,
            bbox_targets,
            bbox_weights,
            beta=self.train_cfg["smoothl1_beta"],
            avg_factor=avg_factor,
        )
        return loss_cls, loss_bbox


def _rows(level: Tensor, channels: int) -> Float[Tensor, "N {channels}"]:
    """Return one level's predictions, one anchor per row."""
    return level.permute(0, 2, 3, 1).reshape(-1, channels)


def _positive(labels: Int[Tensor, "N"], classes: int) -> Int[Tensor, "P"]:
    """Return the indices of the positives: found once, for which CUDA waits, not by every mask."""
    return (labels < classes).nonzero().squeeze(-1)


@torch.no_grad()
def _anchor_quality(
    head: RetinaHead | SSDHead,
    anchors: Float[Tensor, "N 4"],
    predicted: Float[Tensor, "N 4"],
    targets: Float[Tensor, "N 4"],
    positive: Int[Tensor, "P"],
) -> Float[Tensor, "P"]:
    """Return the positives' IoU, of boxes encoded against their anchors, with their objects'."""
    anchors = anchors[positive]
    boxes = head.bbox_coder.decode(anchors, predicted[positive])
    return iou(boxes, head.bbox_coder.decode(anchors, targets[positive]))


def _about_origin(log_sides: Float[Tensor, "P 4"]) -> Float[Tensor, "P 4"]:
    """Return FoveaBox's boxes relative to their own location, in base edges.

    IoU is independent of unit and origin. The target is the object's own box unless a side is
    nearer than 1/16 or farther than 16 base edges, where FoveaBox clips its targets.
    """
    left, top, right, bottom = log_sides.exp().unbind(-1)
    return torch.stack((-left, -top, right, bottom), -1)
