"""Explanations of disagreements between shapes and photographs, written after the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.stats.correction import Verdict


@dataclass(frozen=True)
class Explanation:
    """Explanation of two verdicts, valid only for these.

    In ``text`` a property's name in braces stands for its value on shapes and on photographs.
    """

    shapes: Verdict
    photographs: Verdict
    text: str


EXPLANATIONS: Mapping[str, Explanation] = {
    "one-ap-over-atss": Explanation(
        "within noise", "supported",
        "DFL brings the gain on photographs, and on shapes there is little left for it. The error "
        "of a side, in strides: {off}; AP50 lost to badly placed boxes: {lost-localisation}. QFL "
        "brings nothing clear at either scale.",
    ),
    "background-quality-high": Explanation(
        "supported", "within noise",
        "A predicted IoU is as high as boxes are good: of positives themselves few reach 0.9 on "
        "photographs, where the mean is lower (IoU of a positive's box: {iou}). The background "
        "that is predicted best comes close to the best positives at both scales.",
    ),
    "separate-scores-weakly-correlated": Explanation(
        "within noise", "refuted",
        "At positives the correlation is over .4 at both scales; only photographs, whose positives "
        "differ more, make it certain. Both scores follow how well an object is seen, and so does "
        "the true IoU (its rank correlation with the class score: {class-iou}).",
    ),
    "negatives-ahead": Explanation(
        "within noise", "supported",
        "Background gets ahead of a positive where a positive scores low. Photographs have such "
        "positives (mean class score: {class-score}; AP50 lost to missed objects: "
        "{lost-missed}); on shapes both are told apart too well for it to be seen.",
    ),
    "centerness-labels-smaller": Explanation(
        "supported", "refuted",
        "Centerness labels follow from geometry and are alike: {centerness}, .64 in the paper. "
        "IoU labels are as good as the boxes: {iou}, .84 in the paper. A small head on frozen "
        "features does not place boxes well enough for the large difference that the claim is of.",
    ),
    "focus-helps": Explanation(
        "supported", "within noise",
        "The same sign at both scales. On photographs β = 0 has one seed so far, and the interval "
        "of its difference leaves out 0; the correction for all claims tested leaves it open.",
    ),
}  # fmt: skip
