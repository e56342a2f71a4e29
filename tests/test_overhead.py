"""What is counted and how it is timed; nothing here looks at time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
from analysis.speed.page import markdown, page
from analysis.speed.record import Overhead, load
from benchmarks import detectors, overhead
from benchmarks.overhead import ATSS, PLAIN
from cli.main import main
from experiments.profiles import PROFILES
from gfl.experiment import Experiment

SMOKE = PROFILES["smoke"]
WIDTH = SMOKE.model.channels
LOCATIONS = 8 * 8 + 4 * 4 + 2 * 2  # of 64 px at strides 8, 16 and 32
JOINT, GENERAL, GFL = (ATSS[name][0] for name in ("joint", "dfl", "gfl"))


def test_only_the_last_layers_differ() -> None:
    plain, joint, general, both = (
        detectors.size(experiment, SMOKE, (64, 64)) for experiment in (PLAIN, JOINT, GENERAL, GFL)
    )
    # QFL takes the quality branch away: one channel of a 3x3 convolution, and its bias.
    assert plain.head_parameters - joint.head_parameters == 9 * WIDTH + 1
    assert plain.head_multiply_adds - joint.head_multiply_adds == 9 * WIDTH * LOCATIONS
    # DFL predicts 17 numbers a side in place of one.
    more = 4 * 17 - 4
    assert general.head_parameters - plain.head_parameters == more * (9 * WIDTH + 1)
    assert general.head_multiply_adds - plain.head_multiply_adds == more * 9 * WIDTH * LOCATIONS
    assert both.head_parameters - joint.head_parameters == more * (9 * WIDTH + 1)
    for one in (joint, general, both):
        assert one.parameters - one.head_parameters == plain.parameters - plain.head_parameters
        rest = one.multiply_adds - one.head_multiply_adds
        assert rest == plain.multiply_adds - plain.head_multiply_adds


def test_the_papers_network_is_counted_at_its_size() -> None:
    """ATSS with R-50 at 1280 x 800 has 32 M and 205 G in others' count.

    Liu et al., "Swin Transformer", ICCV 2021, Table 2(a).
    """
    coco = PROFILES["coco"]
    plain = detectors.size(PLAIN, coco, (800, 1280))
    assert plain.parameters == pytest.approx(32e6, rel=0.02)
    assert plain.multiply_adds == pytest.approx(205e9, rel=0.02)


@pytest.mark.parametrize(
    "pair",
    [
        (JOINT, PLAIN),
        (
            Experiment(host="retinanet", quality="joint"),
            Experiment(host="retinanet", quality="none"),
        ),
    ],
)
def test_random_weights_say_equally_much(pair: tuple[Experiment, Experiment]) -> None:
    pictures = detectors.draw_pictures(SMOKE, 2, (64, 64))
    ours, base = (overhead.loaded(one, SMOKE, pictures)[1].counts for one in pair)
    assert ours["candidates"] == base["candidates"] > 0
    assert ours["detections"] > 0
    assert base["detections"] > 0


def test_weights_that_are_not_here_are_none(tmp_path: Path) -> None:
    from gfl.records.record import Store

    pictures = detectors.draw_pictures(SMOKE, 1, (64, 64))
    store = Store(tmp_path / "runs", tmp_path / "results")
    assert overhead._trained({PLAIN: None}, SMOKE, store, pictures) is None


class Fake:
    """Takes ``cost`` of a clock that it moves itself, and notes when it had which picture."""

    def __init__(self, name: str, cost: float, clock: list[float], seen: list[Any]) -> None:
        self.name, self.cost, self.clock, self.seen = name, cost, clock, seen

    def detect(self, picture: int) -> int:
        self.clock[0] += self.cost
        self.seen.append((picture, self.name))
        return 0


def test_turns_are_fair() -> None:
    clock, seen = [0.0], []
    base, a, b = (Fake(n, c, clock, seen) for n, c in (("base", 2.0), ("a", 3.0), ("b", 1.0)))
    pairs: Any = {"a": (a, base), "b": (b, base)}
    now: Callable[[], float] = lambda: clock[0]  # noqa: E731
    seconds = overhead.in_turns(pairs, pictures=2, rounds=3, now=now)
    assert seconds == {"a": ([3.0] * 3, [2.0] * 3), "b": ([1.0] * 3, [2.0] * 3)}
    turns = [seen[i : i + 3] for i in range(3, len(seen), 3)]  # the first three warm up
    assert [{picture for picture, _ in turn} for turn in turns] == [{n} for n in range(6)]
    assert all({name for _, name in turn} == {"base", "a", "b"} for turn in turns)
    assert [turn[0][1] for turn in turns] == ["base", "a", "b"] * 2


def test_the_ratio_is_the_rounds_median() -> None:
    """A round at which the machine was busy counts like any other, and one spike does not."""
    found = overhead.compare([1.1, 2.2, 1.1, 9.0, 1.1], [1.0, 2.0, 1.0, 1.0, 1.0])
    assert found.ratio == found.low == pytest.approx(1.1)
    assert (found.ours, found.base, found.rounds) == (1.1, 1.0, 5)
    assert found.high >= found.ratio


def test_it_writes_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(overhead, "GROUPS", ({n: ATSS[n] for n in ("same", "joint")},))
    here = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    assert main(["bench", "overhead", "--networks", "smoke", "--rounds", "1", *here]) == 0
    (path,) = tmp_path.glob("overhead-*.json")
    found = load(path)
    assert isinstance(found, Overhead)
    printed = path.with_suffix(".md").read_text()
    assert printed == markdown(page(found))
    assert capsys.readouterr().out.strip() == printed.strip()
    counted = [count.what for count in found.counts]
    assert counted == ["parameters", "multiply_adds", "head_parameters", "head_multiply_adds"]
    timed = [(time.pair, time.weights, time.rounds) for time in found.times]
    assert timed == [("same", "random", 1), ("joint", "random", 1)]
    assert all(time.low <= time.ratio <= time.high for time in found.times)
