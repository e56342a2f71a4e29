"""A profile whose ground truth is not in the repository: what its matches give, and their check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import of

from analysis.audit import records, strict, truth
from analysis.audit.findings import Finding
from analysis.errors.runs import gather as gather_errors
from analysis.errors.tables import markdown, tidy_csv
from analysis.library import KEPT, Library, MissingRuns, coco_results
from analysis.measures import errors
from analysis.measures.evidence import Evidence, gather
from analysis.pool import quiet
from analysis.stats.resampling import of_detections
from cli.main import main
from experiments.matrix import plan
from experiments.profiles import COCO, SMOKE
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.predictions import matches, schema
from gfl.predictions.matches import Evaluated
from gfl.predictions.schema import DETECTION_COLUMNS, DETECTIONS, MATCHES, OBJECTS, Predictions
from gfl.records.record import RunRecord, Store, run_id
from gfl.shapes import embedded
from gfl.training import worker
from gfl.training.evaluate import coco_metrics

SEEDS = (0, 1)
QFL = Experiment(quality="joint")
ID = run_id(QFL, COCO, 0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, drawn: Path) -> None:
    """Every table, since claims are tried."""
    monkeypatch.setattr(worker, "EMBEDDED", drawn)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of COCO: drawn images with ids as COCO's, a crowd, and an image of nothing."""
    assert SMOKE.dataset is not None
    drawn = [embedded.render(SMOKE.dataset, "val", index)[1] for index in range(SMOKE.dataset.val)]
    dataset = embedded.coco(SMOKE.dataset, "val", drawn)
    for image in dataset["images"]:
        image["id"] = 1000 - 7 * image["id"]
    for one in dataset["annotations"]:
        one["image_id"] = 1000 - 7 * one["image_id"]
    dataset["annotations"][3]["iscrowd"] = 1
    dataset["images"].append({"id": 5000, "file_name": "5000.jpg", "width": 64, "height": 64})
    folder = tmp_path_factory.mktemp("coco")
    path = truth.ground_truth(folder)
    path.parent.mkdir()
    path.write_text(json.dumps(dataset))
    return folder


@pytest.fixture(scope="session")
def dataset(data: Path) -> dict[str, Any]:
    return json.loads(truth.ground_truth(data).read_text())


