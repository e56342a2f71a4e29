"""Figures at photos, of what runs leave: without the photographs, and on them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import photographed
import pytest
from coco_folder import SPEC
from coco_folder import write as write_coco
from PIL import Image

from analysis import photographs
from analysis.audit import artefacts
from analysis.claims.stored import as_json
from analysis.claims.verdicts import AtProfile, Verdicts
from analysis.figures import FIGURES, fig3, fig5, fig9
from analysis.figures.figure import photographed_name
from analysis.library import Library
from analysis.measures.best_positives import best_labelled, labels
from analysis.notebook import display
from analysis.photographs import NotInData
from analysis.report import html
from cli.main import main
from experiments import profiles
from experiments.named import GFL
from experiments.profiles import PHOTOS
from experiments.queue.worker import ROOT
from gfl.data import photos
from gfl.errors import UserError
from gfl.records.record import Store
from gfl.training import worker

ON_IMAGES = tuple(name for name, figure in FIGURES.items() if figure.on_images)


# Diagrams, which are the same at every profile: they need no run.
DIAGRAMS = ("1", "4", "5a", "5b", "6", "7", "simulation")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The reference's runs."""
    root = tmp_path_factory.mktemp("photos")
    made = Store(root / "runs", root / "results")
    photographed.fill(made)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographed.write_photographs(tmp_path_factory.mktemp("coco"))


@pytest.fixture(autouse=True)
def nothing_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have the photographs: the tests' must not be found to have them."""
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path / "data")


def call(store: Store, *words: str | Path) -> int:
    where = ["--profile", "photos", "--runs", store.runs, "--results", store.results]
    return main(list(map(str, [*words, *where])))


