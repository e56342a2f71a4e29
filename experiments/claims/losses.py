"""Claims that follow from the equations: computed without runs."""

from __future__ import annotations

import math

from experiments.claims.declare import Claim, Identity, Quote

EXACT = (-1e-9, 1e-9)  # 0, in double precision

QFL_MINIMUM = Claim(
    id="qfl-minimum",
    quotes=(
        Quote("Note that $\\sigma = y$ is the global minimum solution of QFL.", "Section 3"),
        Quote(
            "GFL considers a much general case in which the globally optimized solution is able "
            "to target at any desired continuous value",
            "Section 1",
        ),
    ),
    says="QFL is least at σ = y, for every y from 0 to 1 and every β of Table 1(c)",
    refuted_by="a lower loss at another σ",
    checks=(Identity("how much lower it is anywhere else", "qfl-lower-elsewhere", EXACT),),
    note=(
        "Its least value is 0 for β > 0; for β = 0, plain cross entropy, it is the entropy of y, "
        "as Fig. 5(a) draws it."
    ),
)

QFL_MODULATES = Claim(
    id="qfl-modulates",
    quotes=(
        Quote(
            "the factor goes to 0 and the loss for well-estimated examples is down-weighted, in "
            "which the parameter β controls the down-weighting rate smoothly",
            "Section 3",
        ),
        Quote(
            "when the quality estimation of an example is inaccurate and deviated away from label "
            "y , the modulating factor is relatively large",
            "Section 3",
        ),
        Quote("QFL focuses on a sparse set of hard examples", "Section 1"),
    ),
    says="for β > 0 the factor is 0 at σ = y, grows with |y − σ|, and falls as β grows",
    refuted_by="a factor above 0 at σ = y, one that falls away from y, or one that grows with β",
    checks=(
        Identity("factor at σ = y", "qfl-factor-at-label", EXACT),
        Identity("least growth with |y − σ|", "qfl-factor-growth", (0.0, math.inf)),
        Identity("least fall with β", "qfl-factor-fall-with-beta", (0.0, math.inf)),
    ),
    note="Not for β = 0, which the paper allows (β ≥ 0): there the factor is 1 everywhere.",
)

WEIGHTS_KEEP_OPTIMUM = Claim(
    id="weights-keep-optimum",
    quotes=(
        Quote(
            "it does not change the optimum of the loss objectives for classification",
            "Section 2",
        ),
    ),
    says="a weight on a positive's focal loss leaves its least value at a score of 1",
    refuted_by="a weight above 0 that moves it",
    checks=(Identity("how far the minimum moves", "weighted-optimum-moves", EXACT),),
    note="QFL's label does move it: to the quality (qfl-minimum).",
)

DFL_MINIMUM = Claim(
    id="dfl-minimum",
    quotes=(
        Quote("The global minimum solution of DFL", "Section 3"),
        Quote(
            "can guarantee the estimated regression target \\hat{y} infinitely close to the "
            "corresponding label y",
            "Section 3",
        ),
    ),
    says=(
        "DFL is least where the two bins beside the label share all of P(x) linearly, and then the "
        "mean of P(x) is the label"
    ),
    refuted_by="a lower loss elsewhere, or another mean",
    checks=(
        Identity("how much lower it is anywhere else", "dfl-lower-elsewhere", EXACT),
        Identity("mean at the minimum − label", "dfl-mean-off", EXACT),
    ),
)

SAME_MEAN = Claim(
    id="one-mean-many-shapes",
    quotes=(
        Quote(
            "there are infinite combinations of values for $P(x)$ that can make the final "
            "integral result being y",
            "Section 3",
        ),
        Quote(
            "Different flexible distributions can obtain the same integral target according to "
            "Eq. (4)",
            "Figure 5, caption",
        ),
    ),
    says="three shapes of P(x) have one mean, and DFL is least for the compact one",
    refuted_by="other means, or a lower DFL for a wider shape",
    checks=(
        Identity("spread of the means (strides)", "shapes-mean-spread", (-1e-6, 1e-6)),
        Identity(
            "least DFL of the wider shapes − the compact one's", "shapes-dfl-gap", (0.0, math.inf)
        ),
    ),
    note="The shapes are those that our Fig. 5(b) draws.",
)

GFL_MINIMUM = Claim(
    id="gfl-minimum",
    quotes=(
        Quote("reaches its global minimum with", "Section 3"),
        Quote(
            "the estimation \\hat{y} perfectly matches the continuous label y",
            "Section 3",
        ),
    ),
    says="GFL is least where both probabilities are linear in y; there the estimate is y",
    refuted_by="a lower loss elsewhere, or another estimate",
    checks=(
        Identity("how much lower it is anywhere else", "gfl-lower-elsewhere", EXACT),
        Identity("estimate at the minimum − label", "gfl-estimate-off", EXACT),
    ),
)

SPECIAL_CASES = Claim(
    id="special-cases",
    quotes=(
        Quote(
            "FL [18] and the proposed QFL and DFL are all special cases of GFL",
            "Section 3",
        ),
    ),
    says="Eq. 7 with the values of Eq. 8, 9 and 10 is FL, QFL and DFL",
    refuted_by="a difference anywhere",
    checks=(
        Identity("greatest difference to FL", "gfl-minus-fl", EXACT),
        Identity("greatest difference to QFL", "gfl-minus-qfl", EXACT),
        Identity("greatest difference to DFL", "gfl-minus-dfl", EXACT),
    ),
)

CLAIMS = (
    QFL_MINIMUM,
    QFL_MODULATES,
    WEIGHTS_KEEP_OPTIMUM,
    DFL_MINIMUM,
    SAME_MEAN,
    GFL_MINIMUM,
    SPECIAL_CASES,
)
