"""SSD512 of Table 1(b): VGG-16 at 512 px on COCO, a small counterpart at the embedded scales."""

from __future__ import annotations

from typing import Any, NamedTuple

from gfl.config.data import Images
from gfl.config.heads import deltas, joint_loss
from gfl.config.network import PREPROCESSOR, backbone, classes, preprocessor, stages, widths
from gfl.data.features.frozen import NETWORKS
from gfl.experiment import Experiment, Profile, recipe_of
from gfl.hosts import SSD

Config = dict[str, Any]

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


class Parts(NamedTuple):
    """Network below SSD's head, and the default boxes that fit its levels."""

    preprocessor: Config
    backbone: Config
    neck: Config
    channels: tuple[int, ...]  # of the levels
    anchors: Config


def parts(host: SSD, experiment: Experiment, profile: Profile) -> Parts:
    """Return the published network on COCO, else one at the profile's scale."""
    if profile.has_published_network:
        return _on_vgg(host, experiment, profile)
    if profile.photos:
        return _on_features(host, experiment, profile)
    return _on_resnet(host, experiment, profile)


def images(host: SSD) -> Images:
    """Return the published pipeline: images squeezed to a square and, in training, augmented.

    All have the same shape, so nothing is gained by sorting them.
    """
    size = (host.image_size, host.image_size)
    square = {"type": "Resize", "scale": size, "keep_ratio": False}
    return Images([EXPAND, CROP, square], [square], [PHOTOMETRIC], by_aspect_ratio=False)


def _on_vgg(host: SSD, experiment: Experiment, profile: Profile) -> Parts:
    """Return the published SSD512, mmdet's ``ssd512_coco.py``."""
    channels = (512, 1024, 512, 256, 256, 256, 256)
    anchor_generator = {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "input_size": host.image_size,
        "basesize_ratio_range": tuple(percent / 100 for percent in host.sizes),
        "strides": [8, 16, 32, 64, 128, 256, 512],
        "ratios": [list(ratios) for ratios in host.ratios],
    }
    return Parts(
        preprocessor=PREPROCESSOR | {"std": [1, 1, 1], "pad_size_divisor": 1},
        backbone={
            "type": "SSDVGG",
            "depth": 16,
            "with_last_pool": False,
            "ceil_mode": True,
            "out_indices": (3, 4),
            "out_feature_indices": (22, 34),
            "init_cfg": {
                "type": "Pretrained",
                "checkpoint": recipe_of(experiment, profile).caffe_weights,
            },
        },
        neck={
            "type": "SSDNeck",
            "in_channels": channels[:2],
            "out_channels": channels,
            "level_strides": (2, 2, 2, 2, 1),
            "level_paddings": (1, 1, 1, 1, 1),
            "l2_norm_scale": 20,
            "last_kernel_size": 4,
        },
        channels=channels,
        anchors=anchor_generator,
    )


