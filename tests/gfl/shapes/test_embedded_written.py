"""Writing the embedded data set: all of it or nothing, and nothing over what is somebody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfl.errors import UserError
from gfl.shapes.embedded import ShapesSpec, is_complete, write

SMALL = ShapesSpec(image_size=64, train=7, val=4, seed=3)


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
    (tmp_path / ".shapes.partial" / "train2017").mkdir(parents=True)  # as a killed process would
    write(SMALL, root, workers=1)
    assert is_complete(SMALL, root)
    assert not (tmp_path / ".shapes.partial").exists()


@pytest.mark.parametrize("victim", ["train2017/000000000003.png", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_damage_is_noticed_and_repaired(tmp_path: Path, victim: str, harm: str) -> None:
    root = tmp_path / "shapes"
    write(SMALL, root, workers=1)
    before = files(root)
    path = root / victim
    path.write_bytes(path.read_bytes()[:-9]) if harm == "cut" else path.unlink()
    assert not is_complete(SMALL, root)
    if (victim, harm) == ("manifest.json", "removed"):
        with pytest.raises(UserError, match="something other than shapes"):
            write(SMALL, root, workers=1)
    else:
        write(SMALL, root, workers=1)
        assert files(root) == before


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
