r"""SAPD, "Soft Anchor-Point Object Detection" (Zhu et al., ECCV 2020): FSAF with soft selection.

The network is FSAF's (mmdet's ``FSAFHead``): one point a cell, two towers, four distances to the
sides. Only training differs. FSAF trains an object at the one level of the pyramid where its loss
is least, and all its points there alike. SAPD weights each point by how central it is, and each
level by a small network that sees the object on all levels and is discarded after training.

The authors published no code: this is reimplemented from descriptions. Sources, in the order of
trust: [S] second implementations (xuannianz/SAPD on EfficientNet, gogo12235LYH/keras-pcb-sapd-mix)
and summaries of the paper; [I] inferred; [R] recalled from the paper, not confirmed.

==========================  =============================================================
item                        choice
==========================  =============================================================
location of a point         its cell's centre [S]; mmdet's FSAF has the cell's corner
distances                   ReLU, in units of 4 strides [S], bias 0.1 [S]; mmdet's is 0.25
positives of an object      points in its box shrunk to 0.2 of its sides, on every level [S];
                            of two objects the smaller; mmdet's ``CenterRegionAssigner``
weight of a point           (min(l, r) min(t, b) / (max(l, r) max(t, b)))^eta, eta = 1 [S]
weight of a level           softmax of the network, the k = 3 largest of 5 [S]; the others 0,
                            and the sum then below 1 [S]
gradient of the weights     none: constants of the detector's loss [I]
network of the levels       RoIAlign 7x7 on every level, three 3x3 convolutions, linear [S]
its target, its loss        FSAF's level, that of the least mean loss; 0.1 cross entropy [S]
its gradient                also trains the FPN [S]; no layer of the towers is on its way
a positive's other classes  negatives of weight 1, as in FSAF [I]; one implementation weights
                            the whole location
divisor                     sum of the positives' weights in the batch, at least 1 [I]
first half of training      FSAF's level alone, while the network learns; points are weighted [S]
==========================  =============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from mmdet.models.dense_heads import FSAFHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import HOOKS, MODELS
from mmdet.utils import reduce_mean
from mmengine.hooks import Hook
from mmengine.model import BaseModule, is_model_wrapper
from torch import Tensor, nn
from torchvision.ops import RoIAlign

from gfl.losses import at_least_float32

LEAST_DISTANCE = 1e-4  # of a predicted side, in units of 4 strides: no box is without area (FSAF)
NO_LOSS = 1e6  # mean loss of an object at a level where it has no point (FSAF)
POOLED = 7  # side of an object's features on a level

INITIAL: dict[str, Any] = {
    "type": "Normal",
    "layer": "Conv2d",
    "std": 0.01,
    "override": [
        {"type": "Normal", "name": "retina_cls", "std": 0.01, "bias_prob": 0.01},
        {"type": "Normal", "name": "retina_reg", "std": 0.01, "bias": 0.1},
    ],
}


class MetaSelectionNetwork(BaseModule):
    """Network that weights the pyramid's levels for an object, from its features on all of them.

    Args:
        in_channels: of a level.
        channels: of the convolutions; the authors' is 256 [S].
        strides: of the levels, px.
    """

    def __init__(self, in_channels: int, channels: int, strides: Sequence[int]) -> None:
        # [S]: of both the convolutions and the linear layer.
        super().__init__({"type": "Normal", "layer": ["Conv2d", "Linear"], "std": 0.01})
        self.strides = tuple(strides)
        widths = (in_channels * len(self.strides), channels, channels)
        # Without padding: 7x7 becomes 5x5, 3x3 and 1x1.
        self.convs = nn.Sequential(
            *(layer for width in widths for layer in (nn.Conv2d(width, channels, 3), nn.ReLU()))
        )
        self.fc = nn.Linear(channels, len(self.strides))

    def forward(
        self, features: Sequence[Float[Tensor, "B D _ _"]], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "G L"]:
        """Return logits of the levels for the objects of all images; ``boxes`` are an image's."""
        pooled = [
            RoIAlign((POOLED, POOLED), 1 / stride, 0, aligned=True)(
                at_least_float32(level), [*boxes]
            )
            for level, stride in zip(features, self.strides, strict=True)
        ]
        return at_least_float32(self.fc(self.convs(torch.cat(pooled, 1)).flatten(1)))


class Targets(NamedTuple):
    """Targets of all locations of a batch, image by image and level by level."""

    labels: Int[Tensor, "N"]  # C where there is no object
    label_weights: Float[Tensor, "N C"]  # 0 in padding, and at the class of an overlapped object
    positives: Int[Tensor, "P"]  # indices of the locations that have an object
    anchors: Float[Tensor, "P 4"]  # the positives' cells, px
    boxes: Float[Tensor, "P 4"]  # their objects', px
    objects: Int[Tensor, "P"]  # counted through the batch
    levels: Int[Tensor, "P"]


