"""Table 4's GFL: larger backbones, deformable convolution, doubled multi-scale schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gfl.config.data import Images, resized
from gfl.errors import UserError
from gfl.experiment import Backbone, Experiment, Profile

Config = dict[str, Any]

SHORTEST_SIDE = 480  # of multi-scale training; the longest is the profile's (arXiv v1, appendix D)

RESNET_101: Config = {
    "depth": 101,
    "init_cfg": {"type": "Pretrained", "checkpoint": "torchvision://resnet101"},
}
RESNEXT_101: Config = {
    "type": "ResNeXt",
    "depth": 101,
    "groups": 32,
    "base_width": 4,
    "init_cfg": {"type": "Pretrained", "checkpoint": "open-mmlab://resnext101_32x4d"},
}
# Version 2 in stages c3 to c5, as in the authors' code; mmdet's own configurations use version 1
# and, with ResNeXt, skip c3.
DEFORMABLE: Config = {
    "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False},
    "stage_with_dcn": (False, True, True, True),
}
BACKBONES: dict[Backbone, Config] = {
    "r50": {},
    "r101": RESNET_101,
    "x101-32x4d": RESNEXT_101,
    "r101-dcn": RESNET_101 | DEFORMABLE,
    "x101-32x4d-dcn": RESNEXT_101 | DEFORMABLE,
}


def check(experiment: Experiment, profile: Profile) -> None:
    """Reject a row of Table 4 unless the profile is COCO's.

    Raises:
        UserError: the profile lacks the network and schedule that Table 4 builds on.
    """
    usual = Experiment()
    if (experiment.backbone, experiment.lasting) == (usual.backbone, usual.lasting):
        return
    if not (profile.has_published_network and profile.is_coco):
        raise UserError(
            f"{experiment.slug} (Table 4) has the published network and schedule at COCO's image "
            f"size: the {profile.name} profile has neither"
        )


def images(profile: Profile) -> Images:
    """Return multi-scale training and single-scale testing."""
    long, short = profile.scale
    scales = ((long, SHORTEST_SIDE), (long, short))
    train = [{"type": "RandomResize", "scale": scales, "keep_ratio": True}]
    return replace(resized(profile), train=train)
