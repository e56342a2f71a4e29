"""Table 4's one-stage detectors of mmdet: RetinaNet, FreeAnchor, FoveaBox, FSAF, FCOS and ATSS."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from gfl.config.systems.differences import (
    SIDES,
    anchored_sizes,
    deformable,
    group_norm,
    head_sizes,
    lasting,
    resnext,
    resnext_32x8d,
    sides_among,
    sides_between,
)
from gfl.config.systems.method import Difference, Method, Published, Small

_GROUP = 8  # channels that GroupNorm normalises together at full size, 256 in 32 groups
_EPOCHS_18 = lasting(18, (12, 16), "135 K iterations of 16 images; steps at 90 K and 120 K")


RETINANET = Method(
    title="RetinaNet",
    rows={
        "r101": Published(
            "retinanet/retinanet_r101_fpn_2x_coco.py",
            (
                *_EPOCHS_18,
                *sides_between(
                    640, 800, "inferred: the AP is of training with scale jitter, of no given range"
                ),
            ),
        ),
    },
    small=anchored_sizes,
    rate=0.004,
)


_FREEANCHOR = (
    *sides_among(SIDES, "the authors' free_anchor_R-101-FPN_j2x.yaml"),
    # RetinaHead's own with another prior; mmdet's is 0.01.
    Difference(
        "model.bbox_head.init_cfg",
        {
            "type": "Normal",
            "layer": "Conv2d",
            "std": 0.01,
            "override": {
                "type": "Normal", "name": "retina_cls", "std": 0.01, "bias_prob": 0.02
            },
        },
        "prior 0.02 in the authors' free_anchor_R-101-FPN_j2x.yaml",
    ),
)  # fmt: skip

FREEANCHOR = Method(
    title="FreeAnchor",
    rows={
        "r101": Published(
            "free_anchor/freeanchor_r101_fpn_1x_coco.py",
            (*lasting(24, (16, 22), "the authors' 180 K iterations of 16 images"), *_FREEANCHOR),
        ),
        "x101-32x8d": Published(
            "free_anchor/freeanchor_r101_fpn_1x_coco.py",
            (
                *lasting(18, (12, 16), "135 K iterations in the authors' branch `previous`"),
                *_FREEANCHOR,
                *resnext_32x8d("the authors' branch `previous`, whose AP is Table 4's"),
            ),
        ),
    },
    small=anchored_sizes,
    rate=0.004,
)


def _foveabox(small: Small) -> dict[str, Any]:
    """Return FoveaBox's values; at full size an edge is 2 strides, and objects 1/2 to 4 edges."""
    edges = [2 * stride for stride in small.strides]
    ranges = [[2 * edge if i else 1, 8 * edge] for i, edge in enumerate(small.strides)]
    return {
        **head_sizes(small),
        "bbox_head.strides": list(small.strides),
        "bbox_head.base_edge_list": edges,
        "bbox_head.scale_ranges": tuple(map(tuple, ranges)),
        "bbox_head.norm_cfg": group_norm(small.channels // 4),
    }


_FOVEABOX = (
    *_EPOCHS_18,
    *sides_between(640, 800, "a range; mmdet's configuration draws one of its two ends"),
)
_FOVEABOX_FILE = "foveabox/fovea_r101_fpn_gn-head-align_ms-640-800-4xb4-2x_coco.py"

FOVEABOX = Method(
    title="FoveaBox",
    rows={
        "r101": Published(_FOVEABOX_FILE, _FOVEABOX),
        "x101-64x4d": Published(
            _FOVEABOX_FILE,
            (*_FOVEABOX, *resnext(64, 4, "inferred: which X-101 it is was never said")),
        ),
    },
    small=_foveabox,
)


# "Feature Selective Anchor-Free Module" (Zhu et al., CVPR 2019).
_FSAF = (
    *_EPOCHS_18,
    *sides_among(SIDES, "short side of 640, 672, ... 800, as in the authors' training"),
)

FSAF = Method(
    title="FSAF",
    rows={
        "r101": Published("fsaf/fsaf_r101_fpn_1x_coco.py", _FSAF),
        "x101-64x4d": Published("fsaf/fsaf_x101-64x4d_fpn_1x_coco.py", _FSAF),
    },
    small=anchored_sizes,  # every level stays a candidate of every object
)


def _fcos(small: Small) -> dict[str, Any]:
    """Return FCOS's values; at full size a level's objects are 8 to 16 strides, px."""
    ends = [-1, *(8 * stride for stride in small.strides[:-1]), 1e8]
    return {
        **head_sizes(small),
        "bbox_head.strides": list(small.strides),
        "bbox_head.regress_ranges": tuple(pairwise(ends)),
        "bbox_head.norm_cfg": group_norm(small.channels // _GROUP),
    }


_FCOS = sides_between(640, 800, "the authors' range; mmdet's configuration draws one of its ends")
_IMPROVED = "the authors' fcos_imprv_X_101_64x4d_FPN_2x.yaml; as in mmdet's improved R-50"

FCOS = Method(
    title="FCOS",
    rows={
        "r101": Published("fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py", _FCOS),
        "x101-64x4d": Published(
            "fcos/fcos_x101-64x4d_fpn_gn-head_ms-640-800-2x_coco.py",
            (
                *_FCOS,
                Difference("model.bbox_head.norm_on_bbox", True, _IMPROVED),
                Difference("model.bbox_head.centerness_on_reg", True, _IMPROVED),
                Difference("model.bbox_head.center_sampling", True, _IMPROVED),
                Difference("model.bbox_head.loss_bbox.type", "GIoULoss", _IMPROVED),
                Difference("model.test_cfg.nms.iou_threshold", 0.6, _IMPROVED),
            ),
        ),
    },
    small=_fcos,
    rate=0.004,
)


def _atss(small: Small) -> dict[str, Any]:
    return {
        **anchored_sizes(small),
        "bbox_head.norm_cfg": group_norm(small.channels // _GROUP),
    }


_ATSS = (
    *lasting(24, (16, 22), "the authors' 180 K iterations of 16 images"),
    *sides_between(640, 800, "the authors' configurations"),
)
_ATSS_FILE = "atss/atss_r101_fpn_1x_coco.py"
_ATSS_X101 = resnext_32x8d("the authors' configurations")
_TOWERS = Difference(
    "model.bbox_head.type",
    "DeformableATSSHead",
    "note 4 of the authors' README: the last convolution of each tower is deformable, version 2",
)
_DEFORMABLE = "note 4 of the authors' README: version 2, c3 to c5 of ResNet, c4 and c5 of ResNeXt"

ATSS = Method(
    title="ATSS",
    rows={
        "r101": Published(_ATSS_FILE, _ATSS),
        "x101-32x8d": Published(_ATSS_FILE, (*_ATSS, *_ATSS_X101)),
        "r101-dcn": Published(_ATSS_FILE, (*_ATSS, *deformable(2, _DEFORMABLE), _TOWERS)),
        "x101-32x8d-dcn": Published(
            _ATSS_FILE, (*_ATSS, *_ATSS_X101, *deformable(2, _DEFORMABLE, 4), _TOWERS)
        ),
    },
    small=_atss,
    rate=0.004,
)
