"""Every empirical claim of the paper, as data: the sentences, the numbers, what would refute it.

A claim's bounds are those of the paper's own numbers. On other data they may be others, by rules
that no run's result has a part in:

- A claim that one figure is higher is its sign, here and there.
- A size in AP ("1 AP") is a size on COCO. Elsewhere only its sign is left.
- Two figures are equal on COCO within 0.5 AP, half of what GFL brings in the paper; on drawn
  images within 1 AP, all of it.
- A word for a size has the threshold named beside it.

Speeds are no claim's on our runs: a run's speed was taken beside other work. There the benchmark of
the overhead counts.

The bounds of quantities that no table prints are of three kinds, and none was chosen by what runs
gave. Where the paper compares ("more reliable"), the sign; where it gives a number (0.4, 0.9), that
number; where it has a word for a size ("weak", "much smaller"), a threshold that is in use for that
word, with its source.

Imports ``experiments.tables``; what a claim's quantities are on runs is measured in ``analysis``.
"""

from experiments.claims import boxes, distributions, labels, losses, quality, scores, together
from experiments.claims.declare import Claim
from experiments.claims.text import TEXT_CHECKS

__all__ = ["CLAIMS", "TEXT_CHECKS"]

CLAIMS: tuple[Claim, ...] = (
    *quality.CLAIMS,
    *boxes.CLAIMS,
    *together.CLAIMS,
    *scores.CLAIMS,
    *labels.CLAIMS,
    *distributions.CLAIMS,
    *losses.CLAIMS,
)
