"""Detection errors by kind, and AP50 without the errors of a kind, both as defined by TIDE.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, section 2. Where the paper leaves something open, such as precedence between two
kinds that fit, their code decides (tidecv 1.0.1): localisation, classification, duplicate,
background, and the rest is both. IoUs are the highest with an object of the detection's own
category and with one of another; t_f = 0.5 and t_b = 0.1.

==============  ================================================  ==================================
kind            a false positive, or an object no detection has   its oracle
==============  ================================================  ==================================
localisation    t_b <= own IoU <= t_f                             the box is corrected: true, if the
                                                                  object is free; else it is dropped
classification  other IoU >= t_f                                  the same with the category
duplicate       own IoU >= t_f, and all such objects are taken    dropped
background      no IoU exceeds t_b                                dropped
both            the rest: t_b < other IoU < t_f                   dropped
missed          an object that neither a detection nor either of  does not count as an object
                the first two oracles finds
==============  ================================================  ==================================

Of several false positives that could be corrected to one object, the one with the highest score is,
and the others are dropped. Two more overlap the kinds: all false positives dropped, and all
unmatched objects, missed or not, no longer counted.

pycocotools decides AP and matches here, so some things differ from tidecv:

- A category's 100 best detections of an image count; tidecv takes an image's 100 best.
- Detections that COCO ignores, in a crowd's region, are no errors; tidecv sorts them into kinds.
- A category without objects is not in the mean; with a false positive, tidecv gives it an AP of 0.
- A recall such as 0.57 may be under pycocotools' 0.57, which is 57 * 0.01, and not under tidecv's.
- Among equal scores, tidecv's oracles put false positives first, which may lower AP: it clips a
  negative ΔAP50 to 0. Here the order is kept, and none is negative.

Measured: with tidecv's 101 recalls in place of pycocotools', and no ties in scores, counts agree
to the last detection and every ΔAP50 to 1e-12; without this, ΔAP50 to about 0.001 on 1000 images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gfl.predictions.error_kinds import KINDS, NONE, OF_DETECTIONS, Sorted

SPECIAL = ("false positives", "false negatives")  # all of them, of any kind
RECALLS = np.linspace(0, 1, 101)  # pycocotools' values, to the last bit


@dataclass(frozen=True)
class Errors:
    """Errors of a run: counts of each of KINDS and SPECIAL, and ΔAP50 of their oracle."""

    ap: float  # unmodified AP50, percent; NaN without objects, and so are the gains
    detections: int  # counted ones: neither beyond the limit nor ignored in a crowd
    count: dict[str, int]
    gain: dict[str, float]  # percentage points


def errors(judged: Sorted) -> Errors:
    """Return the errors of detections classified by kind.

    If the IoU of a hit is not 0.5, everything refers to AP at that IoU.
    """
    of_all = ap(judged)
    gain = {kind: ap(judged, kind) - of_all for kind in (*KINDS, *SPECIAL)}
    count = {kind: int(judged.of_kind(kind).sum()) for kind in OF_DETECTIONS}
    count |= {
        "missed": int(judged.missed.sum()),
        "false positives": int((~judged.true & judged.counts).sum()),
        "false negatives": int(judged.unfound.sum()),
    }
    return Errors(of_all, int(judged.counts.sum()), count, gain)


def after(
    judged: Sorted, without: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Apply a kind's oracle; return detections kept, true, their categories; counted objects."""
    keep, true, category = judged.counts, judged.true, judged.category
    objects = judged.objects.count
    if without == "missed":
        objects = objects - judged.missed
    elif without == "false negatives":
        objects = objects - judged.unfound
    elif without == "false positives":
        keep = true
    elif without is not None:
        wrong = judged.of_kind(without)
        right = wrong & (judged.right != NONE)  # none, for kinds without such an oracle
        keep, true = keep & (right | ~wrong), true | right
        category = np.where(right, judged.right, category)
    return keep, true, category, objects


def ap(judged: Sorted, without: str | None = None) -> float:
    """Return AP in percent, after a kind's oracle."""
    keep, true, category, objects = after(judged, without)
    columns = []
    for one in np.unique(judged.objects.category):
        mine = true[keep & (category == one)]
        left = int(objects[judged.objects.category == one].sum())
        if left or len(mine):  # as in tidecv: without either, it is not in the mean
            columns.append(_precisions(mine, left))
    return 100 * float(np.mean(np.stack(columns, axis=1))) if columns else float("nan")


def _precisions(true: np.ndarray, objects: int) -> np.ndarray:
    """Return precision at each of RECALLS, of one category's detections by falling score."""
    at_recall = np.zeros(len(RECALLS))
    if objects and len(true):
        hits = np.cumsum(true)
        # As in pycocotools: a precision of 1 is slightly less when the denominator is 1.
        precision = hits / (np.arange(1, len(true) + 1) + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(hits / objects, RECALLS, side="left")
        reached = at < len(true)
        at_recall[reached] = precision[at[reached]]
    return at_recall
