"""Images from memory are those of the files, and stay so whatever is done to a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import gfl.register  # noqa: F401  before mmcv
from gfl.data.loading import LoadImageFromMemory
from gfl.shapes.embedded import ShapesSpec, write

from mmcv.transforms import LoadImageFromFile  # isort: skip


def test_equals_the_file_the_first_time_and_after_a_copy_was_overwritten(tmp_path: Path) -> None:
    write(ShapesSpec(image_size=64, train=1, val=1), tmp_path / "shapes", workers=1)
    path = str(next((tmp_path / "shapes" / "train2017").iterdir()))
    expected = LoadImageFromFile()({"img_path": path})
    load = LoadImageFromMemory()
    for _ in range(2):
        found = load({"img_path": path})
        np.testing.assert_array_equal(found["img"], expected["img"])
        assert found["img_shape"] == expected["img_shape"] == (64, 64)
        assert found["ori_shape"] == expected["ori_shape"]
        found["img"][:] = 0


def test_reads_a_file_once(tmp_path: Path) -> None:
    write(ShapesSpec(image_size=64, train=1, val=1), tmp_path / "shapes", workers=1)
    path = next((tmp_path / "shapes" / "train2017").iterdir())
    load = LoadImageFromMemory()
    first = load({"img_path": str(path)})["img"]
    path.unlink()
    np.testing.assert_array_equal(load({"img_path": str(path)})["img"], first)
