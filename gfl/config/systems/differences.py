"""Differences that several methods of Table 4 share: backbones, length of training, image sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gfl.config.systems.method import Difference, Small

Differences = tuple[Difference, ...]

LONG = 1333  # px, longest side of an image
SIDES = (640, 672, 704, 736, 768, 800)  # px, of the methods that draw one of several short sides


def lasting(epochs: int, milestones: tuple[int, int], source: str) -> Differences:
    """Return the length of training, and the epochs after which the rate falls tenfold."""
    values: dict[str, Any] = {
        "train_cfg.max_epochs": epochs,
        "param_scheduler.1.end": epochs,
        "param_scheduler.1.milestones": list(milestones),
    }
    return tuple(Difference(path, value, source) for path, value in values.items())


def sides_between(least: int, most: int, source: str, long: int = LONG) -> Differences:
    """Return multi-scale training with a short side drawn from a range, px."""
    scale = [(long, least), (long, most)]
    return _resized({"type": "RandomResize", "scale": scale, "keep_ratio": True}, source)


def sides_among(sides: Sequence[int], source: str) -> Differences:
    """Return multi-scale training with a short side drawn from several, px."""
    scales = [(LONG, side) for side in sides]
    return _resized({"type": "RandomChoiceResize", "scales": scales, "keep_ratio": True}, source)


def _resized(step: dict[str, Any], source: str) -> Differences:
    """Replace the step that resizes: the third in all of mmdet's pipelines of images and boxes."""
    # The first is what the second was resolved from; nothing else reads it.
    paths = ("train_pipeline.2", "train_dataloader.dataset.pipeline.2")
    return tuple(Difference(path, step, source) for path in paths)


def resnext(groups: int, width: int, source: str, checkpoint: str = "") -> Differences:
    """Return a ResNeXt in place of the configuration's ResNet or ResNeXt, of the same depth 101."""
    checkpoint = checkpoint or f"open-mmlab://resnext101_{groups}x{width}d"
    values: dict[str, Any] = {
        "model.backbone.type": "ResNeXt",
        "model.backbone.groups": groups,
        "model.backbone.base_width": width,
        "model.backbone.init_cfg.checkpoint": checkpoint,
    }
    return tuple(Difference(path, value, source) for path, value in values.items())


def resnext_32x8d(source: str) -> Differences:
    """Return X-101-32x8d with the statistics of the images that its weights were trained on."""
    weights = "the weights' own, as in mmdet's faster-rcnn_x101-32x8d_fpn_ms-3x_coco"
    return (
        *resnext(32, 8, source, "open-mmlab://detectron2/resnext101_32x8d"),
        Difference("model.backbone.norm_cfg.requires_grad", False, weights),
        Difference("model.data_preprocessor.mean", [103.530, 116.280, 123.675], weights),
        Difference("model.data_preprocessor.std", [57.375, 57.120, 58.395], weights),
        Difference("model.data_preprocessor.bgr_to_rgb", False, weights),
    )


def deformable(version: int, source: str, first_stage: int = 3) -> Differences:
    """Return deformable convolutions in the backbone, from stage c3 or c4 to c5."""
    convolution = {
        "type": {1: "DCN", 2: "DCNv2"}[version],
        "deform_groups": 1,
        "fallback_on_stride": False,
    }
    stages = tuple(stage >= first_stage for stage in (2, 3, 4, 5))
    return (
        Difference("model.backbone.dcn", convolution, source),
        Difference("model.backbone.stage_with_dcn", stages, source),
    )


def head_sizes(small: Small) -> dict[str, Any]:
    """Return the values of a dense head that a small profile's network determines."""
    return {
        "bbox_head.num_classes": small.classes,
        "bbox_head.in_channels": small.channels,
        "bbox_head.feat_channels": small.channels,
        "bbox_head.stacked_convs": small.stacked_convs,
    }


def anchored_sizes(small: Small) -> dict[str, Any]:
    """Return ``head_sizes`` and the strides of the anchors."""
    return head_sizes(small) | {"bbox_head.anchor_generator.strides": list(small.strides)}


def group_norm(groups: int) -> dict[str, Any]:
    """Return GroupNorm of a head's towers."""
    return {"type": "GN", "num_groups": groups, "requires_grad": True}
