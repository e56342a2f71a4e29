"""CenterNet (keypoint triplets): HG-52 and HG-104 of Table 4, from mmdet's CornerNet.

Sources are files of Duankaiwen/CenterNet unless named otherwise.
"""

from __future__ import annotations

from typing import Any

from gfl.config.systems.corners import HOURGLASS, STACKS, small_head
from gfl.config.systems.method import Difference, Method, Published, Small

JSON = "config/CenterNet-104.json"
EPOCHS = 190  # Table 4's
ITERATIONS, STEP = 480_000, 450_000  # JSON: the end, and where the rate falls tenfold
# db/coco.py, of BGR images in [0, 1]; mmdet's are in [0, 255].
MEAN = [255 * value for value in (0.40789654, 0.44719302, 0.47026115)]
STD = [255 * value for value in (0.28863828, 0.27408164, 0.27809835)]
LARGE = 150**2  # area from which the central region is the middle fifth, px² (test/coco.py)
COCO_SIDE = 640  # long side of COCO's images, px, to which LARGE is relative

HEAD: dict[str, Any] = {
    "type": "TripletHead",
    "num_classes": 80,
    "in_channels": 256,
    "feat_channels": 256,
    "pool_channels": 128,
    "min_overlap": 0.7,
    # CornerNet's; pull and push as released (models/CenterNet-104.py).
    "loss_heatmap": {"type": "GaussianFocalLoss", "alpha": 2.0, "gamma": 4.0, "loss_weight": 1},
    "loss_embedding": {
        "type": "AssociativeEmbeddingLoss",
        "pull_weight": 0.1,
        "push_weight": 0.1,
    },
    "loss_offset": {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1},
}


def differences(backbone: str) -> tuple[Difference, ...]:
    """Return what differs from mmdet's CornerNet HG-104 in a row of ``backbone``."""
    stacks = STACKS[backbone]
    model = (
        Difference("model.type", "KeypointTriplets", "mirrored copy at test: test/coco.py"),
        Difference("model.mirrored", True, "test/coco.py"),
        Difference(
            "model.bbox_head",
            HEAD | {"num_feat_levels": stacks},
            "models/CenterNet-*.py; min_overlap: the default of db/detection.py",
        ),
        Difference("model.test_cfg.corner_topk", 70, f"{JSON}: top_k, of centers, too"),
        Difference("model.test_cfg.large_area", LARGE, "test/coco.py"),
        Difference("model.backbone.type", HOURGLASS, "mmdet's has a dead block with one stack"),
        Difference("model.backbone.num_stacks", stacks, "models/CenterNet-*.py"),
    )
    recipe = (
        Difference("optim_wrapper.optimizer.lr", 2.5e-4, JSON),
        Difference("optim_wrapper.clip_grad", None, "nnet/py_factory.py clips none"),
        Difference("train_cfg.max_epochs", EPOCHS, "Table 4; 480,000 iterations of 48 are 195"),
        Difference(
            "param_scheduler",
            [
                {
                    "type": "MultiStepLR",
                    "begin": 0,
                    "end": EPOCHS,
                    "by_epoch": True,
                    "milestones": [round(EPOCHS * STEP / ITERATIONS)],
                    "gamma": 0.1,
                }
            ],
            f"inferred: {JSON}'s {STEP:,} of {ITERATIONS:,} iterations, the same fraction; no "
            "warm-up (train.py)",
        ),
    )
    return model + recipe + IMAGES


def _images() -> tuple[Difference, ...]:
    """Return what differs in the pixels: their statistics, and black instead of mean padding."""
    changes = [
        Difference("model.data_preprocessor.mean", MEAN, "db/coco.py"),
        Difference("model.data_preprocessor.std", STD, "db/coco.py"),
        Difference("model.data_preprocessor.bgr_to_rgb", False, "cv2.imread: BGR"),
    ]
    confirmed = "crops lie on black: sample/utils.py"
    recalled = "recalled: utils/image.py, not confirmed"
    for loader, index, black in (
        ("train", 3, confirmed), ("val", 1, recalled), ("test", 1, recalled)
    ):  # fmt: skip
        crop = f"{loader}_dataloader.dataset.pipeline.{index}"
        changes += [
            Difference(f"{crop}.mean", [0.0] * 3, black),
            Difference(f"{crop}.std", STD, "db/coco.py"),
            Difference(f"{crop}.to_rgb", False, "cv2.imread: BGR"),
        ]
    return tuple(changes)


IMAGES = _images()


def small(profile: Small) -> dict[str, Any]:
    """Return the version with a small hourglass of one or two stacks.

    Inferred: the area that divides small from large boxes shrinks as the images do, against COCO's
    640 px.
    """
    scaled = LARGE * (profile.size / COCO_SIDE) ** 2
    return small_head(profile) | {"test_cfg.large_area": scaled}


METHOD = Method(
    title="CenterNet",
    rows={
        backbone: Published(
            "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py", differences(backbone)
        )
        for backbone in STACKS
    },
    small=small,
    rate=0.004,
    notes={
        "": "Keypoint triplets (Duan et al.), not mmdet's CenterNet. Colour is jittered by "
        "mmdet's PhotoMetricDistortion, where the released code has colour jitter 0.4 and PCA "
        "lighting 0.1. Its MS mark is of random crops at scales 0.6 to 1.3. The peaks' radius is "
        "the released code's, 2.8 times the one that an IoU of 0.7 gives.",
    },
)
