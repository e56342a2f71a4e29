"""The embedded images' pixels: as mmcv decodes them, whole or not at all, in memory once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile

from gfl.data import loading, shapes
from gfl.data.loading import LoadImageFromMemory

SPEC = shapes.ShapesSpec(image_size=64, train=5, val=3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shapes.write(SPEC, tmp_path / "set", workers=1)
    return tmp_path / "set"


def image(root: Path, split: str, index: int) -> dict[str, Any]:
    return {"img_path": str(root / f"{split}2017" / shapes.file_name(index))}


def assert_loads_every_image_as_mmcv_does(root: Path) -> None:
    ours: Any = LoadImageFromMemory()
    theirs: Any = LoadImageFromFile()
    for _ in range(2):
        for split in shapes.SPLITS:
            for index in range(SPEC.count(split)):
                found, expected = (dict(load(image(root, split, index))) for load in (ours, theirs))
                assert np.array_equal(found.pop("img"), expected.pop("img"))
                assert found == expected


def test_with_and_without_the_decoded_file_an_image_is_the_same(root):
    assert_loads_every_image_as_mmcv_does(root)
    loading._mapped.cache_clear()  # which has found that there is none
    loading.decode(SPEC, root)
    assert_loads_every_image_as_mmcv_does(root)
    assert shapes.is_complete(SPEC, root)


def test_images_come_from_the_decoded_file_and_may_be_written_into(root):
    loading.decode(SPEC, root)
    for file in (root / "train2017").iterdir():
        file.unlink()
    load: Any = LoadImageFromMemory()
    loaded = load(image(root, "train", 4))["img"]
    before = loaded.copy()
    loaded[:] = 0
    assert np.array_equal(load(image(root, "train", 4))["img"], before)
    assert type(loaded) is np.ndarray
    assert len(pickle.dumps(load)) < before.size  # what a loader process is sent


def test_decoding_is_done_once_and_tells_its_progress(root, monkeypatch):
    told: list[tuple[int, int]] = []
    loading.decode(SPEC, root, lambda done, total: told.append((done, total)))
    assert told == [(0, 8), (5, 8)]
    monkeypatch.setattr(mmcv, "imread", None)
    loading.decode(SPEC, root)


def test_a_write_that_fails_leaves_nothing(root, monkeypatch):
    read, count = mmcv.imread, 0

    def full(path: Path) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError("No space left on device")
        return read(path)

    before = sorted(root.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(mmcv, "imread", full)
        with pytest.raises(OSError, match="No space"):
            loading.decode(SPEC, root)
    assert [path for path in sorted(root.iterdir()) if path.name != ".pixels.lock"] == before
    assert_loads_every_image_as_mmcv_does(root)
