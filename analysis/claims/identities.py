"""Properties of the paper's equations, computed: identities need neither runs nor tests.

Each is a number with bounds from a claim, mostly a greatest difference that must be 0. All are in
double precision on grids that include the ends of every range; "lower elsewhere" is the amount by
which a loss falls below its value at the paper's solution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.measures.one_mean import dfl, one_mean
from experiments.named import GFL
from experiments.tables.table1 import TABLE_1C
from gfl.losses import (
    distribution_focal_loss,
    focal_loss,
    generalized_focal_loss,
    quality_focal_loss,
)

BETAS = tuple(row.factors.beta for row in TABLE_1C.rows if row.factors)
FOCUSED = tuple(beta for beta in BETAS if beta > 0)
LABELS = torch.linspace(0, 1, 21, dtype=torch.float64)
# The probability of a logit of 60 is 1 in double precision; the logarithm of 0 is taken as -80.
LAST_LOGIT, LOG_OF_0 = 60.0, -80.0
WEIGHTS = (0.01, 0.5, 1.0, 3.0)
PAIRS = ((0.0, 1.0), (3.0, 4.0), (2.0, 7.0))  # y_l, y_r of Eq. 7
N = GFL.n


def _estimates(label: float) -> Float[Tensor, "S"]:
    """Return σ from 0 to 1, including the label."""
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    return torch.cat([grid, grid.new_tensor([label])])


def _logit(p: Tensor) -> Tensor:
    return p.logit().clamp(-LAST_LOGIT, LAST_LOGIT)


def _log(p: Tensor) -> Tensor:
    return p.log().clamp_min(LOG_OF_0)


def _qfl(estimate: Tensor, label: float, beta: float) -> Tensor:
    return quality_focal_loss(_logit(estimate), estimate.new_tensor(label), beta)


def _qfl_lower_elsewhere() -> float:
    gaps = []
    for label in LABELS.tolist():
        for beta in BETAS:
            losses = _qfl(_estimates(label), label, beta)
            gaps.append(float(losses[-1] - losses.min()))
    return max(gaps)


def _factor(distance: Tensor, label: float, beta: float) -> Tensor:
    """Return QFL over its cross entropy, at estimates at a given distance above the label."""
    return _qfl(label + distance, label, beta) / _qfl(label + distance, label, 0.0)


def _factors() -> Iterator[tuple[float, list[Tensor]]]:
    """Yield, by β above 0, the factors of every label at distances 0, .01, ... either way."""
    for beta in FOCUSED:
        found = []
        for label in LABELS[1:-1].tolist():
            for sign, room in ((1, 1 - label), (-1, label)):
                steps = sign * torch.arange(0, room - 0.005, 0.01, dtype=torch.float64)
                found.append(_factor(steps, label, beta))
        yield beta, found


def _factor_at_label() -> float:
    return max(float(factor[0]) for _, found in _factors() for factor in found)


def _factor_growth() -> float:
    return min(float(f.diff().min()) for _, found in _factors() for f in found if len(f) > 1)


def _factor_fall() -> float:
    rising = [torch.cat([factor[1:] for factor in found]) for _, found in _factors()]
    return min(float((a - b).min()) for a, b in pairwise(rising))


def _weighted_optimum_moves() -> float:
    estimate = torch.linspace(0, 1, 401, dtype=torch.float64)
    losses = focal_loss(_logit(estimate), torch.ones_like(estimate))
    best = [estimate[(weight * losses).argmin()] for weight in WEIGHTS]
    return max(float((1 - one).abs()) for one in best)


@cache
def _dfl_solution() -> tuple[Tensor, Tensor]:
    """Return targets over the whole range, and log P(x) of Eq. 6's solution at each."""
    targets = torch.linspace(0, N, 10 * N + 4, dtype=torch.float64)
    right = (targets - targets.floor())[:, None]
    left = targets.long().clamp(max=N - 1)
    right = torch.where(targets[:, None] == N, torch.ones_like(right), right)
    p = targets.new_zeros(len(targets), N + 1)
    p.scatter_(1, left[:, None], 1 - right).scatter_(1, left[:, None] + 1, right)
    return targets, _log(p)


def _dfl_lower_elsewhere() -> float:
    targets, best = _dfl_solution()
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(64, *best.shape, generator=random, dtype=torch.float64)
    # Near the solution, and anywhere else.
    others = torch.cat([best.clamp_min(-8) + scale * noise for scale in (0.01, 1.0)] + [3 * noise])
    gap = distribution_focal_loss(best, targets) - distribution_focal_loss(
        others, targets.expand(len(others), -1)
    )
    return max(0.0, float(gap.max()))


