"""Detection errors by kind, and what AP50 would be without those of a kind, as TIDE defines both.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, section 2. Where the paper leaves something open, as which kind goes first where
two would fit, their code decides (tidecv 1.0.1): localisation, classification, duplicate,
background, and what is left is both. IoUs are the highest with an object of the detection's own
category and with one of another; t_f = 0.5 and t_b = 0.1.

==============  ================================================  ==================================
kind            a false positive, or an object no detection has   its oracle
==============  ================================================  ==================================
localisation    t_b <= own IoU <= t_f                             the box is put right: true, if the
                                                                  object is free; else it is dropped
classification  other IoU >= t_f                                  the same with the category
duplicate       own IoU >= t_f, and all such objects are taken    dropped
background      no IoU is over t_b                                dropped
both            the rest: t_b < other IoU < t_f                   dropped
missed          an object that neither a detection nor either of  does not count as an object
                the first two oracles finds
==============  ================================================  ==================================

Of several false positives that could be put right for one object, that with the highest score is,
and the others are dropped. Also two that overlap the kinds: all false positives dropped, and all
objects not found, missed or not, counting no more.

Here pycocotools is the judge, of AP and of what matches what, so some things differ from tidecv:

- A category's 100 best detections of an image count; tidecv takes an image's 100 best.
- Detections that COCO ignores, in a crowd's region, are no errors; tidecv sorts them into kinds.
- A category without objects is not in the mean; with a false positive, tidecv has it as an AP of 0.
- A recall such as 0.57 may be under pycocotools' 0.57, which is 57 * 0.01, and not under tidecv's.
- Of equal scores, tidecv's oracles take false positives first, which may cost AP: it sets a ΔAP50
  under 0 to 0. Here the order stays, and none is under 0.

Measured: with tidecv's 101 recalls in place of pycocotools', and no two scores equal, counts agree
to the last detection and every ΔAP50 to 1e-12; as it is, ΔAP50 to about 0.001 on 1000 images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.overlaps import Found, Truth, best, match, overlaps
from gfl.evaluate import sound

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
SPECIAL = ("false positives", "false negatives")  # all of them, of whatever kind
FOREGROUND, BACKGROUND = 0.5, 0.1  # t_f, t_b
RECALLS = np.linspace(0, 1, 101)  # as pycocotools has them, to the last bit


@dataclass(frozen=True)
class Errors:
    """A run's errors: how many of each of KINDS and SPECIAL, and ΔAP50 of their oracle."""

    ap: float  # AP50 as it is, percent; NaN without an object, as the gains then
    detections: int  # that count: neither beyond the limit nor ignored in a crowd
    count: dict[str, int]
    gain: dict[str, float]  # percent points


def kinds(
    dataset: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
) -> Errors:
    """Return the errors of COCO's results against the content of an annotation file.

    At another ``foreground`` than 0.5 all is of AP at that IoU.

    Raises UserError for input that ``gfl.evaluate.sound`` finds wrong.
    """
    detections = sound(dataset, detections)
    return errors(Truth.of(dataset), Found.results(detections), foreground, background)


def errors(
    truth: Truth, found: Found, foreground: float = FOREGROUND, background: float = BACKGROUND
) -> Errors:
    """Return the errors of detections; see ``kinds``."""
    sorted_out = Sorted.of(truth, found, foreground, background)
    ap = sorted_out.ap()
    gain = {kind: sorted_out.ap(kind) - ap for kind in (*KINDS, *SPECIAL)}
    count = {kind: int(sorted_out.kind[kind].sum()) for kind in KINDS}
    count |= {
        "false positives": int((~sorted_out.true & sorted_out.counts).sum()),
        "false negatives": int(sorted_out.unfound.sum()),
    }
    return Errors(ap, int(sorted_out.counts.sum()), count, gain)


