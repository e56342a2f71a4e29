"""Additional figure: effect of a disturbed feature on each representation of a distance.

arXiv's first version has such a simulation in its appendix (Fig. 10), with a fixed feature vector,
a disturbance of norm 0.1 and the targets 1.5, 2.5 and 3.5. The rest is inferred: a linear layer,
like a head's last one, on a feature of norm 1, fitted to one distance without disturbance and then
evaluated with it.

Near its minimum GIoU has a kink, across which Adam's last steps oscillate: their end point, 1e-5
strides off, depends on a processor's rounding. So Newton's method finishes the fit, and every
number belongs to the layer with the exact distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from analysis.figures import style
from analysis.figures.figure import DrawnFigure, figure
from analysis.figures.style import Look
from gfl.boxes import AnchorDelta, Distance, Gaussian, General, Representation, distances
from gfl.experiment import Experiment, Profile
from gfl.geometry import giou_loss
from gfl.hosts import dense

if TYPE_CHECKING:
    from analysis.library import Library

TARGETS = (1.5, 2.5, 3.5)  # the appendix's, strides
SWEEP = tuple(np.arange(0.5, 6.01, 0.25).tolist())  # strides
NORM = 0.1  # of the disturbance; the feature's is 1
CHANNELS = 256  # of the feature, as in a head's towers
FEATURES = 4  # features and initial weights, each fitted to every target
DISTURBANCES = 256  # per feature
STEPS, RATE = 600, 0.05  # Adam; the rate falls to 0 along a cosine
NEWTON = 4  # further steps; each squares the misfit, 1e-5 strides at first
START = 0.1  # strides, initial distance instead of 0: below 0 it counts as 0, with no gradient
LIKELIHOOD = Experiment().likelihood_weight
GIOU, DFL = dense("atss").lambda_0, dense("atss").lambda_1
SEED = 0


@dataclass(frozen=True)
class Method:
    """Representation as trained for Table 2a."""

    name: str
    boxes: Representation
    look: Look
    dfl: bool = False

    def loss(
        self, raw: Float[Tensor, "*P channels"], priors: Tensor, targets: Tensor
    ) -> Float[Tensor, "*P"]:
        if isinstance(self.boxes, Gaussian):
            return LIKELIHOOD * self.boxes.likelihood_loss(raw, priors, targets)
        loss = GIOU * giou_loss(self.boxes.decode(raw, priors), targets)
        if self.dfl and isinstance(self.boxes, General):
            loss = loss + DFL * self.boxes.dfl(raw, priors, targets)
        return loss


def methods() -> list[Method]:
    looks, n, delta = style.LOOKS, Experiment().n, Experiment().delta
    dirac = looks["dirac"]
    by_anchor = Look("Dirac delta by anchor", "#9A9A9A", "-", "x")
    return [
        Method("dirac", Distance(), dirac),
        Method("dirac-by-anchor", AnchorDelta(), by_anchor),
        Method("gaussian", Gaussian(), looks["gaussian"]),
        Method("general", General(n, delta), looks["general"]),
        Method("general-dfl", General(n, delta), looks["general-dfl"], dfl=True),
    ]


def _square(targets: Float[Tensor, "S"]) -> Float[Tensor, "S 4"]:
    """Return boxes with all sides at the given strides from the location 0, 0 of stride 1."""
    return targets[:, None] * targets.new_tensor([-1.0, -1.0, 1.0, 1.0])


def simulate(method: Method, targets: Sequence[float]) -> pd.DataFrame:
    """Fit every (feature, target), then disturb the feature; one row per target, in strides.

    ``error`` is the root mean square of prediction less target over disturbances, sides and
    features, and ``worst`` the mean over features and sides of the first-order change in the
    direction that changes the prediction most. Undisturbed, the prediction is the target.
    """
    random = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    wanted = torch.tensor(targets, dtype=torch.float64).repeat(FEATURES)
    feature = _of_norm(normal(FEATURES, CHANNELS), 1).repeat_interleave(len(targets), 0)
    noise = _of_norm(normal(DISTURBANCES, CHANNELS), NORM)
    initial = 0.01 * normal(FEATURES, method.boxes.channels, CHANNELS)  # as in heads
    weight, bias = _fit(method, feature, wanted, initial.repeat_interleave(len(targets), 0))
    clean = _raw(weight, bias, feature)
    moved = clean + torch.einsum("scd,nd->nsc", weight, noise)
    error = (_decoded(method, moved) - wanted[:, None]).square().mean(0)
    worst = NORM * torch.einsum("skc,scd->skd", _slopes(method, clean), weight).norm(dim=-1)
    by_target = [values.view(FEATURES, -1, 4).mean((0, 2)) for values in (error, worst)]
    return pd.DataFrame(
        {
            "representation": method.name,
            "target_strides": targets,
            "error_strides": by_target[0].sqrt().numpy(),
            "worst_strides": by_target[1].numpy(),
        }
    )


def _fit(
    method: Method, feature: Tensor, wanted: Tensor, initial: Tensor
) -> tuple[Float[Tensor, "S channels D"], Float[Tensor, "S channels"]]:
    """Fit a separate layer for every row, weights and bias, all at once.

    A gradient step changes a channel's weights only along the feature, and by as much as its bias:
    so these steps are all there is to fit, whatever the feature's size.
    """
    priors, boxes = _priors(wanted), _square(wanted)
    bias = torch.zeros(initial.shape[:2], dtype=torch.float64)
    if isinstance(method.boxes, Distance | Gaussian):
        bias[:, :4] = START
    start = _raw(initial, bias, feature)
    step = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([step], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        # The step acts through the weights, times the feature's norm of 1, and through the bias.
        method.loss(start + 2 * step, priors, boxes).sum().backward()
        optimizer.step()
        schedule.step()
    step = step.detach()
    for _ in range(NEWTON):
        raw = start + 2 * step
        misfit = _decoded(method, raw) - wanted[:, None]
        # The shortest step to the solution, if there are more channels than sides.
        step -= torch.einsum("sck,sk->sc", torch.linalg.pinv(_slopes(method, raw)), misfit) / 2
    return initial + step[..., None] * feature[:, None], bias + step


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's threads from waiting for each other: the tensors are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _raw(weight: Tensor, bias: Tensor, feature: Tensor) -> Float[Tensor, "S channels"]:
    return torch.einsum("scd,sd->sc", weight, feature) + bias


def _decoded(method: Method, raw: Float[Tensor, "*S channels"]) -> Float[Tensor, "*S 4"]:
    """Return the predicted distances to the four sides, strides."""
    priors = _priors(raw[..., 0])
    return distances(priors, method.boxes.double().decode(raw, priors))


def _slopes(method: Method, raw: Float[Tensor, "S channels"]) -> Float[Tensor, "S 4 channels"]:
    """Return the derivatives of the predicted distances by the raw values."""
    return torch.func.vmap(torch.func.jacrev(lambda one: _decoded(method, one)))(raw)


def _priors(like: Float[Tensor, "*S"]) -> Float[Tensor, "*S 4"]:
    return like.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(*like.shape, 4)


def _of_norm(vectors: Float[Tensor, "S D"], norm: float) -> Float[Tensor, "S D"]:
    return norm * vectors / vectors.norm(dim=-1, keepdim=True)


@figure(
    "simulation",
    "The appendix simulation of arXiv's first version: one distance is fitted to one feature "
    "vector, which is then disturbed by noise of norm 0.1. A Dirac delta's error grows with the "
    "target's distance from where its layer began, a General distribution's does not.",
)
def simulation(library: Library, profile: Profile) -> DrawnFigure:
    page = style.canvas(height=2.6)
    axes = page.subplots()
    parts = []
    for method in methods():
        with _one_thread():
            found = simulate(method, SWEEP)
        parts.append(found)
        look = method.look
        at, error = found.target_strides, found.error_strides
        axes.plot(at, error, **look.plot, zorder=3 if method.name == "gaussian" else 2)
        marked = at.isin(TARGETS)
        axes.plot(at[marked], error[marked], look.marker, color=look.colour)
    for target in TARGETS:
        axes.axvline(target, color=style.FAINT, lw=0.6, zorder=0)
    axes.set(xlabel="target (strides)", ylabel="RMS error (strides)")
    axes.set(xlim=(SWEEP[0], SWEEP[-1]), ylim=(0, None))
    axes.yaxis.set_major_locator(MultipleLocator(0.005))
    page.legend(loc="outside upper left", ncols=2, labelspacing=0.2, columnspacing=1.2)
    style.footer(
        page, (),
        f"no trained run: a linear layer fitted by Table 2a's losses to a random feature of "
        f"{CHANNELS} channels and norm 1, {STEPS} steps of Adam and then Newton's; seed {SEED}; "
        f"mean over {FEATURES} features x {DISTURBANCES} disturbances x 4 sides. Marked: the "
        "appendix's targets, half-way between two bins. Setting inferred. By anchor: ATSS's Dirac "
        "delta, offset and log scale of a box that reaches 4 strides",
    )  # fmt: skip
    return DrawnFigure(page, pd.concat(parts, ignore_index=True))
