"""Writing the embedded data set: all of it or nothing, and nothing over what is somebody's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from experiments.profiles import LAPTOP, SMOKE
from gfl.errors import UserError
from gfl.files import sha256
from gfl.shapes import embedded
from gfl.shapes.embedded import SPLITS, ShapesSpec, export, is_complete, render, write
from gfl.training.worker import embedded_root

SMALL = ShapesSpec(image_size=64, train=7, val=4, seed=3)
# Of the smoke profile's data, when they were PNG files that mmcv decoded.
PIXELS = {
    "train": "98007681f2be12d248419844cc4946a6d32d61673888d16d476ec7b8632f21c3",
    "val": "e80757eb1e4f4ff441fe4b02225ef68bfe49292278f117ae43ce23446d003ca1",
}
LAPTOP_PIXELS = {
    "train": "4a15ca2c39bdf43c0f48ae2de11497b43c29796fb43a38e9a12b344dbd4e6ccd",
    "val": "7e5790d7812b7392bc69a6d9a2f815c3be0da2450030e58e3f5af0260d6c8962",
}
LABELS = {
    "train": "ef4a76c5f3414eb2cf1b60506b5dfd02c051586f55b0661c16db5c5b9bff03e6",
    "val": "6d08905fede837e088f649f21ce1a1afcedd3b46abee30a7aa90e92480b4d764",
}


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_number_of_workers_does_not_show(tmp_path: Path) -> None:
    spec = ShapesSpec(image_size=64, train=55, val=2)
    write(spec, tmp_path / "one", workers=1)
    write(spec, tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(SMALL, tmp_path / "s", progress=lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(0, 11), (7, 11), (11, 11)]


def test_an_interrupted_write_leaves_nothing_and_the_next_one_completes(tmp_path: Path) -> None:
    root = tmp_path / "shapes"

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(SMALL, root, progress=interrupt, workers=1)
    assert not is_complete(SMALL, root)
    assert [p.name for p in tmp_path.iterdir()] in ([], [".shapes.lock"])
    (tmp_path / ".shapes.partial" / "annotations").mkdir(parents=True)  # as a killed process would
    write(SMALL, root, workers=1)
    assert is_complete(SMALL, root)
    assert not (tmp_path / ".shapes.partial").exists()


def black(path: Path) -> None:
    """As after a crash: the file has its length, and what was not yet on disk is zero."""
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes(len(content) - 200))


HARM: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "black": black,
}


@pytest.mark.parametrize(
    "victim", ["train2017.npy", "annotations/instances_val2017.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_damage_is_noticed_told_and_repaired(
    tmp_path: Path, victim: str, harm: Callable[[Path], object]
) -> None:
    root = tmp_path / "shapes"
    write(SMALL, root, workers=1)
    before = files(root)
    told: list[str] = []
    harm(root / victim)
    if not (root / victim).exists() and victim == "manifest.json":
        with pytest.raises(UserError, match="something other than shapes"):
            write(SMALL, root, workers=1)
        return
    write(SMALL, root, workers=1, report=told.append)
    assert files(root) == before
    (line,) = told
    assert line.startswith(f"{root}: damaged")
    write(SMALL, root, workers=1, report=told.append)
    assert told == [line]


@pytest.mark.parametrize("harm", ["cut", "removed", "empty"])
def test_missing_pixels_are_noticed_without_reading_them(tmp_path: Path, harm: str) -> None:
    write(SMALL, tmp_path / "s", workers=1)
    assert is_complete(SMALL, tmp_path / "s")
    HARM[harm](tmp_path / "s" / "val2017.npy")
    assert not is_complete(SMALL, tmp_path / "s")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take the right to write, from root too."""

    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    return lambda: monkeypatch.setattr(embedded, "FileLock", refuse)


