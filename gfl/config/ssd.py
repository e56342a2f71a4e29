"""SSD512 of Table 1(b): VGG-16 at 512 px on COCO, a small cousin at the embedded scales."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from gfl.config.detector import (
    PREPROCESSOR,
    backbone,
    classes,
    preprocessor,
    stages,
    widths,
)
from gfl.config.schedule import optim_wrapper, param_scheduler
from gfl.data.features.frozen import NETWORKS
from gfl.experiment import SSD512_REPEATED, Experiment, Profile, schedule_of

Config = dict[str, Any]

# Ratios and sizes, in percent of the image, of SSD512's anchors from its second level on, whose
# stride is a 32nd of the image; the last one's is the image.
RATIOS: tuple[list[float], ...] = ([2, 3], [2, 3], [2, 3], [2, 3], [2], [2])
SMALLEST, LARGEST = 10, 90
SMALLEST_OF_ALL = 4  # of its first level

SIZE = 512  # to which COCO's images are squeezed, px
EXPAND: Config = {
    "type": "Expand",
    "mean": PREPROCESSOR["mean"],
    "to_rgb": PREPROCESSOR["bgr_to_rgb"],
    "ratio_range": (1, 4),
}
CROP: Config = {
    "type": "MinIoURandomCrop",
    "min_ious": (0.1, 0.3, 0.5, 0.7, 0.9),
    "min_crop_size": 0.3,
}
PHOTOMETRIC: Config = {
    "type": "PhotoMetricDistortion",
    "brightness_delta": 32,
    "contrast_range": (0.5, 1.5),
    "saturation_range": (0.5, 1.5),
    "hue_delta": 18,
}


def detector(profile: Profile) -> Config:
    """Return the published model on COCO, else the one of the profile's scale."""
    if profile.photos:
        return _on_features(profile)
    return _on_resnet(profile) if profile.dataset else _on_vgg(profile)


def publish(config: Config, experiment: Experiment, profile: Profile) -> None:
    """Give a resolved configuration SSD512's published images and schedule, in place.

    At a small scale it has the profile's, as every row: nothing is changed.
    """
    if profile.is_small:
        return
    schedule = schedule_of(experiment, profile)
    config["train_cfg"] |= {"max_epochs": schedule.epochs, "val_interval": SSD512_REPEATED}
    config["optim_wrapper"] = optim_wrapper(schedule)
    config["param_scheduler"] = param_scheduler(schedule)
    loader = config["train_dataloader"]
    # All are of one shape: nothing is gained by sorting them.
    loader |= {"batch_size": schedule.batch // profile.gpus, "batch_sampler": None}
    for split in ("train", "val"):
        dataset = config[f"{split}_dataloader"]["dataset"]
        steps = [_published_steps(step, split) for step in dataset["pipeline"]]
        dataset["pipeline"] = [step for some in steps for step in some]


def _published_steps(step: Config, split: str) -> list[Config]:
    """Return what stands in a step's place: images squeezed to a square, in training varied."""
    if step["type"] == "RandomFlip":
        return [step, PHOTOMETRIC]
    if step["type"] != "Resize":
        return [step]
    square = step | {"scale": (SIZE, SIZE), "keep_ratio": False}
    return [EXPAND, CROP, square] if split == "train" else [square]


def _on_vgg(profile: Profile) -> Config:
    """Return the published SSD512, mmdet's ``ssd512_coco.py``."""
    channels = (512, 1024, 512, 256, 256, 256, 256)
    anchor_generator = {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "input_size": SIZE,
        "basesize_ratio_range": (SMALLEST / 100, LARGEST / 100),
        "strides": [8, 16, 32, 64, 128, 256, 512],
        "ratios": [[2], *RATIOS],
    }
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": PREPROCESSOR | {"std": [1, 1, 1], "pad_size_divisor": 1},
        "backbone": {
            "type": "SSDVGG",
            "depth": 16,
            "with_last_pool": False,
            "ceil_mode": True,
            "out_indices": (3, 4),
            "out_feature_indices": (22, 34),
            "init_cfg": {"type": "Pretrained", "checkpoint": "open-mmlab://vgg16_caffe"},
        },
        "neck": {
            "type": "SSDNeck",
            "in_channels": channels[:2],
            "out_channels": channels,
            "level_strides": (2, 2, 2, 2, 1),
            "level_paddings": (1, 1, 1, 1, 1),
            "l2_norm_scale": 20,
            "last_kernel_size": 4,
        },
        "bbox_head": _head(profile, channels, anchor_generator),
        **_settings(),
    }


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


def _on_features(profile: Profile) -> Config:
    """SSD on a frozen network's features, then convolutions down to two locations.

    Inferred, as ``_on_resnet`` is, from which it differs in three things. The first level is there,
    of anchors of 4 % of the image: photographs have objects so small. Each further level has half
    as many locations, the last too: canvases are not square. There is no L2 norm either.
    """
    model, size = profile.model, profile.scale[0]
    assert model.frozen is not None
    from_backbone, first = tuple(widths(model)), NETWORKS[model.frozen].first_level
    extras = (size // 2 ** (first + len(from_backbone) - 1)).bit_length() - 1
    channels = (*from_backbone, 2 * model.channels, *(model.channels,) * (extras - 1))
    small = size * SMALLEST_OF_ALL // 100
    generator = anchors(size, 2**first, len(channels) - 1)
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": preprocessor(profile),
        "backbone": backbone(model),
        "neck": {
            "type": "SSDNeck",
            "in_channels": from_backbone,
            "out_channels": channels,
            "level_strides": (2,) * extras,
            "level_paddings": (1,) * extras,
            "l2_norm_scale": None,
            "last_kernel_size": 3,
            "init_cfg": {"type": "Xavier", "distribution": "uniform", "layer": "Conv2d"},
        },
        "bbox_head": _head(
            profile,
            channels,
            generator
            | {
                "strides": [*generator["strides"], 2 * generator["strides"][-1]],
                "ratios": [[2], *generator["ratios"]],
                "min_sizes": [small, *generator["min_sizes"]],
                "max_sizes": [generator["min_sizes"][0], *generator["max_sizes"]],
            },
        ),
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