@dataclass(frozen=True)
class Sorted:
    """What becomes of every detection and every object."""

    truth: Truth
    category: np.ndarray  # [D] ids of the detections' categories
    counts: np.ndarray  # [D] bool: not ignored
    true: np.ndarray  # [D] bool
    unfound: np.ndarray  # [G] bool: an object, and not a crowd, that no detection matches
    kind: dict[str, np.ndarray]  # by KINDS: [D] bool, of missed [G] bool
    right: np.ndarray  # [D] bool: the one that an oracle puts right for its object
    target: np.ndarray  # [D] that object; -1: none

    @classmethod
    def of(cls, truth: Truth, found: Found, foreground: float, background: float) -> Sorted:
        size = len(found.image)
        pairs = overlaps(truth, found)
        crowd = truth.crowd[pairs.to]
        same = truth.category[pairs.to] == found.category[pairs.of]
        near = same & (pairs.iou >= foreground)
        taken = match(pairs[near & ~crowd], size)
        true = taken >= 0
        ignored = np.zeros(size, bool)
        ignored[pairs.of[near & crowd]] = True
        counts = true | ~ignored
        own, own_at = best(pairs[same & ~crowd], size)
        other, other_at = best(pairs[~same & ~crowd], size)
        kind = _kinds(counts & ~true, own, other, foreground, background)
        unfound = ~truth.crowd
        unfound[taken[true]] = False
        target = np.full(size, -1)
        for name, at in (("localisation", own_at), ("classification", other_at)):
            target[kind[name]] = at[kind[name]]
        able = np.flatnonzero(target >= 0)
        able = able[unfound[target[able]]]
        right = np.zeros(size, bool)
        right[able[np.unique(target[able], return_index=True)[1]]] = True  # the highest score
        kind["missed"] = unfound.copy()
        kind["missed"][target[right]] = False
        return cls(truth, found.category, counts, true, unfound, kind, right, target)

    def after(self, without: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The oracle of a kind: detections kept, true, their categories; objects that count."""
        keep, true, category = self.counts, self.true, self.category
        objects = ~self.truth.crowd
        if without == "missed":
            objects = objects & ~self.kind["missed"]
        elif without == "false negatives":
            objects = objects & ~self.unfound
        elif without == "false positives":
            keep = true
        elif without is not None:
            wrong = self.kind[without]
            right = wrong & self.right  # of the kinds without an oracle that puts right: none
            keep, true = keep & (right | ~wrong), true | right
            category = category.copy()
            category[right] = self.truth.category[self.target[right]]
        return keep, true, category, objects

    def ap(self, without: str | None = None) -> float:
        """AP in percent, after the oracle of a kind."""
        keep, true, category, objects = self.after(without)
        columns = []
        for one in np.unique(self.truth.category[~self.truth.crowd]):
            mine = true[keep & (category == one)]
            left = int((self.truth.category[objects] == one).sum())
            if left or len(mine):  # as tidecv: with neither, it is not in the mean
                columns.append(_precisions(mine, left))
        return 100 * float(np.mean(np.stack(columns, axis=1))) if columns else float("nan")


def _kinds(
    wrong: np.ndarray, own: np.ndarray, other: np.ndarray, foreground: float, background: float
) -> dict[str, np.ndarray]:
    """Which false positives are of which kind: of the first that fits."""
    fits = {
        "localisation": (background <= own) & (own <= foreground),
        "classification": other >= foreground,
        "duplicate": own >= foreground,
        "background": np.maximum(own, other) <= background,
        "both": np.ones(len(own), bool),
    }
    kind: dict[str, np.ndarray] = {}
    left = wrong
    for name, those in fits.items():
        kind[name] = left & those
        left = left & ~those
    return kind


def _precisions(true: np.ndarray, objects: int) -> np.ndarray:
    """Precision at each of RECALLS, of one category's detections by falling score."""
    at_recall = np.zeros(len(RECALLS))
    if objects and len(true):
        hits = np.cumsum(true)
        # As pycocotools: a precision of 1 is a bit less where the denominator is 1.
        precision = hits / (np.arange(1, len(true) + 1) + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(hits / objects, RECALLS, side="left")
        reached = at < len(true)
        at_recall[reached] = precision[at[reached]]
    return at_recall
