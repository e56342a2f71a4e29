"""Table 4's backbones at both scales, and GFL's doubled multi-scale schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gfl.config.data import Images, resized
from gfl.errors import UserError
from gfl.experiment import Backbone, Experiment, Model, Profile

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


# Small counterparts keep what distinguishes the published ones. R-101 is R-50 with a deeper c4;
# X-101 widens the 3 x 3 convolutions of all blocks to 2, 4 and 4 times the planes (32x4d, 64x4d,
# 32x8d), in as many blocks.
SMALL_DEPTH = 44  # bottlenecks: 2, 2, 8 and 2 in the stages
CARDINALITIES: dict[str, tuple[int, int]] = {  # of 64 planes: groups, width of each
    "x101-32x4d": (32, 4),
    "x101-64x4d": (64, 4),
    "x101-32x8d": (32, 8),
}


def small_backbone(name: str, model: Model, stages: int) -> Config:
    """Return a small counterpart of a published backbone, trained from scratch.

    ``name`` is a backbone's of Table 4, such as ``"x101-32x8d-dcn"``; "r50" is the profile's own.

    Raises:
        UserError: it has no small counterpart.
    """
    base = name.removesuffix("-dcn")
    config: Config = {}
    if base != "r50":
        # With four times the channels of their blocks, bottlenecks need fewer.
        planes = model.base_channels // 2
        config = {"type": "StockResNet", "depth": SMALL_DEPTH, "base_channels": planes}
        if base in CARDINALITIES:
            groups, width = CARDINALITIES[base]
            config |= {
                "type": "StockResNeXt",
                "groups": groups * planes // 64,
                "base_width": width,
            }
        elif base != "r101":
            raise UserError(f"backbone {name!r} has no small counterpart")
    if name != base:
        where = (False,) * (stages - 2) + (True, True)
        config |= {"dcn": DEFORMABLE["dcn"], "stage_with_dcn": where}
    return config


def check(experiment: Experiment, profile: Profile) -> None:
    """Reject a row of Table 4 that a profile cannot train.

    Raises:
        UserError: the profile lacks the network or schedule that the row builds on.
    """
    usual = Experiment()
    if (experiment.backbone, experiment.lasting) == (usual.backbone, usual.lasting):
        return
    check_network(experiment.slug, profile)
    if experiment.lasting != usual.lasting and not profile.has_published_network:
        raise UserError(
            f"{experiment.slug} (Table 4) has a doubled schedule at COCO's image size; at the "
            f"{profile.name} profile all systems see the same images"
        )


def check_network(slug: str, profile: Profile) -> None:
    """Reject a system of Table 4 unless the profile has the published network or draws its images.

    Raises:
        UserError: the profile has no network for it.
    """
    on_coco = profile.has_published_network and profile.is_coco
    if not (on_coco or (profile.dataset is not None and profile.device == "cpu")):
        raise UserError(
            f"{slug} (Table 4) has a network of its own: the {profile.name} profile has none for it"
        )


def images(profile: Profile) -> Images:
    """Return multi-scale training and single-scale testing."""
    long, short = profile.scale
    scales = ((long, SHORTEST_SIDE), (long, short))
    train = [{"type": "RandomResize", "scale": scales, "keep_ratio": True}]
    return replace(resized(profile), train=train)
