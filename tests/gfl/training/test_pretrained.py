"""A run that counts is refused without its ImageNet weights; a trial says what it does instead."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from urllib.error import URLError

import pytest

import gfl.register  # noqa: F401
from gfl.errors import UserError
from gfl.training import pretrained, session

WEIGHTS = "torchvision://resnet50"
RESNEXT = "open-mmlab://resnext101_32x4d"  # Table 4's


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, map_location: str) -> None:
        assert name in (WEIGHTS, RESNEXT)
        raise URLError("no route to host")

    monkeypatch.setattr(pretrained.CheckpointLoader, "load_checkpoint", fail)


def model(weights: str = WEIGHTS) -> dict:
    """A two-stage detector's settings, as TridentNet's: two parts start from the same weights."""
    init = {"type": "Pretrained", "checkpoint": weights}
    heads = [{"type": "Head", "init_cfg": {"type": "Normal", "std": 0.01}}]
    return {
        "backbone": {"depth": 50, "init_cfg": dict(init)},
        "neck": {"init_cfg": None},
        "roi_head": {"shared_head": {"init_cfg": dict(init)}, "bbox_head": heads},
    }


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("weights", "stem"), [(WEIGHTS, "resnet50"), (RESNEXT, "resnext101_32x4d")]
)
def test_refuses_a_run_that_counts_and_says_where_the_file_belongs(weights: str, stem: str) -> None:
    config, told = model(weights), []
    with pytest.raises(UserError, match=rf"{stem}-\w+\.pth cannot be downloaded") as refused:
        pretrained.fetch(config, capped=False, report=told.append)
    assert re.search(r"put https://\S+ into \S+/checkpoints", str(refused.value))
    assert "\n" not in str(refused.value)
    assert config == model(weights)
    assert not told


@pytest.mark.usefixtures("no_network")
def test_a_trial_goes_on_from_random_weights_and_says_so() -> None:
    config, told = model(), []
    assert not pretrained.fetch(config, capped=True, report=told.append)
    expected = model()
    del expected["backbone"]["init_cfg"], expected["roi_head"]["shared_head"]["init_cfg"]
    assert config == expected
    assert len(told) == 1
    assert told[0].endswith("this trial starts from random ones")


def test_keeps_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        pretrained.CheckpointLoader,
        "load_checkpoint",
        lambda name, map_location: asked.append(name),
    )
    config = model()
    assert pretrained.fetch(config, capped=False, report=pytest.fail)
    assert config == model()
    assert asked == [WEIGHTS]


def test_asks_for_nothing_from_scratch() -> None:
    hourglass = {"backbone": {"type": "StockHourglassNet"}, "neck": {"init_cfg": None}}
    config = copy.deepcopy(hourglass)
    assert pretrained.fetch(config, capped=False, report=pytest.fail)
    assert config == hourglass


@pytest.mark.parametrize("here", [True, False])
def test_all_ranks_start_as_the_first_can(
    here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.pretrained, "fetch", lambda *args: not here)
    monkeypatch.setattr(session.processes, "join", lambda gpus: None)
    monkeypatch.setattr(session.processes, "from_first", lambda is_fetched: here)
    config = model()
    session._prepare(config, tmp_path, 2, True, pytest.fail)
    assert ("init_cfg" in config["backbone"]) == here
