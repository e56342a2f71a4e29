"""Consistency checks of Table 4: a row's AP, speed and marks against what its source trained.

The other place of each pair is a source outside the paper: its words, or the file that decides.
"""

from __future__ import annotations

from experiments.claims.declare import At, Quote, TextCheck
from experiments.claims.text_equations import outside
from experiments.claims.text_numbers import R_4, finding, row

CAPTION = Quote(
    "FPS values with * are from [33], while others are measured on the same machine with a single "
    "GeForce RTX 2080Ti GPU under the same mmdetection [3] framework",
    "Table 4, caption",
)


def _of(key: str, printed: str) -> Quote:
    return row("table-4", key, printed)


def _deformed_towers() -> TextCheck:
    """Compare the speed of ATSS with DCN with that of GFL on the same backbone."""
    atss, gfl = (At("table-4", f"{name} R-101-DCN", "FPS").number for name in ("ATSS", "GFL"))
    return TextCheck(
        "atss-deformed-towers",
        R_4["ATSS R-101-DCN"],
        outside(
            "All models use deformable convolutions in the last layer of detector towers.",
            "ATSS's code, README.md",
        ),
        finding(atss != gfl),
        f"The AP is of a detector with deformable towers, the {atss} FPS are to the decimal those "
        "of GFL, which has none; the authors' ATSS head has no such option.",
    )


SYSTEMS = (
    TextCheck(
        "faster-rcnn-epochs",
        _of("Faster R-CNN w/ FPN R-101", "Faster R-CNN w/ FPN [17] R-101 24"),
        outside("box AP: 39.8", "mmdet, configs/faster_rcnn/metafile.yml, R-101-FPN 2x"),
        "disagree",
        "36.2 is the AP of FPN's paper of 2017. A model of 24 epochs, the one that can have been "
        "timed in mmdet, has 3.6 more.",
    ),
    TextCheck(
        "fsaf-branches",
        _of("FSAF R-101", "FSAF [34] R-101 18 ✓"),
        outside("Only the anchor-free branch is released", "mmdet, configs/fsaf/README.md"),
        "disagree",
        "The AP is that of the anchor-based and the anchor-free branches together. Faster than "
        "RetinaNet (13.6 FPS) only the anchor-free ones alone can be.",
    ),
    TextCheck(
        "sapd-is-fsaf-at-test",
        R_4["SAPD R-101"],
        _of("FSAF R-101", "FSAF [34] R-101 18 ✓"),
        "unclear",
        "At test SAPD's network is that of FSAF's anchor-free branches, which the table has "
        "faster, and no code of SAPD was published; 13.2 FPS fits the series of [33], which was "
        "taken on another GPU: a star is missing, it seems.",
    ),
    TextCheck(
        "same-framework",
        CAPTION,
        outside("mmdet/models", "authors' code, its copy of mmdet 1.1"),
        "disagree",
        "The released copy of mmdet mentions none of these four systems; FSAF, SAPD and TSD have "
        "no star.",
    ),
    TextCheck(
        "freeanchor-schedule",
        _of("FreeAnchor X-101-32x8d", "FreeAnchor [32] X-101-32x8d 24 ✓"),
        outside("135K", "FreeAnchor's code, README.md of its first version"),
        "disagree",
        "135K iterations of 16 images are 18 epochs.",
    ),
    TextCheck(
        "retinanet-scales",
        _of("RetinaNet R-101", "RetinaNet [18] R-101 18"),
        outside(
            "trained using scale jitter and for 1.5× longer than the models in Table 1e",
            "Focal Loss, arXiv 1708.02002, Section 5.3",
        ),
        "disagree",
        "The source of the AP trains at several scales, worth 1.3 AP with the longer schedule; the "
        "row has no mark.",
    ),
    TextCheck(
        "tridentnet-scales",
        _of("TridentNet R-101", "TridentNet [16] R-101 24 ✓"),
        outside(
            "config/tridentnet_r101v2c4_c5_addminival_2x.py", "TridentNet's code, in simpledet"
        ),
        "disagree",
        "The released settings of that AP and of 24 epochs train at one scale; the row has the "
        "mark of several.",
    ),
    TextCheck(
        "fcos-twice",
        _of("FCOS R-101", "FCOS [26] R-101 24 ✓"),
        outside("FCOS_imprv_X_101_64x4d_FPN_2x 44.7", "FCOS's code, README.md"),
        "disagree",
        "The row of R-101 is the original FCOS (FCOS_R_101_FPN_2x 41.5), that of X-101 the "
        "improved one: two detectors under one name.",
    ),
    TextCheck(
        "reppoints-dcn",
        _of("RepPoints R-101-DCN", "RepPoints [30] R-101-DCN 24 ✓"),
        outside("reppoints_moment_r101_dcn_fpn_2x_mt.py", "RepPoints' code, configs"),
        "disagree",
        "RepPoints has the first version of DCN, GFL and ATSS the second, ATSS in its towers too: "
        "R-101-DCN stands for three networks.",
    ),
    _deformed_towers(),
    TextCheck(
        "tsd-threshold",
        _of("TSD R-101", "TSD [25] R-101 20"),
        outside("score_thr = 0.00", "TSD's code, issue 23"),
        "unclear",
        "No detection is dropped before NMS, which is worth 0.2 to 0.3 AP and explains much of the "
        "1.1 FPS; the others drop what scores under .05.",
    ),
    TextCheck(
        "hourglass-mirrored",
        _of("CornerNet HG-104", "CornerNet [14] HG-104 200 ✓"),
        outside(
            "images = np.concatenate((images, images[:, :, :, ::-1]), axis=0)",
            "CornerNet's code, test/coco.py",
        ),
        "unclear",
        "Single-scale results of the corner detectors are those of two images; whether to count "
        "that as single-model single-scale testing is a matter of taste.",
    ),
)
