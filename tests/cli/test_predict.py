"""``predict``: which runs it takes, what it writes, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import of

from cli.main import main
from experiments import checkout, profiles
from experiments.committed_predictions import SHOWN, committed
from experiments.matrix import Run, plan
from experiments.promote import promote
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.predictions import schema
from gfl.predictions.schema import DETECTIONS, LOCATIONS, MATCHES, OBJECTS, Predictions
from gfl.records.record import Request, RunRecord, Store
from gfl.training import worker

SMOKE, COCO = profiles.get("smoke"), profiles.get("coco")
TABLE3 = catalogue.find("table-3")
COMMIT = "c0ffee" * 6

pytestmark = pytest.mark.usefixtures("smoke_counts")


def some_predictions(id: str, score: float = 0.5) -> Predictions:
    detections = {n: np.ones(3, kind) for n, kind in schema.DETECTION_COLUMNS.items()}
    detections["score"] = np.full(3, score, np.float32)
    locations = {n: np.ones(3, kind) for n, kind in schema.LOCATION_COLUMNS.items()}
    return Predictions(id, None, None, detections, locations)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A machine that has finished two rows of Table 3, and stopped the third."""
    monkeypatch.setattr(checkout, "has_commit", lambda commit: commit == COMMIT)
    store = Store(tmp_path / "runs", tmp_path / "results")
    for run in plan([TABLE3], SMOKE, [0]):
        if run.rows[0] in ("table-3/none", "table-3/QFL"):
            record = of(run, commit=COMMIT)
            record.save(store.run_dir("smoke", run.id) / "record.json")
        if run.rows[0] == "table-3/DFL":
            record = of(run, commit=COMMIT, state="capped", max_iters=2)
            record.save(store.run_dir("smoke", run.id, 2) / "record.json")
    return store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The runs whose predictions were made, by a stand-in for a detector."""
    asked: list[Request] = []

    def predict(request: Request, run_dir: Path, tell: Any, *, device: str) -> dict[str, str]:
        asked.append(request)
        tell("phase", name="predicting", done=16, of=16)
        return schema.write(some_predictions(request.id), run_dir)

    monkeypatch.setattr(worker, "predict", predict)
    return asked


@pytest.fixture
def call(store: Store) -> Callable[..., int]:
    def call(*words: str) -> int:
        folders = ["--runs", str(store.runs), "--results", str(store.results)]
        return main([*words, "--profile", "smoke", *folders])

    return call


def kind(line: str) -> str:
    """Of a line about a run that is promoted: what happened."""
    return line.partition(":")[0]


def run_of(row: str) -> Run:
    (run,) = [run for run in plan([TABLE3], SMOKE, [0]) if f"table-3/{row}" in run.rows]
    return run


def local(store: Store, row: str) -> RunRecord:
    record = store.local("smoke", run_of(row).id)
    assert record is not None
    return record


def test_the_files_are_written_and_their_checksums_recorded(store, asked, call, capfd) -> None:
    before = local(store, "QFL")
    assert call("predict", "table-3/QFL") == 0
    record = local(store, "QFL")
    assert record == replace(before, predictions=record.predictions)
    assert set(record.predictions) == {DETECTIONS, LOCATIONS}
    run_dir = store.run_dir("smoke", record.id)
    assert schema.verified(run_dir, record.predictions)
    out = capfd.readouterr().out
    assert out.startswith("written: ")
    assert str(run_dir / LOCATIONS) in out
    assert asked[0].experiment == run_of("QFL").experiment


def test_again_says_that_they_are_there_and_makes_nothing(store, asked, call, capfd) -> None:
    id = run_of("QFL").id
    assert call("predict", id, "table-3/none") == 0
    capfd.readouterr()
    assert call("predict", "table-3/none", id, id) == 0
    out = capfd.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in out] == ["already there, verified"] * 2
    assert len(asked) == 2


def test_damaged_predictions_are_made_anew(store, asked, call, capfd) -> None:
    assert call("predict", "table-3/QFL") == 0
    record = local(store, "QFL")
    (store.run_dir("smoke", record.id) / LOCATIONS).write_bytes(b"PAR1")
    assert call("predict", "table-3/QFL") == 0
    assert "missing or damaged; predicting again" in capfd.readouterr().err
    assert local(store, "QFL") == record
    assert schema.verified(store.run_dir("smoke", record.id), record.predictions)


def test_a_run_that_has_its_matches_alone_is_predicted_for(store, asked, call, capfd) -> None:
    """As on COCO, where a run leaves them by itself."""
    assert call("predict", "table-3/QFL") == 0
    record, run_dir = local(store, "QFL"), store.run_dir("smoke", run_of("QFL").id)
    (run_dir / DETECTIONS).rename(run_dir / MATCHES)
    alone = {MATCHES: record.predictions[DETECTIONS]}
    replace(record, predictions=alone).save(run_dir / "record.json")
    capfd.readouterr()
    assert call("predict", "table-3/QFL") == 0
    assert len(asked) == 2
    assert "damaged" not in capfd.readouterr().err
    assert DETECTIONS in local(store, "QFL").predictions


def test_what_belongs_to_the_reference() -> None:
    """Without the images matches decide; less of the rest is kept."""
    drawn, other = run_of("QFL").experiment, Experiment(host="retinanet", quality="joint")
    assert committed(drawn, SMOKE, 0) == (DETECTIONS, LOCATIONS)
    assert committed(other, SMOKE, 0) == committed(drawn, SMOKE, 3) == (DETECTIONS,)
    assert committed(drawn, COCO, 0) == (MATCHES, OBJECTS, DETECTIONS, LOCATIONS)
    assert committed(drawn, COCO, 1) == (MATCHES, OBJECTS, LOCATIONS)
    assert committed(other, COCO, 0) == committed(drawn, COCO, 2) == (MATCHES, OBJECTS)
    assert committed(run_of("both").experiment, COCO, 0) == (MATCHES, OBJECTS, LOCATIONS)
    guided = Experiment(quality="iou-guided")
    assert committed(guided, COCO, 0) == (MATCHES, OBJECTS, LOCATIONS)
    assert committed(guided, SMOKE, 0) == (DETECTIONS, LOCATIONS)
    gaussian = Experiment(boxes="gaussian")
    assert committed(gaussian, COCO, 0) == (MATCHES, OBJECTS)
    assert committed(gaussian, SMOKE, 0) == (DETECTIONS, LOCATIONS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no run named"),
        (["table-3/both"], "not finished locally: atss-joint-general-dfl-s0-"),
        (["table-3/DFL"], "not finished locally: "),  # only a capped run of it
        (["table-3"], "trains the first"),
        (["table-3/QFL", "--seeds", "1"], "not finished locally: atss-joint-dirac-s1-"),
        (["table-3/QFL", "--seeds", "100"], "seed 100 is for tuning"),
        (["table-3/QQL"], "did you mean 'QFL'?"),
        (["atss-joint-dirac-s0-00000000"], "no run 'atss-joint-dirac-s0-00000000'"),
        (["table-3/QFL", "--data", "coco"], "--data is for --profile coco"),
        (["table-3/QFL", "--device", "gpu"], 'invalid value "gpu" for --device'),
    ],
)
def test_what_cannot_be_done_is_one_line(
    asked, call, capfd, words: list[str], message: str
) -> None:
    assert call("predict", *words) == 2
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert asked == []


def test_a_run_without_its_weights_is_one_line(
    store, call, capfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not faked: the embedded data are drawn, and the folder has a record and nothing else."""
    assert call("predict", "table-3/QFL") == 2
    err = capfd.readouterr().err.splitlines()
    assert err[-1].startswith("gfl: ")
    assert "is missing" in err[-1]
    assert local(store, "QFL").predictions == {}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    """Figures draw the locations of the row QFL; its run's id."""
    assert LOCATIONS in committed(run_of("QFL").experiment, SMOKE, 0)
    assert LOCATIONS not in committed(run_of("QFL").experiment, SMOKE, 3)
    return run_of("QFL").id


