"""What FCOS's published recipe changes beside the head: mmdet's

``fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py``, the closest to the FCOS
of Tables 1a and 2a (38.7 AP there, 38.5 in the paper). That it is the paper's is inferred.
"""

from __future__ import annotations

from typing import Any

from gfl.experiment import Profile

Config = dict[str, Any]

CAFFE_MEAN = [103.530, 116.280, 123.675]  # BGR; its weights want no division


def publish(config: Config, profile: Profile) -> None:
    """Give a resolved configuration FCOS's neck and, where weights are pretrained, its recipe."""
    model = config["model"]
    model["neck"]["relu_before_extra_convs"] = True
    if profile.model.pretrained is None:
        return  # the profile's own schedule: its rate was found for it
    model["data_preprocessor"] |= {"mean": CAFFE_MEAN, "std": [1.0] * 3, "bgr_to_rgb": False}
    model["backbone"] |= {
        "style": "caffe",
        "norm_cfg": {"type": "BN", "requires_grad": False},
        "init_cfg": {"type": "Pretrained", "checkpoint": "open-mmlab://detectron2/resnet50_caffe"},
    }
    config["optim_wrapper"]["paramwise_cfg"] = {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0}
    config["param_scheduler"][0]["start_factor"] = 1 / 3
