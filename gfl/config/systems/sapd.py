"""SAPD of Table 4: FSAF's configuration with the head of ``gfl.systems.sapd``."""

from __future__ import annotations

from typing import Any

from gfl.config.systems.differences import (
    SIDES,
    anchored_sizes,
    deformable,
    lasting,
    resnext,
    sides_among,
)
from gfl.config.systems.method import Difference, Method, Published, Small

LEVELS_KEPT = 3  # k, of the five levels

_RECIPE = (
    *lasting(24, (16, 22), "recalled: 2x schedule; Table 4 prints 24 epochs"),
    *sides_among(SIDES, "recalled: short side of 640 to 800 px"),
)
_HEAD = (
    Difference("model.bbox_head.type", "SAPDHead", "gfl.systems.sapd: no code was published"),
    Difference(
        "model.bbox_head.levels_kept",
        LEVELS_KEPT,
        "two summaries of the paper, and notes on its ablation: k = 3",
    ),
    Difference("model.bbox_head.eta", 1.0, "notes on the paper's ablation: best at 1"),
    Difference("model.bbox_head.meta_weight", 0.1, "xuannianz/SAPD, which says it is the paper's"),
    Difference(
        "model.bbox_head.anchor_generator.center_offset",
        0.5,
        "the locations are the cells' centres; mmdet's FSAF has the corners",
    ),
    Difference(
        "model.train_cfg.assigner.foreground_dominate",
        True,
        "where objects overlap the smaller is trained; mmdet's FSAF trains neither if they are of "
        "one class",
    ),
    Difference(
        "custom_hooks",
        [{"type": "SoftSelectionHook", "after": 0.5}],
        "inferred: half of training, at 2x as in two summaries at 1x, 6 of 12 epochs",
    ),
)
_COMMON = (*_RECIPE, *_HEAD)
_RESNEXT = resnext(32, 4, "Table 4's backbone, in FSAF's configuration")
_DCN = deformable(
    1,
    "inferred: version 1 in c3 to c5, mmdet's DCN at the time; neither is stated anywhere",
)
_FILE = "fsaf/fsaf_r101_fpn_1x_coco.py"


def _small(small: Small) -> dict[str, Any]:
    """Return SAPD's values at a small profile: a little over half of the levels keep a weight."""
    kept = max(1, round(LEVELS_KEPT / 5 * len(small.strides)))
    return {**anchored_sizes(small), "bbox_head.levels_kept": kept}


METHOD = Method(
    title="SAPD",
    rows={
        "r101": Published(_FILE, _COMMON),
        "x101-32x4d": Published(_FILE, (*_COMMON, *_RESNEXT)),
        "r101-dcn": Published(_FILE, (*_COMMON, *_DCN)),
        "x101-32x4d-dcn": Published(_FILE, (*_COMMON, *_RESNEXT, *_DCN)),
    },
    small=_small,
    rate=0.004,
)
