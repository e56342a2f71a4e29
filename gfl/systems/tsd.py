r"""Task-aware spatial disentanglement (TSD; Song et al., CVPR 2020) on Faster R-CNN.

From a region P and its features F come two further regions: every bin of the one for classification
has a shift of its own (Delta C), the one for localization is shifted as a whole (Delta R). Each has
its pooling and its fully connected layers; the usual sibling head on F is trained along and sets
the two a margin by which they are to be better (progressive constraint).

Source of each choice is the authors' code (Sense-X/TSD ``tsd_bbox_head.py``, ``bbox_target.py``),
unless stated here:

==================  ==========================  ==============================================
item                authors' code               here
==================  ==========================  ==============================================
sides of boxes      +1 px                       as mmdet 3 has them, except in the pooling
level of a region   its area with +1 px         that of F's pooling, mmdet 3's
M_cls               0 for an image without      the mean over all sampled regions of the batch
                    positives
background          class 0, with box deltas    the last class, without box deltas; ``TSDBBoxHead``
                                                reorders what it loads
==================  ==========================  ==============================================

Not detached, as there: Delta R also has a gradient through the box target and the decoded box of
its shifted region (tusen-ai/simpledet stops both).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.utils import empty_instances
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from gfl.geometry import iou
from gfl.losses import at_least_float32
from gfl.systems.tsd_pooling import pool_shifted
from gfl.systems.two_stage import Float32BBoxHead

SHIFT = 0.1  # of the region's side; ``trans_std`` of the poolings and ``scale`` of the box targets


class Shifts(NamedTuple):
    """Shifts of regions in tenths of their widths (x) and heights (y)."""

    classification: Float[Tensor, "R 2 h w"]  # Delta C, of every bin
    localization: Float[Tensor, "R 2"]  # Delta R


@MODELS.register_module()
class TSDBBoxHead(Float32BBoxHead):
    """Sibling head, both shifts and both disentangled heads; modules have the authors' names.

    Args:
        delta_channels: of the layers that predict the shifts.
        cls_pc_margin: m_c, by which a probability is to be better than the sibling's.
        loc_pc_margin: m_r, the same of an IoU.
        in_channels, fc_out_channels, num_classes, roi_feat_size, bbox_coder, loss_cls, loss_bbox:
            ``Shared2FCBBoxHead``'s.
    """

    def __init__(
        self,
        in_channels: int,
        fc_out_channels: int,
        num_classes: int,
        roi_feat_size: int,
        bbox_coder: dict[str, Any],
        loss_cls: dict[str, Any],
        loss_bbox: dict[str, Any],
        delta_channels: int,
        cls_pc_margin: float,
        loc_pc_margin: float,
        reg_class_agnostic: bool = False,
    ) -> None:
        super().__init__(
            fc_out_channels=fc_out_channels,
            in_channels=in_channels,
            num_classes=num_classes,
            roi_feat_size=roi_feat_size,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            reg_class_agnostic=reg_class_agnostic,
        )
        self.cls_pc_margin, self.loc_pc_margin = cls_pc_margin, loc_pc_margin
        flat = in_channels * self.roi_feat_area
        self.shared_fc = nn.Sequential(nn.Linear(flat, delta_channels), nn.ReLU(inplace=True))
        self.delta_c = _two_layers(delta_channels, 2 * self.roi_feat_area)
        self.delta_r = _two_layers(delta_channels, 2)
        self.TSD_pc_fcs = self._add_conv_fc_branch(0, 2, in_channels, True)[1]
        self.TSD_pr_fcs = self._add_conv_fc_branch(0, 2, in_channels, True)[1]
        self.TSD_fc_cls = nn.Linear(fc_out_channels, self.fc_cls.out_features)
        self.TSD_fc_reg = nn.Linear(fc_out_channels, self.fc_reg.out_features)
        # torch's kaiming_normal_(a=1): the shifts do not start at zero. The authors' code leaves
        # the last layers of the disentangled heads as torch makes them.
        stacks = ("shared_fcs", "TSD_pc_fcs", "TSD_pr_fcs", "shared_fc", "delta_c", "delta_r")
        kaiming = {
            "type": "Kaiming", "a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu",
            "distribution": "normal", "override": [{"name": name} for name in stacks],
        }  # fmt: skip
        self.init_cfg = [
            {"type": "Normal", "std": 0.01, "override": {"name": "fc_cls"}},
            {"type": "Normal", "std": 0.001, "override": {"name": "fc_reg"}},
            kaiming,
        ]
        self.register_load_state_dict_pre_hook(_background_last)

    def shifts(self, features: Float[Tensor, "R C h w"]) -> Shifts:
        """Predict both shifts from a region's features."""
        shared = self.shared_fc(features.flatten(1))
        planes = self.delta_c(shared).unflatten(1, (2, *self.roi_feat_size))
        return Shifts(at_least_float32(planes), at_least_float32(self.delta_r(shared)))

    def disentangled(
        self,
        for_classes: Float[Tensor, "R C h w"],
        for_boxes: Float[Tensor, "R C h w"],
    ) -> tuple[Float[Tensor, "R classes"], Float[Tensor, "R _"]]:
        """Return class logits and box deltas, the latter relative to the shifted region."""
        x, y = for_classes.flatten(1), for_boxes.flatten(1)
        for cls_layer, reg_layer in zip(self.TSD_pc_fcs, self.TSD_pr_fcs, strict=True):
            x, y = cls_layer(x).relu(), reg_layer(y).relu()
        return at_least_float32(self.TSD_fc_cls(x)), at_least_float32(self.TSD_fc_reg(y))

    def decoded(
        self,
        regions: Float[Tensor, "P 4"],
        deltas: Float[Tensor, "P _"],
        labels: Int[Tensor, "P"],
    ) -> Float[Tensor, "P 4"]:
        """Decode the deltas of each region's own class."""
        if not self.reg_class_agnostic:
            deltas = deltas.unflatten(1, (self.num_classes, 4))
            deltas = deltas[torch.arange(len(labels), device=labels.device), labels]
        return self.bbox_coder.decode(regions, deltas)


