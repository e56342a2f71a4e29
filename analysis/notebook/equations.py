"""The paper's equations as pictures: FL, QFL and DFL with their gradients, and DFL's optimum.

Every curve is computed by ``gfl.losses``, the training code, in float64; gradients are autograd's,
with respect to the logit and not the probability, because networks predict logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analysis.figures import style
from gfl.losses import distribution_focal_loss, focal_loss, quality_focal_loss

BINS = torch.arange(17, dtype=torch.float64)  # the paper's n = 16, delta = 1
# Style of each of several curves: falling lightness and different dashes.
CURVES: tuple[tuple[str, Any], ...] = (
    ("#5FB4E5", (0, (1, 1))),
    ("#E69F00", (0, (4, 1.5))),
    ("#1FA37A", "-"),
    ("#B93A00", (0, (4, 1.5, 1, 1.5))),
    ("#222222", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
)
# Possible softmax outputs before training, all with mass in the wrong bins.
STARTS: dict[str, Tensor] = {
    "flat": torch.zeros_like(BINS),
    "two peaks": -(((BINS - 2) * (BINS - 13)).square()) / 200,
    "a wide peak": -((BINS - 10).square()) / 40,
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "regression alone": lambda logits, y: (expectation(logits) - y).square() / 2,
    "DFL": lambda logits, y: distribution_focal_loss(logits, y),
    "both": lambda logits, y: (
        (expectation(logits) - y).square() / 2 + distribution_focal_loss(logits, y)
    ),
}
STEPS, RATE = 500, 0.5  # of descend


def probabilities() -> Tensor:
    """Return the probabilities at which losses are drawn, without 0 and 1."""
    return torch.linspace(0.005, 0.995, 199, dtype=torch.float64)


def slopes(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return an elementwise loss and its derivative with respect to the logits."""
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    return value.detach(), slope


def pull(loss: Callable[..., Tensor], p: float, y: float, exponent: float) -> float:
    """Return the magnitude of a loss's derivative by the logit, at the estimate ``p``."""
    logit = torch.tensor(p, dtype=torch.float64).logit()
    target = torch.tensor(y, dtype=torch.float64)
    return float(slopes(lambda z: loss(z, target, float(exponent)), logit)[1].abs())


def focal(y: int = 1, gammas: Sequence[float] = (0, 0.5, 1, 2, 5)) -> Figure:
    """Draw FL (Eq. 1) and its gradient over the probability p, for several gamma."""
    p = probabilities()
    target = torch.full_like(p, y)
    drawn = {f"γ = {g:g}": _curve(p, focal_loss, target, g) for g in gammas}
    return _loss_and_slope(p, drawn, "p", f"FL, y = {y}")


def quality(y: float = 0.5, betas: Sequence[float] = (0, 1, 2, 2.5, 4)) -> Figure:
    """Draw QFL (Eq. 2) and its gradient over sigma, for several beta: Table 1(c)'s by default."""
    sigma = probabilities()
    target = torch.full_like(sigma, y)
    drawn = {f"β = {b:g}": _curve(sigma, quality_focal_loss, target, b) for b in betas}
    figure = _loss_and_slope(sigma, drawn, "σ", f"QFL, y = {y:g}")
    for axes in figure.axes:
        axes.axvline(y, color=style.FAINT, linewidth=0.8, zorder=0)
    return figure


def beside_cross_entropy(y: float = 0.5, beta: float = 2.0) -> Figure:
    """Draw QFL of one beta beside cross entropy, which is beta = 0."""
    return quality(y, (0.0, beta) if beta else (0.0,))


def expectation(logits: Tensor) -> Tensor:
    """Return the mean of a softmax over the bins, Eq. 5."""
    return (logits.softmax(-1) * BINS).sum(-1)


