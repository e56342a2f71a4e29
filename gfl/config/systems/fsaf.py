"""FSAF of Table 4, "Feature Selective Anchor-Free Module" (Zhu et al., CVPR 2019)."""

from __future__ import annotations

from gfl.config.systems.differences import SIDES, anchored_sizes, lasting, sides_among
from gfl.config.systems.method import Method, Published

_TRAINING = (
    *lasting(18, (12, 16), "135 K iterations of 16 images; steps at 90 K and 120 K"),
    *sides_among(SIDES, "short side of 640, 672, ... 800, as in the authors' training"),
)


METHOD = Method(
    title="FSAF",
    rows={
        "r101": Published("fsaf/fsaf_r101_fpn_1x_coco.py", _TRAINING),
        "x101-64x4d": Published("fsaf/fsaf_x101-64x4d_fpn_1x_coco.py", _TRAINING),
    },
    small=anchored_sizes,  # every level stays a candidate of every object
)