def csv_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_all_is_drawn_that_can_be_and_no_photograph_is_published(
    store: Store,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Figure 7 needs no run, but shows those of the profile.
    figures = {n: figure for n, figure in FIGURES.items() if n == "7" or n not in DIAGRAMS}
    monkeypatch.setattr("analysis.figures.command.FIGURES", figures)
    without, with_ = tmp_path / "without", tmp_path / "with"
    assert call(store, "figure", "all", "--out", without) == 0
    said = capsys.readouterr()
    last = said.out.splitlines()[-1]
    assert last.startswith("figures 2a, 3, 8 are drawn without the photographs, which are not here")
    (line,) = said.err.splitlines()
    assert line.startswith("gfl: figure ambiguity is not drawn: it needs the known distrib")
    names = {f"fig{name}.{kind}" for name in figures for kind in ("csv", "pdf", "png")}
    names -= {f"figambiguity.{kind}" for kind in ("csv", "pdf", "png")}
    assert {path.name for path in without.iterdir()} == names

    for name in ON_IMAGES:
        assert call(store, "figure", name, "--data", data, "--out", with_) == 0
    assert "without the photographs" not in capsys.readouterr().out
    seen = {f"fig{n}-photographs.local.{kind}" for n in ON_IMAGES for kind in ("pdf", "png")}
    published = {f"fig{n}.{kind}" for n in ON_IMAGES for kind in ("csv", "pdf", "png")}
    assert {path.name for path in with_.iterdir()} == seen | published
    for name in published:  # having the photographs changes nothing that is published
        assert (with_ / name).read_bytes() == (without / name).read_bytes()
    for n in ON_IMAGES:
        assert _shows(with_ / f"fig{n}-photographs.local.png")
        assert not _shows(with_ / f"fig{n}.png")


def _shows(path: Path) -> bool:
    """Whether a figure shows a photograph: many pixels of its colour, which JPEG keeps nearly."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool((np.abs(pixels - photographed.PIXEL).max(-1) <= 3).mean() > 0.02)


@pytest.mark.parametrize("stem", ["fig2a", "fig2a.local"])
def test_git_ignores_what_shows_photographs(stem: str) -> None:
    path = f"results/figures/photos/{photographed_name(stem)}.png"
    assert subprocess.run(["git", "-C", ROOT, "check-ignore", "-q", path]).returncode == 0


def test_the_reference_on_photographs_is_not_this_machines() -> None:
    assert photographed_name("fig3") != photographed_name("fig3.local")


def test_a_run_that_is_missing_is_a_failure_and_what_no_run_gives_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {name: figure for name, figure in FIGURES.items() if name not in DIAGRAMS}
    monkeypatch.setattr("analysis.figures.command.FIGURES", figures)
    empty = Store(tmp_path / "runs", tmp_path / "results")
    assert call(empty, "figure", "all") == 2
    lines = capsys.readouterr().err.splitlines()
    lacking = [line.split()[2] for line in lines]
    assert lacking == list(figures)
    assert all("gfl run" in line for line in lines if "ambiguity" not in line)
    for name in set(DIAGRAMS) - {"simulation"}:  # which takes seconds; test_figure draws it so
        assert FIGURES[name].drawn(Library(empty), PHOTOS).figure
    assert call(empty, "figure", "ambiguity") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_5c_is_of_the_stored_positives(store: Store, words_of) -> None:
    drawn = fig5.fig5c.drawn(Library(store), PHOTOS)
    objects = [gt for gt in photographed.OBJECTS if gt != photographed.UNMATCHED]
    bars = drawn.numbers[drawn.numbers.panel == "histogram"]
    assert bars.targets.sum() == 4 * 5 * len(objects)
    # Each object is 128 px wide when prepared: l + r is 16 strides, five times an object.
    targets = Library(store).locations(GFL, PHOTOS).frame.filter(like="target_").dropna()
    np.testing.assert_allclose(targets.target_left + targets.target_right, 16, rtol=2**-11)
    for start, count in zip(bars.from_strides, bars.targets, strict=True):
        assert count == ((targets >= start) & (targets < start + 0.25)).to_numpy().sum()
    said = " ".join(" ".join(words_of(drawn.figure)).split())
    assert "3 images, 6 objects (1 without a positive), 25 positives" in said
    assert drawn.runs == (Library(store).id(GFL, PHOTOS),)


def test_9_names_what_the_paper_prints_for_real_images(store: Store, words_of) -> None:
    said = " ".join(" ".join(words_of(fig9.fig9(Library(store), PHOTOS))).split())
    assert "mean .64 and std .18 of centerness, .84 and .14 of IoU" in said
    assert "25 positives of 3 validation images" in said


def test_labels_are_the_objects_in_pixels_of_the_prepared_photographs(store: Store) -> None:
    found = labels(Library(store).locations(GFL, PHOTOS).frame).set_index("gt_id")
    assert list(found.index) == [g for g in photographed.OBJECTS if g != photographed.UNMATCHED]
    for gt, row in found.iterrows():
        image, box = photographed.OBJECTS[gt]  # type: ignore[index]
        assert row.image_id == image
        expected = photographed.SCALE * np.array(box)
        np.testing.assert_allclose(
            row[["x1", "y1", "x2", "y2"]].to_numpy(float), expected, atol=0.1
        )
    best = best_labelled(Library(store), GFL, PHOTOS)
    assert not best.has_truth
    assert best.frame.score.tolist() == pytest.approx([0.8] * len(found), rel=2**-11)


def test_3_shows_nothing_that_nobody_knows(store: Store, words_of) -> None:
    drawn = fig3.fig3.drawn(Library(store), PHOTOS)
    assert not {"kind", "known"} & {*drawn.numbers.columns}
    said = " ".join(words_of(drawn.figure))
    for word in ("known", "sharp sides", "true gap"):
        assert word not in said
    assert "known" not in FIGURES["3"].caption_at(PHOTOS)
    assert "known" in FIGURES["3"].caption_at(profiles.LAPTOP)


def test_2as_numbers_have_the_patches_first(store: Store) -> None:
    numbers = FIGURES["2a"].drawn(Library(store), PHOTOS).numbers
    assert numbers.image_id.is_unique
    assert numbers.quality_score.is_monotonic_decreasing
    assert (numbers.true_iou < 0.1).all()
    assert len(numbers) == len(photographed.IMAGES)


def test_no_figure_has_text_over_text(store: Store, data: Path, defects_of) -> None:
    for name in (*ON_IMAGES, *(name for name, figure in FIGURES.items() if figure.draw_files)):
        drawn = FIGURES[name].drawn(Library(store, photographs=data), PHOTOS)
        assert defects_of(drawn.figure) == []
        assert drawn.photographed is None or defects_of(drawn.photographed) == []


def test_a_notebook_shows_no_photograph_and_says_what_cannot_be_drawn(
    store: Store, data: Path, tmp_path: Path
) -> None:
    library = Library(store, photographs=data)
    shown = display.show("2a", library, PHOTOS)
    assert shown.picture is not None
    (tmp_path / "shown.png").write_bytes(shown.picture)
    assert not _shows(tmp_path / "shown.png")
    assert shown.text.endswith(FIGURES["2a"].caption_at(PHOTOS))
    none = display.show("ambiguity", library, PHOTOS)
    assert none.picture is None
    assert "not drawn: it needs the known distribution" in none.text


def test_the_strict_audit_needs_no_photographs(
    store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.results / "figures" / "photos"
    figures = {name: FIGURES[name] for name in ("2a", "5c", "8", "ambiguity")}
    monkeypatch.setattr("analysis.figures.command.FIGURES", figures)
    monkeypatch.setattr("analysis.figures.FIGURES", figures)
    try:
        assert call(store, "figure", "all", "--data", data) == 0
        assert list(artefacts.figures(PHOTOS, store)) == []
        path = folder / "fig5c.csv"
        text = path.read_text()
        path.write_text(text.replace("histogram,0,", "histogram,0.5,", 1))
        assert path.read_text() != text
        assert {finding.file for finding in artefacts.figures(PHOTOS, store)} == {path}
    finally:
        for path in folder.glob("*"):
            path.unlink()


def test_errors_need_no_ground_truth(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store, "errors") == 0
    said = capsys.readouterr().out
    assert "Not COCO's protocol: person in 1000 photographs" in said
    assert "With one class, no error is one of classification" in said
    frame = pd.read_csv(store.results / "errors" / "photos.csv")
    wrong = frame[(frame.measure == "count") & frame.kind.isin(["classification", "both"])]
    assert len(wrong)
    assert (wrong.value == 0).all()


def test_the_report_says_why_and_without_what(store: Store, tmp_path: Path) -> None:
    ids = store.reference_ids("photos")
    sums = {id: json.loads(store.reference_path("photos", id).read_text())["sha256"] for id in ids}
    at = AtProfile(PHOTOS, sums, {}, {})
    (store.results / "claims.json").write_text(
        as_json(Verdicts("reference", (), (), {}, {"photos": at}))
    )
    folder = store.results / "figures" / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 40), "white").save(folder / "fig2a.png")
    Image.new("RGB", (80, 40), photographed.PIXEL).save(
        folder / f"{photographed_name('fig2a')}.png"
    )
    text = html(PHOTOS, store, local=False)
    (folder / f"{photographed_name('fig2a')}.png").unlink()
    assert text == html(PHOTOS, store, local=False)  # what this machine alone has is not in it
    assert "Drawn without the photographs, which their photographers license: " in text
    assert "make figure-2a PROFILE=photos DATA=/path/to/coco draws them" in text
    assert "Not drawn: it needs the known distribution of every side" in text
    assert "make figure-ambiguity" not in text
    assert "<code>make figure-2b PROFILE=photos</code>" in text
    assert "on photographs." in text
    assert "AP<sub>S</sub>, AP<sub>M</sub>, AP<sub>L</sub>" in text
    for untrue in ("embedded data, ", "embedded shapes", "drawn shapes", "128"):
        assert untrue not in text.split("<main")[1].split("</main>")[0]


def test_photographs_are_read_as_they_are_prepared(tmp_path: Path) -> None:
    profile = replace(PHOTOS, photos=SPEC)
    coco = write_coco(tmp_path / "coco")
    assert photographs.folder(profile, None) is None
    prepared = photos.write(SPEC, coco, worker.photos_root(SPEC))
    assert photographs.folder(profile, None) == prepared.root
    assert photographs.folder(profile, coco) == coco
    original, ready = (photographs.read(root, SPEC, 1) for root in (coco, prepared.root))
    stored = cv2.imread(str(prepared.root / "val2017/000000000001.jpg"))
    np.testing.assert_array_equal(ready, stored[..., ::-1])
    assert original.shape == ready.shape
    assert np.abs(original.astype(int) - ready).max() < 24  # JPEG's doing, of a smooth picture
    with pytest.raises(UserError, match=r"000000000099\.jpg: missing, or not an image"):
        photographs.read(coco, SPEC, 99)


def test_data_is_refused_where_it_is_no_use_or_has_no_photographs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(store, "figure", "2a", "--data", tmp_path) == 2
    assert f"{tmp_path / 'val2017'} is not a folder" in capsys.readouterr().err
    with pytest.raises(UserError, match="--data is for figures at --profile photos, not laptop"):
        photographs.folder(profiles.LAPTOP, tmp_path)
    assert call(store, "figure", "9", "--data", tmp_path, "--annotations", "x.json") == 2
    assert "--data is for figures of runs" in capsys.readouterr().err


def test_without_photographs_no_image_is_given(store: Store) -> None:
    library = Library(store)
    assert not library.has_images(PHOTOS)
    assert library.has_images(profiles.LAPTOP)
    with pytest.raises(NotInData, match="the photos profile has no embedded data"):
        library.image(PHOTOS, 139)