def test_a_read_only_folder_is_read_but_not_once_it_is_damaged(
    tmp_path: Path, read_only: Callable[[], None]
) -> None:
    root = tmp_path / "s"
    write(SMALL, root, workers=1)
    read_only()
    write(SMALL, root, workers=1)
    black(root / "train2017.npy")
    with pytest.raises(UserError, match=r"cannot write the data set to .*: Read-only file system"):
        write(SMALL, root, workers=1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_processes_that_write_at_once_do_no_harm(tmp_path: Path) -> None:
    sys.stdout.flush()
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            code = 1
            try:
                write(SMALL, tmp_path / "s", workers=1)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    write(SMALL, tmp_path / "alone", workers=1)
    assert files(tmp_path / "s") == files(tmp_path / "alone")


# The same pixels


def test_every_image_is_the_one_that_was_trained_on(tmp_path: Path) -> None:
    """Both splits of the smoke profile, to the byte, as they were decoded from image files."""
    spec = SMOKE.dataset
    assert spec is not None
    write(spec, tmp_path / "s", workers=1)
    for split, digest in PIXELS.items():
        assert sha256(embedded.pixels_path(tmp_path / "s", split)) == digest
        assert sha256(tmp_path / f"s/annotations/instances_{split}2017.json") == LABELS[split]


def test_a_set_drawn_here_for_the_laptop_profile_is_the_one_that_was_trained_on() -> None:
    """All 9,000 images, as they were decoded from image files."""
    spec = LAPTOP.dataset
    assert spec is not None
    root = embedded_root(spec)
    if not is_complete(spec, root):
        pytest.skip("the laptop profile's data set is not drawn here")
    for split, digest in LAPTOP_PIXELS.items():
        assert sha256(embedded.pixels_path(root, split)) == digest


def test_the_array_is_what_was_drawn_blue_first(tmp_path: Path) -> None:
    write(SMALL, tmp_path / "s", workers=1)
    for split in SPLITS:
        pixels = np.load(embedded.pixels_path(tmp_path / "s", split))
        for index in range(SMALL.count(split)):
            image, _ = render(SMALL, split, index)
            assert np.array_equal(pixels[index, :, :, ::-1], image)


# As image files


def test_exported_files_lie_where_coco_has_them_and_open_as_drawn(tmp_path: Path) -> None:
    root, folder = tmp_path / "s", tmp_path / "new/coco"
    write(SMALL, root, workers=1)
    seen: list[tuple[int, int]] = []
    export(root, folder, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 11) for done in range(1, 12)]
    assert sorted(files(folder)) == sorted(
        [f"annotations/instances_{split}2017.json" for split in SPLITS]
        + [f"train2017/{i:012d}.png" for i in range(1, 8)]
        + [f"val2017/{i:012d}.png" for i in range(1, 5)]
    )
    for split in SPLITS:
        annotations = f"annotations/instances_{split}2017.json"
        assert (folder / annotations).read_bytes() == (root / annotations).read_bytes()
        for index in range(SMALL.count(split)):
            path = folder / f"{split}2017" / f"{index + 1:012d}.png"
            image, _ = render(SMALL, split, index)
            assert np.array_equal(np.asarray(Image.open(path)), image)
            assert np.array_equal(cv2.imread(str(path))[:, :, ::-1], image)  # pyright: ignore


def test_nothing_is_exported_over_what_is_somebodys(tmp_path: Path) -> None:
    write(SMALL, tmp_path / "s", workers=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="mine is not empty: choose another folder"):
        export(tmp_path / "s", tmp_path / "mine")
    assert files(tmp_path / "mine") == {"thesis.tex": b"mine"}
    with pytest.raises(UserError, match=r"cannot write to .*thesis.tex/coco"):
        export(tmp_path / "s", tmp_path / "mine/thesis.tex/coco")


def test_another_spec_is_not_this_one(tmp_path: Path) -> None:
    write(SMALL, tmp_path / "s", workers=1)
    other = ShapesSpec(image_size=64, train=7, val=4, seed=4)
    assert not is_complete(other, tmp_path / "s")
    write(other, tmp_path / "s", workers=1)
    assert is_complete(other, tmp_path / "s")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="something other than shapes"):
        write(SMALL, tmp_path, workers=1)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the data set to .*file.shapes"):
        write(SMALL, tmp_path / "file" / "shapes", workers=1)
