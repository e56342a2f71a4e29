"""A small committed store: Table 3 at the smoke profile, with detections and all that follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recorded import of

from analysis.library import Library, coco_results
from cli.main import main
from experiments import profiles
from experiments.matrix import plan
from experiments.tables import catalogue
from gfl.predictions import schema
from gfl.predictions.schema import DETECTION_COLUMNS, DETECTIONS, Predictions
from gfl.records.record import Store
from gfl.training import worker
from gfl.training.evaluate import coco_metrics

SMOKE = profiles.get("smoke")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded data are drawn, once for all of these tests."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, drawn: Path) -> None:
    """Tables 3 and 4 are all that is declared; the second has one of the first's runs."""
    monkeypatch.setattr(worker, "EMBEDDED", drawn)
    monkeypatch.setattr(
        catalogue, "TABLES", {n: catalogue.TABLES[n] for n in ("table-3", "table-4")}
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """Results with four runs whose boxes are the objects', moved at random."""
    results = tmp_path_factory.mktemp("strict") / "results"
    store, rng = Store(results.parent / "runs", results), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "EMBEDDED", drawn)
        library = Library(store)
        truth, dataset = library.ground_truth(SMOKE), library.dataset(SMOKE)
    (results.parent / "truth.json").write_text(json.dumps(dataset))
    for run in plan([catalogue.find("table-3")], SMOKE, [0]):
        columns = {name: np.zeros(len(truth), kind) for name, kind in DETECTION_COLUMNS.items()}
        columns["image_id"][:], columns["category_id"][:] = truth.image_id, truth.category_id
        columns["score"][:] = rng.random(len(truth))
        for side in ("x1", "y1", "x2", "y2"):
            columns[side][:] = truth[side] + rng.normal(0, 1.5, len(truth))
        folder = store.reference_predictions("smoke", run.id)
        folder.mkdir(parents=True)
        checksums = schema.write(Predictions(run.id, None, None, columns), folder)
        table = schema.read(folder / DETECTIONS, checksums[DETECTIONS])
        metrics = coco_metrics(results.parent / "truth.json", coco_results(table.to_pandas()))
        record = of(run, commit="c0ffee" * 6, predictions=checksums, metrics=metrics, fps=31.25)
        record.save(store.reference_path("smoke", run.id))
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    for name in ("3", "4"):
        assert main(["table", name, "--profile", "smoke", *folders]) == 0
    return results


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of the results, for a test to alter."""
    shutil.copytree(made, tmp_path / "results")
    return Store(tmp_path / "runs", tmp_path / "results", mend=False)


@pytest.fixture
def alter() -> Callable[..., None]:
    """Replaces the first place of some text in a file, which must have it."""

    def altered(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return altered
