"""``gfl test-dev``: what it refuses, and what it asks of ``testdev``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from experiments import matrix, profiles
from gfl.data.coco import TEST_DEV, TEST_IMAGES
from gfl.files import write_text
from gfl.records.record import run_id

ROW = "table-4/GFL R-50"
LISTED = (
    '{"images": [{"id": 7, "file_name": "7.jpg", "width": 4, "height": 3}],'
    ' "categories": [{"id": 1, "name": "person"}]}'
)


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "is_finished", lambda record: True)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    root = tmp_path / "coco"
    write_text(root / TEST_DEV, LISTED)
    write_text(root / TEST_IMAGES / "7.jpg", "")
    return root


def call(tmp_path: Path, *words: str) -> int:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return main(["test-dev", *words, *folders])


def complaint(capsys: pytest.CaptureFixture) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gfl: ")
    assert err.count("\n") == 1
    return err


def test_a_run_that_is_not_finished_is_refused(
    tmp_path: Path, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(tmp_path, ROW, "--data", str(coco)) == 2
    id = matrix.single(ROW, profiles.get("coco", 1), [0]).id
    command = f"gfl run {id} --profile coco --data DIR"
    assert complaint(capsys) == f"gfl: {id} is not finished locally: {command} trains it\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((ROW, "--seeds", "0", "1"), "table-4/GFL R-50, seed 0, table-4/GFL R-50, seed 1"),
        (("table-4",), "'table-4' is 36 runs; name one: table-4/Faster R-CNN w/ FPN R-101"),
        (("table-4/GFL R-51",), "did you mean 'GFL R-50'?"),
        ((ROW, "--profile", "laptop"), "test-dev is COCO's: --profile coco, not laptop"),
        ((ROW,), "needs COCO"),
        ((ROW, "--data", "nowhere"), "image_info_test-dev2017.json is missing"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_a_mistake_is_one_line(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(tmp_path, *words) == 2
    assert said in complaint(capsys)


@pytest.mark.usefixtures("finished")
def test_the_named_run_is_asked_for(
    tmp_path: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from gfl.predictions import testdev

    asked: dict[str, Any] = {}

    def write(experiment: Any, profile: Any, seed: int, **places: Any) -> Path:
        asked.update(places, id=run_id(experiment, profile, seed), profile=profile)
        return places["run_dir"] / testdev.FILE

    monkeypatch.setattr(testdev, "write", write)
    assert call(tmp_path, ROW, "--data", str(coco), "--seeds", "3", "--gpus", "2") == 0
    assert asked["profile"] == profiles.get("coco", gpus=2)
    assert "atss-joint-general-dfl-2x-ms-s3-" in asked["id"]
    assert asked["run_dir"] == tmp_path / "runs/coco" / asked["id"]
    assert asked["data_root"] == coco
    written = asked["run_dir"] / "detections_test-dev2017_gfl_results.json"
    assert f"written: {written}" in capsys.readouterr().out
