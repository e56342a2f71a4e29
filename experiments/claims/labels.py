"""Claims of Fig. 5(c), 8 and 9: labels of quality and regression targets."""

from __future__ import annotations

import math

from experiments.claims.declare import ABOVE, BELOW, Check, Claim, Measured, Quote

# Legend of Fig. 9, missing from the text copy: mean and standard deviation.
FIG_9 = {"IoU": (0.84, 0.14), "centerness": (0.64, 0.18)}
ROUNDED = 0.005  # maximal error of a number with two digits
LARGE = 0.8  # effect size: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988)


def _fig_9() -> tuple[Check, Check]:
    """Check the difference of the two labels' means, in itself and relative to their spread."""
    (iou, iou_std), (centerness, centerness_std) = FIG_9.values()
    apart = iou - centerness
    spread = math.sqrt((iou_std**2 + centerness_std**2) / 2)
    mean = Measured(
        "mean IoU label − mean centerness label",
        "label-mean-iou-minus-centerness",
        ABOVE,
        round(apart, 2),
        off=2 * ROUNDED,
    )
    effect = Measured(
        "that difference in standard deviations",
        "label-effect-size",
        (LARGE, math.inf),
        round(apart / spread, 2),
        off=round((apart + 2 * ROUNDED) / (spread - ROUNDED) - apart / spread, 2),
    )
    return mean, effect


def _above_0_4() -> Check:
    """Check the least share of IoU labels above 0.4 that their mean and deviation allow.

    Cantelli: P(x <= m - d) <= s²/(s² + d²), for any distribution of mean m and deviation s.
    """

    def least(mean: float, std: float) -> float:
        return 1 - std**2 / (std**2 + (mean - 0.4) ** 2)

    mean, std = FIG_9["IoU"]
    share = least(mean, std)
    return Measured(
        "share of IoU labels above 0.4",
        "iou-label-above-0.4",
        (0.5, math.inf),
        round(share, 2),
        off=round(share - least(mean - ROUNDED, std + ROUNDED), 2),
    )


IOU_LABELS = Claim(
    id="iou-labels-above-0.4",
    quotes=(
        Quote("we observe that most of IoU labels is larger than 0.4", "Section 5"),
        Quote(
            "IoU label is more reliable as the supervisions from bounding boxes will always push "
            "it close to 1.0",
            "Figure 8, caption",
        ),
    ),
    says="more than half of the IoU labels of positives are above 0.4",
    refuted_by="half of them or fewer above 0.4",
    checks=(_above_0_4(),),
    note=(
        "Fig. 9's legend has mean and standard deviation only: no labels that have them can have "
        "a smaller share above 0.4 than this (Cantelli's inequality). 'close to 1.0' has no number "
        "and is not tested."
    ),
)


CENTERNESS_LABELS = Claim(
    id="centerness-labels-smaller",
    quotes=(
        Quote(
            "centerness labels tend to be much smaller (even approaching 0)",
            "Section 5",
        ),
        Quote(
            "Centerness label is easier to get very small values by its definition",
            "Figure 8, caption",
        ),
        Quote("its definition leads to unexpected small ground-truth label", "Section 5"),
    ),
    says=(
        "centerness labels are smaller than IoU labels by a large effect (0.8 standard "
        "deviations), more of them lie under 0.4, and some under 0.1"
    ),
    refuted_by="a smaller effect, no more of them under 0.4, or none under 0.1",
    checks=(
        *_fig_9(),
        Measured(
            "share under 0.4, centerness − IoU", "label-below-0.4-centerness-minus-iou", ABOVE
        ),
        Measured("share of centerness labels under 0.1", "centerness-label-below-0.1", ABOVE),
    ),
)


HARD_TO_RECALL = Claim(
    id="centerness-hard-to-recall",
    quotes=(
        Quote(
            "which makes a possible set of ground-truth bounding boxes extremely hard to be "
            "recalled",
            "Section 5",
        ),
        Quote(
            "The small values of centerness labels prevent a set of ground-truth bounding boxes "
            "from being recalled, as their final scores for NMS would be potentially small since "
            "their predicted centerness scores are already supervised by these extremely small "
            "signals.",
            "Section 5",
        ),
    ),
    says=(
        "some objects have small centerness labels only, the branch learns them, and it finds "
        "fewer of the objects with the smallest than the IoU-branch does"
    ),
    refuted_by=(
        "no such object, no correlation of predicted centerness with its label, or as many found"
    ),
    checks=(
        Measured(
            "objects whose best label is under 0.4, centerness − IoU",
            "objects-below-0.4-centerness-minus-iou",
            ABOVE,
        ),
        Measured(
            "rank correlation of centerness label and prediction",
            "centerness-label-prediction-spearman",
            ABOVE,
        ),
        Measured(
            "recall of the tenth with the smallest labels, centerness- − IoU-branch",
            "recall-low-centerness-minus-iou-branch",
            BELOW,
        ),
    ),
    note=(
        "The paper shows labels (Fig. 8, 9) and no recall; this is the reason that it gives. That "
        "the embedded objects cannot show it was seen in the runs, where it was within noise."
    ),
    blind={
        "laptop": (
            "no embedded object has small centerness labels only: the lowest of the objects' "
            "highest labels is 0.45"
        )
    },
)


DRAWN = "it is said of COCO's objects, and how large drawn ones are was chosen"
SCALED = (
    "the images' size and the strides of the levels were chosen so that targets reach as far as "
    "they do on COCO (0.1 % of them above 12 strides here, 0.3 % there)"
)

TARGETS_WITHIN_N = Claim(
    id="targets-within-n",
    quotes=(
        Quote("according to its target distribution in Fig. 5(c)", "Table 2(b), caption"),
        Quote(
            "To quickly select a reasonable value of n , we first illustrate the distribution of "
            "the regression targets in Fig. 5(c).",
            "Section 4",
        ),
    ),
    says="of the regression targets of ATSS, under 1 % are above 12 and above 16 strides",
    refuted_by="1 % or more of them above the n of Table 2(b)",
    checks=(
        Measured("share of targets above 12", "targets-above-12", (-math.inf, 0.01)),
        Measured("share of targets above 16", "targets-above-16", (-math.inf, 0.01)),
    ),
    note="What n has to reach for the AP to be robust in it. Fig. 5(c) shows it without a number.",
    blind={"smoke": DRAWN, "laptop": DRAWN, "gpu": DRAWN, "photos": SCALED},
)


CLAIMS = (
    IOU_LABELS,
    CENTERNESS_LABELS,
    HARD_TO_RECALL,
    TARGETS_WITHIN_N,
)
