"""A run that counts is refused without its ImageNet weights; a trial says what it does instead."""

from __future__ import annotations

import re
from urllib.error import URLError

import pytest

import gfl.register  # noqa: F401
from gfl.errors import UserError
from gfl.training import pretrained

WEIGHTS = "torchvision://resnet50"
RESNEXT = "open-mmlab://resnext101_32x4d"  # Table 4's


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, map_location: str) -> None:
        assert name in (WEIGHTS, RESNEXT)
        raise URLError("no route to host")

    monkeypatch.setattr(pretrained.CheckpointLoader, "load_checkpoint", fail)


def backbone(weights: str = WEIGHTS) -> dict:
    return {"init_cfg": {"type": "Pretrained", "checkpoint": weights}}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("weights", "stem"), [(WEIGHTS, "resnet50"), (RESNEXT, "resnext101_32x4d")]
)
def test_refuses_a_run_that_counts_and_says_where_the_file_belongs(weights: str, stem: str) -> None:
    config, told = backbone(weights), []
    with pytest.raises(UserError, match=rf"{stem}-\w+\.pth cannot be downloaded") as refused:
        pretrained.fetch(config, capped=False, report=told.append)
    assert re.search(r"put https://\S+ into \S+/checkpoints", str(refused.value))
    assert "\n" not in str(refused.value)
    assert config == backbone(weights)
    assert not told


@pytest.mark.usefixtures("no_network")
def test_a_trial_goes_on_from_random_weights_and_says_so() -> None:
    config, told = backbone(), []
    pretrained.fetch(config, capped=True, report=told.append)
    assert config == {"init_cfg": None}
    assert len(told) == 1
    assert told[0].endswith("this trial starts from random ones")


def test_keeps_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pretrained.CheckpointLoader, "load_checkpoint", lambda name, map_location: {}
    )
    config = backbone()
    pretrained.fetch(config, capped=False, report=pytest.fail)
    assert config == backbone()


def test_asks_for_nothing_from_scratch() -> None:
    pretrained.fetch({"init_cfg": None}, capped=False, report=pytest.fail)
