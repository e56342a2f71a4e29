"""What follows from the equations does; and would be seen not to, were the losses others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from analysis.claims import identities
from analysis.claims.identities import IDENTITIES
from experiments.claims import CLAIMS
from experiments.claims.declare import Identity

CHECKS = [check for claim in CLAIMS for check in claim.checks if isinstance(check, Identity)]


def test_each_is_claimed_once() -> None:
    assert sorted(check.name for check in CHECKS) == sorted(IDENTITIES)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_holds(check: Identity) -> None:
    low, high = check.bounds
    assert low <= IDENTITIES[check.name]() <= high


def test_the_authors_factor_without_abs_has_no_minimum_at_the_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_abs(logits: Tensor, quality: Tensor, beta: float) -> Tensor:
        cross_entropy = torch.nn.functional.softplus(logits) - quality * logits
        return (quality - logits.sigmoid()).pow(beta) * cross_entropy

    monkeypatch.setattr(identities, "quality_focal_loss", without_abs)
    monkeypatch.setattr(identities, "BETAS", (1.0,))
    assert identities._qfl_lower_elsewhere() > 1


def test_another_dfl_has_another_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_the_left(logits: Tensor, target: Tensor) -> Tensor:
        left = target.long().clamp(max=logits.shape[-1] - 2)
        return -logits.log_softmax(-1).gather(-1, left[..., None]).squeeze(-1)

    monkeypatch.setattr(identities, "distribution_focal_loss", to_the_left)
    assert identities._dfl_lower_elsewhere() > 0.1
