"""The detectors of Table 1(b)'s other hosts: RetinaNet, FoveaBox and SSD512.

At the paper's scale they are mmdet's own configurations, key by key. At the embedded scales they
have the network, the levels and the schedule that ATSS has there.
"""

from __future__ import annotations

from typing import Any

from gfl.config import ssd
from gfl.config.detector import (
    backbone,
    classes,
    first_output,
    preprocessor,
    strides,
    widths,
)
from gfl.experiment import Experiment, Model, Profile

Config = dict[str, Any]

_JOINT = {"retinanet": "JointRetinaHead", "foveabox": "JointFoveaHead", "ssd512": "JointSSDHead"}


def publish(config: Config, experiment: Experiment, profile: Profile) -> None:
    """Give a resolved configuration the host's model and, on COCO, SSD512's images, in place."""
    config["model"] = detector(experiment, profile)
    if experiment.host == "ssd512":
        ssd.publish(config, experiment, profile)


def detector(experiment: Experiment, profile: Profile) -> Config:
    """Return the model of a host other than FCOS and ATSS, plain or joint."""
    if experiment.host == "retinanet":
        config = _retinanet(profile)
    elif experiment.host == "foveabox":
        config = _foveabox(profile)
    else:
        config = ssd.detector(profile)
    if experiment.quality == "joint":
        head = config["bbox_head"]
        head["type"] = _JOINT[experiment.host]
        head["loss_cls"] = {"type": "JointLoss", "use_sigmoid": True, "beta": experiment.beta}
    return config


def _plain(name: str, profile: Profile) -> str:
    """Name mmdet's own head, or the one that keeps its losses out of half precision."""
    return name if profile.schedule.precision == "float32" else f"Float32{name}"


def _retinanet(profile: Profile) -> Config:
    model = profile.model
    return {
        "type": "RetinaNet",
        "data_preprocessor": preprocessor(profile),
        "backbone": backbone(model),
        "neck": _fpn(model),
        "bbox_head": {
            "type": _plain("RetinaHead", profile),
            "num_classes": classes(profile),
            "in_channels": model.channels,
            "stacked_convs": model.stacked_convs,
            "feat_channels": model.channels,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "octave_base_scale": 4,
                "scales_per_octave": 3,
                "ratios": [0.5, 1.0, 2.0],
                "strides": strides(model),
            },
            "bbox_coder": {
                "type": "DeltaXYWHBBoxCoder",
                "target_means": [0.0, 0.0, 0.0, 0.0],
                "target_stds": [1.0, 1.0, 1.0, 1.0],
            },
            "loss_cls": _focal(gamma=2.0, alpha=0.25),
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "train_cfg": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.4,
                "min_pos_iou": 0,
                "ignore_iof_thr": -1,
            },
            "sampler": {"type": "PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "test_cfg": _test_cfg() | {"min_bbox_size": 0},
    }


def _foveabox(profile: Profile) -> Config:
    """FoveaBox: level i is of objects of 1 to 4 base edges, an edge of 2 strides.

    The first level takes all that are smaller too, the last up to 8.
    """
    model = profile.model
    edges = [2 * stride for stride in strides(model)]
    ranges = [[edge, 4 * edge] for edge in edges]
    ranges[0][0], ranges[-1][1] = 1, 8 * edges[-1]
    return {
        "type": "FOVEA",
        "data_preprocessor": preprocessor(profile),
        "backbone": backbone(model),
        "neck": _fpn(model),
        "bbox_head": {
            "type": _plain("FoveaHead", profile),
            "num_classes": classes(profile),
            "in_channels": model.channels,
            "stacked_convs": model.stacked_convs,
            "feat_channels": model.channels,
            "strides": strides(model),
            "base_edge_list": edges,
            "scale_ranges": tuple(map(tuple, ranges)),
            "sigma": 0.4,
            "with_deform": False,
            "loss_cls": _focal(gamma=1.5, alpha=0.4),
            "loss_bbox": {"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": _test_cfg(),
    }


def _fpn(model: Model) -> Config:
    return {
        "type": "FPN",
        "in_channels": widths(model),
        "out_channels": model.channels,
        "start_level": first_output(model),
        "add_extra_convs": "on_input",  # P6 from a convolution on C5; ours has it on P5
        "num_outs": model.levels,
    }


def _focal(gamma: float, alpha: float) -> Config:
    return {
        "type": "FocalLoss",
        "use_sigmoid": True,
        "gamma": gamma,
        "alpha": alpha,
        "loss_weight": 1.0,
    }


def _test_cfg() -> Config:
    return {
        "nms_pre": 1000,
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.5},
        "max_per_img": 100,
    }
