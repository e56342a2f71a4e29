"""Images from memory are those of the files, and stay so whatever is done to a copy."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmcv

# isort: split
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile

from gfl.data import loading
from gfl.data.loading import LoadImageFromMemory
from gfl.errors import UserError
from gfl.shapes import embedded

SPEC = embedded.ShapesSpec(image_size=64, train=5, val=3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    embedded.write(SPEC, tmp_path / "set", workers=1)
    loading._mapped.cache_clear()
    return tmp_path / "set"


def image(root: Path, split: str, index: int) -> dict[str, Any]:
    return {"img_path": str(root / f"{split}2017" / embedded.file_name(index))}


def test_every_image_is_loaded_as_mmcv_loads_its_file(root: Path, tmp_path: Path) -> None:
    embedded.export(root, tmp_path / "files")
    ours: Any = LoadImageFromMemory()
    theirs: Any = LoadImageFromFile()
    for split in embedded.SPLITS:
        for index in range(SPEC.count(split)):
            found = dict(ours(image(root, split, index)))
            expected = dict(theirs(image(tmp_path / "files", split, index)))
            assert np.array_equal(found.pop("img"), expected.pop("img"))
            del found["img_path"], expected["img_path"]
            assert found == expected


def test_an_image_may_be_written_into(root: Path) -> None:
    load: Any = LoadImageFromMemory()
    loaded = load(image(root, "train", 4))["img"]
    before = loaded.copy()
    loaded[:] = 0
    assert np.array_equal(load(image(root, "train", 4))["img"], before)
    assert type(loaded) is np.ndarray
    assert len(pickle.dumps(load)) < before.size  # what a loader process is sent


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY"])
def test_a_missing_or_damaged_array_is_named(root: Path, content: bytes | None) -> None:
    path = embedded.pixels_path(root, "train")
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged") as refused:
        LoadImageFromMemory()(image(root, "train", 2))
    assert str(path) in str(refused.value)
