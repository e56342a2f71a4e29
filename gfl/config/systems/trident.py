"""TridentNet R-101 and R-101-DCN (Li et al., ICCV 2019), with scale-aware branches.

mmdet bundles TridentNet-Fast on ResNet-50. The rows here are TuSimple/simpledet's
``tridentnet_r101v2c4_c5_addminival_2x`` and ``..._multiscale_addminival_3x_fp16``, called "2x"
and "3x" below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfl.config.systems.method import REMOVED, Config, Difference, Method, Published, Small

BUNDLED = "tridentnet/tridentnet_r50-caffe_1x_coco.py"
DILATIONS = (1, 2, 3)
UNBOUNDED = 1e8  # px, as mmdet's FCOS writes infinity
DEVICES = 8

WEIGHTS: Config = {
    "type": "Pretrained",
    "checkpoint": "open-mmlab://detectron2/resnet101_caffe",
}
BOXES: Config = {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0}
IN_2X = "simpledet, 2x"
IN_3X = "simpledet, 3x"
BUILDER = "simpledet, models/tridentnet/builder.py"
ABSENT = "inferred: a network of simpledet's is pre-activation (v2), of which mmdet has no weights"


def _network(norm: Config, norm_eval: bool, source: str) -> tuple[Difference, ...]:
    """Return the differences of the architecture that both rows share."""
    return (
        Difference("model.type", "ScaleAwareTridentNet", BUILDER),
        Difference("model.backbone.type", "ScaleAwareTridentResNet", BUILDER),
        Difference("model.backbone.depth", 101, "Table 4"),
        Difference("model.backbone.init_cfg", WEIGHTS, ABSENT),
        Difference("model.backbone.num_branch", REMOVED, "the number of dilations"),
        Difference("model.backbone.test_branch_idx", REMOVED, "all branches are used"),
        Difference("model.backbone.dilations", REMOVED, "is 1 in a ResNet on C4"),
        Difference("model.backbone.out_indices", REMOVED, "is the last stage"),
        Difference("model.backbone.norm_cfg", norm, source),
        Difference("model.backbone.norm_eval", norm_eval, source),
        Difference("model.rpn_head.type", "Float32RPNHead", "the same as mmdet's RPN in float32"),
        Difference("model.rpn_head.feat_channels", 512, BUILDER),
        Difference(
            "model.rpn_head.loss_bbox", BOXES | {"beta": 1 / 9}, "simpledet, symbol/builder.py"
        ),
        Difference("model.roi_head.type", "ScaleAwareRoIHead", BUILDER),
        Difference("model.roi_head.num_branch", REMOVED, "the detector's own"),
        Difference("model.roi_head.test_branch_idx", REMOVED, "all branches are used"),
        Difference(
            "model.roi_head.shared_head",
            {
                "type": "RoIStage",
                "style": "caffe",
                "norm_cfg": norm,
                "norm_eval": norm_eval,
                "init_cfg": WEIGHTS,
            },
            f"{BUILDER}: conv5 without a stride",
        ),
        Difference("model.roi_head.bbox_roi_extractor.type", "Float32RoIExtractor", "as the RPN"),
        Difference("model.roi_head.bbox_roi_extractor.roi_layer.output_size", 7, BUILDER),
        Difference("model.roi_head.bbox_head.reg_class_agnostic", True, BUILDER),
        Difference("model.roi_head.bbox_head.loss_bbox", BOXES, "simpledet, symbol/builder.py"),
    )


def _assignment(ranges: tuple[tuple[float, float], ...], unit: str) -> tuple[Difference, ...]:
    """Return the differences of training targets and detections that both rows share."""
    source = IN_2X if unit == "original" else IN_3X
    return (
        Difference("model.ranges", ranges, source),
        Difference("model.range_unit", unit, source),
        Difference(
            "model.train_cfg.rpn.assigner.type",
            "ScaleAwareAssigner",
            "section 3.3; simpledet, models/tridentnet/input.py",
        ),
        Difference(
            "model.train_cfg.rpn.allowed_border", 0, "simpledet, models/tridentnet/input.py"
        ),
        Difference("model.test_cfg.rpn.max_per_img", 300, source),
        Difference("model.test_cfg.rcnn.score_thr", 0.001, source),
    )


def _resized(train: list[Config], source: str) -> tuple[Difference, ...]:
    """Return the differences of image sizes: the steps of training, and of testing."""
    test = {"type": "Resize", "scale": (2000, 800), "keep_ratio": True}
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
    flip = {"type": "RandomFlip", "prob": 0.5}
    pipeline = [*load, *train, flip, {"type": "PackDetInputs"}]
    return (
        Difference("train_dataloader.dataset.pipeline", pipeline, source),
        Difference("val_dataloader.dataset.pipeline.1", test, source),
        Difference("test_dataloader.dataset.pipeline.1", test, source),
    )


def _schedule(
    per_device: int, rate: float, epochs: int, steps: list[int], warmup: int, source: str
) -> tuple[Difference, ...]:
    """Return the differences of the schedule; the warm-up's iterations are of the row's batch."""
    return (
        Difference("train_dataloader.batch_size", per_device, f"{source}: {DEVICES} devices"),
        Difference("optim_wrapper.optimizer.lr", rate, source),
        Difference("optim_wrapper.clip_grad", {"max_norm": 5.0, "norm_type": 2}, source),
        Difference("train_cfg.max_epochs", epochs, source),
        # The source begins at 0, by which mmengine's scheduler would divide in its second step.
        Difference("param_scheduler.0.start_factor", 1 / warmup, f"{source}: a first step later"),
        Difference("param_scheduler.0.end", warmup, source),
        Difference("param_scheduler.1.end", epochs, source),
        Difference("param_scheduler.1.milestones", steps, source),
        Difference("auto_scale_lr.base_batch_size", per_device * DEVICES, source),
    )


FROZEN: Config = {"type": "BN", "requires_grad": False}
SYNCHRONISED: Config = {"type": "SyncBN", "requires_grad": True}

R101 = Published(
    BUNDLED,
    (
        *_network(FROZEN, norm_eval=True, source=IN_2X),
        *_assignment(((0, 90), (30, 160), (90, UNBOUNDED)), "original"),
        *_resized([{"type": "Resize", "scale": (1200, 800), "keep_ratio": True}], IN_2X),
        # 120 K and 160 K of 180 K iterations of 16 images; warm-up for 3000 of these.
        *_schedule(1, 0.01, epochs=24, steps=[16, 21], warmup=6000, source=IN_2X),
    ),
)

R101_DCN = Published(
    BUNDLED,
    (
        *_network(SYNCHRONISED, norm_eval=False, source=IN_3X),
        Difference("model.backbone.deform_units", 3, f"{IN_3X}, models/tridentnet/resnet_v1b.py"),
        Difference("model.backbone.deform_groups", 4, f"{IN_3X}, models/tridentnet/resnet_v1b.py"),
        Difference("model.backbone.branch_norm", True, f"{IN_3X}: branch_bn_shared=False"),
        Difference("model.backbone.frozen_stages", -1, IN_3X),
        *_assignment(((0, 150), (50, 270), (150, UNBOUNDED)), "resized"),
        Difference(
            "model.test_cfg.rcnn.nms",
            {"type": "soft_nms", "iou_threshold": 0.5, "min_score": 0.001},
            f"{IN_3X}; linear: the alternative there is gaussian",
        ),
        *_resized(
            [
                {
                    "type": "RandomChoiceResize",
                    "scales": [(2000, 600), (2000, 800), (2000, 1000), (2000, 1200)],
                    "keep_ratio": True,
                },
                {"type": "CentreCrop", "crop_size": (1200, 800)},
            ],
            IN_3X,
        ),
        # 180 K and 240 K of 270 K iterations of 16 images; warm-up for 3000 of these.
        *_schedule(3, 0.03, epochs=36, steps=[25, 33], warmup=2000, source=IN_3X),
    ),
)

# Sizes of the embedded data's objects: a third is below 37 px, a third above 64; the published
# ranges, by the images' sizes, would be [0, 14], [5, 26] and [14, inf).
SMALL_RANGES = ((0, 45), (25, 75), (55, UNBOUNDED))
SMALL_PLANES = 128  # of the one unit of the RoI head
SMALL_STRIDE = 8  # of c4, px


def small(network: Small) -> Mapping[str, Any]:
    """Return the laptop's version: the row's own backbone up to c4, no neck, branches there.

    The small levels begin at half the published stride, 4 px for 8; so does c4, 8 px for 16.
    Anchors are of the embedded data's sizes; what costs most, the RoI head on every branch's
    regions, is a basic block on 4x4 bins of 16 regions a branch. One of seven units is deformable,
    as are three of 22.
    """
    backbone = dict(network.backbone)
    deformable = backbone.pop("dcn", None) is not None
    for key in ("stage_with_dcn", "dilations", "out_indices", "groups", "base_width"):
        backbone.pop(key, None)
    norm = {"type": "BN", "requires_grad": True}
    width = network.backbone_channels[2]
    return {
        "neck": REMOVED,
        "backbone": backbone
        | {
            "type": "ScaleAwareTridentResNet",
            "num_stages": 3,
            "strides": (1, 2, 1),
            "trident_dilations": DILATIONS,
            "deform_units": 1 if deformable else 0,
            "deform_groups": 1,
            "branch_norm": False,
        },
        "ranges": SMALL_RANGES,
        "range_unit": "resized",
        "rpn_head.in_channels": width,
        "rpn_head.feat_channels": 2 * network.channels,
        "rpn_head.anchor_generator.strides": [SMALL_STRIDE],
        "rpn_head.anchor_generator.scales": [2, 4, 8, 16],
        "roi_head.shared_head": {
            "type": "RoIStage",
            "block": "basic",
            "in_channels": width,
            "planes": SMALL_PLANES,
            "num_blocks": 1,
            "norm_cfg": norm,
            "norm_eval": False,
        },
        "roi_head.bbox_roi_extractor.roi_layer.output_size": 4,
        "roi_head.bbox_roi_extractor.roi_layer.sampling_ratio": 2,
        "roi_head.bbox_roi_extractor.out_channels": width,
        "roi_head.bbox_roi_extractor.featmap_strides": [SMALL_STRIDE],
        "roi_head.bbox_head.in_channels": SMALL_PLANES,
        "roi_head.bbox_head.roi_feat_size": 4,
        "roi_head.bbox_head.num_classes": network.classes,
        # Most anchors of so small an image reach over its border.
        "train_cfg.rpn.allowed_border": -1,
        "train_cfg.rpn.sampler.num": 64,
        "train_cfg.rpn_proposal.nms_pre": 200,
        "train_cfg.rpn_proposal.max_per_img": 50,
        "train_cfg.rcnn.sampler.num": 16,
        "test_cfg.rpn.nms_pre": 200,
        "test_cfg.rpn.max_per_img": 50,
    }


METHOD = Method(
    title="TridentNet",
    rows={"r101": R101, "r101-dcn": R101_DCN},
    small=small,
    rate=0.016,
    notes={
        "": "simpledet's RPN has a softmax over two classes; mmdet's a sigmoid. Its deltas are the "
        "same. Its 2x network is a pre-activation ResNet, here it is Caffe's.",
        "r101": "Tested with the long side up to 2000 px.",
        "r101-dcn": "Deformable convolution of version 1 in conv4's last three units only; "
        "normalisations of the branches are not shared. Trained in crops of 1200 x 800 px, and in "
        "float32, where the source has float16.",
    },
)