def test_promotion_takes_detections_and_what_else_figures_draw(
    store, asked, call, shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (run_of("QFL").experiment,))
    assert call("predict", "table-3/QFL", "table-3/none") == 0
    outcome = promote([TABLE3], SMOKE, store)
    assert [kind(line) for line in outcome.promoted].count("copied") == 2
    reference = store.reference("smoke", shown)
    assert reference == local(store, "QFL")
    folder = store.reference_predictions("smoke", shown)
    assert folder == store.results / "predictions/smoke" / shown
    assert schema.verified(folder, reference.predictions)
    assert {path.name for path in folder.iterdir()} == set(reference.predictions)
    none = run_of("none").id
    bare = store.reference("smoke", none)
    assert bare == local(store, "none")  # with the checksum of its locations, which stay away
    assert committed(run_of("none").experiment, SMOKE, 0) == (DETECTIONS,)
    (path,) = store.reference_predictions("smoke", none).iterdir()
    assert path.name == DETECTIONS
    assert schema.verified(path.parent, {DETECTIONS: bare.predictions[DETECTIONS]})
    again = promote([TABLE3], SMOKE, store).promoted
    assert set(map(kind, again)) == {"unchanged"}


def test_a_reference_that_lacks_only_predictions_gets_them(store, asked, call, shown) -> None:
    promote([TABLE3], SMOKE, store)
    assert call("predict", "table-3/QFL") == 0
    lines = promote([TABLE3], SMOKE, store).promoted
    assert sorted(map(kind, lines)) == [
        "copied", "now with predictions", "unchanged", "without predictions",
    ]  # fmt: skip
    (hint,) = [line for line in lines if kind(line) == "without predictions"]
    assert f"gfl predict {run_of('none').id} --profile smoke" in hint
    assert store.reference("smoke", shown) == local(store, "QFL")
    # A machine that has the record without them takes nothing away.
    bare = replace(local(store, "QFL"), predictions={})
    bare.save(store.run_dir("smoke", shown) / "record.json")
    kinds = [kind(line) for line in promote([TABLE3], SMOKE, store).promoted]
    assert sorted(kinds) == ["unchanged", "unchanged", "without predictions"]
    reference = store.reference("smoke", shown)
    assert reference is not None
    assert schema.verified(store.reference_predictions("smoke", shown), reference.predictions)


