"""Claims of Fig. 3, 4 and 5(b): learned distributions of a side's position."""

from __future__ import annotations

from experiments.claims.declare import ABOVE, BELOW, Claim, Measured, Quote
from gfl.shapes.side_labels import AMBIGUOUS

UNKNOWN = "nobody knows where the sides of what a photograph shows may lie, and how likely"

FLAT_WHEN_AMBIGUOUS = Claim(
    id="flat-when-ambiguous",
    quotes=(
        Quote(
            "a flatten distribution denotes the unclear and ambiguous boundaries (see red "
            "circles) and a sharp one stands for the clear cases",
            "Figure 3, caption",
        ),
        Quote(
            "the proposed distributed representation can effectively reflect the uncertainty of "
            "bounding boxes by its shape",
            "Section 4",
        ),
    ),
    says=(
        "P(x) is wider at blurred, shadowed and occluded sides than at sharp ones, and the wider "
        "the more uncertain the side is"
    ),
    refuted_by="one kind of unclear side with a P(x) as narrow as at sharp sides",
    checks=(
        *(
            Measured(
                f"standard deviation of P(x), {kind} − sharp",
                f"spread-{kind}-minus-sharp",
                ABOVE,
            )
            for kind in AMBIGUOUS
        ),
        Measured("rank correlation with the true one", "spread-truth-spearman", ABOVE),
    ),
    note="Only data whose uncertainty is known can tell: the embedded ones.",
    blind={"photos": UNKNOWN, "coco": UNKNOWN},
)


DEPICTS_DISTRIBUTIONS = Claim(
    id="depicts-distributions",
    quotes=(
        Quote(
            "accurately depict the flexible distribution in real data",
            "Abstract",
        ),
        Quote(
            "It well models the flexible underlying distribution for bounding boxes",
            "Section 1",
        ),
        Quote(
            "whilst being aware of a variety of their underlying distributions",
            "Section 1",
        ),
    ),
    says=(
        "at unclear sides General w/ DFL is nearer to the true distribution than a point is, and "
        "has two peaks more often where there are two right answers"
    ),
    refuted_by="a distance as large as Dirac delta's, or two peaks as often at sharp sides",
    checks=(
        Measured(
            "distance to the true distribution, General w/ DFL − Dirac delta (px)",
            "distance-dfl-minus-dirac",
            BELOW,
        ),
        Measured("two peaks, at two modes − at sharp sides", "two-peaked-at-two-modes", ABOVE),
    ),
    note="On real data nobody knows the true distribution; on the embedded ones it is given.",
    blind={"photos": UNKNOWN, "coco": UNKNOWN},
)


GAUSSIAN_TOO_SIMPLE = Claim(
    id="gaussian-too-simple",
    quotes=(
        Quote(
            "it is too simple to capture the real distribution of the locations of bounding boxes",
            "Section 1",
        ),
        Quote(
            "the real distribution can be more arbitrary and flexible [10], without the necessity "
            "of being symmetric like the Gaussian function",
            "Section 1",
        ),
    ),
    says=(
        "at unclear sides, and at those with two modes, General w/ DFL is nearer to the true "
        "distribution than a Gaussian is"
    ),
    refuted_by="the Gaussian as near at either",
    checks=(
        Measured(
            "distance, General w/ DFL − Gaussian, unclear sides (px)",
            "distance-dfl-minus-gaussian",
            BELOW,
        ),
        Measured(
            "distance, General w/ DFL − Gaussian, two modes (px)",
            "distance-two-modes-dfl-minus-gaussian",
            BELOW,
        ),
    ),
    note="That the embedded data have such distributions is by construction, and proves nothing.",
    blind={"photos": UNKNOWN, "coco": UNKNOWN},
)


DFL_FOCUSES = Claim(
    id="dfl-focuses",
    quotes=(
        Quote(
            "forces the network to rapidly focus on the values near label y , by explicitly "
            "enlarging the probabilities of y_i and y_{i+1}",
            "Section 3",
        ),
        Quote(
            "forcing the networks to rapidly focus on learning the probabilities of values close "
            "to the target coordinates",
            "Figure 4, caption",
        ),
    ),
    says="with DFL the two bins beside the target have more of P(x) than without",
    refuted_by="no more of P(x) there",
    checks=(
        Measured(
            "mass of the two nearest bins, General w/ DFL − General",
            "nearest-mass-dfl-minus-general",
            ABOVE,
        ),
    ),
    note="'rapidly' is not tested: only the end of training is stored.",
)


COMPACT_IS_PRECISE = Claim(
    id="compact-is-precise",
    quotes=(
        Quote(
            "distribution (3) is compact and tends to be more confident and precise on the "
            "bounding box estimation",
            "Section 3",
        ),
    ),
    says="the wider P(x), the further its mean is from the label",
    refuted_by="no positive rank correlation of width and error",
    checks=(Measured("rank correlation of width and error", "spread-error-spearman", ABOVE),),
    note="Within one model: of its distributions, the compact ones are the precise ones.",
)


PLACED_BETTER = Claim(
    id="placed-better",
    quotes=(
        Quote("whilst being more informative and accurate", "Section 2"),
        Quote("which provides more informative and accurate box locations", "Section 1"),
    ),
    says=(
        "with General w/ DFL positives overlap their objects more than with Dirac delta, and badly "
        "placed boxes cost less AP50"
    ),
    refuted_by="no higher IoU, or as much AP50 lost to badly placed boxes",
    checks=(
        Measured(
            "mean IoU of positives, General w/ DFL − Dirac delta",
            "positive-iou-dfl-minus-dirac",
            ABOVE,
        ),
        Measured(
            "AP50 lost to badly placed boxes, General w/ DFL − Dirac delta",
            "localisation-error-dfl-minus-dirac",
            BELOW,
        ),
    ),
)


CLAIMS = (
    FLAT_WHEN_AMBIGUOUS,
    DEPICTS_DISTRIBUTIONS,
    GAUSSIAN_TOO_SIMPLE,
    DFL_FOCUSES,
    COMPACT_IS_PRECISE,
    PLACED_BETTER,
)
