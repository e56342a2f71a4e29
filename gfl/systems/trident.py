"""TridentNet with scale-aware branches (Li et al., ICCV 2019): Faster R-CNN on C4, three branches.

The units of conv4 run three times with the same weights, their 3x3 convolutions dilated by 1, 2 and
3 (section 3.2). Each branch is trained on objects of its own range of sizes and keeps detections of
that range (section 3.3). mmdet's ``TridentFasterRCNN`` is TridentNet-Fast: it has no ranges.

Branches are stacked in the batch, branch-major: item ``b * B + i`` is branch b of image i. RPN and
RoI head treat them as 3 B images, so that a mean over items is the paper's mean over branches.

Choices the paper leaves open follow TuSimple/simpledet (``models/tridentnet``), the authors' code,
as do the numbers in ``gfl.config.systems.trident``. Its boxes include their last pixel: its
"+ 1" in widths is mmdet's width without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from mmdet.datasets.transforms import RandomCrop
from mmdet.models.detectors import FasterRCNN
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdet.structures.bbox import scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.losses import at_least_float32

Config = dict[str, Any]
Range = Sequence[float | int]  # (least, greatest) of sqrt(width * height), px, both included


@TASK_UTILS.register_module()
class ScaleAwareAssigner(MaxIoUAssigner):
    """Ignores the anchors at objects that are not in a branch's range (section 3.3).

    All objects are matched as usual; then every anchor whose IoU with an out-of-range object is
    above ``neg_iou_thr``, or that was matched with one, is neither positive nor negative. Objects
    say in a field ``in_range`` whether they are; without the field this is ``MaxIoUAssigner``.
    Source: simpledet's ``models/tridentnet/input.py``.
    """

    def assign(
        self,
        pred_instances: Any,
        gt_instances: Any,
        gt_instances_ignore: Any = None,
    ) -> AssignResult:
        """Return the index + 1 of each anchor's object; 0: background, -1: ignored."""
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore)
        inside = gt_instances.get("in_range")
        if inside is None or inside.all():
            return result
        overlaps = self.iou_calculator(gt_instances.bboxes[~inside], pred_instances.priors)
        ignored = (overlaps > self.neg_iou_thr).any(0)
        # Low-quality matches may have any IoU.
        ignored |= torch.cat([inside.new_zeros(1), ~inside])[result.gt_inds.clamp(min=0)]
        result.gt_inds[ignored] = -1
        assert result.labels is not None
        result.labels[ignored] = -1
        return result


@MODELS.register_module()
class ScaleAwareRoIHead(StandardRoIHead):
    """RoI head that trains each branch on proposals and objects of its range.

    Inferred, like the authors' flag ``filter_scales``, whose C++ is not public: proposals out of
    range are dropped before sampling, and objects out of range are unknown to it. A branch whose
    proposals are all out of range keeps the best one, since something must have a gradient.
    """

    def loss(
        self,
        x: tuple[Tensor],
        rpn_results_list: list[Any],
        batch_data_samples: list[Any],
    ) -> dict[str, Tensor]:
        """Return the losses; samples have ``size_range``, px, and ``gt_instances.in_range``."""
        proposals, samples = [], []
        for found, sample in zip(rpn_results_list, batch_data_samples, strict=True):
            inside = in_range(found.bboxes, sample.metainfo["size_range"])
            proposals.append(found[inside] if inside.any() else found[:1])
            objects = sample.gt_instances
            samples.append(sample.new(gt_instances=objects[objects.in_range]))
        return super().loss(x, proposals, samples)

    def _bbox_forward(self, x: tuple[Tensor], rois: Float[Tensor, "R 5"]) -> dict[str, Tensor]:
        """Return mmdet's results in float32 where autocast is on, for losses and boxes."""
        results = super()._bbox_forward(x, rois)
        return {name: at_least_float32(value) for name, value in results.items()}


