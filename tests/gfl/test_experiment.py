"""Impossible experiments are refused with the reason; a name says what is in effect."""

from __future__ import annotations

from typing import Any

import pytest

from gfl.errors import UserError
from gfl.experiment import Experiment


@pytest.mark.parametrize(
    ("factors", "reason"),
    [
        ({"quality": "jont"}, r"unknown quality 'jont'; did you mean 'joint'\?"),
        ({"quality": 3}, r"unknown quality 3; known: "),
        ({"host": "attss"}, r"unknown host 'attss'; did you mean 'atss'\?"),
        ({"boxes": "gausian"}, r"unknown boxes 'gausian'; did you mean 'gaussian'\?"),
        ({"host": "fcos", "lasting": "2x-ms"}, r"Table 4, .* host='atss', not 'fcos'"),
        ({"host": "fcos", "backbone": "r101"}, r"Table 4, .* host='atss', not 'fcos'"),
        ({"host": "ssd512"}, r"'none' or 'joint' .*not 'centerness-branch'"),
        ({"host": "retinanet", "quality": "joint", "boxes": "general"}, r"'dirac' .*not 'general'"),
        ({"dfl": True}, r"dfl=True needs boxes='general': 'dirac' has no bins"),
        ({"boxes": "gaussian", "dfl": True}, r"dfl=True needs .*'gaussian' has no bins"),
        ({"boxes": "general", "y_n": 0.0}, r"y_n=0.0, .* above 0"),
        ({"boxes": "general", "delta": 0.0}, r"delta=0.0: both are above 0"),
        ({"boxes": "general", "delta": float("nan")}, r"delta=nan: both are above 0"),
        ({"boxes": "general", "delta": 3.0}, r"delta=3 does not divide y_n=16"),
        ({"boxes": "general", "delta": 32.0}, r"delta=32 does not divide y_n=16"),
        ({"likelihood_weight": 0.0}, r"likelihood_weight=0.0: a weight is above 0"),
        ({"beta": -1.0}, r"beta=-1.0: .* 0 or more"),
        ({"beta": float("nan")}, r"beta=nan: .* 0 or more"),
        ({"beta": float("inf")}, r"beta=inf: .* 0 or more"),
    ],
)
def test_refuses_with_the_reason(factors: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Experiment(**factors)


@pytest.mark.parametrize(
    ("experiment", "slug"),
    [
        (Experiment(), "atss-centerness-branch-dirac"),
        (Experiment(delta=2.0, beta=1.0), "atss-centerness-branch-dirac"),
        (Experiment(quality="joint", beta=2.5), "atss-joint-dirac-beta2.5"),
        (
            Experiment(quality="joint", boxes="general", dfl=True, delta=0.5),
            "atss-joint-general-dfl-n32-delta0.5",
        ),
    ],
)
def test_is_named_by_what_is_in_effect(experiment: Experiment, slug: str) -> None:
    assert experiment.slug == slug


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        (Experiment(beta=3.5), "beta=3.5 needs quality='joint': with 'centerness-branch'"),
        (Experiment(delta=2.0), "delta=2 needs boxes='general': with 'dirac' it changes nothing"),
        (Experiment(boxes="gaussian", y_n=12.0), "y_n=12 needs boxes='general': with 'gaussian'"),
        (Experiment(likelihood_weight=1.0), "likelihood_weight=1 needs boxes='gaussian'"),
    ],
)
def test_a_factor_out_of_effect_is_named(experiment: Experiment, said: str) -> None:
    assert experiment.out_of_effect().startswith(said)
    assert not Experiment(quality="joint", beta=3.5).out_of_effect()
    assert not Experiment(boxes="general", delta=2.0, y_n=12.0).out_of_effect()
