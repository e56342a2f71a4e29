"""Consistency checks of the paper's equations: with each other, the first version and the code."""

from __future__ import annotations

from experiments.claims.declare import Quote, TextCheck
from experiments.claims.losses import GFL_MINIMUM, QFL_MODULATES
from experiments.claims.text_numbers import row

# implus/GFocal at db48199.
HEAD = "authors' code, mmdet/models/anchor_heads/gfl_head.py"
LOSS = "authors' code, mmdet/models/losses/gfocal_loss.py"
V1 = "arXiv's first version, appendix"


def outside(text: str, place: str) -> Quote:
    return Quote(text, place, paper=False)


EQ_11 = Quote("(\\lambda_0 \\mathcal{L}_B + \\lambda_1 \\mathcal{L}_D)", "Section 3, Eq. 11")

EQUATIONS = (
    TextCheck(
        "lambdas",
        Quote(
            "are the balance weights for \\mathcal{L}_Q and \\mathcal{L}_D , respectively",
            "Section 3",
        ),
        EQ_11,
        "disagree",
        "Eq. 11 has λ0 and λ1 at L_B and L_D, and L_Q has no weight. λ0 = 2 is GIoU's weight in "
        "the authors' code too, so the sentence names the wrong loss.",
    ),
    TextCheck(
        "normalisation",
        Quote(
            "\\frac{1}{N_{pos}} \\sum_z 1_{\\{c_z^* > 0\\}} (\\lambda_0 \\mathcal{L}_B",
            "Section 3, Eq. 11",
        ),
        outside("losses_bbox = list(map(lambda x: x / avg_factor, losses_bbox))", HEAD),
        "disagree",
        "avg_factor is the sum of the weights, the highest predicted class scores of the "
        "positives, and not N_pos. The text names the weights after Eq. 11 ('we also utilize the "
        "quality scores to weight') and not the divisor.",
    ),
    TextCheck(
        "table-1c-and-code",
        row("table-1c", "2.5", "2.5"),
        outside("* pt.pow(beta)", LOSS),
        "disagree",
        "Section 3 says that |·| guarantees the non-negativity, and this code has none: wherever "
        "the score is above the label β = 2.5 gives NaN, so this row came from other code, and "
        "β = 1 a reward. At β = 2, which all else uses, there is no difference.",
    ),
    TextCheck(
        "factor-goes-to-0",
        QFL_MODULATES.quotes[0],
        Quote("$|y - \\sigma|^\\beta$ ($\\beta \\geq 0$)", "Section 3"),
        "unclear",
        "For β > 0 it is as said. At β = 0, which the definition allows and Table 1(c) has, the "
        "factor is 1 everywhere: a limit that the sentence need not mean.",
    ),
    TextCheck(
        "minimum-at-beta-0",
        GFL_MINIMUM.quotes[0],
        Quote("By substituting $\\beta = 0, y_l = y_i, y_r = y_{i+1}", "Section 3"),
        "agree",
        "The minimum is where it is said to be for every β. Its value is 0 for β > 0 and the "
        "entropy of the two weights for β = 0, which is DFL; the paper names no value.",
    ),
    TextCheck(
        "proof-at-the-ends",
        Quote(
            "The corresponding continuous label y for the prediction \\hat{y} also satisfies "
            "$y_l \\leq y \\leq y_r$",
            "Section 3",
        ),
        outside("R(p*) > 0", V1),
        "disagree",
        "R is cross entropy. The proof takes its minimum to be above 0, but at y = y_l and at "
        "y = y_r, which the definition allows, it is 0. The minimum is there all the same.",
    ),
    TextCheck(
        "eq-6-width",
        Quote(
            "(y_{i+1} - y) \\log(\\mathcal{S}_i) + (y - y_i) \\log(\\mathcal{S}_{i+1})",
            "Section 3, Eq. 6",
        ),
        Quote("Varying Δ by fixing $y_n = 16$ on ATSS (w/ GFL)", "Table 2(c), caption"),
        "unclear",
        "Eq. 6's two weights sum to Δ. Taken as it stands DFL counts four times as much at Δ = 4 "
        "as at 1; whether Table 2(c) divided by Δ is not said.",
    ),
    TextCheck(
        "n-or-y-n",
        Quote("by fixing $y_n = 16$", "Table 2(c), caption"),
        outside("fixing n = 16", V1),
        "unclear",
        "With y_n fixed there are 16/Δ + 1 bins, with n fixed always 17, up to 64 strides. The "
        "later version may have corrected the words or the runs.",
    ),
)
