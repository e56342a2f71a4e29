"""Heads of the hosts with an FPN, in mmdet's keys.

FCOS and ATSS use this project's head; RetinaNet and FoveaBox mmdet's, or those of ``gfl.joint``.
"""

from __future__ import annotations

from typing import Any

from gfl.config.network import classes, strides
from gfl.experiment import Experiment, Profile
from gfl.hosts import Focal, FoveaBox, RetinaNet

Config = dict[str, Any]


def dense(experiment: Experiment, profile: Profile) -> Config:
    """Return this project's head. Factors without effect are omitted: those runs are the same."""
    factors: Config = {
        "quality": experiment.quality,
        "beta": experiment.beta if experiment.quality == "joint" else None,
        "boxes": experiment.boxes,
        "dfl": experiment.dfl,
        "n": experiment.n if experiment.boxes == "general" else None,
        "delta": experiment.delta if experiment.boxes == "general" else None,
    }
    if experiment.boxes == "gaussian":
        factors["likelihood_weight"] = experiment.likelihood_weight
    # Omitted where it is the head's default: the ids of ATSS's runs depend on that.
    if experiment.host != "atss":
        factors["host"] = experiment.host
    return {"type": "AblationHead", **_sizes(profile), "strides": strides(profile.model), **factors}


def retinanet(host: RetinaNet, experiment: Experiment, profile: Profile) -> Config:
    """Return RetinaNet's head, plain or joint."""
    return {
        "type": _type("RetinaHead", experiment, profile),
        **_sizes(profile),
        "anchor_generator": {
            "type": "AnchorGenerator",
            "octave_base_scale": host.anchor_side,
            "scales_per_octave": host.anchors_per_octave,
            "ratios": list(host.ratios),
            "strides": strides(profile.model),
        },
        "bbox_coder": deltas(host.deviations),
        "loss_cls": _classification(host.focal, experiment),
        "loss_bbox": {"type": "L1Loss", "loss_weight": host.lambda_0},
    }


def retinanet_training(host: RetinaNet) -> Config:
    """Return RetinaNet's assigner settings."""
    return {
        "assigner": {
            "type": "MaxIoUAssigner",
            "pos_iou_thr": host.positive_iou,
            "neg_iou_thr": host.negative_iou,
            "min_pos_iou": 0,
            "ignore_iof_thr": -1,
        },
        "sampler": {"type": "PseudoSampler"},
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
    }


def foveabox(host: FoveaBox, experiment: Experiment, profile: Profile) -> Config:
    """Return FoveaBox's head, plain or joint."""
    edges = [host.base_edge * stride for stride in strides(profile.model)]
    ranges = [[edge * least for least in host.edges] for edge in edges]
    ranges[0][0], ranges[-1][1] = host.least_edge, host.most_edge * edges[-1]
    return {
        "type": _type("FoveaHead", experiment, profile),
        **_sizes(profile),
        "strides": strides(profile.model),
        "base_edge_list": edges,
        "scale_ranges": tuple(map(tuple, ranges)),
        "sigma": host.sigma,
        "with_deform": False,
        "loss_cls": _classification(host.focal, experiment),
        "loss_bbox": {
            "type": "SmoothL1Loss",
            "beta": host.smooth_l1_beta,
            "loss_weight": host.lambda_0,
        },
    }


def joint_loss(experiment: Experiment) -> Config:
    """Return the classification loss of a joint head derived from mmdet's."""
    return {"type": "JointLoss", "use_sigmoid": True, "beta": experiment.beta}


def deltas(deviations: tuple[float, float, float, float]) -> Config:
    """Return R-CNN's encoding of boxes."""
    return {
        "type": "DeltaXYWHBBoxCoder",
        "target_means": [0.0, 0.0, 0.0, 0.0],
        "target_stds": list(deviations),
    }


def _sizes(profile: Profile) -> Config:
    model = profile.model
    return {
        "num_classes": classes(profile),
        "in_channels": model.channels,
        "feat_channels": model.channels,
        "stacked_convs": model.stacked_convs,
    }


def _type(name: str, experiment: Experiment, profile: Profile) -> str:
    """Return the head's type: mmdet's, the one that keeps losses in float32, or the joint one."""
    if experiment.quality == "joint":
        return f"Joint{name}"
    return name if profile.schedule.precision == "float32" else f"Float32{name}"


def _classification(focal: Focal, experiment: Experiment) -> Config:
    if experiment.quality == "joint":
        return joint_loss(experiment)
    return {
        "type": "FocalLoss",
        "use_sigmoid": True,
        "gamma": focal.gamma,
        "alpha": focal.alpha,
        "loss_weight": 1.0,
    }
