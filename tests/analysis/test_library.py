"""What figures read: checked, and if it is not there, named with the command that makes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recorded import of

from analysis import library
from analysis.library import Library, MissingRuns, coco_results
from experiments import checkout, profiles
from experiments.committed_predictions import SHOWN, committed
from experiments.matrix import plan
from experiments.named import GFL
from experiments.promote import promote
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.predictions import schema
from gfl.predictions.schema import (
    DETECTION_COLUMNS,
    DETECTIONS,
    LOCATION_COLUMNS,
    LOCATIONS,
    MATCHES,
    Predictions,
)
from gfl.records.record import RunRecord, Store, run_id
from gfl.shapes import embedded
from gfl.training import worker

pytestmark = pytest.mark.usefixtures("smoke_counts")

SMOKE = profiles.get("smoke")
JOINT, RETINA = Experiment(quality="joint"), Experiment(host="retinanet", quality="none")


def local(store: Store, source: str = "local") -> Library:
    return Library(store, source)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Finished runs: joint, GFL and RetinaNet with predictions, ATSS without."""
    monkeypatch.setattr(checkout, "has_commit", lambda commit: commit == "c0ffee" * 6)
    store = Store(tmp_path / "runs", tmp_path / "results")
    for run in plan(catalogue.TABLES.values(), SMOKE, [0]):
        if run.experiment not in (JOINT, GFL, RETINA, Experiment()):
            continue
        folder = store.run_dir("smoke", run.id)
        folder.mkdir(parents=True)
        detections = {name: np.ones(2, kind) for name, kind in DETECTION_COLUMNS.items()}
        locations = {name: np.ones(3, kind) for name, kind in LOCATION_COLUMNS.items()}
        locations["quality_score"] = np.full(3, np.nan, np.float32)
        p = np.zeros((3, 4, 17), np.uint8)
        p[:, :, 3], p[0, 1, 5] = 200, 50
        made = Predictions(run.id, 16, 1.0, detections, locations, p)
        if run.experiment == JOINT:
            made = replace(made, n=None, delta=None, p=None)
        if run.experiment == RETINA:
            made = Predictions(run.id, None, None, detections)
        found = {} if run.experiment == Experiment() else schema.write(made, folder)
        of(run, commit="c0ffee" * 6, predictions=found).save(folder / "record.json")
    return store


def test_predictions_are_read_from_either_place(store: Store) -> None:
    assert promote(catalogue.TABLES.values(), SMOKE, store).refused == ()
    for source in ("local", "reference"):
        place = local(store, source)
        assert place.record(JOINT, SMOKE).id == run_id(JOINT, SMOKE, 0) == place.id(JOINT, SMOKE)
        assert len(place.records(SMOKE)) == 4
        found = place.detections(GFL, SMOKE)
        assert list(found.columns) == list(DETECTION_COLUMNS)
        assert len(found) == 2
        locations = place.locations(GFL, SMOKE)
        assert list(locations.frame.columns) == list(LOCATION_COLUMNS)
        assert locations.frame["quality_score"].isna().all()
        assert (locations.n, locations.delta) == (16, 1.0)
        assert locations.p is not None
        assert locations.p.shape == (3, 4, 17)
        np.testing.assert_allclose(locations.p.sum(-1), 1)
        assert locations.p[0, 1, 5] == 0.2
        plain = place.locations(JOINT, SMOKE)
        assert (plain.n, plain.delta, plain.p) == (None, None, None)
        assert len(place.detections(RETINA, SMOKE)) == 2


