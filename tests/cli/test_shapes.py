"""``gfl shapes FOLDER``: the embedded images as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.main import main
from experiments.profiles import SMOKE
from gfl.shapes import embedded
from gfl.training import worker


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path / "data")


def test_every_image_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "files"
    assert main(["shapes", str(folder), "--profile", "smoke"]) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[-2:] == ["writing PNG files 48/48", f"48 images in {folder}"]
    assert len(list(folder.rglob("*.png"))) == 48
    assert SMOKE.dataset is not None
    drawn, _ = embedded.render(SMOKE.dataset, "val", 15)
    np.testing.assert_array_equal(Image.open(folder / "val2017/000000000016.png"), drawn)


def test_what_cannot_be_written_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.txt").touch()
    for words, complaint in (
        ([str(tmp_path)], f"{tmp_path} is not empty: choose another folder"),
        ([str(tmp_path / "new"), "--profile", "coco"], "coco profile are not embedded"),
    ):
        assert main(["shapes", "--profile", "smoke", *words]) == 2
        _, err = capsys.readouterr()
        assert complaint in err
        assert err.count("\n") == 1
