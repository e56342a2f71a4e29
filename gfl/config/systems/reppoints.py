"""Table 4's RepPoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfl.config.systems.differences import sides_between
from gfl.config.systems.method import Difference, Method, Published, Small

FLOAT32 = "gfl.systems.reppoints: points and losses in float32 under autocast; mmdet's otherwise"
AUTHORS = "microsoft/RepPoints, reppoints_moment_r101_dcn_fpn_2x_mt.py"
HEAD = Difference("model.bbox_head.type", "Float32RepPointsHead", FLOAT32)


def _small(small: Small) -> Mapping[str, Any]:
    """Return the small version; deformable convolution is the first version, as published."""
    groups = {"type": "GN", "num_groups": small.channels // 4, "requires_grad": True}
    values = {
        "neck.norm_cfg": groups,
        "bbox_head.norm_cfg": groups,
        "bbox_head.num_classes": small.classes,
        "bbox_head.in_channels": small.channels,
        "bbox_head.feat_channels": small.channels,
        "bbox_head.point_feat_channels": small.channels,
        "bbox_head.stacked_convs": small.stacked_convs,
        "bbox_head.point_strides": list(small.strides),
    }
    return values | ({"backbone.dcn.type": "DCN"} if small.backbone.get("dcn") else {})


METHOD = Method(
    title="RepPoints",
    rows={
        "r101": Published("reppoints/reppoints-moment_r101_fpn-gn_head-gn_2x_coco.py", (HEAD,)),
        "r101-dcn": Published(
            "reppoints/reppoints-moment_r101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py",
            (HEAD, *sides_between(400, 1400, AUTHORS, long=1600)),
        ),
    },
    small=_small,
)