def test_locations_may_stay_out_of_the_reference(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no figure draws them, though the record has their checksum."""
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (JOINT,))
    promote(catalogue.TABLES.values(), SMOKE, store)
    reference = local(store, "reference")
    assert len(reference.detections(GFL, SMOKE)) == 2
    assert LOCATIONS in reference.record(GFL, SMOKE).predictions
    assert len(local(store).locations(GFL, SMOKE).frame) == 3
    with pytest.raises(MissingRuns, match="has no predictions in the reference"):
        reference.locations(GFL, SMOKE)
    assert len(reference.need([GFL, RETINA], SMOKE, files=[DETECTIONS])) == 2
    (store.reference_predictions("smoke", run_id(GFL, SMOKE, 0)) / DETECTIONS).unlink()
    with pytest.raises(MissingRuns, match="has no detections in the reference: gfl predict"):
        reference.detections(GFL, SMOKE)


def test_locations_need_no_detections_beside_them(store: Store) -> None:
    """Of data that are not embedded the reference has detections of fewer runs than locations."""
    folder = store.run_dir("smoke", run_id(GFL, SMOKE, 0))
    (folder / DETECTIONS).unlink()
    assert len(local(store).locations(GFL, SMOKE).frame) == 3


def test_a_run_that_has_its_matches_alone_was_not_predicted_for(store: Store) -> None:
    path = store.run_dir("smoke", run_id(GFL, SMOKE, 0)) / "record.json"
    record = RunRecord.load(path)
    (path.parent / MATCHES).write_bytes(b"")
    replace(record, predictions={MATCHES: "0" * 64}).save(path)
    with pytest.raises(MissingRuns, match="has no predictions locally: gfl predict"):
        local(store).locations(GFL, SMOKE)
    with pytest.raises(MissingRuns, match="has no predictions locally"):
        local(store).need([GFL], SMOKE)


def test_detections_are_evaluated_as_the_run_was(store: Store) -> None:
    """Width and height are float32 differences: those of float64 would not be the same."""
    frame = local(store).detections(JOINT, SMOKE).astype({"x1": "float32"})
    frame["x1"], frame["x2"] = np.float32([0.1, 1.0]), np.float32([16777.3, 3.0])
    first, second = coco_results(frame)
    assert first["bbox"][2] == float(np.float32(16777.3) - np.float32(0.1))
    assert first["bbox"][2] != float(np.float32(16777.3)) - float(np.float32(0.1))
    assert second == {"image_id": 1, "category_id": 1, "bbox": [1.0, 1.0, 2.0, 0.0], "score": 1.0}
    assert len(local(store).results(JOINT, SMOKE)) == 2


@pytest.mark.parametrize(("name", "most"), [("laptop", 80e6), ("photos", 60e6)])
def test_the_committed_predictions_are_whole_and_small(name: str, most: float) -> None:
    results, profile = ROOT / "results", profiles.get(name)
    store = Store(ROOT / "runs", results, mend=False)
    folders = [path for path in results.glob(f"predictions/{name}/*") if path.is_dir()]
    other = committed(Experiment(quality="joint", beta=3.0), profile, 0)
    measured = {run_id(e, profile, s): committed(e, profile, s) for e in SHOWN for s in range(5)}
    for folder in folders:
        record = store.reference(name, folder.name)
        assert record is not None, f"{folder}: its run has no reference record"
        names = {path.name for path in folder.iterdir()}
        wanted = measured.get(folder.name, other)
        assert names == set(wanted) & record.predictions.keys()
        assert names >= set(wanted) - {LOCATIONS}  # which other hosts have none of
        assert schema.verified(folder, {name: record.predictions[name] for name in names})
        assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    assert {folder.name for folder in folders} == set(store.reference_ids(name))
    files = (path for path in results.glob(f"predictions/{name}/*/*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < most


def test_a_damaged_file_is_one_line_that_names_it(store: Store) -> None:
    path = store.run_dir("smoke", run_id(JOINT, SMOKE, 0)) / LOCATIONS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not match the checksum") as raised:
        local(store).locations(JOINT, SMOKE)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(local(store).detections(JOINT, SMOKE)) == 2


def test_a_missing_run_is_named_with_its_command(store: Store) -> None:
    id = run_id(JOINT, SMOKE, 3)
    with pytest.raises(MissingRuns) as raised:
        local(store).detections(JOINT, SMOKE, seed=3)
    assert raised.value.runs == (id,)
    assert str(raised.value) == (f"{id} is not finished locally: gfl run {id} --profile smoke")
    with pytest.raises(MissingRuns, match="not among the reference records"):
        local(store, "reference").record(JOINT, SMOKE)
    with pytest.raises(MissingRuns, match=r"--profile coco --gpus 8 --data DIR$"):
        local(store).record(JOINT, profiles.COCO)


def test_a_run_without_predictions_is_named_with_its_command(store: Store) -> None:
    id = run_id(Experiment(), SMOKE, 0)
    assert local(store).record(Experiment(), SMOKE).id == id
    with pytest.raises(MissingRuns, match=f"gfl predict {id} --profile smoke"):
        local(store).locations(Experiment(), SMOKE)
    path = store.run_dir("smoke", run_id(JOINT, SMOKE, 0)) / DETECTIONS
    path.unlink()
    with pytest.raises(MissingRuns) as raised:
        local(store).need([JOINT, GFL, Experiment(), Experiment(quality="none")], SMOKE)
    assert len(raised.value.runs) == 3
    assert "\n" not in str(raised.value)


def test_a_failed_run_is_missing(store: Store) -> None:
    record = local(store).record(JOINT, SMOKE)
    replace(record, state="failed").save(store.run_dir("smoke", record.id) / "record.json")
    with pytest.raises(MissingRuns):
        local(store).record(JOINT, SMOKE)
    assert len(local(store).records(SMOKE)) == 3


def test_another_host_has_no_locations(store: Store) -> None:
    with pytest.raises(UserError, match=r"has no locations.parquet: only FCOS and ATSS"):
        local(store).locations(RETINA, SMOKE)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the embedded data would be drawn; nothing is remembered of other tests."""
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path / "data")
    library._ground_truth.cache_clear()
    yield tmp_path / "data"
    library._ground_truth.cache_clear()