@MODELS.register_module()
class ScaleAwareTridentNet(FasterRCNN):
    """TridentNet: Faster R-CNN whose backbone returns several branches of each image.

    Args:
        ranges: of sizes, sqrt(width * height), px: (least, greatest) of each branch.
        range_unit: whether the ranges are px of the ``"original"`` image (the 2x recipe) or of the
            ``"resized"`` one (3x).
    """

    def __init__(
        self,
        backbone: Config,
        rpn_head: Config,
        roi_head: Config,
        ranges: Sequence[Range],
        train_cfg: Config,
        test_cfg: Config,
        range_unit: Literal["original", "resized"] = "original",
        data_preprocessor: Config | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            rpn_head=rpn_head,
            roi_head=roi_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
        )
        if len(ranges) != len(self.backbone.trident_dilations):
            raise ValueError(
                f"{len(ranges)} ranges for {len(self.backbone.trident_dilations)} branches"
            )
        self.ranges = tuple((float(least), float(greatest)) for least, greatest in ranges)
        self.range_unit = range_unit

    def loss(self, batch_inputs: Float[Tensor, "B 3 H W"], batch_data_samples: list[Any]) -> Config:
        """Return the losses, means over all branches of all images."""
        return super().loss(batch_inputs, self.branches(batch_data_samples))

    def predict(
        self,
        batch_inputs: Float[Tensor, "B 3 H W"],
        batch_data_samples: list[Any],
        rescale: bool = True,
    ) -> list[Any]:
        """Return the samples with the detections of all branches, each in its range, after NMS."""
        samples = self.branches(batch_data_samples)
        metas = [sample.metainfo for sample in samples]
        x = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict(x, samples, rescale=False)
        found = self.roi_head.predict_bbox(x, metas, proposals, None, rescale=False)
        images = len(batch_data_samples)
        merged = [self._merge(found[i::images], metas[i::images], rescale) for i in range(images)]
        return self.add_pred_to_datasample(batch_data_samples, merged)

    def _forward(
        self, batch_inputs: Float[Tensor, "B 3 H W"], batch_data_samples: list[Any]
    ) -> Any:
        return super()._forward(batch_inputs, self.branches(batch_data_samples))

    def branches(self, samples: list[Any]) -> list[Any]:
        """Return each branch's copy of the samples, branch-major, with its range in px resized."""
        copies = []
        for least, greatest in self.ranges:
            for sample in samples:
                factor = self._scale(sample)
                branch = sample.new()
                branch.set_metainfo({"size_range": (least * factor, greatest * factor)})
                if "bboxes" in sample.get("gt_instances", ()):  # a picture alone has no boxes
                    objects = sample.gt_instances.new()
                    objects.in_range = in_range(objects.bboxes, branch.metainfo["size_range"])
                    branch.gt_instances = objects
                copies.append(branch)
        return copies

    def _scale(self, sample: Any) -> float:
        """Return px of the resized image per px of the ranges' unit."""
        if self.range_unit == "resized":
            return 1.0
        width, height = sample.metainfo.get("scale_factor", (1.0, 1.0))
        return float(width * height) ** 0.5

    def _merge(self, found: list[Any], metas: list[Config], rescale: bool) -> Any:
        """Return one image's detections: each branch's in its range, then NMS of all together."""
        boxes, scores = [], []
        for branch, meta in zip(found, metas, strict=True):
            if not len(branch):
                continue  # has a shape of its own
            inside = in_range(branch.bboxes.unflatten(1, (-1, 4)), meta["size_range"])
            foreground = branch.scores[:, :-1].masked_fill(~inside, -1)  # below any threshold
            boxes.append(branch.bboxes)
            scores.append(torch.cat([foreground, branch.scores[:, -1:]], 1))
        result: Any = InstanceData()
        if not boxes:
            result.bboxes = found[0].bboxes
            result.scores = result.bboxes.new_zeros(0)
            result.labels = result.bboxes.new_zeros(0, dtype=torch.long)
            return result
        cfg: Any = self.roi_head.test_cfg
        kept, labels = multiclass_nms(
            torch.cat(boxes), torch.cat(scores), cfg.score_thr, cfg.nms, cfg.max_per_img
        )[:2]
        result.bboxes, result.scores, result.labels = kept[:, :4], kept[:, 4], labels
        if rescale:  # IoU, and so NMS, is the same at any scale
            width, height = metas[0]["scale_factor"]
            result.bboxes = scale_boxes(result.bboxes, (1 / width, 1 / height))
        return result


def in_range(boxes: Float[Tensor, "*N 4"], sizes: Range) -> Bool[Tensor, "*N"]:
    """Return whether sqrt(width * height) of each box is in a range, both ends included."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    size = (width * height).sqrt()
    return (size >= sizes[0]) & (size <= sizes[1])


@TRANSFORMS.register_module()
class CentreCrop(RandomCrop):
    """Crop of the middle of an image, ``crop_size`` (width, height), transposed for upright images.

    Objects outside are dropped. mmcv's ``CenterCrop`` rejects mmdet's boxes. simpledet also pads
    smaller images to this size; here a batch is padded to its largest image.
    """

    def _get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = image_size
        across, down = sorted(self.crop_size, reverse=width >= height)
        return min(down, height), min(across, width)

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        return margin[0] // 2, margin[1] // 2
