"""Model settings of a run, assembled from its host's head and the profile's network."""

from __future__ import annotations

from typing import Any

from gfl.config import heads, network, ssd
from gfl.experiment import Experiment, Profile
from gfl.hosts import HOSTS, SSD, Dense, FoveaBox, Host, RetinaNet

Config = dict[str, Any]


def detector(experiment: Experiment, profile: Profile) -> Config:
    """Return mmdet's model settings."""
    host = HOSTS[experiment.host]
    if isinstance(host, SSD):
        return _ssd(host, experiment, profile)
    match host:
        case Dense():
            type, head = "SingleStageDetector", heads.dense(experiment, profile)
            training = dict(host.assignment)
        case RetinaNet():
            type, head = "RetinaNet", heads.retinanet(host, experiment, profile)
            training = heads.retinanet_training(host)
        case FoveaBox():
            type, head = "FOVEA", heads.foveabox(host, experiment, profile)
            training = {}
        case _:
            raise TypeError(f"{host.title} has no head in gfl.config.heads")
    return {
        "type": type,
        "data_preprocessor": network.preprocessor(experiment, profile),
        "backbone": network.backbone(experiment, profile),
        "neck": network.fpn(host, profile.model, experiment.backbone),
        "bbox_head": head,
        "train_cfg": training,
        "test_cfg": _suppression(host),
    }


def _ssd(host: SSD, experiment: Experiment, profile: Profile) -> Config:
    parts = ssd.parts(host, experiment, profile)
    return {
        "type": "SingleStageDetector",
        "data_preprocessor": parts.preprocessor,
        "backbone": parts.backbone,
        "neck": parts.neck,
        "bbox_head": ssd.head(host, experiment, profile, parts),
        "train_cfg": ssd.training(host),
        "test_cfg": _suppression(host),
    }


def _suppression(host: Host) -> Config:
    smallest = {} if host.smallest_box is None else {"min_bbox_size": host.smallest_box}
    return {
        "nms_pre": host.candidates,
        **smallest,
        "score_thr": host.score_threshold,
        "nms": {"type": "nms", "iou_threshold": host.nms_iou},
        "max_per_img": host.detections,
    }
