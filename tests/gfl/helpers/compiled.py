"""Compiles the losses and assignments, each as one graph, and compares them with eager mode.

Run as a program, which prints a JSON object: whether values and gradients are the same, by name.
Its own process, because under test all functions are wrapped by checks of shapes, at which a graph
would break. A graph break raises.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gfl import assign, geometry, losses, quality
from gfl.boxes import AnchorDelta, Distance, Gaussian, General, PriorGenerator, anchors_at

STRIDES, SIZES = (8, 16, 32), ((16, 20), (8, 10), (4, 5))
random = torch.Generator().manual_seed(0)


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=random)


def boxes(*shape: int) -> Tensor:
    corner = 100 * rand(*shape, 2)
    return torch.cat([corner, corner + 4 + 50 * rand(*shape, 2)], -1)


def cases() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return functions and their arguments; gradients are compared of all that are float."""
    logits, labels, score = 4 * rand(30, 8) - 2, (rand(30, 8) > 0.8).float(), rand(30, 8)
    priors = torch.cat(PriorGenerator(STRIDES, 0.0).grid_priors(SIZES))
    at, general, objects = priors[:40], General(16, 1.0), boxes(9)
    found: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "focal_loss": (losses.focal_loss, (logits, labels, 2.0, 0.25)),
        "distribution_focal_loss": (
            losses.distribution_focal_loss, (rand(40, 4, 17), 15 * rand(40, 4)),
        ),
        "generalized_focal_loss": (
            losses.generalized_focal_loss,
            (-rand(9), -rand(9), torch.zeros(9), torch.ones(9), rand(9), 2.0),
        ),
        "iou": (geometry.iou, (boxes(9), boxes(9))),
        "giou_loss": (geometry.giou_loss, (boxes(9), boxes(9))),
        "centerness": (quality.centerness, (objects[:, :2] + 2, objects)),
        "guide": (quality.guide, (rand(9), rand(9))),
        "general decode": (general.decode, (rand(40, 68), at)),
        "general dfl": (general.dfl, (rand(40, 68), at, boxes(40))),
        "gaussian decode": (Gaussian().decode, (rand(40, 8), at)),
        "gaussian loss": (Gaussian().likelihood_loss, (rand(40, 8), at, boxes(40))),
        "anchor decode": (AnchorDelta().decode, (rand(40, 4), at)),
        "distance decode": (Distance().decode, (rand(40, 4), at)),
    }  # fmt: skip
    for beta in (0.0, 0.5, 1.0, 2.0, 2.5):
        found[f"quality_focal_loss {beta}"] = losses.quality_focal_loss, (logits, score, beta)
    truth, real = boxes(2, 5), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    counts = [height * width for height, width in SIZES]
    valid = torch.ones(2, len(priors), dtype=torch.bool)
    found["atss"] = assign.atss, (anchors_at(priors), counts, valid, truth, real, 9)
    found["fcos"] = assign.fcos, (priors, counts, truth, real, 1.5)
    return found


def results(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Tensor]:
    """Return a function's value and its gradients."""
    arguments = tuple(
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in arguments
    )
    value = function(*arguments)
    if not value.requires_grad:
        return [value]
    leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [value.detach(), *(g for g in gradients if g is not None)]


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    same = {}
    for name, (function, arguments) in cases().items():
        torch.compiler.reset()
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=False)
        pairs = zip(results(function, arguments), results(compiled, arguments), strict=True)
        same[name] = all(torch.equal(a, b) for a, b in pairs)
    print(json.dumps(same))


if __name__ == "__main__":
    main()