@MODELS.register_module()
class SAPDHead(FSAFHead):
    """FSAF's head, trained with weighted points and weighted levels.

    Predictions, and all weights but ``meta``'s, are ``FSAFHead``'s.

    Args:
        num_classes: C.
        in_channels: of the feature maps.
        feat_channels: of the towers and of the meta-selection network.
        stacked_convs: convolutions in each tower, before that of the outputs.
        anchor_generator: mmdet's, with one anchor of one cell at a location.
        bbox_coder: mmdet's ``TBLRBBoxCoder``.
        loss_cls: focal loss, unreduced.
        loss_bbox: IoU loss of decoded boxes, unreduced.
        reg_decoded_bbox: must be True: the loss is of decoded boxes.
        levels_kept: k, the levels of an object with a weight.
        eta: exponent of a point's weight; 0 weights all alike.
        meta_weight: lambda, weight of the meta-selection network's loss.
        train_cfg: mmdet's: ``assigner``, ``sampler``, ``allowed_border``, ``pos_weight``.
        test_cfg: mmdet's: ``nms_pre``, ``score_thr``, ``nms``, ``max_per_img``.

    Raises:
        ValueError: k is not in 1...L, or a loss is reduced or of encoded boxes.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        stacked_convs: int,
        anchor_generator: dict[str, Any],
        bbox_coder: dict[str, Any],
        loss_cls: dict[str, Any],
        loss_bbox: dict[str, Any],
        reg_decoded_bbox: bool = True,
        levels_kept: int = 3,
        eta: float = 1.0,
        meta_weight: float = 0.1,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            feat_channels=feat_channels,
            stacked_convs=stacked_convs,
            anchor_generator=anchor_generator,
            bbox_coder=bbox_coder,
            reg_decoded_bbox=reg_decoded_bbox,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=INITIAL,
        )
        strides = [stride for stride, _ in self.prior_generator.strides]
        if not 1 <= levels_kept <= len(strides):
            raise ValueError(f"levels_kept={levels_kept}: the pyramid has {len(strides)} levels")
        if not reg_decoded_bbox:
            raise ValueError("reg_decoded_bbox=False: the IoU loss is of decoded boxes")
        reductions = (self.loss_cls.reduction, self.loss_bbox.reduction)
        if reductions != ("none", "none"):
            raise ValueError(f"losses with reductions {reductions}: each location has its weight")
        self.levels_kept, self.eta, self.meta_weight = levels_kept, eta, meta_weight
        self.meta = MetaSelectionNetwork(in_channels, feat_channels, strides)
        # Set before every iteration by SoftSelectionHook, from the progress of training: no part of
        # the state dict, which stays FSAF's but for meta.
        self.is_soft = False

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: list[Any]) -> dict[str, Tensor]:
        """Return the losses of a batch, given the pyramid's features."""
        instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        logits = self.meta(x, [one.bboxes for one in instances])
        scores, distances = self(x)
        return self.loss_by_feat(scores, distances, instances, metas, ignored, logits)

    def loss_by_feat(
        self,
        cls_scores: list[Float[Tensor, "B C _ _"]],
        bbox_preds: list[Float[Tensor, "B 4 _ _"]],
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[Any] | None = None,
        level_logits: Float[Tensor, "G L"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the losses of a batch, given the towers' and the meta-selection network's outputs.

        Raises:
            ValueError: ``level_logits`` are missing.
        """
        if level_logits is None:
            raise ValueError("SAPD's loss needs level_logits, which loss() computes from features")
        found = self._targets(
            cls_scores, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        )
        focal = self.loss_cls(_flat(cls_scores), found.labels, found.label_weights)
        distances = _flat(bbox_preds)[found.positives].clamp(min=LEAST_DISTANCE)
        overlap = self.loss_bbox(self.bbox_coder.decode(found.anchors, distances), found.boxes)
        with torch.no_grad():
            loss = focal[found.positives].sum(-1) + overlap
            means = mean_losses(loss, found.objects, found.levels, level_logits.shape)
            weight = self._weights(found, level_logits, means.argmin(-1))
        total = reduce_mean(weight.sum()).clamp(min=1)
        # Only a positive's own class has its weight: for the others it is a negative, as in FSAF.
        own = (found.positives, found.labels[found.positives])
        focal = focal.index_put(own, focal[own] * weight)
        return {
            "loss_cls": focal.sum() / total,
            # mmdet's loss of no boxes has no gradient; every parameter needs one in every step.
            "loss_bbox": (overlap * weight).sum() / total + 0 * distances.sum(),
            "loss_meta": self.meta_weight * selection_loss(level_logits, means),
        }

    def _weights(
        self, found: Targets, level_logits: Float[Tensor, "G L"], least: Int[Tensor, "G"]
    ) -> Float[Tensor, "P"]:
        """Return the weight of each positive, of its level times its own."""
        if self.is_soft:
            of_levels = level_weights(level_logits, self.levels_kept)
        else:
            of_levels = F.one_hot(least, level_logits.shape[1]).to(level_logits.dtype)
        points = (found.anchors[:, :2] + found.anchors[:, 2:]) / 2
        of_points = point_weights(points, found.boxes, self.eta)
        return of_levels[found.objects, found.levels] * of_points

    def _targets(
        self,
        cls_scores: list[Float[Tensor, "B C _ _"]],
        instances: list[Any],
        metas: list[dict[str, Any]],
        ignored: list[Any] | None,
    ) -> Targets:
        """Assign each location of a batch to an object or none, by FSAF's rules."""
        sizes: list[Any] = [level.shape[-2:] for level in cls_scores]
        anchors, valid = self.get_anchors(sizes, metas, device=cls_scores[0].device)
        assigned: Any = self.get_targets(
            anchors, valid, instances, metas, ignored, return_sampling_results=True
        )
        labels, label_weights, boxes, _, _, _, objects = assigned  # of the levels, [B, _, ...]
        label_weights, boxes = torch.cat(label_weights, 1), torch.cat(boxes, 1)
        labels, objects = torch.cat(labels, 1), torch.cat(objects, 1)
        counts = torch.tensor([0, *map(len, instances)], device=labels.device)[:-1]
        objects = torch.where(objects < 0, -1, objects + counts.cumsum(0)[:, None]).flatten()
        lengths = torch.tensor([len(level) for level in anchors[0]], device=labels.device)
        levels = torch.arange(len(lengths), device=labels.device).repeat_interleave(lengths)
        at = (objects >= 0).nonzero().squeeze(-1)
        place = at % len(levels)  # in its image
        return Targets(
            labels=labels.flatten(),
            label_weights=label_weights.flatten(0, 1),
            positives=at,
            anchors=torch.cat(anchors[0])[place],
            boxes=boxes.flatten(0, 1)[at],
            objects=objects[at],
            levels=levels[place],
        )


def mean_losses(
    loss: Float[Tensor, "P"],
    objects: Int[Tensor, "P"],
    levels: Int[Tensor, "P"],
    shape: Sequence[int],
) -> Float[Tensor, "G L"]:
    """Return each object's mean loss at each level; ``NO_LOSS`` where it has no positive."""
    count, width = shape
    cell = objects * width + levels
    sums = loss.new_zeros(count * width).index_add(0, cell, loss)
    points = loss.new_zeros(count * width).index_add(0, cell, torch.ones_like(loss))
    return torch.where(points > 0, sums / points, NO_LOSS).view(count, width)


def level_weights(logits: Float[Tensor, "G L"], k: int) -> Float[Tensor, "G L"]:
    """Return the softmax over the levels, 0 but for the k largest; not renormalised."""
    probability = logits.softmax(-1)
    largest = probability.topk(k, -1)
    return torch.zeros_like(probability).scatter(-1, largest.indices, largest.values)


def point_weights(
    points: Float[Tensor, "P 2"], boxes: Float[Tensor, "P 4"], eta: float
) -> Float[Tensor, "P"]:
    """Return the weight of points inside boxes: 1 at the centre, 0 at a side.

    With eta = 1 it is the square of FCOS's centerness.
    """
    before, after = points - boxes[:, :2], boxes[:, 2:] - points  # l, t and r, b
    return (torch.minimum(before, after) / torch.maximum(before, after)).prod(-1).pow(eta)


def selection_loss(logits: Float[Tensor, "G L"], means: Float[Tensor, "G L"]) -> Float[Tensor, ""]:
    """Return the mean cross entropy with each object's level of the least loss.

    An object without a positive at any level has no target, and does not count [I].
    """
    has_points = (means < NO_LOSS).any(-1)
    count = reduce_mean(has_points.sum().to(logits.dtype)).clamp(min=1)
    entropy = F.cross_entropy(logits, means.argmin(-1), reduction="none")
    return (entropy * has_points).sum() / count


def _flat(levels: list[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "N D"]:
    """Return the predictions of all locations of a batch in float32, image by image."""
    rows = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    return at_least_float32(torch.cat(rows, 1)).flatten(0, 1)


@HOOKS.register_module()
class SoftSelectionHook(Hook):
    """Switches SAPD from FSAF's selection of a level to weights of levels, during training.

    The stage is computed from the iteration before each one, so that a resumed run is in the right
    one whatever its checkpoint holds. mmdet's configuration has the hook in ``custom_hooks``.

    Args:
        after: fraction of training with FSAF's selection. Half, 6 of 12 epochs at 1x [S]; at 2x 12
            of 24 [I].
    """

    def __init__(self, after: float = 0.5) -> None:
        self.after = after

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the head's stage."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.bbox_head.is_soft = runner.iter >= self.after * runner.max_iters