def found_in(dataset: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The columns of detections: the objects, moved, some of another class, and some twice."""
    objects = [one for one in dataset["annotations"] for _ in range(rng.integers(1, 3))]
    columns = {n: np.zeros(len(objects), kind) for n, kind in DETECTION_COLUMNS.items()}
    classes = [category["id"] for category in dataset["categories"]]
    columns["score"][:] = rng.random(len(objects))
    for row, one in enumerate(objects):
        x, y, width, height = one["bbox"]
        wrong = rng.random() < 0.2
        columns["image_id"][row] = one["image_id"]
        columns["category_id"][row] = rng.choice(classes) if wrong else one["category_id"]
        for side, value in zip(
            ("x1", "y1", "x2", "y2"), (x, y, x + width, y + height), strict=True
        ):
            columns[side][row] = value + rng.normal(0, 2)
    columns["x2"] = np.maximum(columns["x1"], columns["x2"])
    columns["y2"] = np.maximum(columns["y1"], columns["y2"])
    return columns


@pytest.fixture(scope="session")
def coco_made(
    tmp_path_factory: pytest.TempPathFactory, dataset: dict[str, Any], drawn: Path
) -> Path:
    """Results of Table 3 at the coco profile, two seeds; of seed 0 with detections too."""
    results = tmp_path_factory.mktemp("matches") / "results"
    store, rng = Store(results.parent / "runs", results), np.random.default_rng(0)
    for run in plan([catalogue.find("table-3")], COCO, SEEDS):
        folder = store.reference_predictions("coco", run.id)
        folder.mkdir(parents=True)
        named = schema.write(Predictions(run.id, None, None, found_in(dataset, rng)), folder)
        table = schema.read(folder / DETECTIONS, named[DETECTIONS])
        detections = coco_results(table.to_pandas())
        named |= matches.write(Evaluated.of(dataset, detections), folder)
        if run.seed:
            (folder / DETECTIONS).unlink()
        metrics = coco_metrics(dataset, detections)
        record = of(run, commit="c0ffee" * 6, predictions=named, metrics=metrics, fps=31.25)
        record.save(store.reference_path("coco", run.id))
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "EMBEDDED", drawn)
        patch.setattr("analysis.pool.usable_cores", lambda: 1)  # processes take seconds to start
        for command in (["table", "all"], ["errors"]):
            assert main([*command, "--profile", "coco", "--gpus", "8", *folders]) == 0
        assert main(["audit", *folders]) == 0
    return results


@pytest.fixture
def at_coco(coco_made: Path, tmp_path: Path) -> Store:
    """A copy of the results, for a test to alter."""
    shutil.copytree(coco_made, tmp_path / "coco-results")
    return Store(tmp_path / "runs", tmp_path / "coco-results", mend=False)


def evidence(store: Store) -> list[Finding]:
    return list(records.evidence(COCO, strict.as_it_stands(store), quiet))


def held(store: Store, data: Path | None, tell: Callable[[str], None] = quiet) -> list[Finding]:
    return list(strict.held(strict.as_it_stands(store), tell, data))


def again(store: Store, change: Callable[[Evaluated], Evaluated]) -> None:
    """Alter a run's matches, and make the checksums in its record anew."""
    folder, path = store.reference_predictions("coco", ID), store.reference_path("coco", ID)
    named = matches.write(change(matches.read(folder)), folder)
    record = RunRecord.load(path)
    replace(record, predictions={**record.predictions, **named}).save(path)


def one_unmatched(stored: Evaluated) -> Evaluated:
    """The first detection that is found at an IoU of 0.5 is not."""
    match = stored.judged.detections.match.copy()
    match[0, 0, np.flatnonzero(match[0, 0] == 1)[0]] = 0
    found = replace(stored.judged.detections, match=match)
    return replace(stored, judged=replace(stored.judged, detections=found))


def test_the_strict_audit_needs_no_ground_truth(at_coco: Store, capsys) -> None:
    folders = ["--runs", str(at_coco.runs), "--results", str(at_coco.results)]
    assert main(["audit", "--strict", *folders]) == 0
    out, err = capsys.readouterr()
    assert "nothing differs" in out
    assert "coco: 8 of 8 runs evaluated again" in err
    assert "coco: metrics are of stored matches, which were not held to the ground truth" in err


def test_with_the_ground_truth_matches_are_held_to_it(
    at_coco: Store, data: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.pool.usable_cores", lambda: 1)  # several are tried above
    folders = ["--runs", str(at_coco.runs), "--results", str(at_coco.results)]
    assert main(["audit", "--strict", "--data", str(data), *folders]) == 0
    _, err = capsys.readouterr()
    path = truth.ground_truth(data)
    assert f"coco: the objects of 8 runs held to {path}; matches made anew of the 4 runs" in err


def test_a_folder_that_is_not_coco_is_one_line(at_coco: Store, tmp_path: Path, capsys) -> None:
    folders = ["--runs", str(at_coco.runs), "--results", str(at_coco.results)]
    for strictly in (["--strict"], []):
        assert main(["audit", *strictly, "--data", str(tmp_path), *folders]) == 2
        (line,) = capsys.readouterr().err.splitlines()  # at once
        assert "instances_val2017.json" in line


def test_an_altered_match_is_found(at_coco: Store, data: Path) -> None:
    """By its checksum; with that made anew by the metrics; and by the ground truth."""
    record = RunRecord.load(at_coco.reference_path("coco", ID))
    again(at_coco, one_unmatched)
    places = {finding.place.split(" (")[0] for finding in evidence(at_coco)}
    assert {"metrics, AP", "metrics, AP50", "metrics, AR100"} <= places
    assert "metrics, AP75" not in places
    (finding,) = held(at_coco, data)
    assert finding.file.name == MATCHES
    assert finding.place.endswith("found_all")
    assert int(finding.expected) - int(finding.committed) == 1  # bit 0: an IoU of 0.5
    assert finding.by == "the ground truth"
    record.save(at_coco.reference_path("coco", ID))  # with the checksum of what was there
    assert "its SHA-256" in [finding.place for finding in evidence(at_coco)]


def test_an_altered_kind_of_error_is_found(at_coco: Store, data: Path) -> None:
    """No metric of the record depends on it, but the errors that are committed do."""

    def altered(stored: Evaluated) -> Evaluated:
        kinds = dict(stored.kinds)
        state = kinds[0.5].state.copy()
        state[np.flatnonzero(state == 0)[0]] = 1
        return replace(stored, kinds=kinds | {0.5: replace(kinds[0.5], state=state)})

    again(at_coco, altered)
    assert evidence(at_coco) == []
    found = list(strict.artefacts.errors(COCO, strict.as_it_stands(at_coco)))
    assert {finding.file.name for finding in found} == {"coco.md", "coco.csv"}
    (finding,) = held(at_coco, data)
    assert finding.place.endswith("error_50")


def test_other_objects_are_found(at_coco: Store, data: Path) -> None:
    def altered(stored: Evaluated) -> Evaluated:
        objects = stored.judged.objects.copy()
        image, column = (axis[0] for axis in np.nonzero(objects[0]))
        objects[0, image, column] += 1
        return replace(stored, judged=replace(stored.judged, objects=objects))

    again(at_coco, altered)
    assert "metrics, AP" in {finding.place.split(" (")[0] for finding in evidence(at_coco)}
    found = held(at_coco, data)
    assert [finding.file.name for finding in found] == [OBJECTS]
    assert found[0].place.endswith("all")


def test_another_ground_truth_is_named(
    at_coco: Store, dataset: dict[str, Any], tmp_path: Path
) -> None:
    """Of boxes that moved the digest speaks, also where no detection is here to see it."""
    moved = json.loads(json.dumps(dataset))
    moved["annotations"][0]["bbox"][0] += 0.25
    path = truth.ground_truth(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps(moved))
    places = [finding.place for finding in held(at_coco, tmp_path)]
    assert places.count("the ground truth's digest") == 8


@pytest.mark.parametrize("name", KEPT)
def test_a_run_without_its_matches_is_named(at_coco: Store, name: str) -> None:
    (at_coco.reference_predictions("coco", ID) / name).unlink()
    found = evidence(at_coco)
    assert found[0].file.name == name
    assert found[0].expected == f"the {name.removesuffix('.parquet')} of its run"


def without_matches(store: Store) -> None:
    """Records of before matches were kept: detections alone."""
    for id in store.reference_ids("coco"):
        path = store.reference_path("coco", id)
        record = RunRecord.load(path)
        kept = {n: sha for n, sha in record.predictions.items() if n == DETECTIONS}
        replace(record, predictions=kept).save(path)
        for name in KEPT:
            (store.reference_predictions("coco", id) / name).unlink()


def test_replicates_are_those_of_detections_and_ground_truth(
    at_coco: Store, dataset: dict[str, Any]
) -> None:
    library = Library(at_coco)
    stored = gather(library, COCO)
    assert stored.seeds([QFL, Experiment()]) == list(SEEDS)
    np.testing.assert_array_equal(stored.images, sorted(i["id"] for i in dataset["images"]))
    assert stored.weights.shape == (1000, len(dataset["images"]))
    for experiment in stored.records:
        made = of_detections(dataset, library.detections(experiment, COCO, 0))
        kept = stored.metrics[experiment][0]
        np.testing.assert_array_equal(kept.resampled, made.resampled)
        np.testing.assert_array_equal(kept.metrics, made.metrics)
        assert kept.draw == made.draw
        metrics = stored.record(experiment, 0).metrics.values()
        np.testing.assert_allclose(
            kept.metrics, [np.nan if v is None else v for v in metrics], rtol=0, atol=1e-10
        )


def test_errors_and_what_claims_measure_on_them_are_the_same_either_way(
    at_coco: Store, dataset: dict[str, Any]
) -> None:
    library, held_to = Library(at_coco), Library(at_coco, truth=dataset)

    def of_seed_0(evidence: Evidence) -> Evidence:
        records = {e: {0: runs[0]} for e, runs in evidence.records.items()}
        return replace(evidence, records=records)

    background = errors.lost_to("background")
    stored = [background(gather(library, COCO), e, 0) for e in (QFL, Experiment())]
    kept = gather_errors(COCO, library)
    without_matches(at_coco)
    evidence = of_seed_0(gather(held_to, COCO))
    made = [background(evidence, e, 0) for e in (QFL, Experiment())]
    for one, other in zip(stored, made, strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    again = gather_errors(COCO, held_to)
    for one, other in zip(kept.lines, again.lines, strict=True):
        for iou, by_seed in other.found.items():
            assert by_seed == {0: one.found[iou][0]}
    assert "Not COCO" not in markdown(kept, COCO)
    assert len(tidy_csv(kept).splitlines()) > len(kept.lines)


def test_what_is_missing_is_one_line(at_coco: Store) -> None:
    """Without matches and ground truth: what to type; of the images: that they are not here."""
    without_matches(at_coco)
    library = Library(at_coco)
    evidence = gather(library, COCO)
    assert evidence.metrics == {}
    with pytest.raises(MissingRuns, match=f"{ID} has no matches .*: gfl predict"):
        evidence.seeds([QFL])
    with pytest.raises(MissingRuns, match="has no matches"):
        library.matches(QFL, COCO)


def test_detections_that_a_record_lacks_are_missed(at_coco: Store) -> None:
    path = at_coco.reference_path("coco", ID)
    record = RunRecord.load(path)
    kept = {n: sha for n, sha in record.predictions.items() if n in KEPT}
    replace(record, predictions=kept).save(path)
    with pytest.raises(MissingRuns, match="has no detections"):
        Library(at_coco).detections(QFL, COCO)
    assert len(Library(at_coco).matches(QFL, COCO).images) == 17
