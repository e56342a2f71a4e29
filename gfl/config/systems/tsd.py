"""Table 4's TSD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfl.config.systems.differences import lasting
from gfl.config.systems.method import Difference, Method, Published, Small
from gfl.config.systems.two_stage import HIDDEN, faster, float32

AUTHORS = "Sense-X/TSD, faster_rcnn_r101_fpn_TSD_1x.py"
EPOCHS = "Table 4's epochs; inferred: steps at the fractions of the authors' 14 epochs (9, 12)"
SMOOTH_L1 = {"type": "SmoothL1Loss", "loss_weight": 1.0}


def _authors(path: str, value: Any) -> Difference:
    return Difference(path, value, AUTHORS)


DIFFERENCES = (
    *float32(),
    Difference("model.roi_head.type", "TSDRoIHead", "gfl.systems.tsd"),
    Difference("model.roi_head.bbox_head.type", "TSDBBoxHead", "gfl.systems.tsd"),
    _authors("model.roi_head.samples", 4),
    _authors("model.roi_head.bbox_head.delta_channels", 256),
    _authors("model.roi_head.bbox_head.cls_pc_margin", 0.3),
    _authors("model.roi_head.bbox_head.loc_pc_margin", 0.3),
    _authors("model.roi_head.bbox_head.loss_bbox", SMOOTH_L1 | {"beta": 1.0}),
    _authors("model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio", 2),
    _authors("model.rpn_head.loss_bbox", SMOOTH_L1 | {"beta": 1 / 9}),
    _authors("model.train_cfg.rpn.allowed_border", 0),
    _authors("model.train_cfg.rpn_proposal.max_per_img", 2000),
    _authors("model.test_cfg.rcnn.score_thr", 0.0),
    # 16 GPUs with 2 images each, here 8 with 4.
    _authors("train_dataloader.batch_size", 4),
    _authors("auto_scale_lr.base_batch_size", 32),
    _authors("optim_wrapper.optimizer.lr", 0.04),
    _authors("optim_wrapper.clip_grad", {"max_norm": 35, "norm_type": 2}),
    _authors("param_scheduler.0.start_factor", 1 / 32),
    _authors("param_scheduler.0.end", 3600),
    *lasting(20, (13, 17), EPOCHS),
)


def _small(small: Small) -> Mapping[str, Any]:
    return {
        **faster(small),
        "roi_head.samples": 2,
        "roi_head.bbox_head.delta_channels": HIDDEN,
    }


METHOD = Method(
    title="TSD",
    rows={"r101": Published("faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py", DIFFERENCES)},
    small=_small,
    rate=0.004,
)
