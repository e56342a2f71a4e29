"""The benchmark runs to its end at a toy size, and its arithmetic; nothing here looks at time."""

from __future__ import annotations

import csv

import pytest

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
from benchmarks import measure, report
from benchmarks.cases import Case
from benchmarks.measure import Result
from cli.main import main


def test_it_writes_both_files(tmp_path, capsys):
    toy = ["--quick", "--repeat", "1", "--image", "64", "96", "--no-memory"]
    assert main(["bench", "loss", *toy, "--out", str(tmp_path)]) == 0
    (table,) = tmp_path.glob("*.csv")
    (page,) = tmp_path.glob("*.md")
    assert table.stem == page.stem
    with table.open() as file:
        lines = list(csv.DictReader(file))
    compared = [(line["head"], line["objects"]) for line in lines if line["ratio"]]
    heads = ("GFLHead", "ATSSHead", "FCOSHead")
    assert compared == [(head, objects) for head in heads for objects in ("1", "10", "100")]
    assert [line["head"] for line in lines[9:]] == ["ATSS assignment", "FCOS assignment"]
    assert capsys.readouterr().out.strip() == page.read_text().strip()


def test_the_ratio_is_of_pairs_of_turns():
    """A turn at which the machine was half as fast counts like any other."""
    result = measure.compare([1.0, 2.0, 1.0, 4.0], [2.0, 4.0, 1.5, 12.0])
    assert (result.ours, result.stock) == (1.5, 3.0)
    assert result.ratio == 2.0  # of 1.5, 2, 2, 3
    assert (result.low, result.high) == (1.875, 2.25)


def test_one_turn_has_no_spread():
    assert measure.compare([2.0], [3.0]) == Result(2.0, 3.0, 1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("batch", "objects", "ratio", "short"),
    [(16, 10, 1.49, True), (16, 10, 1.5, False), (2, 10, 0.96, False), (2, 10, 0.95, True)],
)
def test_what_falls_short_is_named(batch, objects, ratio, short):
    lines = [(Case("GFLHead", batch, objects), Result(1.0, ratio, ratio, ratio, ratio))]
    assert bool(report.shortfalls(lines)) == short


def test_losses_that_differ_are_an_error():
    import torch

    from benchmarks.cases import check

    check({"loss_quality": torch.tensor(1.0)}, {"loss_centerness": torch.tensor(1.00005)})
    with pytest.raises(AssertionError, match="not close"):
        check({"loss_cls": torch.tensor(1.0)}, {"loss_cls": torch.tensor(1.001)})


def test_the_bootstrap_is_measured(capsys):
    assert main(["bench", "bootstrap", "--images", "20", "--resamples", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("3 resamples: ")
    assert "144 objects, 2000 detections" in printed.err


def test_operators_are_compared_with_torchvision_s(monkeypatch, capsys):
    from benchmarks import operators

    monkeypatch.setattr(operators, "SHAPES", ((2, 4, 6, 5),))
    assert main(["bench", "operators", "--repeat", "1"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert "1 of its cores used" in first
    assert [line.split(", 2 x 4 x 6 x 5: ")[0] for line in lines] == [
        "deformable convolution v1",
        "deformable convolution v2",
        "RoIAlign's gradient",
    ]


def test_operators_that_disagree_are_an_error():
    import torch

    from benchmarks.operators import check

    check((torch.tensor([1.0, 2.0]),), (torch.tensor([1.0001, 2.0]),))
    with pytest.raises(AssertionError):
        check((torch.tensor([1.0, 2.0]),), (torch.tensor([1.001, 2.0]),))
