"""The errors of recorded runs, and how they are shown."""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.errors.runs import ALL, DFL, IOUS, PLAIN, Line, Report, row_name
from analysis.errors.tables import markdown, tidy_csv
from analysis.errors.tide import Errors, errors
from analysis.library import Library, coco_results
from cli.main import main
from experiments.named import GFL
from experiments.profiles import PROFILES
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.predictions.error_kinds import Sorted
from gfl.predictions.overlaps import Found, Truth
from gfl.records.record import Store
from gfl.shapes import embedded
from gfl.training.evaluate import coco_metrics

LAPTOP = PROFILES["laptop"]


FEW = 40  # images: drawing all takes half a minute


@pytest.fixture(scope="module")
def dataset() -> dict[str, Any]:
    assert LAPTOP.dataset
    spec = replace(LAPTOP.dataset, val=FEW)  # a larger set begins with a smaller one's images
    drawn = [embedded.render(spec, "val", index)[1] for index in range(FEW)]
    return embedded.coco(spec, "val", drawn)


@pytest.mark.parametrize(
    ("experiment", "seed"),
    [(GFL, 0), (PLAIN, 1), (Experiment(host="retinanet", quality="joint"), 0)],
)
def test_ap_of_recorded_detections_is_pycocotools(
    dataset: dict[str, Any], experiment: Experiment, seed: int
) -> None:
    library = Library(Store(ROOT / "runs", ROOT / "results", mend=False), "reference")
    frame: Any = library.detections(experiment, LAPTOP, seed)
    frame = frame[frame.image_id <= FEW]
    judged = coco_metrics(dataset, coco_results(frame))
    truth_boxes, found_boxes = Truth.of(dataset), Found.results(coco_results(frame))
    found = [errors(Sorted.of(truth_boxes, found_boxes, iou)) for iou in IOUS]
    assert [made.ap for made in found] == [judged["AP50"], judged["AP75"]]
    # Those of the stored columns are the same to the bit, which need no list of results.
    stored = Found.stored({str(name): frame[name].to_numpy() for name in frame})
    for field in fields(Found):
        one, other = getattr(stored, field.name), getattr(found_boxes, field.name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_rows_have_the_names_people_say() -> None:
    found = {
        table.name: [row_name(table, cell) for cell in table.cells()]
        for table in catalogue.TABLES.values()
    }
    assert "1a ATSS joint w/ QFL" in found["table-1a"]
    assert found["table-2b"][0] == "2b n 12"
    assert found["table-2c"][0] == "2c Δ 0.5"
    assert found["table-3"] == ["3 none", "3 QFL", "3 DFL", "3 both"]


def made(gain: float, count: int = 7) -> Errors:
    return Errors(90.0, 50, dict.fromkeys(ALL, count), dict.fromkeys(ALL, gain))


@pytest.fixture
def report() -> Report:
    """DFL repairs 1 point of every kind at both IoUs, give or take 0.1 over three seeds."""
    plain = {seed: made(2.0) for seed in range(3)}
    dfl = {seed: made(1.0 + 0.1 * (seed - 1)) for seed in range(3)}
    lines = (
        Line(PLAIN, ["1a plain", "3 none"], dict.fromkeys(IOUS, plain)),
        Line(DFL, ["3 DFL"], dict.fromkeys(IOUS, dfl)),
    )
    return Report(lines, ("a-run-s1-00000000",))


def test_a_repair_is_the_difference_with_its_interval(report: Report) -> None:
    (repair,) = report.repairs()  # of the other pairs a run is missing
    assert (repair.ours, repair.base) == (DFL, PLAIN)
    for difference in repair.gains.values():
        assert difference.value == pytest.approx(-1)
        assert difference.interval == pytest.approx((-1 - 0.2484, -1 + 0.2484), abs=1e-4)
        assert difference.is_clear
    assert "localisation less (-1.00)" in repair.text(0.5)


def test_markdown_has_every_line_and_what_is_missing(report: Report) -> None:
    text = markdown(report, LAPTOP)
    assert "| 1a plain; 3 none | 3 | 90.00±0.00 | 2.00±0.00 |" in text
    assert "| 3 DFL | 3 | 50±0 | 7±0 |" in text
    assert "**-1.00 [-1.25, -0.75]**" in text
    assert "Without detections here: a-run-s1-00000000." in text


def test_csv_has_a_number_a_line(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(tidy_csv(report))))
    own = [row for row in rows if not row["base"]]
    assert len(own) == 2 * len(IOUS) * (2 + 2 * len(ALL))
    (gain,) = (
        row
        for row in rows
        if row["base"] and row["iou"] == "0.75" and row["kind"] == "localisation"
    )
    assert (gain["experiment"], gain["base"]) == (DFL.slug, PLAIN.slug)
    assert [gain[name] for name in ("value", "lower", "upper", "n", "seeds")] == [
        "-1.0000", "-1.2484", "-0.7516", "3", "0 1 2",
    ]  # fmt: skip


def test_without_detections_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["errors", "--profile", "smoke", *here]) == 2
    assert "no run of the smoke profile has detections" in capsys.readouterr().err
    assert main(["errors", "--profile", "coco", *here]) == 2
    assert "--annotations" in capsys.readouterr().err
    assert not (tmp_path / "results" / "errors").exists()
