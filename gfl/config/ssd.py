"""SSD512 of Table 1(b): VGG-16 at 512 px on COCO, a small cousin at the embedded scales."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from gfl.config.detector import PREPROCESSOR, backbone, classes, stages, widths
from gfl.experiment import Profile

Config = dict[str, Any]

# Ratios and sizes, in percent of the image, of SSD512's anchors from its second level on, whose
# stride is a 32nd of the image; the last one's is the image.
RATIOS: tuple[list[float], ...] = ([2, 3], [2, 3], [2, 3], [2, 3], [2], [2])
SMALLEST, LARGEST = 10, 90


def detector(profile: Profile) -> Config:
    return _on_resnet(profile)


def _on_resnet(profile: Profile) -> Config:
    """SSD on the profile's ResNet: its stages, then convolutions down to one location.

    Inferred, all of it: the published one is VGG-16 at 512 px, thirty times the cost of a row's
    network here. The levels have SSD512's strides and anchors in proportion to the image. Its
    first, of anchors of 4 % of the image, is left out: nothing that is drawn is so small. So is
    the L2 norm of its first features: it is there because nothing normalises VGG's.
    """
    model, size = profile.model, profile.scale[0]
    first = model.first_level - 2
    from_backbone = tuple(widths(model)[first:])
    extras = (size // 2 ** (stages(model) + 1)).bit_length() - 1  # halvings to one location
    # The published 512, 256, ..., 256 where the published FPN has 256.
    extra_channels = (2 * model.channels, *(model.channels,) * (extras - 1))
    channels = from_backbone + extra_channels
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": copy.deepcopy(PREPROCESSOR),
        "backbone": backbone(model) | {"out_indices": tuple(range(first, stages(model)))},
        "neck": {
            "type": "SSDNeck",
            "in_channels": from_backbone,
            "out_channels": channels,
            "level_strides": (*(2,) * (extras - 1), 1),
            "level_paddings": (1,) * extras,
            "l2_norm_scale": None,
            "last_kernel_size": 4,  # of 2 x 2 locations, padded to 4 x 4
            "init_cfg": {"type": "Xavier", "distribution": "uniform", "layer": "Conv2d"},
        },
        "bbox_head": _head(profile, channels, anchors(size, 2**model.first_level, len(channels))),
        **_settings(),
    }


def anchors(size: int, first_stride: int, levels: int) -> Config:
    """Return anchors whose sizes rise evenly from a tenth to nine tenths of an image of ``size``.

    A level's second square has the geometric mean of its size and the next level's. In whole
    percents and pixels, as mmdet counts SSD512's.
    """
    step = (LARGEST - SMALLEST) // (levels - 1)
    percents = [SMALLEST + step * level for level in range(levels)]
    return {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "strides": [first_stride * 2**level for level in range(levels)],
        "ratios": list(RATIOS[-levels:]),
        "min_sizes": [size * percent // 100 for percent in percents],
        "max_sizes": [size * (percent + step) // 100 for percent in percents],
    }


def _head(profile: Profile, channels: Sequence[int], anchor_generator: Config) -> Config:
    return {
        "type": "PlainSSDHead",
        "in_channels": channels,
        "num_classes": classes(profile),
        "anchor_generator": anchor_generator,
        "bbox_coder": {
            "type": "DeltaXYWHBBoxCoder",
            "target_means": [0.0, 0.0, 0.0, 0.0],
            "target_stds": [0.1, 0.1, 0.2, 0.2],
        },
    }


def _settings() -> Config:
    """Return SSD's assignment, mining and suppression, as published."""
    return {
        "train_cfg": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.5,
                "min_pos_iou": 0.0,
                "ignore_iof_thr": -1,
                "gt_max_assign_all": False,
            },
            "sampler": {"type": "PseudoSampler"},
            "smoothl1_beta": 1.0,
            "allowed_border": -1,
            "pos_weight": -1,
            "neg_pos_ratio": 3,
            "debug": False,
        },
        "test_cfg": {
            "nms_pre": 1000,
            "nms": {"type": "nms", "iou_threshold": 0.45},
            "min_bbox_size": 0,
            "score_thr": 0.02,
            "max_per_img": 200,
        },
    }
