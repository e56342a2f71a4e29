"""Classification of detections into true ones and kinds of errors, as TIDE defines them.

``analysis.errors`` gives the definition with its source, and the gain in AP without each kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gfl.predictions.overlaps import Found, Truth, best, match, overlaps

OF_DETECTIONS = ("classification", "localisation", "both", "duplicate", "background")
KINDS = (*OF_DETECTIONS, "missed")
STATES = ("true", "ignored", *OF_DETECTIONS)  # ignored: in a crowd's region
FOREGROUND, BACKGROUND = 0.5, 0.1  # t_f, t_b
STRICT = 0.75  # beside TIDE's 0.5: sensitive to a box's last pixels, the concern of DFL
KINDS_AT = (FOREGROUND, STRICT)  # the IoUs at which errors are sorted
NONE = -1  # no category


@dataclass(frozen=True)
class Objects:
    """Number of objects per image and category, without crowds, where there are some."""

    image: np.ndarray  # [R] ids
    category: np.ndarray  # [R] ids
    count: np.ndarray  # [R]

    @classmethod
    def of(cls, truth: Truth) -> Objects:
        pairs = np.stack([truth.image, truth.category])[:, ~truth.crowd]
        (image, category), count = np.unique(pairs, axis=1, return_counts=True)
        return cls(image, category, count)

    def having(self, image: np.ndarray, category: np.ndarray) -> np.ndarray:
        """Count rows per image and category, which must have objects. [R]"""
        order, mine = np.lexsort((self.category, self.image)), self._keys(self.image, self.category)
        at = order[np.searchsorted(mine[order], self._keys(image, category))]
        return np.bincount(at, minlength=len(mine))

    def _keys(self, image: np.ndarray, category: np.ndarray) -> np.ndarray:
        """Return a number for each image and category, ascending in both."""
        known = np.unique(self.category)
        return image.astype(np.int64) * len(known) + np.searchsorted(known, category)


@dataclass(frozen=True)
class Sorted:
    """Outcome for every detection and every object, at one IoU.

    Detections stand in the order in which AP counts them (``overlaps.Found``). Every true one
    has an object of its own image and category, and every one that an oracle corrects an object
    of its image; no two share one.
    """

    objects: Objects
    image: np.ndarray  # [D] ids
    category: np.ndarray  # [D] ids
    state: np.ndarray  # [D] positions in STATES
    right: np.ndarray  # [D] the category of the object to which an oracle corrects it, or NONE

    @classmethod
    def of(
        cls,
        truth: Truth,
        found: Found,
        foreground: float = FOREGROUND,
        background: float = BACKGROUND,
    ) -> Sorted:
        size = len(found.image)
        pairs = overlaps(truth, found)
        crowd = truth.crowd[pairs.to]
        same = truth.category[pairs.to] == found.category[pairs.of]
        near = same & (pairs.iou >= foreground)
        taken = match(pairs[near & ~crowd], size)
        true = taken >= 0
        in_crowd = np.zeros(size, bool)
        in_crowd[pairs.of[near & crowd]] = True
        own, own_at = best(pairs[same & ~crowd], size)
        other, other_at = best(pairs[~same & ~crowd], size)
        state = _states(true, in_crowd & ~true, own, other, foreground, background)
        unfound = ~truth.crowd
        unfound[taken[true]] = False
        target = np.full(size, -1)
        for name, at in (("localisation", own_at), ("classification", other_at)):
            these = state == STATES.index(name)
            target[these] = at[these]
        able = np.flatnonzero(target >= 0)
        able = able[unfound[target[able]]]
        first = able[np.unique(target[able], return_index=True)[1]]  # the highest score
        right = np.full(size, NONE)
        right[first] = truth.category[target[first]]
        return cls(Objects.of(truth), found.image, found.category, state, right)

    @property
    def true(self) -> np.ndarray:
        return self.of_kind("true")

    @property
    def counts(self) -> np.ndarray:
        """Detections that are not ignored, [D] bool."""
        return ~self.of_kind("ignored")

    def of_kind(self, name: str) -> np.ndarray:
        """Return the detections in one of STATES, [D] bool."""
        return self.state == STATES.index(name)

    @cached_property
    def unfound(self) -> np.ndarray:
        """Number of objects in each row of ``objects`` that no detection matches."""
        true = self.true
        return self.objects.count - self.objects.having(self.image[true], self.category[true])

    @cached_property
    def missed(self) -> np.ndarray:
        """Number of those that no oracle recovers either."""
        right = self.right != NONE
        return self.unfound - self.objects.having(self.image[right], self.right[right])


def _states(
    true: np.ndarray, ignored: np.ndarray, own: np.ndarray, other: np.ndarray,
    foreground: float, background: float,
) -> np.ndarray:  # fmt: skip
    """Return each detection's state: a false positive gets the first kind that fits."""
    fits = {
        "true": true,
        "ignored": ignored,
        "localisation": (background <= own) & (own <= foreground),
        "classification": other >= foreground,
        "duplicate": own >= foreground,
        "background": np.maximum(own, other) <= background,
    }
    codes = [STATES.index(name) for name in fits]
    return np.select(list(fits.values()), codes, STATES.index("both")).astype(np.int8)
