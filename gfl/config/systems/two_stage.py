"""Table 4's two-stage detectors that mmdet has: Faster, Cascade, Grid and Libra R-CNN.

TSD, which builds on Faster R-CNN, is in ``gfl.config.systems.tsd``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfl.config.systems.differences import lasting
from gfl.config.systems.method import Config, Difference, Method, Published, Small

FLOAT32 = "gfl.systems.two_stage: regions and losses in float32 under autocast; mmdet's otherwise"
# Of the small versions.
HIDDEN = 128  # channels of the fully connected layers
REGIONS = 32  # sampled per image for training the second stage
PROPOSALS = 100  # per image, after suppression
SMALLEST_SCALE = 28  # px; regions from twice this size on are of the second level


def float32(*heads: str) -> tuple[Difference, ...]:
    """Return the differences of the first stage, the extractor, and the second stage's heads."""
    return (
        Difference("model.rpn_head.type", "Float32RPNHead", FLOAT32),
        Difference("model.roi_head.bbox_roi_extractor.type", "Float32RoIExtractor", FLOAT32),
        *(Difference(f"model.roi_head.{head}.type", "Float32BBoxHead", FLOAT32) for head in heads),
    )


def first_stage(small: Small) -> Config:
    """Return the small version of the region proposal network.

    Anchors of 4 strides, not 8: 86 % of the embedded objects then overlap one by half; 59 %, if
    published ones were kept.
    """
    return {
        "rpn_head.in_channels": small.channels,
        "rpn_head.feat_channels": small.channels,
        "rpn_head.anchor_generator.scales": [4],
        "rpn_head.anchor_generator.strides": list(small.strides),
        **{
            f"{cfg}.{key}": value
            for cfg in ("train_cfg.rpn_proposal", "test_cfg.rpn")
            for key, value in (("nms_pre", 2 * PROPOSALS), ("max_per_img", PROPOSALS))
        },
    }


def extractor(small: Small, name: str = "bbox_roi_extractor") -> Config:
    """Return the small version of an extractor of regions, with one sample a bin."""
    values = {
        "out_channels": small.channels,
        "featmap_strides": list(small.strides),
        "finest_scale": SMALLEST_SCALE,
        "roi_layer.sampling_ratio": 1,
    }
    return {f"roi_head.{name}.{key}": value for key, value in values.items()}


def second_stage(small: Small, name: str = "bbox_head") -> Config:
    """Return the small version of a head of the second stage."""
    values = {
        "in_channels": small.channels,
        "fc_out_channels": HIDDEN,
        "num_classes": small.classes,
    }
    return {f"roi_head.{name}.{key}": value for key, value in values.items()}


def faster(small: Small) -> Mapping[str, Any]:
    """Return the small version of Faster R-CNN's stages, which others start from."""
    return {
        **first_stage(small),
        **extractor(small),
        **second_stage(small),
        "train_cfg.rcnn.sampler.num": REGIONS,
    }


def _faster(small: Small) -> Mapping[str, Any]:
    # Instead of L1, as Cascade R-CNN and TSD have it. With few regions a step L1 outweighs the
    # classes: AP on 100 images after 8000 is 30.9, with this 47.9.
    smooth = {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0}
    return {**faster(small), "roi_head.bbox_head.loss_bbox": smooth}


def _cascade(small: Small) -> Mapping[str, Any]:
    stages = range(3)
    return {
        **first_stage(small),
        **extractor(small),
        **{
            path: value
            for stage in stages
            for path, value in second_stage(small, f"bbox_head.{stage}").items()
        },
        **{f"train_cfg.rcnn.{stage}.sampler.num": REGIONS for stage in stages},
    }


def _grid(small: Small) -> Mapping[str, Any]:
    # All 8 convolutions stay: a grid point's heat map lies half a region beside the features that
    # it is made from, and 2 convolutions do not reach that far (AP75 after 2000 images: 0.3; with
    # 8, 6.1).
    return {
        **faster(small),
        **extractor(small, "grid_roi_extractor"),
        "roi_head.grid_head.in_channels": small.channels,
        "roi_head.grid_head.point_feat_channels": 8,  # of each of the 9 grid points
        "train_cfg.rcnn.max_num_grid": REGIONS,
    }


def _libra(small: Small) -> Mapping[str, Any]:
    balanced = {
        "type": "BFP",
        "in_channels": small.channels,
        "num_levels": len(small.strides),
        "refine_level": 1,
        "refine_type": "non_local",
    }
    return {**faster(small), "neck": [small.neck, balanced]}


FASTER_RCNN = Method(
    title="Faster R-CNN w/ FPN",
    rows={
        "r101": Published("faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py", float32("bbox_head")),
    },
    small=_faster,
    rate=0.002,
)

CASCADE_RCNN = Method(
    title="Cascade R-CNN",
    rows={
        "r101": Published(
            "cascade_rcnn/cascade-rcnn_r101_fpn_20e_coco.py",
            (
                *float32("bbox_head.0", "bbox_head.1", "bbox_head.2"),
                *lasting(18, (12, 16), "Table 4's epochs; inferred: steps of the 1.5x schedule"),
            ),
        ),
    },
    small=_cascade,
    rate=0.004,
)

GRID_RCNN = Method(
    title="Grid R-CNN",
    rows={
        "r101": Published(
            "grid_rcnn/grid-rcnn_r101_fpn_gn-head_2x_coco.py",
            (
                *float32("bbox_head"),
                Difference(
                    "model.roi_head.grid_roi_extractor.type", "Float32RoIExtractor", FLOAT32
                ),
                Difference("model.roi_head.type", "CompleteGridRoIHead", "gfl.systems.grid"),
                Difference("model.roi_head.grid_head.type", "StockGridHead", "gfl.systems.stock"),
                *lasting(
                    20, (14, 18), "Table 4's epochs; inferred: mmdet's fractions of 25 epochs"
                ),
            ),
        ),
    },
    small=_grid,
)

_LIBRA = (
    *float32("bbox_head"),
    Difference(
        "model.train_cfg.rcnn.sampler.pos_sampler.type",
        "StockInstanceBalancedPosSampler",
        "gfl.systems.stock",
    ),
)
LIBRA_RCNN = Method(
    title="Libra R-CNN",
    rows={
        "r101": Published(
            "libra_rcnn/libra-faster-rcnn_r101_fpn_1x_coco.py",
            (
                *_LIBRA,
                *lasting(24, (16, 22), "Table 4's epochs; mmdet's 2x schedule"),
            ),
        ),
        "x101-64x4d": Published("libra_rcnn/libra-faster-rcnn_x101-64x4d_fpn_1x_coco.py", _LIBRA),
    },
    small=_libra,
)
