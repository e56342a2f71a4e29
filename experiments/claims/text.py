"""Consistency checks of the paper's text: pairs of places on one subject.

Checks of numbers are computed (``text_numbers``); those of equations also compare the authors' code
(``text_equations``). This module covers tables, captions and words.
"""

from __future__ import annotations

from itertools import combinations

from experiments.claims import text_equations, text_numbers, text_systems
from experiments.claims.boxes import DELTA_1_ENOUGH, N_14_OR_16, ROBUST_N, SMALL_DELTA
from experiments.claims.declare import At, Finding, Quote, TextCheck
from experiments.claims.labels import CENTERNESS_LABELS, FIG_9
from experiments.claims.quality import COLUMNS, COUNTERPARTS, NO_OVERHEAD_OTHERS, NONE
from experiments.claims.scores import BACKGROUND_HIGH
from experiments.claims.text_equations import outside
from experiments.claims.text_numbers import R_1A, R_3_QUOTES, R_4, finding, row
from experiments.tables.table1 import TABLE_1B
from experiments.tables.table2 import TABLE_2B, TABLE_2C
from experiments.tables.table4 import GFL_101
from experiments.tables.table4 import TABLE as TABLE_4


def _values(table: str, keys: tuple[str, ...], column: str = "AP") -> dict[str, float]:
    return {key: At(table, key, column).number for key in keys}


def _delta() -> TextCheck:
    """Compare the claim that a smaller delta is better with AP steps, and all pairs and columns."""
    keys = tuple(row.key for row in TABLE_2C.rows)
    steps = [a - b for a, b in zip(_ap(keys), _ap(keys[1:]), strict=False)]
    half, one = keys[:2]
    numbers = [(c, *_values("table-2c", (half, one), c).values()) for c in COLUMNS]
    lower = [f"{column} {a} and {b}" for column, a, b in numbers if a < b]
    half_ap, one_ap, *_ = _ap(keys)
    pairs = [
        (_values("table-2c", keys, column)[a], _values("table-2c", keys, column)[b])
        for column in COLUMNS
        for a, b in combinations(keys, 2)
    ]
    better = sum(a > b for a, b in pairs)
    found: Finding = "agree" if all(step > 0 for step in steps) else "unclear"
    if better <= len(pairs) / 2:
        found = "disagree"
    return TextCheck(
        "delta-half", SMALL_DELTA.quotes[0], row("table-2c", half, half), found,
        f"The smaller Δ is better in {better} of {len(pairs)} pairs and columns. But Δ = {half} is "
        f"no better than {one}: AP {half_ap} and {one_ap}, and lower are {', '.join(lower)}.",
    )  # fmt: skip


def _ap(keys: tuple[str, ...]) -> list[float]:
    return list(_values("table-2c", keys).values())


def _n() -> tuple[TextCheck, TextCheck]:
    keys = tuple(row.key for row in TABLE_2B.rows)
    ap = _values("table-2b", keys)
    best = [key for key in keys if ap[key] == max(ap.values())]
    apart = round(max(ap.values()) - min(ap.values()), 1)
    return (
        TextCheck(
            "n-recommended", N_14_OR_16.quotes[0], row("table-2b", "14", "14"),
            finding(best == ["14", "16"]),
            f"the highest AP, {max(ap.values())}, is at n = {' and '.join(best)}",
        ),
        TextCheck(
            "n-robust", ROBUST_N.quotes[1], N_14_OR_16.quotes[0],
            "unclear",
            f"The AP of all four n lie within {apart}: a recommendation of two of them has nothing "
            "else to go by.",
        ),
    )  # fmt: skip


def _marks() -> TextCheck:
    return TextCheck(
        "table-3-marks",
        Quote(f"✓ {R_3_QUOTES['none'].text}", "Table 3, first row"),
        R_1A["centerness-branch"],
        "unclear",
        "The copy of the text has a mark in the first row and none in the second, and the numbers "
        "of the first are those of ATSS without either loss in Table 1(a): its marks are in the "
        "wrong rows. arXiv's first version has none, QFL, DFL, both, in this order.",
    )  # fmt: skip