def descend(logits: Tensor, y: float, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the softmax to which gradient descent on a loss leads from each row of logits."""
    target = torch.full(logits.shape[:-1], y, dtype=torch.float64)
    for _ in range(STEPS):
        _, slope = slopes(lambda z: loss(z, target), logits)
        logits = logits - RATE * slope
    return logits.softmax(-1)


def undetermined(y: float = 5.3) -> Figure:
    """Draw the outcome of three starts under regression, DFL, and both: Fig. 5(b), learned."""
    with style.applied():
        figure = style.canvas(style.PAGE, 3.7)
        grid = figure.subplots(len(STARTS), len(LOSSES), sharex=True, sharey=True, squeeze=False)
        starts = torch.stack(list(STARTS.values()))
        for column, (name, loss) in zip(grid.T, LOSSES.items(), strict=True):
            for axes, learned in zip(column, descend(starts, y, loss), strict=True):
                _bars(axes, learned, y)
            column[0].set_title(name)
            column[-1].set_xlabel("bin (strides)")
        for axes, start in zip(grid[:, 0], STARTS, strict=True):
            axes.set_ylabel(f"P(x)\nfrom {start}")
    return figure


def ambiguous(low: float = 4.0, high: float = 9.3, share: float = 0.4) -> Figure:
    """Draw what DFL and a Gaussian learn for a side with label ``low`` or else ``high``.

    ``share`` of the labels are ``high``. DFL's best softmax for labels drawn from a distribution
    is that distribution, each label split between its two bins; a Gaussian's best mean and
    variance are the labels' own.
    """
    labels = torch.tensor([low, high], dtype=torch.float64)
    weights = torch.tensor([1 - share, share], dtype=torch.float64)
    learned = descend(
        STARTS["flat"], 0.0, lambda z, _: distribution_focal_loss(z.expand(2, -1), labels) @ weights
    )
    mean = float(labels @ weights)
    deviation = float(((labels - mean).square() @ weights).sqrt())
    with style.applied():
        figure = style.canvas(style.PAGE, 2.1)
        axes = figure.subplots()
        general, gaussian = style.LOOKS["general-dfl"], style.LOOKS["gaussian"]
        axes.bar(BINS.numpy(), learned.numpy(), 0.55, color=general.colour, label="General, by DFL")
        if deviation > 0:
            x = torch.linspace(0, 16, 321, dtype=torch.float64)
            density = torch.distributions.Normal(mean, deviation).log_prob(x).exp()
            look: dict[str, Any] = {**gaussian.plot, "label": "Gaussian, by likelihood"}
            axes.plot(x, density, **look)
        axes.plot(labels, weights, linestyle="none", marker="v", color=style.INK, label="labels")
        axes.axvline(mean, color=style.MUTED, linewidth=0.8, linestyle=":", label="mean")
        axes.set(
            xlabel="distance (strides)", ylabel="probability", xlim=(-0.5, 16.5), ylim=(0, 1.05)
        )
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _curve(
    p: Tensor, loss: Callable[[Tensor, Tensor, float], Tensor], target: Tensor, exponent: float
) -> tuple[Tensor, Tensor]:
    return slopes(lambda logits: loss(logits, target, float(exponent)), p.logit())


def _loss_and_slope(
    p: Tensor, drawn: dict[str, tuple[Tensor, Tensor]], name: str, title: str
) -> Figure:
    """Draw two panels, the loss and its gradient by the logit, with one legend beside them."""
    with style.applied():
        figure = style.canvas(style.PAGE, 2.3)
        left, right = figure.subplots(1, 2)
        for (label, (loss, slope)), (colour, line) in zip(drawn.items(), CURVES, strict=False):
            look: dict[str, Any] = {"color": colour, "linestyle": line, "label": label}
            left.plot(p, loss, **look)
            right.plot(p, slope, **look)
        left.set(title=title, xlabel=name, ylabel="loss", xlim=(0, 1), ylim=(0, 3))
        right.set(title="its gradient", xlabel=name, ylabel="∂ loss / ∂ logit", xlim=(0, 1))
        right.axhline(0, color=style.FAINT, linewidth=0.8, zorder=0)
        right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _bars(axes: Axes, probability: Tensor, y: float) -> None:
    """Draw a distribution as bars, with the target and the distribution's mean."""
    mean = float(probability @ BINS)
    axes.bar(BINS.numpy(), probability.numpy(), 0.7, color=style.LOOKS["general-dfl"].colour)
    axes.axvline(y, color=style.INK, linewidth=0.8, linestyle=":")
    axes.text(0.97, 0.93, f"mean {mean:.2f}", transform=axes.transAxes, ha="right", va="top")
    axes.set_xlim(-0.6, 16.6)