def _dfl_mean_off() -> float:
    targets, best = _dfl_solution()
    bins = torch.arange(N + 1, dtype=torch.float64)
    return float((best.softmax(-1) @ bins - targets).abs().max())


def _shapes() -> dict[str, tuple[float, float]]:
    """Return mean and DFL of each distribution of Fig. 5(b)."""
    bins = torch.arange(N + 1, dtype=torch.float64).numpy()
    return {name: (float(p @ bins), dfl(p)) for name, p in one_mean().items()}


def _shapes_mean_spread() -> float:
    means = [mean for mean, _ in _shapes().values()]
    return max(means) - min(means)


def _shapes_dfl_gap() -> float:
    compact, *wider = (loss for _, loss in _shapes().values())
    return min(wider) - compact


def _pairs() -> Iterator[tuple[float, float, Tensor, Tensor]]:
    """Yield y_l, y_r, labels between them, and p_r of Eq. 7's solution at each."""
    for left, right in PAIRS:
        share = LABELS
        yield left, right, left + (right - left) * share, share


def _gfl(p_right: Tensor, left: float, right: float, y: Tensor, beta: float) -> Tensor:
    y = y.expand_as(p_right)
    return generalized_focal_loss(_log(1 - p_right), _log(p_right), left, right, y, beta)


def _gfl_lower_elsewhere() -> float:
    gaps = []
    for left, right, y, solution in _pairs():
        elsewhere = torch.linspace(0, 1, 401, dtype=torch.float64)[:, None].expand(-1, len(y))
        for beta in BETAS:
            best = _gfl(solution, left, right, y, beta)
            gaps.append(float((best - _gfl(elsewhere, left, right, y, beta)).max()))
    return max(0.0, *gaps)


def _gfl_estimate_off() -> float:
    return max(
        float((left * (1 - p) + right * p - y).abs().max()) for left, right, y, p in _pairs()
    )


def _as_gfl(logits: Tensor, y: Tensor, beta: float) -> Tensor:
    """Return Eq. 7 between 0 and 1, as in Eq. 8 and 9."""
    log = torch.nn.functional.logsigmoid
    return generalized_focal_loss(log(-logits), log(logits), 0.0, 1.0, y, beta)


def _gfl_minus_fl() -> float:
    logits = torch.linspace(-20, 20, 401, dtype=torch.float64)
    gaps = []
    for beta in BETAS:
        for hard in (0.0, 1.0):
            y = torch.full_like(logits, hard)
            gaps.append((_as_gfl(logits, y, beta) - focal_loss(logits, y, beta)).abs().max())
    return float(max(gaps))


def _gfl_minus_qfl() -> float:
    logits = torch.linspace(-20, 20, 401, dtype=torch.float64)[:, None]
    y = LABELS.expand(len(logits), -1)
    wide = logits.expand_as(y)
    gaps = [
        (_as_gfl(wide, y, beta) - quality_focal_loss(wide, y, beta)).abs().max() for beta in BETAS
    ]
    return float(max(gaps))


def _gfl_minus_dfl() -> float:
    """Compare with Eq. 6 written out, since ``distribution_focal_loss`` is built on Eq. 7."""
    gaps = []
    for left in range(N):
        y, p = left + LABELS, torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[:, None]
        by_hand = -((left + 1 - y) * (1 - p).log() + (y - left) * p.log())
        as_gfl = generalized_focal_loss(
            (1 - p).log().expand_as(by_hand), p.log().expand_as(by_hand), float(left), left + 1.0,
            y.expand_as(by_hand), beta=0.0,
        )  # fmt: skip
        gaps.append((as_gfl - by_hand).abs().max())
    return float(max(gaps))


IDENTITIES: Mapping[str, Callable[[], float]] = {
    "qfl-lower-elsewhere": cache(_qfl_lower_elsewhere),
    "qfl-factor-at-label": cache(_factor_at_label),
    "qfl-factor-growth": cache(_factor_growth),
    "qfl-factor-fall-with-beta": cache(_factor_fall),
    "weighted-optimum-moves": cache(_weighted_optimum_moves),
    "dfl-lower-elsewhere": cache(_dfl_lower_elsewhere),
    "dfl-mean-off": cache(_dfl_mean_off),
    "shapes-mean-spread": cache(_shapes_mean_spread),
    "shapes-dfl-gap": cache(_shapes_dfl_gap),
    "gfl-lower-elsewhere": cache(_gfl_lower_elsewhere),
    "gfl-estimate-off": cache(_gfl_estimate_off),
    "gfl-minus-fl": cache(_gfl_minus_fl),
    "gfl-minus-qfl": cache(_gfl_minus_qfl),
    "gfl-minus-dfl": cache(_gfl_minus_dfl),
}
