"""The quantities that figures show and no table prints: labels, scores, learned distributions.

``WANTED`` names each and says what it is; ``analysis.measures`` computes it from committed
predictions and labels. ``labels``, ``scores`` and ``distributions`` have the claims.

Their bounds are of three kinds, and none was chosen by what runs gave. Where the paper compares
("more reliable"), the sign; where it gives a number (0.4, 0.9), that number; where it has a word
for a size ("weak", "much smaller"), a threshold that is in use for that word, with its source.
"""

from __future__ import annotations

COUNTERPARTS = ("none", "centerness-branch", "iou-branch", "centerness-guided", "iou-guided")
SETS = {"positives": "all positives", "random": "the random sample of locations"}
AMBIGUOUS = ("blurred", "shadow", "occluded")

# Runs: of ATSS, seed 0, by their factors; "dfl" is General w/ DFL with centerness, "gfl" both.
# Labels: over all positives of the validation set, GFL's run. Sides: of each object's best
# positive (analysis.measures.best_positives), ambiguous where not sharp, in px of the image.
WANTED: dict[str, str] = {
    # Fig. 9, 8, 5(c): labels
    "iou-label-above-0.4": "share of the positives whose IoU label is above 0.4",
    "label-mean-iou-minus-centerness": "mean IoU label minus mean centerness label",
    "label-effect-size": "that difference over the root of the mean of the two variances",
    "label-below-0.4-centerness-minus-iou": (
        "share of the positives with a centerness label under 0.4, minus that with such an IoU "
        "label"
    ),
    "centerness-label-below-0.1": "share of the positives with a centerness label under 0.1",
    "objects-below-0.4-centerness-minus-iou": (
        "share of the objects with positives whose highest centerness label among them is under "
        "0.4, minus that whose highest IoU label is"
    ),
    "centerness-label-prediction-spearman": (
        "centerness-branch: Spearman of the label with the predicted centerness over all positives"
    ),
    "recall-low-centerness-minus-iou-branch": (
        "of the objects whose highest centerness label among their positives is in the lowest "
        "tenth: the share that a detection of their class finds at IoU 0.5, of the "
        "centerness-branch minus that of the IoU-branch"
    ),
    "targets-above-12": "share of the four distances of all positives that are above 12 strides",
    "targets-above-16": "the same above 16 strides",
    # Fig. 2: scores
    "background-quality-highest": (
        "IoU-branch: the highest predicted IoU at background, which is as in Fig. 2(a): not "
        "positive, a class score under 0.3, and a predicted box with an IoU under 0.1 with every "
        "object"
    ),
    "background-promoted": (
        "IoU-branch: share of that background which some positive of its image and category beats "
        "by class score and which beats that positive by final score, both with a class score over "
        "the threshold below which NMS is given nothing"
    ),
    "background-unruly": (
        "IoU-branch: in the random sample, locations that are not positive and have a higher "
        "predicted quality than the median positive of the sample, per positive of the sample"
    ),
    "background-unruly-joint-minus-iou-branch": (
        "the same of the joint run, whose quality is its score, minus the IoU-branch's"
    ),
    **{
        f"class-quality-spearman-{where}": (
            f"IoU-branch: Spearman of class score with predicted IoU over {of}"
        )
        for where, of in SETS.items()
    },
    **{
        f"score-iou-spearman-joint-minus-{quality}-{where}": (
            f"Spearman of the final score with the true IoU over {of}, joint minus {quality}"
        )
        for quality in COUNTERPARTS
        for where, of in SETS.items()
    },
    "joint-scores-apart": (
        "joint: the greatest absolute difference of the score that ranks and the class score over "
        "all stored locations"
    ),
    **{
        f"quality-calibration-joint-minus-iou-branch-{where}": (
            "expected calibration error of the predicted quality against the true IoU over "
            f"{of}, joint (its score) minus IoU-branch (the branch's)"
        )
        for where, of in SETS.items()
    },
    "background-error-joint-minus-iou-branch": (
        "AP50 lost to detections of background (analysis.errors), joint minus IoU-branch"
    ),
    # Fig. 3, 5(b): learned distributions
    **{
        f"spread-{kind}-minus-sharp": (
            f"gfl: mean standard deviation of P(x) in strides, of {kind} sides minus of sharp ones"
        )
        for kind in AMBIGUOUS
    },
    "spread-truth-spearman": (
        "gfl: Spearman of the standard deviation of P(x) with that of where the side may lie"
    ),
    "spread-error-spearman": (
        "gfl: Spearman of the standard deviation of P(x) with |mean - target| over the sides of "
        "all positives, strides"
    ),
    "nearest-mass-dfl-minus-general": (
        "mean of P(y_i) + P(y_i+1), the two bins beside the target, over the sides of all "
        "positives, dfl minus general"
    ),
    "distance-dfl-minus-dirac": (
        "mean Wasserstein-1 distance from learned to true distribution over ambiguous sides, dfl "
        "minus dirac"
    ),
    "distance-dfl-minus-gaussian": "the same, dfl minus gaussian",
    "distance-two-modes-dfl-minus-gaussian": "the same over sides with two modes",
    "two-peaked-at-two-modes": (
        "dfl: share of P(x) with two peaks (analysis.measures.densities) at sides whose two modes "
        "are 2 strides or more apart, minus that share at sharp sides"
    ),
    "positive-iou-dfl-minus-dirac": "mean IoU of the decoded boxes of positives, dfl minus dirac",
    "localisation-error-dfl-minus-dirac": (
        "AP50 lost to badly placed boxes (analysis.errors), dfl minus dirac"
    ),
    # Inference time, from results/benchmarks/overhead-*.csv; the baseline is centerness + dirac
    "overhead-joint": "ATSS's inference time with joint w/ QFL over that of plain ATSS",
    "overhead-dfl": "the same with General w/ DFL",
    "overhead-gfl": "the same with both",
    **{
        f"overhead-{host}-joint": f"{host}'s inference time with joint w/ QFL over its own without"
        for host in ("foveabox", "retinanet", "ssd512")
    },
}
