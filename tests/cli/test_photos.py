"""``gfl photos DATA``, and what the profile asks of its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from coco_folder import SPEC
from coco_folder import write as write_coco

from cli import photos as command
from cli.main import main
from experiments.profiles import PHOTOS
from gfl.data import photos
from gfl.training import worker


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what is made, and the small set in the place of the real one."""
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path / "data")
    monkeypatch.setattr(command, "PHOTOS", replace(PHOTOS, photos=SPEC))
    return tmp_path / "data"


def test_it_prepares_once_and_says_where_and_in_what_the_set_differs(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture
) -> None:
    coco = write_coco(tmp_path / "coco")
    assert main(["photos", str(coco)]) == 0
    out, _ = capsys.readouterr()
    assert "5 photographs to train on, 3 to validate, long side 160 px; classes: person" in out
    assert "the prepared images are not the reference's to the byte" in out
    root = worker.photos_root(SPEC)
    assert f"in {root}" in out
    assert root.parent == data
    assert photos.found(SPEC, root) is not None
    assert main(["photos", str(coco)]) == 0
    out, _ = capsys.readouterr()
    assert "preparing" not in out


def test_a_folder_that_is_not_coco_is_answered_with_what_to_download(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["photos", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{tmp_path}/annotations/instances_val2017.json is missing" in err
    assert "http://images.cocodataset.org/zips/val2017.zip" in err
    assert not data.exists()


def test_a_run_without_data_says_so_before_any_worker_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["run", "table-3/none", "--profile", "photos", *folders]) == 2
    _, err = capsys.readouterr()
    assert "needs COCO 2017 val" in err
    assert not list((tmp_path / "runs").rglob("request.json"))
