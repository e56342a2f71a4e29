"""A digit altered in a record, or in what it rests on, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.audit import artefacts, records, strict
from analysis.audit.findings import Finding
from analysis.pool import quiet
from experiments import profiles
from experiments.named import GFL
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.predictions.schema import DETECTIONS
from gfl.records.record import RunRecord, Store, run_id

SMOKE = profiles.get("smoke")
QFL = run_id(Experiment(quality="joint"), SMOKE, 0)
Alter = Callable[..., None]


def lines(found: list[Finding]) -> str:
    return "\n".join(finding.text for finding in found)


def evidence(store: Store) -> list[Finding]:
    return list(records.evidence(SMOKE, strict.as_it_stands(store), quiet))


def checksums(store: Store) -> list[Finding]:
    cells = records.standing_for(SMOKE, store)
    return list(records.checksums(store.results / "runs/smoke", cells))


def tables(store: Store) -> list[Finding]:
    return list(artefacts.tables(SMOKE, strict.as_it_stands(store)))


def last_digit(value: float) -> float:
    return float(np.nextafter(value, np.inf))


def test_what_was_written_is_right(store: Store) -> None:
    assert checksums(store) == evidence(store) == tables(store) == []
    assert strict.recorded(store) == [SMOKE]


def test_a_digit_of_a_record_is_found_with_the_cells_it_stands_for(store, alter: Alter) -> None:
    path = store.reference_path("smoke", QFL)
    ap = RunRecord.load(path).metrics["AP"]
    assert ap is not None
    alter(path, f'"AP": {ap!r}', f'"AP": {ap + 10!r}')
    (finding,) = checksums(store)
    assert finding.file == path
    assert finding.place == "the record (of table-3/QFL), sha256"
    (finding,) = evidence(store)
    assert (finding.file, finding.place) == (path, "metrics, AP (of table-3/QFL)")
    assert (finding.committed, finding.expected) == (repr(ap + 10), repr(ap))
    # Not as a missing record, which would be a row of dashes: the cells that it changes.
    found = {(finding.file.name, finding.place) for finding in tables(store)}
    assert ("table-3.md", "row 'QFL', reference, column AP") in found
    assert ("table-3.md", "row 'QFL', reference, column ΔAP") in found
    assert ("table-3.csv", "line 16 (table-3, QFL, AP, reference), column value") in found
    assert not any("AP50" in place for _, place in found)


def test_a_checksum_made_anew_hides_not_even_the_last_digit(store: Store) -> None:
    path = store.reference_path("smoke", QFL)
    record = RunRecord.load(path)
    changed = last_digit(record.metrics["ARL"] or 0.0)
    replace(record, metrics={**record.metrics, "ARL": changed}).save(path)
    assert checksums(store) == []
    (finding,) = evidence(store)
    assert (finding.file, finding.place) == (path, "metrics, ARL (of table-3/QFL)")
    assert finding.committed == repr(changed)


def test_the_last_evaluation_is_held_to_the_detections_too(store: Store) -> None:
    path = store.reference_path("smoke", QFL)
    record = RunRecord.load(path)
    last = {"epoch": SMOKE.schedule.epochs, **record.metrics}
    replace(record, evals=[{"epoch": 1, "AP": 0.5}, last]).save(path)
    assert evidence(store) == []
    replace(record, evals=[last | {"AP75": 12.5}]).save(path)
    (finding,) = evidence(store)
    assert finding.place == "evals, epoch 2, AP75 (of table-3/QFL)"


def test_other_numbers_of_a_record_are_found_where_they_stand(store: Store) -> None:
    path = store.reference_path("smoke", QFL)
    replace(RunRecord.load(path), fps=34.25).save(path)
    assert evidence(store) == []
    assert {finding.place for finding in tables(store)} == {
        "row 'QFL', reference, column FPS",
        "line 15 (table-3, QFL, FPS, reference), column value",
    }


def test_other_detections_are_found_and_what_they_change(store: Store) -> None:
    one, other = QFL, run_id(GFL, SMOKE, 0)
    source = store.reference_predictions("smoke", other) / DETECTIONS
    path = store.reference_predictions("smoke", one) / DETECTIONS
    path.write_bytes(source.read_bytes())
    first, *others = evidence(store)
    assert (first.file, first.place) == (path, "its SHA-256")
    assert first.expected == RunRecord.load(store.reference_path("smoke", one)).predictions[
        DETECTIONS
    ]  # fmt: skip
    assert {finding.file for finding in others} == {store.reference_path("smoke", one)}
    assert "metrics, AP (of table-3/QFL)" in lines(others)
    path.write_bytes(b"PAR1")
    assert "committed 12 metrics, by the records none: " in lines(evidence(store))


def test_figures_without_evidence_are_named(store: Store) -> None:
    folder = store.reference_predictions("smoke", QFL)
    (folder / DETECTIONS).unlink()
    (finding,) = evidence(store)
    assert (finding.file, finding.committed) == (folder / DETECTIONS, "nothing")
    path = store.reference_path("smoke", QFL)
    replace(RunRecord.load(path), predictions={}).save(path)
    assert len(evidence(store)) == 1
    (folder / "more.txt").write_text("")
    path.unlink()
    assert [finding.place for finding in evidence(store)] == ["the folder"]


def test_a_record_that_is_none_is_named(store: Store) -> None:
    path = store.reference_path("smoke", QFL)
    content = json.loads(path.read_text())
    path.write_text("{")
    (finding,) = checksums(store)
    assert finding.place == "the record (of table-3/QFL)"
    assert finding.committed.startswith("not JSON")
    path.write_text(json.dumps(content))
    path.rename(path.with_name(path.name.replace("-s0-", "-s1-")))
    (finding,) = checksums(store)
    assert (finding.place, finding.committed) == ("id", QFL)


def test_several_processes_find_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = evidence(store)
    monkeypatch.setattr("analysis.pool.usable_cores", lambda: 2)
    monkeypatch.setattr("analysis.pool.LEAST", 2)
    told: list[str] = []
    assert list(records.evidence(SMOKE, strict.as_it_stands(store), told.append)) == alone
    assert told == [
        "smoke: 4 of 4 runs evaluated again",
        "smoke: 1 of 4 runs were evaluated by pycocotools",
    ]


def test_without_the_images_runs_need_their_matches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(catalogue.TABLES, "table-4")  # has no network where nothing is drawn
    bare = replace(SMOKE, dataset=None)
    found = list(records.evidence(bare, store, quiet))
    assert {(f.file.name, f.committed) for f in found} == {
        ("matches.parquet", "nothing"),
        ("objects.parquet", "nothing"),
    }
    assert len(found) == 2 * 4
