import json
import subprocess
from pathlib import Path

import pytest

from analysis.figures import FIGURES
from analysis.figures.command import parts
from cli.main import main
from gfl.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def smoke_options(tmp_path):
    return ["--profile", "smoke", "--runs", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results")]  # fmt: skip


@pytest.mark.parametrize("name", ["5a", "fig5a", "figure-5a", "Figure 5(a)", "FIG 5a"])
def test_a_figure_by_any_of_its_names(name):
    assert [figure.name for figure in parts(name)] == ["5a"]


def test_a_number_means_all_its_parts_and_all_means_all():
    assert [figure.name for figure in parts("5")] == ["5a", "5b", "5c"]
    assert parts("all") == list(FIGURES.values())
    with pytest.raises(UserError, match="unknown figure '5d'"):
        parts("5d")


def test_files_of_a_figure_and_a_name_of_its_own_for_this_machines(tmp_path, smoke_options, capsys):
    assert main(["figure", "5a", *smoke_options]) == 0
    assert main(["figure", "5a", "--store", "local", *smoke_options]) == 0
    folder = tmp_path / "results/figures/smoke"
    kinds = ("csv", "pdf", "png")
    reference, local = ([f"fig5a{mark}.{kind}" for kind in kinds] for mark in ("", ".local"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(reference + local)
    assert "fig5a.png" in capsys.readouterr().out
    for name in local:
        path = f"results/figures/smoke/{name}"
        assert subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", path]).returncode == 0
    assert subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", reference[0]]).returncode == 1


def test_missing_runs_are_one_line_and_nothing_is_drawn(tmp_path, smoke_options, capsys):
    assert main(["figure", "8", *smoke_options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "gfl run atss-joint-general-dfl-s0-" in told
    assert not list(tmp_path.rglob("fig8*"))


def test_all_draws_what_it_can_and_names_the_rest(tmp_path, smoke_options, capsys, monkeypatch):
    some = {name: FIGURES[name] for name in ("5a", "8", "6", "9")}
    monkeypatch.setattr("analysis.figures.command.FIGURES", some)
    assert main(["figure", "all", *smoke_options]) == 2
    drawn = {path.stem for path in (tmp_path / "results/figures/smoke").glob("*.png")}
    assert drawn == {"fig5a", "fig6"}
    eight, nine = capsys.readouterr().err.splitlines()
    assert eight.startswith("gfl: figure 8 is not drawn: atss-joint-general-dfl-s0-")
    assert nine.startswith("gfl: figure 9 is not drawn: atss-joint-general-dfl-s0-")


def test_annotations_alone(tmp_path, smoke_options, capsys):
    path = tmp_path / "boxes.json"
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [80, 90, 200, 160],
           "area": 32000, "iscrowd": 0}  # fmt: skip
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
                "categories": [{"id": 1, "name": "a"}],
                "annotations": [one],
            }
        )
    )
    given = ["--annotations", str(path), *smoke_options]
    assert main(["figure", "all", *given]) == 0
    folder = tmp_path / "results/figures/annotations"
    found = {p.name for p in folder.glob("*.csv")}
    assert found == {f"fig{n}-boxes.local.csv" for n, f in FIGURES.items() if f.draw_files}
    assert main(["figure", "9", *given, "--out", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine/fig9.pdf").is_file()
    capsys.readouterr()
    path.write_text("{}")
    assert main(["figure", "9", *given]) == 2
    told = capsys.readouterr().err
    assert told == f"gfl: {path} is not COCO: has no list of images, annotations, categories\n"