@MODELS.register_module()
class TSDRoIHead(StandardRoIHead):
    """Trains the sibling and the disentangled head, and predicts by the latter alone.

    Args:
        samples: a side of each bin of the two shifted poolings.
        bbox_roi_extractor, bbox_head, train_cfg, test_cfg: ``StandardRoIHead``'s.
    """

    def __init__(
        self,
        bbox_roi_extractor: dict[str, Any],
        bbox_head: dict[str, Any],
        samples: int,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            bbox_roi_extractor=bbox_roi_extractor,
            bbox_head=bbox_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
        )
        self.samples = samples

    def pool(
        self,
        x: Sequence[Float[Tensor, "B C _ _"]],
        rois: Float[Tensor, "R 5"],
        shifts: Float[Tensor, "R 2 h w"],
    ) -> Float[Tensor, "R C h w"]:
        """Pool regions whose bins are shifted, from the levels that ``bbox_roi_extractor`` takes.

        ``shifts`` are in tenths of the regions' sides.
        """
        extractor = self.bbox_roi_extractor
        levels = extractor.map_roi_levels(rois, extractor.num_inputs)
        features = x[: extractor.num_inputs]
        strides = extractor.featmap_strides
        return pool_shifted(features, strides, rois, levels, SHIFT * shifts, self.samples)

    def _bbox_forward(
        self, x: Sequence[Float[Tensor, "B C _ _"]], rois: Float[Tensor, "R 5"]
    ) -> dict[str, Tensor]:
        """Return the disentangled head's predictions, shifted regions and unshifted features."""
        features = self.bbox_roi_extractor(x[: self.bbox_roi_extractor.num_inputs], rois)
        shifts = self.bbox_head.shifts(features)
        whole = shifts.localization[:, :, None, None].expand_as(shifts.classification)
        cls_score, bbox_pred = self.bbox_head.disentangled(
            self.pool(x, rois, shifts.classification), self.pool(x, rois, whole)
        )
        return {
            "cls_score": cls_score,
            "bbox_pred": bbox_pred,
            "bbox_feats": features,
            "rois": shifted(rois, shifts.localization),
        }

    def bbox_loss(
        self, x: Sequence[Float[Tensor, "B C _ _"]], sampling_results: list[Any]
    ) -> dict[str, Any]:
        """Return what ``_bbox_forward`` does and, as ``loss_bbox``, the losses of both heads.

        Besides mmdet's ``loss_cls`` and ``loss_bbox`` of the sibling: ``loss_tsd_cls`` and
        ``loss_tsd_bbox``, ``loss_pc_cls`` (M_cls) and ``loss_pc_loc`` (M_loc), all of weight 1.
        """
        head = self.bbox_head
        rois = bbox2roi([result.priors for result in sampling_results])
        results = self._bbox_forward(x, rois)
        cls_score, bbox_pred = head(results["bbox_feats"])
        targets = head.get_targets(sampling_results, self.train_cfg)
        labels, label_weights, bbox_targets, bbox_weights = targets
        losses = head.loss(cls_score, bbox_pred, rois, *targets)
        positive = labels < head.num_classes
        truth = torch.cat([result.pos_gt_bboxes for result in sampling_results])
        moved = results["rois"][positive, 1:]
        bbox_targets = bbox_targets.index_put((positive,), head.bbox_coder.encode(moved, truth))
        disentangled = head.loss(
            results["cls_score"], results["bbox_pred"], results["rois"],
            labels, label_weights, bbox_targets, bbox_weights,
        )  # fmt: skip
        for name in ("loss_cls", "loss_bbox"):
            losses[name.replace("loss", "loss_tsd")] = disentangled[name]
        losses["loss_pc_cls"] = cls_constraint(
            results["cls_score"], cls_score, labels, head.cls_pc_margin
        )
        own = labels[positive]
        losses["loss_pc_loc"] = loc_constraint(
            iou(head.decoded(moved, results["bbox_pred"][positive], own), truth),
            iou(head.decoded(rois[positive, 1:], bbox_pred[positive], own), truth),
            head.loc_pc_margin,
        )
        return results | {"loss_bbox": losses}

    def predict_bbox(
        self,
        x: Sequence[Float[Tensor, "B C _ _"]],
        batch_img_metas: list[dict[str, Any]],
        rpn_results_list: list[Any],
        rcnn_test_cfg: Any,
        rescale: bool = False,
    ) -> list[Any]:
        """Return each image's detections, decoded from the shifted regions."""
        proposals = [result.bboxes for result in rpn_results_list]
        counts = [len(boxes) for boxes in proposals]
        rois = bbox2roi(proposals)
        head = self.bbox_head
        if not len(rois):
            return empty_instances(
                batch_img_metas,
                rois.device,
                task_type="bbox",
                box_type=head.predict_box_type,
                num_classes=head.num_classes,
                score_per_cls=rcnn_test_cfg is None,
            )
        results = self._bbox_forward(x, rois)
        return head.predict_by_feat(
            rois=results["rois"].split(counts),
            cls_scores=results["cls_score"].split(counts),
            bbox_preds=results["bbox_pred"].split(counts),
            batch_img_metas=batch_img_metas,
            rcnn_test_cfg=rcnn_test_cfg,
            rescale=rescale,
        )


