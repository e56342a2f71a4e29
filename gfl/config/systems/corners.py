"""CornerNet and CentripetalNet: Table 4's rows, and the small hourglasses of corner systems."""

from __future__ import annotations

from typing import Any

from gfl.config.systems.method import Config, Difference, Method, Published, Small

# Both predict with a mirrored copy of the image, as their published accuracies and speeds do.
MIRRORED = (
    Difference(
        "model.type",
        "MirroredCornerNet",
        "mirrored copy in the batch at test: princeton-vl/CornerNet test/coco.py; mmdet has it in "
        "tta_pipeline, which suppresses each copy's boxes before their union's",
    ),
    Difference("model.mirrored", True, "as above"),
)
# mmdet's heads fail to predict from features in channels_last; equal otherwise.
CORNER_HEAD, CENTRIPETAL_HEAD = "StockCornerHead", "StockCentripetalHead"
HOURGLASS = "StockHourglassNet"

# Table 4's names of the hourglasses are their layers; a small one is called by its stacks.
STACKS = {"hg52": 1, "hg104": 2}


def hourglass(stacks: int) -> Config:
    """Return the backbone of a small profile: three halvings of the map instead of five.

    Measured in trials of a CornerNet: one stack with a narrow head takes 1.15 times ATSS's time.
    """
    return {
        "type": HOURGLASS,
        "downsample_times": 3,
        "num_stacks": stacks,
        "stage_channels": [32, 32, 48, 64],
        "stage_blocks": [1, 1, 1, 2],
        "feat_channel": 32,
        "norm_cfg": {"type": "BN", "requires_grad": True},
    }


def small_head(small: Small) -> dict[str, Any]:
    """Return what the heads of all corner systems have in common at a small profile.

    Raises:
        KeyError: the backbone is not an hourglass.
    """
    stacks = small.backbone["num_stacks"]
    width = small.backbone["feat_channel"]
    return {
        "neck": None,
        "bbox_head.num_classes": small.classes,
        "bbox_head.in_channels": width,
        "bbox_head.num_feat_levels": stacks,
        "bbox_head.feat_channels": width,
        "bbox_head.pool_channels": width,
        "test_cfg.corner_topk": 40,  # of each kind: several times the objects of a small image
    }


CORNERNET = Method(
    title="CornerNet",
    rows={
        "hg104": Published(
            "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py",
            (
                *MIRRORED,
                Difference("model.bbox_head.type", CORNER_HEAD, "predicts in channels_last, too"),
                Difference("train_cfg.max_epochs", 200, "Table 4's epochs"),
                Difference("param_scheduler.1.end", 200, "Table 4's epochs"),
                Difference(
                    "param_scheduler.1.milestones",
                    [180],
                    "inferred: 450,000 of 500,000 iterations (princeton-vl/CornerNet "
                    "config/CornerNet.json), the same fraction",
                ),
            ),
        )
    },
    small=small_head,
    notes={
        "": "mmdet's retraining, not the released one: rate 5e-4 (released: 2.5e-4), batch 48 "
        "(49), the grouping loss summed over both stacks (averaged); the released schedule of "
        "500,000 iterations is 213 epochs of its 115,000 images. Its MS mark is of random crops "
        "at scales 0.6 to 1.3.",
    },
)

CENTRIPETALNET = Method(
    title="CentripetalNet",
    rows={
        "hg104": Published(
            "centripetalnet/centripetalnet_hourglass104_16xb6-crop511-210e-mstest_coco.py",
            (
                *MIRRORED,
                Difference(
                    "model.bbox_head.type", CENTRIPETAL_HEAD, "predicts in channels_last, too"
                ),
            ),
        )
    },
    small=small_head,
    notes={
        "": "mmdet's model without masks; the authors released the configuration of the one with "
        "masks (KiveeDong/CentripetalNet configs/centripetalnet_mask_hg104.py), which lists rate "
        "5e-5 where mmdet has 5e-4.",
    },
)
