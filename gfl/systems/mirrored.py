"""A mirrored copy of each image in the batch at test, for CornerNet, CentripetalNet and CenterNet.

The published "single-scale" accuracies and speeds of all three are with this copy (princeton-vl/
CornerNet, ``test/coco.py``; Duankaiwen/CenterNet, ``test/coco.py``; CentripetalNet's has not been
read: mmdet's configuration has it in ``tta_pipeline`` as CornerNet's). mmdet's ``DetTTAModel``
suppresses each copy's boxes first and their union again, so that a box's score decays twice; here,
as in the released code, the candidates of both copies enter one suppression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from mmdet.models.detectors import CornerNet
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

Meta = dict[str, Any]
Instances = Any  # an InstanceData, whose fields no type checker knows


@MODELS.register_module()
class MirroredCornerNet(CornerNet):
    """Detector of keypoints that also looks at each image's mirror image at test.

    Serves every head that derives from mmdet's ``CornerHead``. Training is CornerNet's.

    Args:
        backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor: CornerNet's.
        mirrored: False predicts from the image alone, as mmdet does.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        bbox_head: dict[str, Any],
        neck: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        mirrored: bool = True,
    ) -> None:
        neck_or_none: Any = (
            neck  # declared as never None by mmdet, whose own configuration has None
        )
        super().__init__(backbone, neck_or_none, bbox_head, train_cfg, test_cfg, data_preprocessor)
        self.mirrored = mirrored

    def predict(
        self, batch_inputs: Float[Tensor, "B 3 H W"], batch_data_samples: Any, rescale: bool = True
    ) -> Any:
        """Return the samples with their detections, one sample for each image."""
        if not self.mirrored:
            return super().predict(batch_inputs, batch_data_samples, rescale)
        head: Any = self.bbox_head
        metas = [sample.metainfo for sample in batch_data_samples]
        outputs = head(self.extract_feat(torch.cat([batch_inputs, batch_inputs.flip(-1)])))
        views = metas + [mirrored_meta(meta) for meta in metas]
        candidates = head.predict_by_feat(
            *outputs, batch_img_metas=views, rescale=False, with_nms=False
        )
        originals, copies = candidates[: len(metas)], candidates[len(metas) :]
        detections = [
            self._detections(original, unmirrored(copy, meta), meta if rescale else {})
            for original, copy, meta in zip(originals, copies, metas, strict=True)
        ]
        return self.add_pred_to_datasample(batch_data_samples, detections)

    def _detections(self, original: InstanceData, copy: Instances, meta: Meta) -> Instances:
        """Return one image's detections from both copies' candidates, the original's first."""
        found: Instances = InstanceData.cat([original, copy])
        if "scale_factor" in meta:
            found.bboxes = found.bboxes / found.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
        return suppressed(self.bbox_head, self._select(found))

    def _select(self, candidates: Instances) -> Instances:
        """Return those of both copies' candidates, px of the original image, that stay."""
        return candidates


def window(meta: Meta) -> tuple[float, float, float, float]:
    """Return the image's left, top, right and bottom side on the batch's canvas, px.

    ``RandomCenterCropPad`` centres an image on its canvas and leaves the sides in ``border``, in
    the order top, bottom, left, right; without it the image lies in the canvas's top left corner.
    """
    if "border" in meta:
        top, bottom, left, right = (float(side) for side in meta["border"])
        return left, top, right, bottom
    height, width = meta["img_shape"][:2]
    return 0.0, 0.0, float(width), float(height)


def mirrored_meta(meta: Meta) -> Meta:
    """Return the meta information of an image's canvas mirrored left to right."""
    left, top, right, bottom = window(meta)
    canvas = meta["batch_input_shape"][1]
    border = np.array([top, bottom, canvas - right, canvas - left], dtype=np.float32)
    return meta | {"border": border}


def unmirrored(candidates: Instances, meta: Meta) -> Instances:
    """Return the mirror image's candidates with their boxes on the image itself."""
    left, _, right, _ = window(meta)
    result = candidates.clone()
    x1, y1, x2, y2 = candidates.bboxes.unbind(-1)
    width = right - left
    result.bboxes = torch.stack((width - x2, y1, width - x1, y2), -1)
    return result


def suppressed(head: Any, candidates: Instances) -> Instances:
    """Return the detections that the head's suppression leaves of one image's candidates."""
    scored = torch.cat([candidates.bboxes, candidates.scores.unsqueeze(-1)], -1)
    scored, labels = head._bboxes_nms(scored, candidates.labels, head.test_cfg)
    return InstanceData(bboxes=scored[:, :4], scores=scored[:, 4], labels=labels)
