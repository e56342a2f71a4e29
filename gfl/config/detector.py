"""The detector of a run: one model with our head for FCOS and ATSS, at the profile's scale."""

from __future__ import annotations

import copy
from typing import Any

from gfl.config.data import COCO_CLASSES, SIZE_DIVISOR, class_names
from gfl.data.features.frozen import NETWORKS
from gfl.experiment import Experiment, Model, Profile

Config = dict[str, Any]

SCORE_THRESHOLD = 0.05  # of a class score: what is under it does not come to NMS

# ImageNet's statistics, RGB, as mmdet's configurations have them.
PREPROCESSOR: Config = {
    "type": "DetDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_size_divisor": SIZE_DIVISOR,
}


def detector(experiment: Experiment, profile: Profile) -> Config:
    model = profile.model
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": preprocessor(profile),
        "backbone": backbone(model),
        "neck": {
            "type": "FPN",
            "in_channels": widths(model),
            "out_channels": model.channels,
            "start_level": first_output(model),
            "add_extra_convs": "on_output",  # P6 from a convolution on P5's output
            "num_outs": model.levels,
        },
        "bbox_head": _head(experiment, profile),
        "train_cfg": {"topk": 9} if experiment.host == "atss" else {"radius": 1.5},
        "test_cfg": {
            "nms_pre": 1000,
            "min_bbox_size": 0,
            "score_thr": SCORE_THRESHOLD,
            "nms": {"type": "nms", "iou_threshold": 0.6},
            "max_per_img": 100,
        },
    }


def preprocessor(profile: Profile) -> Config:
    """How images, or the features that are kept of them, become a batch."""
    if profile.photos:
        network, size = profile.model.frozen, profile.photos.size
        return {"type": "FeaturePreprocessor", "network": network, "size": size}
    return copy.deepcopy(PREPROCESSOR)


def backbone(model: Model) -> Config:
    if model.frozen:
        digest = NETWORKS[model.frozen].sha256
        return {
            "type": "FrozenBackbone", "network": model.frozen, "weights": digest, "init_cfg": None
        }  # fmt: skip
    scratch = model.pretrained is None
    return {
        "type": "ResNet",
        "depth": model.depth,
        "base_channels": model.base_channels,
        "stem_channels": model.base_channels,
        "num_stages": stages(model),
        "strides": (1, 2, 2, 2)[: stages(model)],
        "dilations": (1,) * stages(model),
        "out_indices": tuple(range(stages(model))),
        # A network from scratch has neither statistics nor filters worth freezing.
        "frozen_stages": -1 if scratch else 1,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": not scratch,
        "style": "pytorch",
        "init_cfg": None if scratch else {"type": "Pretrained", "checkpoint": model.pretrained},
    }


def first_output(model: Model) -> int:
    """Which of the backbone's outputs the first level is made of."""
    return model.first_level - (NETWORKS[model.frozen].first_level if model.frozen else 2)


def stages(model: Model) -> int:
    """How many of the ResNet's four stages the levels are made of; stage 1 has stride 4."""
    return min(4, model.first_level - 2 + model.levels)


def widths(model: Model) -> list[int]:
    """Channels of each of the backbone's outputs; from depth 50 on a ResNet's are bottlenecks'."""
    if model.frozen:
        return list(NETWORKS[model.frozen].channels)
    assert model.depth is not None
    expansion = 4 if model.depth >= 50 else 1
    return [model.base_channels * 2**i * expansion for i in range(stages(model))]


def strides(model: Model) -> list[int]:
    """Pixels between the locations of each level."""
    return [2 ** (model.first_level + i) for i in range(model.levels)]


def classes(profile: Profile) -> int:
    names = class_names(profile)
    return COCO_CLASSES if names is None else len(names)


def _head(experiment: Experiment, profile: Profile) -> Config:
    model = profile.model
    return {
        "type": "AblationHead",
        "num_classes": classes(profile),
        "in_channels": model.channels,
        "feat_channels": model.channels,
        "stacked_convs": model.stacked_convs,
        "strides": strides(model),
        "quality": experiment.quality,
        # Only what is in effect: two experiments that differ elsewhere are the same run.
        "beta": experiment.beta if experiment.quality == "joint" else None,
        "boxes": experiment.boxes,
        "dfl": experiment.dfl,
        "n": experiment.n if experiment.boxes == "general" else None,
        "delta": experiment.delta if experiment.boxes == "general" else None,
        **(
            {"likelihood_weight": experiment.likelihood_weight}
            if experiment.boxes == "gaussian"
            else {}
        ),
        # Left out where it is the head's default: the ids of ATSS's runs depend on that.
        **({"host": experiment.host} if experiment.host != "atss" else {}),
    }
