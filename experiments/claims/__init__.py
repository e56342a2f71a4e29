"""Every empirical claim of the paper, as data: sentences, numbers, and grounds for refutation.

A claim's bounds are those of the paper's own numbers. On other data they may differ, by rules that
do not depend on any run's result:

- A claim that one metric is higher is tested by its sign on any data.
- A size in AP ("1 AP") is a size on COCO. Elsewhere only its sign is tested.
- Two metrics are equal on COCO within 0.5 AP, half of what GFL gains in the paper; on drawn
  images within 1 AP, all of it.
- A word for a size has the threshold named beside it.

No claim tests speeds of our runs, which are measured alongside other work. The overhead benchmark
covers those.

The bounds of quantities that no table prints are of three kinds, none chosen by the results of
runs. For a comparison in the paper ("more reliable"), the sign; for a number (0.4, 0.9), that
number; for a word for a size ("weak", "much smaller"), an established threshold for that word,
with its source.

Imports ``experiments.tables``; ``analysis`` measures a claim's quantities on runs.
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