def shifted(rois: Float[Tensor, "R 5"], shifts: Float[Tensor, "R 2"]) -> Float[Tensor, "R 5"]:
    """Return regions shifted by tenths of their widths and heights."""
    by = SHIFT * shifts * (rois[:, 3:] - rois[:, 1:3])
    return rois + F.pad(by.repeat(1, 2), (1, 0))


def cls_constraint(
    scores: Float[Tensor, "R classes"],
    sibling: Float[Tensor, "R classes"],
    labels: Int[Tensor, "R"],
    margin: float,
) -> Float[Tensor, ""]:
    """Return M_cls of logits: the mean shortfall of each region's probability of its label.

    Background counts at its own label. 0 without regions.
    """
    at = labels[:, None]
    reached = scores.softmax(-1).gather(1, at)
    usual = sibling.detach().softmax(-1).gather(1, at)
    return _shortfall(reached, usual, margin).sum() / max(len(labels), 1)


def loc_constraint(
    reached: Float[Tensor, "P"], usual: Float[Tensor, "P"], margin: float
) -> Float[Tensor, ""]:
    """Return M_loc of IoUs, the disentangled head's and the sibling's: their mean shortfall.

    0 without positives.
    """
    return _shortfall(reached, usual.detach(), margin).sum() / max(len(reached), 1)


def _shortfall(
    reached: Float[Tensor, "*S"], usual: Float[Tensor, "*S"], margin: float
) -> Float[Tensor, "*S"]:
    """Return by how much a value falls short of ``usual`` and a margin, but never of 1."""
    return (usual + (1 - usual).clamp(max=margin) - reached).relu()


def _two_layers(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, outputs)
    )


def _background_last(
    head: TSDBBoxHead, weights: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Move the background of the authors' weights behind the classes, in place.

    Theirs are told by the four rows of box deltas that their background has.
    """
    for layer in ("fc", "TSD_fc"):
        boxes = weights.get(f"{prefix}{layer}_reg.weight")
        if boxes is None or len(boxes) != 4 * (head.num_classes + 1):
            continue
        for kind in ("weight", "bias"):
            cls, reg = f"{prefix}{layer}_cls.{kind}", f"{prefix}{layer}_reg.{kind}"
            weights[cls], weights[reg] = weights[cls].roll(-1, 0), weights[reg][4:]