def test_predictions_of_another_run_do_not_stay(store, asked, call, shown) -> None:
    assert call("predict", "table-3/QFL") == 0
    promote([TABLE3], SMOKE, store)
    other = replace(local(store, "QFL"), predictions={}, fps=1.0)
    other.save(store.run_dir("smoke", shown) / "record.json")
    kinds = {kind(line) for line in promote([TABLE3], SMOKE, store).promoted}
    assert kinds == {"removed", "replaced", "unchanged", "without predictions"}
    assert store.reference("smoke", shown) == other
    assert not store.reference_predictions("smoke", shown).exists()


def test_a_file_that_figures_no_longer_draw_goes_and_the_others_stay(
    store, asked, call, shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", (run_of("QFL").experiment,))
    assert call("predict", "table-3/QFL") == 0
    promote([TABLE3], SMOKE, store)
    monkeypatch.setattr("experiments.committed_predictions.SHOWN", ())
    again = replace(local(store, "QFL"), fps=1.0)
    again.save(store.run_dir("smoke", shown) / "record.json")
    promote([TABLE3], SMOKE, store)
    assert store.reference("smoke", shown) == again
    folder = store.reference_predictions("smoke", shown)
    assert [path.name for path in folder.iterdir()] == [DETECTIONS]
    assert schema.verified(folder, {DETECTIONS: again.predictions[DETECTIONS]})


def test_damaged_predictions_are_not_promoted(store, asked, call, shown) -> None:
    assert call("predict", "table-3/QFL") == 0
    path = store.run_dir("smoke", shown) / DETECTIONS
    path.write_bytes(path.read_bytes()[:-1])
    outcome = promote([TABLE3], SMOKE, store)
    assert len(outcome.refused) == 1
    assert f"gfl predict {shown} --profile smoke" in outcome.refused[0]
    assert store.reference("smoke", shown) is None
    assert not store.reference_predictions("smoke", shown).exists()


def test_what_figures_draw_is_declared_in_the_tables() -> None:
    declared = {run.id for run in plan(catalogue.TABLES.values(), SMOKE, [0])}
    from gfl.records.record import run_id

    assert {run_id(experiment, SMOKE, 0) for experiment in SHOWN} <= declared
    assert len(set(SHOWN)) == len(SHOWN) == 10


def test_the_command_line_needs_neither_torch_nor_pyarrow() -> None:
    import subprocess

    code = (
        "import sys, cli.training, cli.predict, gfl.records.record; "
        "print([m for m in ('torch', 'pyarrow', 'mmdet', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
