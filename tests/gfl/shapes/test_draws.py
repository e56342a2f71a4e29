from __future__ import annotations

from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest

from gfl.shapes.draws import Draws
from gfl.shapes.side_labels import Modes


def test_two_vague_sides_are_drawn_independently() -> None:
    draws = Draws(5)
    one, two = Modes((0.0, 1.0), (0.3, 0.7)), Modes((0.0, 1.0), (0.5, 0.5))
    pairs = Counter((one.draw(draws), two.draw(draws)) for _ in range(4000))
    for (a, b), p in {(0, 0): 0.15, (0, 1): 0.15, (1, 0): 0.35, (1, 1): 0.35}.items():
        assert pairs[float(a), float(b)] / 4000 == pytest.approx(p, abs=0.03)


def test_our_normal_draws_follow_the_normal_distribution() -> None:
    draws = Draws(11)
    z = np.sort([draws.normal() for _ in range(20000)])
    truth = np.array([NormalDist().cdf(v) for v in z])
    # Kolmogorov-Smirnov: P(distance > 1.95 / sqrt(n)) is 0.001.
    assert np.abs(truth - (np.arange(len(z)) + 0.5) / len(z)).max() < 1.95 / len(z) ** 0.5


def test_log_uniform_and_rotation() -> None:
    draws = Draws(12)
    logs = np.log2([draws.log_uniform(2.0, 32.0) for _ in range(4000)])
    assert logs.min() >= 1.0
    assert logs.max() < 5.0
    assert np.histogram(logs, bins=4, range=(1, 5))[0] / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    turns = np.array([draws.rotation() for _ in range(4000)])
    assert (turns**2).sum(axis=1) == pytest.approx(np.ones(4000))
    assert turns.mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.05)
