"""Distributions with the same mean, equal to a box loss, and their DFL: Fig. 5(b)."""

from __future__ import annotations

import math

import numpy as np
import torch

from experiments.named import GFL
from gfl.losses import distribution_focal_loss

MEAN = 6.3  # strides: between two bins, like nearly every target


def tilted(shape: np.ndarray, mean: float) -> np.ndarray:
    """Return the distribution over bins 0, 1, ... with the given mean nearest to ``shape``.

    Nearest in relative entropy: p_i proportional to shape_i * exp(t i), t found by bisection.
    """
    bins = np.arange(len(shape))
    low, high = -50.0, 50.0
    p = shape
    for _ in range(200):
        middle = (low + high) / 2
        exponent = middle * (bins - mean)
        p = shape * np.exp(exponent - exponent.max())
        p = p / p.sum()
        low, high = (middle, high) if p @ bins < mean else (low, middle)
    return p


def one_mean(mean: float = MEAN, n: int = GFL.n) -> dict[str, np.ndarray]:
    """Return three distributions over bins 0 ... n with the same mean, narrow to two-peaked."""
    bins = np.arange(n + 1)

    def bell(centre: float, width: float) -> np.ndarray:
        return np.exp(-((bins - centre) ** 2) / (2 * width**2))

    apart = bell(mean - 3.3, 0.9) + bell(mean + 3.7, 0.9)
    shapes = {"narrow": bell(mean, 0.55), "wide": bell(mean, 2.6), "two-peaked": apart}
    return {name: tilted(shape, mean) for name, shape in shapes.items()}


def dfl(distribution: np.ndarray, mean: float = MEAN) -> float:
    """Return the DFL of a distribution over bins for a target, Eq. 6."""
    target = torch.tensor(mean, dtype=torch.float64)
    return float(distribution_focal_loss(torch.from_numpy(distribution).log(), target))


def least_dfl(mean: float = MEAN) -> float:
    """Return DFL's minimum: all mass on the target's two neighbours, split linearly."""
    right = mean - math.floor(mean)
    return -(1 - right) * math.log(1 - right) - right * math.log(right)