def test_ground_truth_is_that_of_the_drawn_data_set(store: Store, drawn: Path) -> None:
    place, spec = local(store), SMOKE.dataset
    assert spec is not None
    truth = place.ground_truth(SMOKE)
    files = [path for path in drawn.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".json"]  # kept, and no image drawn
    embedded.write(spec, worker.embedded_root(spec), workers=1)
    path = worker.embedded_root(spec) / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    assert place.dataset(SMOKE) == content
    written = content["annotations"]
    assert len(truth) == len(written)
    for row, one in zip(truth.itertuples(), written, strict=True):
        assert (row.image_id, row.gt_id, row.category_id) == (
            one["image_id"], one["id"], one["category_id"],
        )  # fmt: skip
        x, y, width, height = one["bbox"]
        assert (row.x1, row.y1, row.x2, row.y2) == (x, y, x + width, y + height)
        for side, known in one["sides"].items():
            assert getattr(row, f"kind_{side}") == known["kind"]
            assert json.loads(getattr(row, f"distribution_{side}")) == known["distribution"]
    truth.loc[:, "x1"] = -1.0  # a figure that writes into it changes no other
    assert (place.ground_truth(SMOKE)["x1"] >= 0).all()


def test_kept_annotations_that_are_damaged_are_made_anew(store: Store, drawn: Path) -> None:
    first = local(store).ground_truth(SMOKE)
    (kept,) = (drawn / "cache").iterdir()
    for damage in (kept.read_text()[:-5], kept.read_text().replace("sharp", "blunt"), "{}"):
        kept.write_text(damage)
        library._ground_truth.cache_clear()
        pd.testing.assert_frame_equal(local(store).ground_truth(SMOKE), first)
    library._ground_truth.cache_clear()
    shutil.rmtree(drawn)
    drawn.write_text("a file where the folder would be")
    pd.testing.assert_frame_equal(local(store).ground_truth(SMOKE), first)


def test_images_are_drawn_again(store: Store) -> None:
    assert SMOKE.dataset is not None
    image = local(store).image(SMOKE, 3)
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(image, embedded.render(SMOKE.dataset, "val", 2)[0])
    image[:] = 0
    assert local(store).image(SMOKE, 3).any()
    for id in (0, 17):
        with pytest.raises(UserError, match=f"image {id}: smoke has 1 to 16"):
            local(store).image(SMOKE, id)


def test_coco_has_no_drawn_images(store: Store) -> None:
    place = local(store)
    for read in (place.ground_truth, place.dataset, lambda profile: place.image(profile, 1)):
        with pytest.raises(UserError, match="no embedded data"):
            read(profiles.get("coco"))