def _variants() -> TextCheck:
    separate = [name for name in COUNTERPARTS if name != NONE]
    return TextCheck(
        "four-variants",
        Quote(
            "we construct 4 variants that use separate or implicit representation, as illustrated "
            "in Fig. 6",
            "Section 4",
        ),
        R_1A["IoU-guided"],
        finding(len(separate) == 4),
        f"Table 1(a) has {', '.join(separate)}, beside no quality and ours",
    )


def _schedule() -> TextCheck:
    ours = [row.marks for row in TABLE_4.rows if row.name == "GFL"]
    return TextCheck(
        "schedule",
        Quote(
            "the multi-scale training strategy and 2x learning schedule (24 epochs) are adopted "
            "during training",
            "Section 4",
        ),
        R_4["GFL R-50"],
        finding(all(marks[1:3] == ("24", "✓") for marks in ours)),
        f"all {len(ours)} rows of GFL have 24 epochs and the mark of multi-scale training",
    )


def _fair() -> TextCheck:
    plain = [row.key for row in TABLE_4.rows if not row.marks[2]]
    other = sorted({row.marks[1] for row in TABLE_4.rows} - {"24"}, key=int)
    return TextCheck(
        "fair-comparison",
        Quote(
            "For a fair comparison, we report the results of single-model single-scale testing for "
            "all methods",
            "Section 4",
        ),
        Quote("ATSS [31] X-101-32x8d 24 ✓", "Table 4"),
        "unclear",
        f"Testing is alike, training is not: {len(plain)} rows are without multi-scale training "
        f"and some have {', '.join(other)} epochs. ATSS has ResNeXt-101-32x8d, which is larger "
        "than GFL's 32x4d, to GFL's disadvantage in AP and to its advantage in FPS.",
    )


def _ssd() -> TextCheck:
    return TextCheck(
        "ssd-backbone",
        Quote("Study on QFL (ResNet-50 backbone).", "Table 1, caption"),
        row("table-1b", "SSD512", "SSD512 [20]"),
        "disagree",
        "SSD512 is built on VGG-16; mmdet, in which all were reproduced, has it on nothing else.",
    )


def _no_speed() -> TextCheck:
    printed = [column.name for column in TABLE_1B.columns]
    return TextCheck(
        "table-1b-speed", NO_OVERHEAD_OTHERS.quotes[0],
        Quote("Method AP AP ₅₀ AP ₇₅ AP _S AP _M AP _L", "Table 1(b), columns"),
        "agree" if "FPS" in printed else "unclear",
        f"the table prints {', '.join(printed)} and no speed",
    )  # fmt: skip


# From the authors' README: minival AP, test-dev AP, FPS of their released models.
RELEASED = {
    "GFL R-50": ("GFL_R_50_FPN_2x", "42.8 | 43.1 | 19.4"),
    "GFL R-101": ("GFL_R_101_FPN_2x", "44.9 | 45.0 | 14.6"),
    "GFL R-101-DCN": ("GFL_dcnv2_R_101_FPN_2x", "47.2 | 47.3 | 12.7"),
    "GFL X-101-32x4d": ("GFL_X_101_32x4d_FPN_2x", "45.7 | 46.0 | 12.2"),
    "GFL X-101-32x4d-DCN": ("GFL_dcnv2_X_101_32x4d_FPN_2x", "48.3 | 48.2 | 10.0"),
}


def _released() -> TextCheck:
    """Compare Table 4's rows of GFL with the README's released models."""
    apart = []
    for key, (_, theirs) in RELEASED.items():
        ap, fps = (At("table-4", key, column).published for column in ("AP", "FPS"))
        if f"{ap:.1f} | {fps:.1f}" != theirs.split(" | ", 1)[1]:
            apart.append(f"{key}: {ap} AP at {fps} FPS and {theirs}")
    name, numbers = RELEASED[GFL_101]
    return TextCheck(
        "released-models",
        R_4[GFL_101],
        outside(f"{name} | Yes | {numbers}", "authors' code, README.md"),
        finding(not apart),
        "; ".join(apart) or f"test-dev AP and FPS of all {len(RELEASED)} are equal",
    )


