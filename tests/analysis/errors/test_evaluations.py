"""Others' evaluated weights: errors, intervals and figures read them, and nothing else does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.errors.evaluations import COCO, Evaluations
from analysis.library import MissingRuns, coco_results
from analysis.stats.resampling import evaluate
from cli.main import main
from experiments.named import GFL
from gfl import escape
from gfl.data.annotations import read
from gfl.data.coco import annotation_file
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Experiment, System
from gfl.predictions import schema
from gfl.predictions.evaluation import FILE, FOLDER, KIND, Evaluation, data_digest, name_of
from gfl.predictions.matching import match
from gfl.predictions.schema import DETECTION_COLUMNS, LOCATION_COLUMNS, Predictions
from gfl.records.record import METRICS, RecordError, RunRecord, Store, run_id
from gfl.training.evaluate import coco_metrics

IMAGES, CATEGORIES = 6, (3, 7)
SHA = "ab" * 32


def columns(kinds: dict[str, str], rows: int, values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(values.get(name, np.zeros(rows)), kind) for name, kind in kinds.items()
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A small COCO folder: three boxes of each category on every image."""
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    rng = np.random.default_rng(0)
    images = [
        {"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 200}
        for i in range(1, IMAGES + 1)
    ]
    annotations: list[dict[str, Any]] = []
    for image in images:
        (root / "val2017" / image["file_name"]).write_bytes(bytes([image["id"]]))
        for category in CATEGORIES * 3:
            x, y, w, h = (float(v) for v in rng.uniform((0, 0, 20, 20), (180, 80, 120, 120)))
            box = {"category_id": category, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **box})
    content = {"images": images, "annotations": annotations,
               "categories": [{"id": c, "name": f"class {c}"} for c in CATEGORIES]}  # fmt: skip
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def images(root: Path) -> list[dict[str, Any]]:
    return read(annotation_file(root, "val2017"))["images"]


def evaluated(
    store: Store, root: Path, experiment: AnyExperiment, weights: str = SHA
) -> Evaluation:
    """Store an evaluation of detections near the true boxes, as ``experiments evaluate`` does."""
    truth = json.loads((root / "annotations/instances_val2017.json").read_text())
    boxes = truth["annotations"]
    rng = np.random.default_rng(1)
    xywh = np.array([one["bbox"] for one in boxes]) + rng.normal(0, 5, (len(boxes), 4))
    found = {
        "image_id": [one["image_id"] for one in boxes],
        "category_id": [one["category_id"] for one in boxes],
        "score": rng.uniform(size=len(boxes)).astype(np.float32),
        "x1": xywh[:, 0], "y1": xywh[:, 1],
        "x2": xywh[:, 0] + xywh[:, 2], "y2": xywh[:, 1] + xywh[:, 3],
    }  # fmt: skip
    detections = columns(DETECTION_COLUMNS, len(boxes), found)
    places = columns(LOCATION_COLUMNS, 50, {
        "image_id": np.ones(50), "positive": np.ones(50), "sampled": np.ones(50),
        "iou": rng.uniform(size=50), "centerness": rng.uniform(size=50),
    })  # fmt: skip
    annotations, data = data_digest(root, images(root))
    name = name_of(experiment, weights, data)
    folder = store.runs / FOLDER / name
    folder.mkdir(parents=True)
    made = Evaluation(
        name=name, row="table-3/both", run=run_id(experiment, COCO, 0),
        experiment=asdict(experiment), file="gfl.pth", weights=weights, data_root=str(root),
        annotations=annotations, data=data, images=IMAGES,
        metrics=coco_metrics(root / "annotations/instances_val2017.json",
                             schema.results(detections)),
        predictions=schema.write(Predictions(name, None, None, detections, places), folder),
        commit=None, dirty=True, versions={}, hardware={}, seconds=1.0, started="2020",
    )  # fmt: skip
    made.save(folder)
    return made


def call(store: Store, *words: str) -> int:
    return main([*words, "--runs", str(store.runs), "--results", str(store.results)])


