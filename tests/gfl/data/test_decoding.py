"""The embedded images' pixels: as mmcv decodes them, whole or not at all, in memory once."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmcv
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


def assert_loads_every_image_as_mmcv_does(root: Path) -> None:
    ours: Any = LoadImageFromMemory()
    theirs: Any = LoadImageFromFile()
    for _ in range(2):
        for split in embedded.SPLITS:
            for index in range(SPEC.count(split)):
                found, expected = (dict(load(image(root, split, index))) for load in (ours, theirs))
                assert np.array_equal(found.pop("img"), expected.pop("img"))
                assert found == expected


def test_with_and_without_the_decoded_file_an_image_is_the_same(root):
    assert_loads_every_image_as_mmcv_does(root)
    loading._mapped.cache_clear()  # which has found that there is none
    loading.decode(SPEC, root)
    assert_loads_every_image_as_mmcv_does(root)
    assert embedded.is_complete(SPEC, root)


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

    before = files(root)
    with monkeypatch.context() as patch:
        patch.setattr(mmcv, "imread", full)
        with pytest.raises(OSError, match="No space"):
            loading.decode(SPEC, root)
    assert files(root) == before
    assert_loads_every_image_as_mmcv_does(root)


def files(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.name != ".pixels.lock"]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def blacken(path: Path) -> None:
    """As after a crash: the file has its length, and what was not yet on disk is zero."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size - file.tell()))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "black": blacken,
    "of other images": lambda path: path.write_bytes(path.with_name("val2017.npy").read_bytes()),
    "without checksum": lambda path: path.with_name(path.name + ".sha256").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_written_again(root, damage):
    loading.decode(SPEC, root)
    path = root / "train2017.npy"
    expected = path.read_bytes()
    damage(path)
    (root / ".train2017.npy.abc").touch()  # by a process that was killed
    told: list[str] = []
    loading.decode(SPEC, root, report=told.append)
    (message,) = told
    assert str(path) in message
    assert path.read_bytes() == expected
    assert not list(root.glob(".*2017.npy*"))
    assert_loads_every_image_as_mmcv_does(root)


def test_a_file_cut_short_behind_our_back_is_not_read(root):
    loading.decode(SPEC, root)
    cut(root / "train2017.npy")
    assert_loads_every_image_as_mmcv_does(root)


def test_a_drawn_image_that_is_none_is_named(root):
    path = root / "train2017" / embedded.file_name(2)
    path.write_bytes(bytes(path.stat().st_size))
    for load in (
        lambda: loading.decode(SPEC, root),
        lambda: LoadImageFromMemory()(image(root, "train", 2)),
    ):
        with pytest.raises(UserError, match="drawn anew") as refused:
            load()
        assert str(path) in str(refused.value)
        assert str(root) + "," in str(refused.value)  # what to delete


@pytest.fixture
def read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take the right to write, from root too."""

    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    def take() -> None:
        for module in (loading, embedded):
            monkeypatch.setattr(module, "FileLock", refuse)

    return take


def test_a_folder_that_is_read_only_is_read(root, read_only):
    loading.decode(SPEC, root)
    read_only()
    embedded.write(SPEC, root)
    loading.decode(SPEC, root)
    (root / "train2017.npy").unlink()
    with pytest.raises(OSError, match="Read-only"):  # each process decodes for itself
        loading.decode(SPEC, root)
    assert_loads_every_image_as_mmcv_does(root)


def test_a_damaged_file_that_cannot_be_replaced_is_not_trained_on(root, read_only):
    loading.decode(SPEC, root)
    blacken(root / "train2017.npy")
    read_only()
    with pytest.raises(UserError, match="delete it") as refused:
        loading.decode(SPEC, root)
    assert str(root / "train2017.npy") in str(refused.value)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_processes_that_decode_at_once_do_no_harm(root):
    shutil.copytree(root, root.with_name("alone"))
    loading.decode(SPEC, root.with_name("alone"))
    sys.stdout.flush()
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            code = 1
            try:
                loading.decode(SPEC, root)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    for split in embedded.SPLITS:
        name = f"{split}2017.npy"
        assert (root / name).read_bytes() == (root.with_name("alone") / name).read_bytes()
    assert {p.name for p in files(root)} == {p.name for p in files(root.with_name("alone"))}
