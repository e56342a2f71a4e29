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
    "joint-beats-all": Explanation(
        "refuted", "within noise",
        "On photographs predicting the localization quality helps: on both detectors the joint row "
        "is above the row without it and above each weighted row, though not always clearly. On "
        "shapes it helps little: an object's positives hardly differ (standard deviation of their "
        "IoU: {iou-spread}), so that a label below 1 lowers a score without telling boxes apart. "
        "At neither scale is the joint row clearly above both branches.",
    ),
    "joint-beats-all-figures": Explanation(
        "refuted", "within noise",
        "As joint-beats-all. With three to five seeds 33 of 60 checks stay open.",
    ),
    "quality-branch-helps": Explanation(
        "within noise", "supported",
        "As quality-necessary. On photographs each branch is above the row without one on both "
        "detectors; on shapes neither is on FCOS.",
    ),
    "quality-necessary": Explanation(
        "within noise", "supported",
        "How well an object's positives fit it differs more on photographs (standard deviation of "
        "their IoU: {iou-spread}), and so does what picking the wrong one costs (IoU lost by "
        "picking at random: {picked-random}). Where little can be lost, a quality estimate gains "
        "little.",
    ),
    "qfl-boosts-others": Explanation(
        "refuted", "within noise",
        "SSD512 alone is clearly below on shapes. QFL takes its softmax and its hard-negative "
        "mining away, and at an AP50 near 100 there is only to lose; on photographs, where SSD512 "
        "is the weakest detector, it gains the most. FoveaBox and RetinaNet gain there as well, "
        "within the noise of one seed.",
    ),
    "consistent-boost": Explanation(
        "refuted", "within noise",
        "Shapes: FCOS and SSD512 are clearly below with QFL, see joint-beats-all and "
        "qfl-boosts-others. Photographs: with QFL four of the five detectors are above, FCOS "
        "below within noise; with DFL the two that it is tried on are above.",
    ),
    "dfl-over-baselines": Explanation(
        "within noise", "supported",
        "The same sign in all four pairs at both scales. On shapes Dirac delta on ATSS leaves "
        "little to gain (AP50 lost to badly placed boxes: {lost-localisation}; error of a side, "
        "in strides: {off}).",
    ),
    "small-delta": Explanation(
        "supported", "within noise",
        "The same sign and order at both scales: Δ = 4 is lowest. On photographs, with one seed of "
        "three of the rows, the interval leaves out 0; the correction for all claims leaves it "
        "open. Wide bins cost more on shapes, where boxes are placed more exactly (error of a "
        "side, in strides: {off}).",
    ),
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
        "Background overtakes a positive where a positive scores low. Photographs have such "
        "positives (mean class score: {class-score}; AP50 lost to missed objects: "
        "{lost-missed}); on shapes both are told apart too well for it to be seen.",
    ),
    "centerness-labels-smaller": Explanation(
        "supported", "refuted",
        "Centerness labels follow from geometry and are alike: {centerness}, .64 in the paper. "
        "IoU labels are as good as the boxes: {iou}, .84 in the paper. A small head on frozen "
        "features does not place boxes well enough for the large difference that the claim is of.",
    ),
}  # fmt: skip