def _on_resnet(host: SSD, experiment: Experiment, profile: Profile) -> Parts:
    """Return SSD on the profile's ResNet: its stages, then convolutions down to one location.

    All of it is inferred: the published one is VGG-16 at 512 px, thirty times the cost of a row's
    network here. The levels have SSD512's strides and anchors in proportion to the image. Its
    first level, with anchors of 4 % of the image, is omitted: no drawn object is that small. So is
    the L2 norm of its first features, needed only because VGG's are not normalised.
    """
    model, size = profile.model, profile.scale[0]
    first = model.first_level - 2
    from_backbone = tuple(widths(model)[first:])
    extras = (size // 2 ** (stages(model) + 1)).bit_length() - 1  # halvings down to one location
    # The published 512, 256, ..., 256 where the published FPN has 256.
    extra_channels = (2 * model.channels, *(model.channels,) * (extras - 1))
    channels = from_backbone + extra_channels
    outputs = {"out_indices": tuple(range(first, stages(model)))}
    return Parts(
        preprocessor=preprocessor(experiment, profile),
        backbone=backbone(experiment, profile) | outputs,
        neck={
            "type": "SSDNeck",
            "in_channels": from_backbone,
            "out_channels": channels,
            "level_strides": (*(2,) * (extras - 1), 1),
            "level_paddings": (1,) * extras,
            "l2_norm_scale": None,
            "last_kernel_size": 4,  # of 2 x 2 locations, padded to 4 x 4
            "init_cfg": {"type": "Xavier", "distribution": "uniform", "layer": "Conv2d"},
        },
        channels=channels,
        anchors=anchors(host, size, 2**model.first_level, len(channels)),
    )


def _on_features(host: SSD, experiment: Experiment, profile: Profile) -> Parts:
    """Return SSD on a frozen network's features, then convolutions down to two locations.

    Inferred like ``_on_resnet``, but with the first level, of anchors of 4 % of the image:
    photographs have objects that small. Every further level, the last included, halves the number
    of locations: canvases are not square. There is no L2 norm here either.
    """
    model, size = profile.model, profile.scale[0]
    assert model.frozen is not None
    from_backbone, first = tuple(widths(model)), NETWORKS[model.frozen].first_level
    extras = (size // 2 ** (first + len(from_backbone) - 1)).bit_length() - 1
    channels = (*from_backbone, 2 * model.channels, *(model.channels,) * (extras - 1))
    small = size * host.first_size // 100
    generator = anchors(host, size, 2**first, len(channels) - 1)
    return Parts(
        preprocessor=preprocessor(experiment, profile),
        backbone=backbone(experiment, profile),
        neck={
            "type": "SSDNeck",
            "in_channels": from_backbone,
            "out_channels": channels,
            "level_strides": (2,) * extras,
            "level_paddings": (1,) * extras,
            "l2_norm_scale": None,
            "last_kernel_size": 3,
            "init_cfg": {"type": "Xavier", "distribution": "uniform", "layer": "Conv2d"},
        },
        channels=channels,
        anchors=generator
        | {
            "strides": [*generator["strides"], 2 * generator["strides"][-1]],
            "ratios": [list(host.ratios[0]), *generator["ratios"]],
            "min_sizes": [small, *generator["min_sizes"]],
            "max_sizes": [generator["min_sizes"][0], *generator["max_sizes"]],
        },
    )


def anchors(host: SSD, size: int, first_stride: int, levels: int) -> Config:
    """Return anchors whose sizes rise evenly, from SSD512's second level to its last, by ``size``.

    A level's second square has the geometric mean of its own size and the next level's. In whole
    percents and pixels, as in mmdet's SSD512.
    """
    smallest, largest = host.sizes
    step = (largest - smallest) // (levels - 1)
    percents = [smallest + step * level for level in range(levels)]
    return {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "strides": [first_stride * 2**level for level in range(levels)],
        "ratios": [list(ratios) for ratios in host.ratios[-levels:]],
        "min_sizes": [size * percent // 100 for percent in percents],
        "max_sizes": [size * (percent + step) // 100 for percent in percents],
    }


def head(host: SSD, experiment: Experiment, profile: Profile, parts: Parts) -> Config:
    """Return SSD's head, plain or joint."""
    joint = experiment.quality == "joint"
    config: Config = {
        "type": "JointSSDHead" if joint else "PlainSSDHead",
        "in_channels": parts.channels,
        "num_classes": classes(profile),
        "anchor_generator": parts.anchors,
        "bbox_coder": deltas(host.deviations),
    }
    return config | ({"loss_cls": joint_loss(experiment)} if joint else {})


def training(host: SSD) -> Config:
    """Return SSD's assignment and hard negative mining, as published."""
    return {
        "assigner": {
            "type": "MaxIoUAssigner",
            "pos_iou_thr": host.positive_iou,
            "neg_iou_thr": host.positive_iou,
            "min_pos_iou": 0.0,
            "ignore_iof_thr": -1,
            "gt_max_assign_all": False,
        },
        "sampler": {"type": "PseudoSampler"},
        "smoothl1_beta": host.smooth_l1_beta,
        "allowed_border": -1,
        "pos_weight": -1,
        "neg_pos_ratio": host.negatives_per_positive,
        "debug": False,
    }
