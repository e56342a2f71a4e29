"""``gfl detect``: every picture of a folder is done, or named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it quietens it

# isort: split
import numpy as np
import pytest
from PIL import Image
from runs_made import make_run

from cli.detect import FLOOR, drawn_as
from cli.main import main
from experiments import profiles
from experiments.matrix import single
from experiments.profiles import SMOKE
from gfl import config
from gfl.experiment import Experiment
from gfl.pictures.detecting import SIDES
from gfl.shapes.embedded import CATEGORIES, ShapesSpec, render

GENERAL = Experiment(quality="joint", boxes="general", dfl=True)
CELL = "table-3/both"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, as a machine leaves it, that nobody trained."""
    folder = tmp_path_factory.mktemp("made") / "runs"
    for experiment in (GENERAL, Experiment(), Experiment(host="fcos", boxes="gaussian")):
        made = single(experiment.slug, SMOKE, [0])
        make_run(folder / "smoke" / made.id, experiment)
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three sound pictures, and files that are none."""
    folder = tmp_path / "album"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.jpg", "c.bmp")):
        pixels, _ = render(ShapesSpec(image_size=96, train=1, val=1), "val", index)
        Image.fromarray(pixels).save(folder / name)
    whole = (folder / "b.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not looked at")
    return folder


def call(runs: Path, *words: object) -> int:
    folders = ["--profile", "smoke", "--runs", runs, "--results", runs.parent / "results"]
    return main(["detect", *map(str, words), *map(str, folders)])


def objects(text: str) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_a_folder_is_done_and_what_cannot_be_is_named(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in album.iterdir()}
    assert call(runs, "--run", GENERAL.slug, album, album / "missing.jpg") == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    for line, name in zip(out.splitlines(), ("a", "b", "c"), strict=True):
        assert "found (" in line
        assert line.endswith(f"; drawn: {album / name}.boxes.png")
        with Image.open(album / f"{name}.boxes.png") as drawn:
            assert drawn.size == (7 * 96, 7 * 96)
    lines = err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["gfl"] * 4
    assert f"{album / 'empty.png'}: empty, 0 bytes" in lines[0]
    assert f"{album / 'truncated.jpg'}: damaged, cannot be decoded (" in lines[1]
    assert f"{album / 'missing.jpg'}: no such file" in lines[2]
    assert lines[3] == "gfl: 3 of 6 refused, the others are done"
    after = {path.name: path.read_bytes() for path in album.iterdir()}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{name}.boxes.png" for name in "abc"}


def test_a_second_time_the_drawn_ones_are_not_looked_at(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("truncated.jpg", "empty.png"):
        (album / name).unlink()
    assert call(runs, "--run", CELL, album) == 0
    first = capsys.readouterr().out
    assert call(runs, "--run", CELL, album) == 0
    assert capsys.readouterr() == (first, "")


def test_json_is_an_object_a_picture_and_nothing_else(
    runs: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out_dir = tmp_path / "new" / "drawn"
    words = ["--json", "--distributions", "--threshold", "0", "--out", out_dir]
    assert call(runs, "--run", GENERAL.slug, album, *words) == 2
    out, err = capsys.readouterr()
    found = {Path(one["picture"]).name: one for one in objects(out)}
    assert list(found) == ["a.png", "b.jpg", "c.bmp", "empty.png", "truncated.jpg"]
    assert found["empty.png"]["refused"].endswith("empty, 0 bytes")
    assert "detections" not in found["empty.png"]
    assert "2 of 5 refused" in err
    one = found["a.png"]
    assert (one["width"], one["height"]) == (96, 96)
    assert one["drawn"] == str(out_dir / "a.boxes.png")
    assert one["run"].startswith(GENERAL.slug)
    assert len(one["detections"]) > 10
    for detection in one["detections"]:
        assert detection["category"] in CATEGORIES
        assert 0 <= detection["score"] <= 1
        left, top, right, bottom = detection["box"]
        assert 0 <= left <= right <= 96
        assert 0 <= top <= bottom <= 96
        sides = detection["distributions"]
        assert sides["kind"] == "general"
        assert sides["bins"] == list(range(17))
        for side in SIDES:
            assert sum(sides[side]) == pytest.approx(1, abs=1e-4)
        mean = np.dot(sides["bins"], sides["right"])
        side = min(sides["location"][0] + mean * sides["stride"][0], 96)
        assert right == pytest.approx(side, abs=0.01)
    assert {path.name for path in out_dir.iterdir()} == {f"{name}.boxes.png" for name in "abc"}


def test_json_alone_writes_nothing(runs: Path, album: Path, capsys: pytest.CaptureFixture) -> None:
    before = sorted(album.iterdir())
    words = [album / "a.png", album / "b.jpg", "--json", "--distributions"]
    album.chmod(0o555)
    try:
        assert call(runs, "--run", CELL, *words) == 0
    finally:
        album.chmod(0o755)
    found = objects(capsys.readouterr().out)
    assert [len(one["detections"]) > 0 for one in found] == [True, True]
    assert all("drawn" not in one for one in found)
    assert sorted(album.iterdir()) == before


def test_predict_takes_no_pictures(runs: Path, album: Path, capsys: pytest.CaptureFixture) -> None:
    folders = ["--profile", "smoke", "--runs", str(runs), "--results", str(runs)]
    assert main(["predict", "--run", CELL, str(album / "a.png"), *folders]) == 2
    assert "unknown option '--run'" in capsys.readouterr().err


def test_distributions_are_drawn_for_the_best(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    heights = []
    for words in ((), ("--distributions", "--top", "1"), ("--distributions", "--top", "3")):
        assert call(runs, "--run", GENERAL.slug, album / "a.png", "--threshold", "0", *words) == 0
        with Image.open(album / "a.boxes.png") as drawn:
            heights.append(drawn.height)
    assert heights == sorted(set(heights))
    assert capsys.readouterr().err == ""


def test_a_gaussian_has_normals_and_a_dirac_says_it_has_none(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [album / "a.png", album / "b.jpg", "--distributions", "--json", "--threshold", "0.06"]
    assert call(runs, "--run", "table-2a/Gaussian/FCOS", *words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for one in objects(out):
        for detection in one["detections"]:
            assert detection["distributions"]["kind"] == "gaussian"
            assert detection["distributions"]["left"].keys() == {"mean", "sigma"}
    assert call(runs, "--run", "table-3/none", *words) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "one number per side (Dirac delta): there are no distributions to draw" in err
    found = [detection for one in objects(out) for detection in one["detections"]]
    assert all(detection["distributions"] is None for detection in found)


def test_a_run_is_named_by_id_cell_or_folder(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    id = single(GENERAL.slug, SMOKE, [0]).id
    for name in (id, CELL, runs / "smoke" / id):
        assert call(runs, "--run", name, album / "a.png", "--json") == 0
        (one,) = objects(capsys.readouterr().out)
        assert one["run"] == id
    # An id says which profile.
    folders = ["--runs", str(runs), "--results", str(runs)]
    assert main(["detect", "--run", id, str(album / "a.png"), *folders]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run", CELL), "no picture named"),
        (("--run", "/mistyped"), "no such file or folder: /mistyped"),
        (("--weights", "/mistyped.pth", "--as", CELL), "no such file: /mistyped.pth"),
        (("--run", "table-3/QFL", "a.png"), "has no trained weights here; it is trained by: "
         "gfl run atss-joint-dirac-s0-"),
        (("a.png", "--run", CELL, "--seeds", "3"), "-s3-"),
        (("a.png", "--run", CELL, "--seeds", "0", "1"), "one run detects, not 2"),
        (("--run", "table-3/QLF", "a.png"), "did you mean 'QFL'?"),
        (("--run", "table-3", "a.png"), "'table-3' is 4 runs; name one"),
        (("--run", CELL, "--threshold", "30", "a.png"), "'30': expected a score from 0 to 1"),
        (("--run", CELL, "--threshold", "nan", "a.png"), "'nan': expected a score from 0 to 1"),
        (("--run", CELL, "--top", "0", "a.png"), "--top '0': expected a whole number, 1 or more"),
        (("a.png",), "no model given: use --run RUN, or --weights FILE.pth --as ROW"),
        (("a.png", "--run", CELL, "--weights", "x.pth"), "--run and --weights: "),
        (("a.png", "--weights", "x.pth"), "--weights needs --as ROW"),
        (("a.png", "--as", "table-3/both"), "no weights named: --weights FILE.pth"),
        (("a.png", "--weights", "/x.pth", "--as", "table-3/both"), "no such file: /x.pth"),
        (("a.png", "--weights", "/x.pth", "--as", "table-4/GFL R-51"), "did you mean 'GFL R-50'?"),
        (("a.png", "--run", "/mistyped"), "no such file or folder: /mistyped"),
        (("a.png", "--run", "rnus/own/parts"), "no such file or folder: rnus/own/parts"),
        (("a.png", "--run", "tabel-3/both"), "unknown table 'tabel-3'; did you mean 'table-3'?"),
        (("a.png", "--run", "a\x1b[31m/b"), r"no such file or folder: a\x1b[31m/b"),
        (("a.png", "--run", "epoch_12.pth"), "no such file or folder: epoch_12.pth"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    runs: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(runs, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_nothing_found_says_of_what_score(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    """The score below which evaluation keeps nothing is more than a threshold of 0."""
    for threshold, least in (("1", "1"), ("0", "0.05")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gfl.pictures.detecting.detect", lambda *_: [])
            words = ("--run", CELL, album / "a.png", "--threshold", threshold)
            assert call(runs, *words) == 0
        assert f"nothing found of score {least} or more; drawn: " in capsys.readouterr().out
    assert config.build(GENERAL, SMOKE, 0)["model"]["test_cfg"]["score_thr"] == FLOOR
    ssd = config.build(Experiment(host="ssd512", quality="none"), profiles.get("coco"), 0)
    assert ssd["model"]["test_cfg"]["score_thr"] == 0.02


def test_a_path_that_is_no_run_is_told_from_one_that_is(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    id = single(GENERAL.slug, SMOKE, [0]).id
    run = runs / "smoke" / id
    others = tmp_path / "gfl.pth"
    others.write_bytes(b"")
    for name, said in {
        f"{run}x": f"no such file or folder: {run}x; did you mean {run}?",
        str(run / "final.pth"): f"is a file of a run; its folder is {run}",
        str(others): "not a run; third-party weights are named by --weights FILE --as ROW",
        str(tmp_path): "is a folder, but not a run's: it has no request.json",
    }.items():
        assert call(runs, "a.png", "--run", name) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert said in err
    # Of every command that names runs.
    for words in (["run"], ["config"], ["predict"], ["test-dev", "--profile", "coco"]):
        assert main([*words, f"{run}x"]) == 2
        assert capsys.readouterr().err == (
            f"gfl: no such file or folder: {run}x; did you mean {run}?\n"
        )
    assert main(["config", str(run)]) == 2
    assert "here name the run's id" in capsys.readouterr().err


def test_the_command_that_trains_it_is_one(
    runs: Path, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert call(runs, "--run", "table-3/QFL", "a.png") == 2
    command = capsys.readouterr().err.strip().rpartition("gfl ")[2].split()
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main([*command, "--dry-run", *folders]) == 0
    assert "atss-joint-dirac-s0-" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to_is_named_first(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(runs, "--run", CELL, album / "a.png", "--out", album / "b.jpg" / "x") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot write there" in err


def test_a_picture_whose_place_is_taken_by_a_folder_is_named(
    runs: Path, album: Path, capsys: pytest.CaptureFixture
) -> None:
    (album / "a.boxes.png").mkdir()
    assert call(runs, "--run", CELL, album / "a.png", album / "c.bmp") == 2
    out, err = capsys.readouterr()
    assert f"{album / 'a.boxes.png'}: cannot be written" in err
    assert "1 of 2 refused" in err
    assert "c.boxes.png" in out
    assert {path.name for path in album.glob(".*")} == set()


def test_no_input_is_drawn_over_and_no_two_share_a_place(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "sub/a.jpg", "A.PNG", "a.boxes.png", "a-2.jpg", "b.jpg"]
    files = [tmp_path / name for name in names]
    beside = [path.relative_to(tmp_path).as_posix() for path in drawn_as(files, None)]
    assert beside == [
        "a-2.boxes.png", "a-3.boxes.png", "sub/a.boxes.png", "A-4.boxes.png",
        "a.boxes.boxes.png", "a-2-2.boxes.png", "b.boxes.png",
    ]  # fmt: skip
    together = [path.name for path in drawn_as(files, tmp_path / "out")]
    assert len({name.casefold() for name in together}) == len(files)
    assert together[0] == "a.boxes.png"


def test_real_photographs(
    runs: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A few of COCO's, with a damaged one among them."""
    photographs = sorted((shared / "data/coco-tiny/val2017").glob("*.jpg"))[:4]
    for path in photographs:
        shutil.copy(path, tmp_path)
    (tmp_path / "0.jpg").write_bytes(photographs[0].read_bytes()[:5000])
    words = ["--json", "--threshold", "0.1", "--out", tmp_path / "out", "--distributions"]
    assert call(runs, "--run", CELL, tmp_path, *words) == 2
    out, err = capsys.readouterr()
    assert "0.jpg: damaged" in err
    found = objects(out)
    assert len(found) == 5
    for path, one in zip(photographs, found[1:], strict=True):
        with Image.open(path) as image, Image.open(one["drawn"]) as drawn:
            assert (one["width"], one["height"]) == image.size
            assert drawn.width >= image.width
