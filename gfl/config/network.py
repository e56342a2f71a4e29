"""Network below the head, at the profile's scale: preprocessor, backbone, FPN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gfl.config.data import COCO_CLASSES, SIZE_DIVISOR, class_names
from gfl.config.table4 import BACKBONES, small_backbone
from gfl.data.features.frozen import NETWORKS
from gfl.experiment import Experiment, Model, Profile, recipe_of
from gfl.hosts import Host

Config = dict[str, Any]

# ImageNet's statistics, RGB, as mmdet's configurations have them.
PREPROCESSOR: Config = {
    "type": "DetDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_size_divisor": SIZE_DIVISOR,
}
# Caffe weights expect BGR images without scaling; their BatchNorm is never trained.
CAFFE_IMAGES: Config = {
    "mean": [103.530, 116.280, 123.675],
    "std": [1.0] * 3,
    "bgr_to_rgb": False,
}
CAFFE_NETWORK: Config = {"style": "caffe", "norm_cfg": {"type": "BN", "requires_grad": False}}


def preprocessor(experiment: Experiment, profile: Profile) -> Config:
    """Return the preprocessor that batches images, or stored features of images."""
    if profile.photos:
        network, size = profile.model.frozen, profile.photos.size
        return {"type": "FeaturePreprocessor", "network": network, "size": size}
    if recipe_of(experiment, profile).caffe_weights:
        return PREPROCESSOR | CAFFE_IMAGES
    return PREPROCESSOR


def backbone(experiment: Experiment, profile: Profile) -> Config:
    """Return the profile's backbone, with the host's published weights or Table 4's layers."""
    config = scratch(profile.model)
    if profile.has_published_network:
        config |= BACKBONES[experiment.backbone]
    else:
        config |= small_backbone(experiment.backbone, profile.model, stages(profile.model))
    if weights := recipe_of(experiment, profile).caffe_weights:
        config |= CAFFE_NETWORK | {"init_cfg": {"type": "Pretrained", "checkpoint": weights}}
    return config


def scratch(model: Model) -> Config:
    """Return the profile's own backbone."""
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


def pretrained_parts(settings: Any) -> list[Config]:
    """Return each part of a model's settings, or of several models', with downloaded weights."""
    inits = ((part, part.get("init_cfg")) for part in parts(settings))
    return [part for part, i in inits if isinstance(i, dict) and i["type"] == "Pretrained"]


def parts(settings: Any) -> Iterator[Config]:
    """Yield each part of a model's settings, or of several models', from the whole inwards."""
    if isinstance(settings, dict):
        yield settings
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for part in settings:
            yield from parts(part)


def fpn(host: Host, model: Model, backbone: str = "r50") -> Config:
    """Return the pyramid; ``add_extra_convs`` names the input of the convolution that makes P6."""
    assert host.extra_levels_from is not None
    config: Config = {
        "type": "FPN",
        "in_channels": widths(model, backbone),
        "out_channels": model.channels,
        "start_level": first_output(model),
        "add_extra_convs": {"C5": "on_input", "P5": "on_output"}[host.extra_levels_from],
        "num_outs": model.levels,
    }
    return config | ({"relu_before_extra_convs": True} if host.relu_before_extra_levels else {})


def first_output(model: Model) -> int:
    """Return the index of the backbone output that feeds the first level."""
    return model.first_level - (NETWORKS[model.frozen].first_level if model.frozen else 2)


def stages(model: Model) -> int:
    """Return the number of ResNet stages (of four) the levels need; stage 1 has stride 4."""
    return min(4, model.first_level - 2 + model.levels)


def widths(model: Model, backbone: str = "r50") -> list[int]:
    """Return the channels of the backbone's outputs.

    From depth 50 on a ResNet has bottlenecks, and so have small counterparts of deeper ones.
    """
    if model.frozen:
        return list(NETWORKS[model.frozen].channels)
    assert model.depth is not None
    if model.depth >= 50:
        first = 4 * model.base_channels
    elif backbone.removesuffix("-dcn") == "r50":
        first = model.base_channels
    else:
        first = 2 * model.base_channels
    return [first * 2**i for i in range(stages(model))]


def strides(model: Model) -> list[int]:
    """Return the strides of the levels, px."""
    return [2 ** (model.first_level + i) for i in range(model.levels)]


def classes(profile: Profile) -> int:
    """Return the number of classes."""
    names = class_names(profile)
    return COCO_CLASSES if names is None else len(names)