def _zoo() -> TextCheck:
    """Compare Table 1(b)'s baselines with those listed by mmdet in the authors' copy."""
    retinanet, ssd = (At("table-1b", name).number for name in ("RetinaNet", "SSD512"))
    return TextCheck(
        "baselines-in-the-zoo",
        row("table-1b", "SSD512", "SSD512 [20]"),
        outside("VGG16 | 512 | caffe | 120e | 29.3", "authors' code, docs/MODEL_ZOO.md"),
        "agree" if (retinanet, ssd) == (35.6, 29.3) else "unclear",
        f"RetinaNet has {retinanet} AP here and 35.6 there, SSD512 {ssd} and 29.3. The caption has "
        "all 'reproduced in mmdetection': trained anew or taken from it, it does not say.",
    )


(_IOU_MEAN, _), (_CENTERNESS_MEAN, _) = FIG_9.values()

WORDS = (
    TextCheck(
        "centerness-much-smaller",
        CENTERNESS_LABELS.quotes[0],
        outside(f"centerness: mean {_CENTERNESS_MEAN}, IoU: mean {_IOU_MEAN}", "Figure 9, legend"),
        "unclear",
        "The means are apart as said. But few centerness labels lie under 0.4 either, 10 % on 416 "
        "real COCO images, by boxes and ATSS alone (results/figures/coco-tiny/fig9.csv).",
    ),
    TextCheck(
        "iou-label-close-to-1",
        Quote("will always push it close to 1.0", "Figure 8, caption"),
        outside(f"IoU: mean {_IOU_MEAN}", "Figure 9, legend"),
        "unclear",
        "A trained detector's labels have a mean of 0.84; what they are pushed to is not what "
        "they reach.",
    ),
    TextCheck(
        "background-patches",
        BACKGROUND_HIGH.quotes[0],
        outside("A: class .095, IoU .927; B: class .101, IoU .913", "Figure 2(a), as drawn"),
        finding(min(0.927, 0.913) > 0.9),
        "both patches' predicted IoU is above 0.9",
    ),
    TextCheck(
        "trainval35k",
        Quote("trainval35k (115K images)", "Section 4"),
        outside("annotations/instances_train2017.json", "authors' code, configs/gfl_r50_1x.py"),
        "disagree",
        "COCO's train2017, which is trainval35k, has 118,287 images. 115K is the sum of 80K and "
        "35K that its name stands for.",
    ),
    TextCheck(
        "any-one-stage",
        Quote("Note that GFL can be applied to any one-stage detectors.", "Section 3"),
        Quote("Finally, we compare GFL (based on ATSS) with state-of-the-art", "Section 4"),
        "unclear",
        "QFL is tried on five detectors, DFL on two, both together on ATSS alone.",
    ),
    TextCheck(
        "later-delta",
        Quote("we use $\\Delta = 1$ for simplicity in later experiments", "Section 3"),
        DELTA_1_ENOUGH.quotes[0],
        "agree",
        "but for Table 2(c), which varies it",
    ),
    TextCheck(
        "dcn-version",
        Quote("Deformable Convolutional Networks (DCN) [36]", "Section 4"),
        Quote("Deformable convnets v2: More deformable, better results.", "References, [36]"),
        "agree",
        "The name is that of the first version, the reference the second, which the authors' code "
        "uses too.",
    ),
    TextCheck(
        "sapd-venue",
        Quote("Soft anchor-point object detection. In CVPR, 2020.", "References, [33]"),
        outside("ECCV 2020", "SAPD's proceedings, doi 10.1007/978-3-030-58545-7_6"),
        "disagree",
        "It appeared at ECCV 2020; Table 4 has CVPR20 too.",
    ),
)

TEXT_CHECKS: tuple[TextCheck, ...] = (
    _marks(),
    *text_equations.EQUATIONS,
    *text_numbers.TWICE,
    *text_numbers.CHECKS,
    _delta(),
    *_n(),
    _variants(),
    _schedule(),
    _fair(),
    _ssd(),
    _no_speed(),
    _released(),
    _zoo(),
    *text_systems.SYSTEMS,
    *WORDS,
)
