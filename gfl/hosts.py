"""Host detectors for the paper's losses (section 4, Table 1b): one record each.

A record is a detector as published: assignment, loss weights, locations and training on COCO. It
holds only names and numbers, so that importing this module costs neither torch nor mmdet:
``gfl.head`` and ``gfl.assign`` read the records of ``Dense``, and ``gfl.config`` turns all of them
into mmdet's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

HostName = Literal["atss", "fcos", "retinanet", "foveabox", "ssd512"]


@dataclass(frozen=True, kw_only=True)
class Focal:
    """Parameters of focal loss, Eq. 1, used where quality and classification are separate."""

    gamma: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """Schedule of the detector's own, published for a number of devices."""

    epochs: int
    milestones: tuple[int, ...]  # epochs at which the rate falls tenfold
    batch: int  # images per step, over all devices
    devices: int
    lr: float
    weight_decay: float
    eval_interval: int  # epochs


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training at the paper's scale where it differs from ATSS's, the protocol of section 4."""

    caffe_weights: str | None = None  # backbone weights, replacing torchvision's
    bias_lr: float = 1.0  # learning rate of biases, relative to the others'
    bias_decay: float = 1.0  # weight decay of biases, likewise
    warmup_start: float = 0.001  # fraction of the rate
    training: Training | None = None  # None: the paper's protocol


@dataclass(frozen=True, kw_only=True)
class Host:
    """Properties of every detector."""

    title: str  # in the paper's tables
    extra_levels_from: Literal["C5", "P5"] | None  # input of P6; None: no FPN
    relu_before_extra_levels: bool = False
    candidates: int = 1000  # most detections per level that reach NMS
    smallest_box: int | None = 0  # px; None: no filtering by size
    score_threshold: float = 0.05  # lower class scores do not reach NMS
    nms_iou: float
    detections: int = 100  # most detections per image
    recipe: Recipe = Recipe()

    @property
    def anchors(self) -> int:
        """Number of boxes predicted at a location of the first level."""
        return 1


@dataclass(frozen=True, kw_only=True)
class Dense(Host):
    """Detector with one prediction per location, trained by ``gfl.head.AblationHead``."""

    assigner: str  # a key of ``gfl.assign.ASSIGNERS``
    assignment: Mapping[str, Any]  # the assigner's settings; part of the configuration
    offset: float  # of a location from its cell's upper left corner, strides
    dirac: Literal["anchor-delta", "distance"]  # representation of a box, as published
    lambda_0: float  # weight of GIoU loss, Eq. 11
    lambda_1: float = 0.25  # of DFL, Eq. 11: of the mean over the four sides, as in GF and M3
    focal: Focal = Focal(gamma=2.0, alpha=0.25)
    least_weight_sum: float  # lower bound of the divisor of the box loss
    tower_bias: bool  # whether the towers' convolutions have a bias before GroupNorm
    padding_counts: bool  # whether locations beyond an image's own padding are negatives
    one_per_image: bool  # whether N_pos is at least one in every image, or only in the batch


@dataclass(frozen=True, kw_only=True)
class RetinaNet(Host):
    """Detector with several anchors per location, trained by mmdet's head."""

    positive_iou: float  # least IoU of a positive anchor with its object
    negative_iou: float  # greatest IoU of a negative; anchors in between have no loss
    anchor_side: int  # of the smallest anchor of a level, strides
    anchors_per_octave: int
    ratios: tuple[float, ...]
    deviations: tuple[float, float, float, float]  # of the encoded offsets and log sizes
    lambda_0: float  # weight of L1 loss
    focal: Focal

    @property
    def anchors(self) -> int:
        return self.anchors_per_octave * len(self.ratios)


@dataclass(frozen=True, kw_only=True)
class FoveaBox(Host):
    """Detector that assigns objects to levels by size, trained by mmdet's head."""

    sigma: float  # fraction of an object's sides within which a location is positive
    base_edge: int  # of a level, strides
    edges: tuple[int, int]  # sizes of a level's objects, base edges
    least_edge: int  # px; the first level has no lower limit, either
    most_edge: int  # base edges, of the last level
    lambda_0: float  # weight of smooth L1 loss
    smooth_l1_beta: float
    focal: Focal


