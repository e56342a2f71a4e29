r"""One dense head for the whole ablation study: assigner x quality x boxes (Fig. 4 and 6).

``gfl.quality`` and ``gfl.boxes`` hold what a variant changes, ``gfl.hosts`` the differences of FCOS
and ATSS, ``gfl.assign`` their assignment; this module is what all share. Its oracles are mmdet's
``GFLHead``, ``ATSSHead`` and ``FCOSHead``: same weights and batch, same losses, gradients and
detections.

Where the paper, the authors' code (GF: implus/GFocal) and mmdet 3 (M3) disagree about GFL on ATSS,
this project always follows M3, except for the DCN of Table 4's rows. On FCOS it follows M3's
FCOSHead (locations in the middle of their cells, N_pos at least 1 in the batch, a sum of weights of
at least 1e-6):

========================  ======================  ======================  =========================
item                      paper                   GF                      M3
========================  ======================  ======================  =========================
QFL's modulating factor   \|y - s\|^beta, Eq. 2   (y - s)^beta            \|y - s\|^beta
QFL where padded          not said                counts                  does not
average of L_B and L_D    1 / N_pos, Eq. 11       1 / sum(w)              1 / max(sum(w), 1)
w                         the quality scores      max class score         the same, detached
N_pos                     number of positives     at least 1 in an image  at least 1 in an image
IoU label and GIoU        as defined              +1 px added, in strides as defined
location at stride 8      not said                3.5 px into the cell    the cell's corner
bias: rate x2, no decay   not said                yes                     no
warm-up starts at         not said                1/3 of the rate         0.001 of the rate
targets in the last bin   not said                n - 0.1                 n - 0.1
before NMS, a level       1000 (arXiv v1)         1000 anchors            1000 scores
========================  ======================  ======================  =========================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from mmcv.cnn import ConvModule, Scale
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from gfl import blocks, hosts
from gfl.assign import Outputs, Positives, assign_batch
from gfl.boxes import DIRACS, BoxDecoder, Gaussian, General, PriorGenerator, representation
from gfl.geometry import giou_loss, iou
from gfl.losses import at_least_float32, focal_loss, quality_focal_loss
from gfl.quality import USAGES, centerness, guide

# mmdet's names of the shared modules: model-zoo checkpoints load.
STOCK_NAMES = {
    "atss_cls": "gfl_cls", "atss_reg": "gfl_reg", "atss_centerness": "gfl_quality",
    "conv_cls": "gfl_cls", "conv_reg": "gfl_reg", "conv_centerness": "gfl_quality",
}  # fmt: skip
STOCK_CONSTANTS = ("integral.project",)


@MODELS.register_module()
class AblationHead(BaseDenseHead):
    """Head of every FCOS and ATSS row of Tables 1 to 4.

    Args:
        num_classes: C.
        in_channels: of the feature maps.
        feat_channels: of the towers.
        stacked_convs: convolutions in each of the two towers.
        strides: of the levels, px.
        quality: a key of ``gfl.quality.USAGES``.
        boxes: ``"dirac"``, ``"gaussian"`` or ``"general"``.
        dfl: adds Distribution Focal Loss, Eq. 6.
        n: bins of a General distribution, less one; None for other representations.
        delta: width of its bins, strides; None for other representations.
        beta: QFL's exponent, Eq. 2; None without QFL.
        host: a key of ``gfl.hosts.HOSTS`` whose record is ``Dense``.
        likelihood_weight: weight of a Gaussian's loss; None for other representations.
        train_cfg: settings of the assigner, overriding the host's own.
        test_cfg: mmdet's: ``nms_pre``, ``score_thr``, ``nms``, ``max_per_img``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        stacked_convs: int,
        strides: Sequence[int],
        quality: str,
        boxes: str,
        dfl: bool,
        n: int | None = None,
        delta: float | None = None,
        beta: float | None = None,
        host: str = "atss",
        likelihood_weight: float | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            init_cfg={
                "type": "Normal",
                "layer": "Conv2d",
                "std": 0.01,
                "override": {"type": "Normal", "name": "gfl_cls", "std": 0.01, "bias_prob": 0.01},
            }
        )
        self.num_classes = self.cls_out_channels = num_classes
        self.usage = USAGES[quality]
        self.host = hosts.dense(host)
        self.representation = representation(boxes, DIRACS[self.host.dirac], n, delta)
        if self.usage.use == "joint" and beta is None:
            raise ValueError(f"quality {quality!r} needs beta, the exponent of QFL")
        if dfl and boxes != "general":
            raise ValueError(f"boxes {boxes!r} have no bins for Distribution Focal Loss")
        if boxes == "gaussian" and likelihood_weight is None:
            raise ValueError(f"boxes {boxes!r} need likelihood_weight")
        self.dfl, self.beta = dfl, math.nan if beta is None else beta
        self.likelihood_weight = math.nan if likelihood_weight is None else likelihood_weight
        self.train_cfg, self.test_cfg = train_cfg or {}, test_cfg
        # Read by the prediction inherited from mmdet.
        self.prior_generator = PriorGenerator(strides, self.host.offset)
        self.bbox_coder = BoxDecoder(self.representation)
        self.use_sigmoid_cls = True
        self.loss_cls = None  # a function here
        self._make_layers(in_channels, feat_channels, stacked_convs)
        self.register_load_state_dict_pre_hook(_rename_stock_weights)

    def _make_layers(self, in_channels: int, channels: int, convs: int) -> None:
        self.cls_convs = _tower(in_channels, channels, convs, self.host.tower_bias)
        self.reg_convs = _tower(in_channels, channels, convs, self.host.tower_bias)
        self.gfl_cls = nn.Conv2d(channels, self.num_classes, 3, padding=1)
        self.gfl_reg = nn.Conv2d(channels, self.representation.channels, 3, padding=1)
        if self.usage.use == "branch":
            self.gfl_quality = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.ModuleList([Scale(1.0) for _ in self.prior_generator.strides])

    def forward(
        self, features: tuple[Tensor, ...]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """Return each level's class logits, box predictions and quality logits (or None)."""
        cls_features = [self.cls_convs(feature) for feature in features]
        reg_features = [self.reg_convs(feature) for feature in features]
        logits = [self.gfl_cls(feature) for feature in cls_features]
        raw = [
            scale(self.gfl_reg(feature))
            for scale, feature in zip(self.scales, reg_features, strict=True)
        ]
        if self.usage.use != "branch":
            return logits, raw, None
        return logits, raw, [self.gfl_quality(feature) for feature in reg_features]

    def outputs(
        self,
        cls_scores: list[Float[Tensor, "B C _ _"]],
        bbox_preds: list[Float[Tensor, "B channels _ _"]],
        quality_scores: list[Float[Tensor, "B 1 _ _"]] | None,
    ) -> Outputs:
        """Return ``forward``'s outputs as one tensor each over all locations."""
        quality = None if quality_scores is None else flatten(quality_scores).squeeze(-1)
        return Outputs(flatten(cls_scores), flatten(bbox_preds), quality, self.representation)

    def loss_by_feat(
        self,
        cls_scores: list[Float[Tensor, "B C _ _"]],
        bbox_preds: list[Float[Tensor, "B channels _ _"]],
        quality_scores: list[Float[Tensor, "B 1 _ _"]] | None,
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[Any] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Return a batch's terms of Eq. 11, and the quality branch's loss if there is one.

        Ignored ground truth has no effect, as in mmdet's ATSS and GFL configurations.
        """
        outputs = self.outputs(cls_scores, bbox_preds, quality_scores)
        logits, raw, quality, _ = outputs
        sizes = [score.shape[-2:] for score in cls_scores]
        levels = self.prior_generator.grid_priors(sizes, raw.dtype, raw.device)
        positives, valid, count = assign_batch(
            self.host, levels, outputs, batch_gt_instances, batch_img_metas, self.train_cfg
        )
        n_pos = reduce_mean(count).clamp(min=1)
        at = (positives.image, positives.location)
        raw_at = at_least_float32(raw[at])
        predicted = self.representation.decode(raw_at, positives.priors)
        label = self._quality(predicted.detach(), positives)
        losses = {}
        if quality is not None:
            branch = at_least_float32(quality[at])
            losses["loss_quality"] = (
                F.binary_cross_entropy_with_logits(branch, label, reduction="sum") / n_pos
            )
        losses["loss_cls"] = self._classification(logits, positives, label, valid, n_pos)
        weight = label
        if self.usage.box_weight == "one":
            weight = torch.ones_like(label)
        elif self.usage.box_weight == "score":
            weight = at_least_float32(logits[at].detach()).sigmoid().amax(-1)
        return losses | self._regression(raw_at, predicted, positives, weight)

    def _regression(
        self,
        raw: Float[Tensor, "P channels"],
        predicted: Float[Tensor, "P 4"],
        positives: Positives,
        weight: Float[Tensor, "P"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Return L_B and, if used, L_D: means weighted by quality."""
        weight_sum = reduce_mean(weight.sum()).clamp(min=self.host.least_weight_sum)
        losses = {}
        if isinstance(self.representation, Gaussian):
            # Replaces GIoU: the paper's first version gives no weight.
            likelihood = self.representation.likelihood_loss(raw, positives.priors, positives.boxes)
            box_loss = self.likelihood_weight * likelihood
        else:
            box_loss = self.host.lambda_0 * giou_loss(predicted, positives.boxes)
        losses["loss_bbox"] = (weight * box_loss).sum() / weight_sum
        if self.dfl and isinstance(self.representation, General):
            dfl = self.representation.dfl(raw, positives.priors, positives.boxes)
            losses["loss_dfl"] = self.host.lambda_1 * (weight * dfl).sum() / weight_sum
        return losses

    def _quality(self, predicted: Float[Tensor, "P 4"], positives: Positives) -> Float[Tensor, "P"]:
        """Return each positive's quality label: centerness or IoU (ones for neither)."""
        if self.usage.label == "iou":
            return iou(predicted, positives.boxes)
        if self.usage.label == "centerness":
            return centerness(positives.priors[:, :2], positives.boxes)
        return predicted.new_ones(len(predicted))

    def _classification(
        self,
        logits: Float[Tensor, "B N C"],
        positives: Positives,
        label: Float[Tensor, "P"],
        valid: Bool[Tensor, "B N"],
        n_pos: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """Return the sum of L_Q over N_pos: QFL for the joint representation, else focal loss."""
        joint = self.usage.use == "joint"
        where = (positives.image, positives.location, positives.labels)
        value = label if joint else torch.ones_like(label)
        guided = self.usage.use == "guide"
        if blocks.is_faster_in_blocks(logits) and not guided:
            expected = 1 / n_pos * valid  # if the sum of the losses is optimised
            summed = blocks.loss_by_block(self._loss_of_class, logits, where, value, expected)
            return (summed * valid).sum() / n_pos
        target = torch.zeros_like(logits, dtype=label.dtype)
        target[where] = value
        loss = self._loss_of_class(logits, target)
        if guided:
            # Guide each positive's own class; its other classes are ordinary negatives.
            loss = loss.index_put(where, guide(loss[where], label))
        return (loss.sum(-1) * valid).sum() / n_pos

    def _loss_of_class(
        self, logits: Float[Tensor, "*S"], target: Float[Tensor, "*#S"]
    ) -> Float[Tensor, "*S"]:
        if self.usage.use == "joint":
            return quality_focal_loss(logits, target, self.beta)
        return focal_loss(logits, target, self.host.focal.gamma, self.host.focal.alpha)


def _tower(in_channels: int, channels: int, convs: int, bias: bool) -> nn.Sequential:
    """Return FCOS's tower: convolutions with GroupNorm and ReLU."""
    return nn.Sequential(
        *(
            ConvModule(
                in_channels if i == 0 else channels,
                channels,
                3,
                padding=1,
                bias=bias,
                norm_cfg={"type": "GN", "num_groups": channels // 8, "requires_grad": True},
            )
            for i in range(convs)
        )
    )


def flatten(levels: list[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "B N D"]:
    """Return the predictions of all levels as one tensor over all locations."""
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], 1)


def _rename_stock_weights(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Rename the weights of mmdet's ATSS, GFL and FCOS heads to this head's names, in place."""
    for name in STOCK_CONSTANTS:
        state_dict.pop(prefix + name, None)
    for stock, ours in STOCK_NAMES.items():
        for kind in ("weight", "bias"):
            if f"{prefix}{stock}.{kind}" in state_dict:
                state_dict[f"{prefix}{ours}.{kind}"] = state_dict.pop(f"{prefix}{stock}.{kind}")
