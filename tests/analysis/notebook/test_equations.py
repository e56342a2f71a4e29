"""The pictures of the losses show what the equations say."""

from __future__ import annotations

import pytest
import torch

from analysis.notebook import equations
from gfl.losses import distribution_focal_loss, focal_loss, quality_focal_loss


def split(y: float) -> torch.Tensor:
    """DFL's minimum: the label shared out between its two bins."""
    return (1 - (equations.BINS - y).abs()).clamp(min=0)


def test_the_pull_of_cross_entropy_is_the_distance_to_the_label() -> None:
    assert equations.pull(quality_focal_loss, 0.3, 0.8, 0) == pytest.approx(0.5)
    assert equations.pull(focal_loss, 0.01, 0, 0) == pytest.approx(0.01)


def test_a_slope_is_the_quotient_of_differences() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    y = torch.full_like(logits, 0.4)
    _, slope = equations.slopes(lambda z: quality_focal_loss(z, y, 2.0), logits)
    step = 1e-6
    above = quality_focal_loss(logits + step, y, 2.0)
    below = quality_focal_loss(logits - step, y, 2.0)
    torch.testing.assert_close(slope, (above - below) / (2 * step), rtol=1e-6, atol=1e-9)


def test_regression_keeps_the_shape_and_dfl_decides_it() -> None:
    starts = torch.stack(list(equations.STARTS.values()))
    regressed = equations.descend(starts, 5.3, equations.LOSSES["regression alone"])
    focused = equations.descend(starts, 5.3, equations.LOSSES["DFL"])
    torch.testing.assert_close(
        regressed @ equations.BINS, torch.full((3,), 5.3, dtype=torch.float64), rtol=0, atol=1e-3
    )
    apart = torch.cdist(regressed, regressed, p=1)
    assert apart[~torch.eye(3, dtype=torch.bool)].min() > 0.5  # of at most 2
    assert (focused - split(5.3)).abs().max() < 0.02


def test_dfl_learns_the_distribution_of_the_labels() -> None:
    labels = torch.tensor([4.0, 9.3], dtype=torch.float64)
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
    learned = equations.descend(
        equations.STARTS["flat"], 0.0,
        lambda z, _: distribution_focal_loss(z.expand(2, -1), labels) @ weights,
    )  # fmt: skip
    assert (learned - (0.6 * split(4) + 0.4 * split(9.3))).abs().max() < 0.02


@pytest.mark.parametrize("y", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_every_label_and_beta_can_be_drawn(y: float, beta: float) -> None:
    figure = equations.beside_cross_entropy(y, beta)
    curves = {line.get_label() for line in figure.axes[0].lines} & {"β = 0", "β = 2"}
    assert curves == {"β = 0", f"β = {beta:g}"}


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_labels_that_agree_have_no_gaussian(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations, "STEPS", 2)
    legend = equations.ambiguous(4, 9.3, share).axes[0].get_legend()
    assert legend is not None
    names = {text.get_text() for text in legend.get_texts()}
    assert ("Gaussian, by likelihood" in names) == (share > 0)


@pytest.mark.parametrize("y", [0.0, 16.0])
def test_targets_at_the_ends_can_be_drawn(y: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations, "STEPS", 2)
    assert len(equations.undetermined(y).axes) == 9
