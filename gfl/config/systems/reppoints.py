"""Table 4's RepPoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfl.config.systems.differences import group_norm, head_sizes, sides_between
from gfl.config.systems.method import Difference, Method, Published, Small

FLOAT32 = "gfl.systems.reppoints: points and losses in float32 under autocast; mmdet's otherwise"
AUTHORS = "microsoft/RepPoints, reppoints_moment_r101_dcn_fpn_2x_mt.py"
HEAD = Difference("model.bbox_head.type", "Float32RepPointsHead", FLOAT32)


def _small(small: Small) -> Mapping[str, Any]:
    """Return the small version; deformable convolution is the first version, as published."""
    groups = group_norm(small.channels // 4)
    values = {
        **head_sizes(small),
        "neck.norm_cfg": groups,
        "bbox_head.norm_cfg": groups,
        "bbox_head.point_feat_channels": small.channels,
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