def test_it_is_read_as_it_was_written(store: Store, coco: Path) -> None:
    made = evaluated(store, coco, GFL)
    folder = store.runs / FOLDER / made.name
    assert Evaluation.load(folder) == made
    library = Evaluations.of(store, [made.name])
    assert Evaluations.of(store, [str(folder)]) == library
    frame = library.detections(GFL, COCO)
    truth = coco / "annotations/instances_val2017.json"
    assert coco_metrics(truth, coco_results(frame)) == made.metrics
    assert library.record(GFL, COCO).message == KIND
    assert library.id(GFL, COCO) == made.name
    assert made.name.startswith("others-")
    with pytest.raises(MissingRuns, match="none of the weights named is of"):
        library.detections(Experiment(), COCO)
    with pytest.raises(MissingRuns):
        library.detections(GFL, COCO, seed=1)


def test_errors_and_intervals_are_those_of_its_detections(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    assert call(store, "errors", "--weights", made.name) == 0
    out = capsys.readouterr().out
    assert "Third-party weights: no record of this project." in out
    truth = json.loads((coco / "annotations/instances_val2017.json").read_text())
    results = Evaluations.of(store, [made.name]).results(GFL, COCO)
    (metrics,) = evaluate(match(truth, results), np.ones((1, IMAGES), int))
    for metric, value in zip(METRICS, metrics, strict=True):
        shown = [
            line.split("|")[2:4] for line in out.splitlines() if line.startswith(f"| {metric} |")
        ]
        if np.isnan(value):
            assert shown == []
            continue
        ((number, interval),) = shown
        assert number.strip() == f"{value:.1f}" == f"{made.metrics[metric]:.1f}"
        low, high = map(float, interval.split(" to "))
        assert 0 <= low <= float(number) <= high <= 100
    assert f"| table-3/both ({made.name}) | 1 | {made.metrics['AP50']:.2f} |" in out
    folder = store.runs / FOLDER / made.name
    assert (folder / "errors.md").read_text() + "\n" in out
    assert not store.results.exists()


def test_errors_are_also_those_of_a_system_of_table_4(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, System("cascade-rcnn", "r101"))
    assert call(store, "errors", "--weights", made.name) == 0
    shown = f"| table-3/both ({made.name}) | 1 | {made.metrics['AP50']:.2f} |"
    assert shown in capsys.readouterr().out


def test_a_row_that_is_no_more_is_named(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    path = store.runs / FOLDER / made.name / FILE
    content = json.loads(path.read_text())
    content["experiment"]["boxes"] = "round"
    made = replace(made, experiment=content["experiment"])
    made.save(path.parent)
    assert call(store, "errors", "--weights", made.name) == 2
    said = f"gfl: {made.name}: evaluated as a row that this code does not have\n"
    assert capsys.readouterr().err == said


def test_annotations_are_read_as_they_were_evaluated(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    """An id of 0 and no iscrowd: pycocotools' metrics are those of the repaired file."""
    path = coco / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        one["id"] -= 1
        del one["iscrowd"]
    for image in content["images"]:
        image["filename"] = image.pop("file_name")
    path.write_text(json.dumps(content))
    made = evaluated(store, coco, GFL)
    assert call(store, "errors", "--weights", made.name) == 0
    assert f"| AP50 | {made.metrics['AP50']:.1f} |" in capsys.readouterr().out


def test_the_name_of_the_weights_is_no_markdown(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    replace(made, file="a|b`c` [x](y).pth").save(store.runs / FOLDER / made.name)
    assert call(store, "errors", "--weights", made.name) == 0
    assert escape.markdown("a|b`c` [x](y).pth") in capsys.readouterr().out


def test_a_figure_is_drawn_of_it_and_names_it(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    assert call(store, "figure", "9", "--weights", made.name) == 0
    numbers = (store.runs / FOLDER / "figures/fig9.csv").read_text()
    frame = Evaluations.of(store, [made.name]).locations(GFL, COCO).frame
    assert f"{frame.iou.mean():.6g}" in numbers
    assert not store.results.exists()
    assert call(store, "figure", "2b", "--weights", made.name) == 2
    assert "none of the weights named is of" in capsys.readouterr().err


def test_no_table_shows_it_and_no_promotion_takes_it(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    folders = ["--runs", str(store.runs), "--results", str(store.results), "--profile", "coco"]
    for words in (["promote"], ["promote", "table-3"]):
        assert main([*words, *folders, "--gpus", "8"]) == 2
        assert "nothing to promote: no coco run is recorded" in capsys.readouterr().err
    for name in (made.name, str(store.runs / FOLDER / made.name)):
        assert main(["promote", name, *folders]) == 2
        assert capsys.readouterr().err == f"gfl: {name}: {KIND}\n"
    assert main(["table", "table-3", "--store", "local", *folders, "--gpus", "8"]) == 0
    out, _ = capsys.readouterr()
    assert f"{made.metrics['AP']:.1f}" not in out
    assert store.local_ids("coco") == store.local_ids(FOLDER) == []
    # Nor where it is put in a run's place by hand.
    run = store.run_dir("coco", made.run)
    shutil.copytree(store.runs / FOLDER / made.name, run)
    shutil.copy(run / FILE, run / "record.json")
    with pytest.raises(RecordError):
        RunRecord.load(run / "record.json")
    assert main(["promote", *folders, "--gpus", "8"]) == 2
    assert "not a usable record" in capsys.readouterr().err


def refusal(store: Store, *names: str) -> str:
    with pytest.raises(UserError) as caught:
        Evaluations.of(store, names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_there_or_damaged_is_refused(store: Store, coco: Path) -> None:
    assert "no weights are evaluated in" in refusal(store, "x")
    made = evaluated(store, coco, GFL)
    assert f"did you mean '{made.name}'?" in refusal(store, made.name[:-1])
    assert "evaluated weights lie in" in refusal(store, str(coco))
    twice = evaluated(store, coco, GFL, weights="cd" * 32)
    assert "are both of table-3/both: name one" in refusal(store, made.name, twice.name)
    path = store.runs / FOLDER / made.name / FILE
    whole = path.read_text()
    path.write_text(whole.replace(made.file, "another.pth"))
    assert "damaged" in refusal(store, made.name)
    path.write_text(whole[:50])
    assert "not an evaluation of weights" in refusal(store, made.name)
    path.unlink()
    assert "no evaluation of weights is there" in refusal(store, made.name)


def test_other_boxes_than_it_was_evaluated_against_are_refused(
    store: Store, coco: Path, capsys: pytest.CaptureFixture
) -> None:
    made = evaluated(store, coco, GFL)
    moved = coco.with_name("moved")
    coco.rename(moved)
    assert call(store, "errors", "--weights", made.name) == 2
    assert "--annotations names it where it is now" in capsys.readouterr().err
    path = moved / "annotations/instances_val2017.json"
    assert call(store, "errors", "--weights", made.name, "--annotations", str(path)) == 0
    path.write_text(path.read_text() + " ")
    assert call(store, "errors", "--weights", made.name, "--annotations", str(path)) == 2
    assert "is not what these weights were evaluated against" in capsys.readouterr().err


def test_two_are_compared_only_on_one_data_set(store: Store, coco: Path) -> None:
    made, other = evaluated(store, coco, GFL), evaluated(store, coco, Experiment())
    assert len(Evaluations.of(store, [made.name, other.name]).by_run) == 2
    replace(other, data="0" * 64).save(store.runs / FOLDER / other.name)
    assert "evaluated on different data" in refusal(store, made.name, other.name)


def test_the_data_are_the_annotations_and_the_images(coco: Path) -> None:
    before = data_digest(coco, images(coco))
    (coco / "val2017/3.jpg").write_bytes(b"another")
    after = data_digest(coco, images(coco))
    assert after[0] == before[0]
    assert after[1] != before[1]