@dataclass(frozen=True, kw_only=True)
class SSD(Host):
    """Detector with default boxes, softmax and hard negatives, trained by mmdet's head."""

    image_size: int  # px; COCO's images are squeezed to this square
    # Aspect ratios and sizes of the default boxes; sizes in percent of the image.
    ratios: tuple[tuple[int, ...], ...]  # of each level
    sizes: tuple[int, int]  # from the second level to the last
    first_size: int  # of the first level
    deviations: tuple[float, float, float, float]
    positive_iou: float
    negatives_per_positive: int
    smooth_l1_beta: float

    @property
    def anchors(self) -> int:
        return 2 + 2 * len(self.ratios[0])  # two squares; each ratio upright and flat


HOSTS: Mapping[str, Host] = {
    "atss": Dense(
        title="ATSS",
        assigner="atss",
        assignment={"topk": 9},  # candidates per level
        offset=0.0,
        dirac="anchor-delta",
        lambda_0=2.0,
        least_weight_sum=1.0,
        tower_bias=False,
        padding_counts=False,
        one_per_image=True,
        extra_levels_from="P5",
        nms_iou=0.6,
    ),
    # mmdet's fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco: center sampling,
    # targets in strides, centerness on the regression tower. It is the closest to the FCOS of
    # Tables 1a and 2a (38.7 AP there, 38.5 in the paper); that it is the paper's is inferred.
    "fcos": Dense(
        title="FCOS",
        assigner="fcos",
        assignment={"radius": 1.5},  # of center sampling, strides
        offset=0.5,
        dirac="distance",
        lambda_0=1.0,
        least_weight_sum=1e-6,
        tower_bias=True,
        padding_counts=True,
        one_per_image=False,
        extra_levels_from="P5",
        relu_before_extra_levels=True,
        nms_iou=0.6,
        recipe=Recipe(
            caffe_weights="open-mmlab://detectron2/resnet50_caffe",
            bias_lr=2.0,
            bias_decay=0.0,
            warmup_start=1 / 3,
        ),
    ),
    # mmdet's retinanet_r50_fpn_1x_coco.
    "retinanet": RetinaNet(
        title="RetinaNet",
        positive_iou=0.5,
        negative_iou=0.4,
        anchor_side=4,
        anchors_per_octave=3,
        ratios=(0.5, 1.0, 2.0),
        deviations=(1.0, 1.0, 1.0, 1.0),
        lambda_0=1.0,
        focal=Focal(gamma=2.0, alpha=0.25),
        extra_levels_from="C5",
        nms_iou=0.5,
    ),
    # mmdet's fovea_r50_fpn_4xb4-1x_coco.
    "foveabox": FoveaBox(
        title="FoveaBox",
        sigma=0.4,
        base_edge=2,
        edges=(1, 4),
        least_edge=1,
        most_edge=8,
        lambda_0=1.0,
        smooth_l1_beta=0.11,
        focal=Focal(gamma=1.5, alpha=0.4),
        extra_levels_from="C5",
        smallest_box=None,
        nms_iou=0.5,
    ),
    # mmdet's ssd512_coco. It repeats COCO five times in each of its 24 epochs; here COCO is not
    # repeated, and its passes are counted.
    "ssd512": SSD(
        title="SSD512",
        image_size=512,
        ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        sizes=(10, 90),
        first_size=4,
        deviations=(0.1, 0.1, 0.2, 0.2),
        positive_iou=0.5,
        negatives_per_positive=3,
        smooth_l1_beta=1.0,
        extra_levels_from=None,
        score_threshold=0.02,
        nms_iou=0.45,
        detections=200,
        recipe=Recipe(
            caffe_weights="open-mmlab://vgg16_caffe",
            training=Training(
                epochs=24 * 5,
                milestones=(16 * 5, 22 * 5),
                batch=64,
                devices=8,
                lr=2e-3,
                weight_decay=5e-4,
                eval_interval=5,
            ),
        ),
    ),
}

# The detectors for which every row of Tables 1 to 3 is trained.
ABLATED_HOSTS = tuple(name for name, host in HOSTS.items() if isinstance(host, Dense))


def dense(name: str) -> Dense:
    """Return the record of a detector that ``gfl.head`` trains.

    Raises:
        ValueError: the name is unknown, or the detector uses mmdet's head.
    """
    host = HOSTS.get(name)
    if not isinstance(host, Dense):
        raise ValueError(f"host {name!r}: expected one of {', '.join(ABLATED_HOSTS)}")
    return host
