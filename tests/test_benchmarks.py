"""The benchmark runs to its end at a toy size, and its arithmetic; nothing here looks at time."""

from __future__ import annotations

import pytest

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
from analysis.speed.page import markdown, page, shortfalls
from analysis.speed.record import Case, Loss, Operators, Steps, load, paths
from benchmarks import measure
from benchmarks.measure import Result
from cli.main import main
from experiments.queue.worker import ROOT
from gfl.errors import UserError
from gfl.records.record import Store


def test_it_writes_both_files(tmp_path, capsys):
    toy = ["--quick", "--repeat", "1", "--image", "64", "96", "--no-memory"]
    assert main(["bench", "loss", *toy, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.json")
    found = load(path)
    assert isinstance(found, Loss)
    assert found.image == (64, 96)
    heads = ("GFLHead", "ATSSHead", "FCOSHead")
    compared = [(case.head, case.objects) for case in found.cases]
    assert compared == [(head, objects) for head in heads for objects in (1, 10, 100)]
    assert [one.name for one in found.assignments] == ["ATSS", "FCOS"]
    printed = path.with_suffix(".md").read_text()
    assert printed == markdown(page(found))
    assert capsys.readouterr().out.strip() == printed.strip()


@pytest.mark.parametrize(
    "path", paths(Store(ROOT / "runs", ROOT / "results")), ids=lambda p: p.stem
)
def test_a_committed_page_is_what_its_record_gives(path):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown(page(load(path)))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "kind": "loss"}']
)
def test_a_file_that_is_no_record_is_named(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"a\.json: not a benchmark's record"):
        load(path)


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
    cases = [Case("GFLHead", batch, objects, 1.0, ratio, ratio, ratio, ratio)]
    assert bool(shortfalls(cases)) == short


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


def test_operators_are_compared_with_torchvision_s(tmp_path, monkeypatch):
    from benchmarks import operators

    monkeypatch.setattr(operators, "SHAPES", ((2, 4, 6, 5),))
    assert main(["bench", "operators", "--repeat", "1", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("operators-*.json")
    found = load(path)
    assert isinstance(found, Operators)
    assert [(one.name, one.features) for one in found.operators] == [
        ("deformable convolution v1", (2, 4, 6, 5)),
        ("deformable convolution v2", (2, 4, 6, 5)),
        ("RoIAlign's gradient", (2, 4, 6, 5)),
    ]
    assert path.with_suffix(".md").read_text() == markdown(page(found))


def test_operators_that_disagree_are_an_error():
    import torch

    from benchmarks.operators import check

    check((torch.tensor([1.0, 2.0]),), (torch.tensor([1.0001, 2.0]),))
    with pytest.raises(AssertionError):
        check((torch.tensor([1.0, 2.0]),), (torch.tensor([1.001, 2.0]),))


def test_whole_detectors_are_timed_beside_stock_ones(tmp_path):
    toy = ["--profile", "smoke", "--batch", "2", "--rounds", "1"]
    names = ["GFL", "ATSS", "FCOS"]
    assert main(["bench", "step", *toy, "--detectors", *names, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("step-smoke-*.json")
    found = load(path)
    assert isinstance(found, Steps)
    assert (found.batch, found.image) == (2, (64, 64))
    timed = [(one.detector, one.phase) for one in found.steps if one.stock_precision == "float32"]
    assert timed == [(name, phase) for name in names for phase in ("inference", "training")]
    assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown(page(found))


@pytest.mark.parametrize("name", ["GFL", "ATSS", "FCOS"])
def test_the_stock_detector_finds_what_ours_finds(name):
    """The same weights under other names: the same losses and, in evaluation, the same boxes."""
    import torch

    from benchmarks import steps

    wanted = steps.plan(
        "smoke", image=None, batch=2, rounds=1, threads=1, device="cpu", precision="float32"
    )
    ours, stock = steps.pair(name, wanted)
    found = [
        steps._inference(model, steps._pictures(model, wanted))(0)[0].pred_instances  # type: ignore[index]
        for model in (ours, stock)
    ]
    assert len(found[0]) > 3
    torch.testing.assert_close(found[0].scores, found[1].scores, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[0].bboxes, found[1].bboxes, rtol=1e-3, atol=1e-2)
    steps.check(ours, stock, steps.drawn(wanted))
