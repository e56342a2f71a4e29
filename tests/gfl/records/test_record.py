import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments import profiles
from gfl import config
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile, Schedule
from gfl.records.record import (
    METRICS,
    RecordError,
    Request,
    RunRecord,
    Store,
    digest,
    read_json,
    rebuilt,
    run_id,
    write_json,
)

SMOKE = profiles.get("smoke")


def a_record(**changes) -> RunRecord:
    values = {
        "id": "atss-joint-dirac-s0-0123abcd",
        "experiment": asdict(Experiment(quality="joint")),
        "profile": asdict(SMOKE),
        "seed": 0,
        "commit": "c0ffee",
        "dirty": False,
        "versions": {"torch": "2.11.0"},
        "hardware": {"cpu": "a processor", "cores": 2},
        "metrics": {name: 10.0 + i / 3 for i, name in enumerate(METRICS)},
        "fps": 12.5,
        "curve": [{"iter": 1, "epoch": 1, "lr": 1e-5, "loss": 0.1 + 0.2}],
        "evals": [{"epoch": 1, "AP": 1.0, "AP50": 2.0, "AP75": 0.5}],
        "seconds": 3.25,
        "images_per_second": 40.0,
        "max_iters": None,
        "state": "finished",
        "message": "",
        "started": "2020-01-01T00:00:00+00:00",
    }
    return RunRecord(**(values | changes))


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> Store:
    return Store(tmp_path / "runs", tmp_path / "results", told.append)


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = a_record()
    record.save(tmp_path / "a.json")
    read = RunRecord.load(tmp_path / "a.json")
    assert read.metrics == record.metrics
    assert read.curve == record.curve  # to the last bit
    read.save(tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "b.json"}  # no temporary file left


def test_what_is_not_a_number_is_written_as_null(tmp_path: Path) -> None:
    metrics = {name: np.float32(1.5) for name in METRICS} | {"APS": math.nan}
    record = a_record(metrics=metrics, curve=[{"iter": np.int64(3), "loss": math.inf}])
    record.save(tmp_path / "a.json")
    assert "NaN" not in (tmp_path / "a.json").read_text()
    read = RunRecord.load(tmp_path / "a.json")
    assert read.metrics["APS"] is None
    assert read.metrics["AP"] == 1.5
    assert read.curve == [{"iter": 3, "loss": None}]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("12.5", "99.5"),  # a result typed by hand
        lambda text: text.replace("12.5", "NaN"),
        lambda text: text.replace('"fps"', '"speed"'),
        lambda text: text.replace('"schema": 3', '"schema": 4'),
        lambda text: text.replace('"schema": 3', '"schema": "2"'),
        lambda text: text.replace('"schema": 3', '"schema": 2'),  # which named no code
        lambda text: text.replace('"schema": 3', '"schema": 1'),  # which had no predictions
        lambda text: "[]",
        lambda text: "",
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, damage) -> None:
    path = tmp_path / "a.json"
    a_record().save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError):
        RunRecord.load(path)


@pytest.mark.parametrize(("schema", "lacking"), [(1, ("predictions", "code")), (2, ("code",))])
def test_a_record_of_an_older_schema_loads(
    tmp_path: Path, schema: int, lacking: tuple[str, ...]
) -> None:
    a_record().save(tmp_path / "new.json")
    content = read_json(tmp_path / "new.json") | {"schema": schema}
    for name in ("sha256", *lacking):
        del content[name]
    write_json(tmp_path / "old.json", content | {"sha256": digest(content)})
    read = RunRecord.load(tmp_path / "old.json")
    assert read == RunRecord.load(tmp_path / "new.json")
    assert (read.predictions, read.code) == ({}, {})
    with_predictions = replace(read, predictions={"detections.parquet": "ab" * 32})
    with_predictions.save(tmp_path / "old.json")
    assert RunRecord.load(tmp_path / "old.json") == with_predictions


def test_a_finished_record_has_the_twelve_metrics(tmp_path: Path) -> None:
    a_record(metrics={"AP": 1.0}).save(tmp_path / "a.json")
    with pytest.raises(RecordError, match="twelve"):
        RunRecord.load(tmp_path / "a.json")
    a_record(metrics={}, state="failed").save(tmp_path / "b.json")
    assert RunRecord.load(tmp_path / "b.json").state == "failed"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_is_named_by_its_resolved_configuration() -> None:
    id = run_id(Experiment(), SMOKE, 0)
    assert id.startswith("atss-centerness-branch-dirac-s0-")
    assert id.endswith(digest(config.build(Experiment(), SMOKE, 0))[:8])
    assert run_id(Experiment(), SMOKE, 0) == id
    longer = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=3))
    others = {
        run_id(Experiment(), SMOKE, 1),
        run_id(Experiment(quality="joint"), SMOKE, 0),
        run_id(Experiment(), longer, 0),
    }
    assert id not in others
    assert len(others) == 3


def test_identity_ignores_how_a_number_or_an_order_is_written() -> None:
    assert digest({"a": 1, "b": (2.0, 3)}) == digest({"b": [2, 3.0], "a": 1.0})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest({"a": True}) != digest({"a": 1})
    assert run_id(Experiment(boxes="general", delta=2), SMOKE, 0) == run_id(
        Experiment(boxes="general", delta=2.0), SMOKE, 0
    )


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_a_request_reads_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    experiment = Experiment(quality="joint", boxes="general", dfl=True)
    request = Request(
        "id", experiment, profiles.get(name), 3, "/data", "cpu", 2, None, "c0ffee", False
    )
    request.save(tmp_path)
    assert Request.load(tmp_path) == request
    # One that was written before runs had shares of the cores is of a run that has them all.
    content = read_json(tmp_path / "request.json")
    del content["cores"], content["code"], content["versions"]
    write_json(tmp_path / "request.json", content)
    older = Request.load(tmp_path)
    assert (older.cores, older.code, older.versions) == (None, {}, {})


def test_what_was_recorded_before_a_field_existed_has_its_default() -> None:
    profile = profiles.get("laptop")
    recorded = json.loads(json.dumps(asdict(profile)))
    del recorded["own"], recorded["dataset"]["seed"], recorded["schedule"]["precision"]
    assert rebuilt(Profile, recorded) == replace(
        profile, schedule=replace(profile.schedule, precision=Schedule(1, 1, 1.0).precision)
    )
    assert rebuilt(Profile, recorded | {"unheard": 1}) is None
    assert rebuilt(Profile, {}) is None
    given = {"boxes": "general", "n": 8, "delta": 2.0}
    assert rebuilt(Experiment, given) == Experiment(boxes="general", y_n=16.0, delta=2.0)
    assert rebuilt(Experiment, {"host": "yolo"}) is None


def test_a_request_of_other_code_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "request.json", {"id": "x", "factor": 1})
    with pytest.raises(RecordError):
        Request.load(tmp_path)


def test_a_missing_record_is_no_message(store: Store, told: list[str]) -> None:
    assert store.local("smoke", "x-s0-00000000") is None
    assert store.reference("smoke", "x-s0-00000000") is None
    assert told == []


def test_a_damaged_record_here_is_named_and_set_aside(store: Store, told: list[str]) -> None:
    path = store.run_dir("smoke", "x-s0-00000000") / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert store.local("smoke", "x-s0-00000000") is None
    assert not path.exists()
    assert path.with_name("record.json.damaged").exists()
    assert len(told) == 1
    assert str(path) in told[0]
    assert store.local("smoke", "x-s0-00000000") is None
    assert len(told) == 1


def test_a_damaged_reference_is_named_once_and_left(store: Store, told: list[str]) -> None:
    path = store.reference_path("smoke", "x-s0-00000000")
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert store.reference("smoke", "x-s0-00000000") is None
    assert store.reference("smoke", "x-s0-00000000") is None
    assert path.exists()
    assert len(told) == 1


def test_a_record_in_another_runs_place_is_foreign(store: Store, told: list[str]) -> None:
    a_record().save(store.run_dir("smoke", "x-s0-00000000") / "record.json")
    assert store.local("smoke", "x-s0-00000000") is None
    assert "belongs to run atss-joint-dirac-s0-0123abcd" in told[0]


def test_a_capped_run_has_its_own_folder(store: Store) -> None:
    id = "atss-joint-dirac-s0-0123abcd"
    record = a_record(state="capped", max_iters=2)
    record.save(store.run_dir("smoke", id, 2) / "record.json")
    assert store.local("smoke", id) is None
    assert store.local("smoke", id, 3) is None
    found = store.local("smoke", id, 2)
    assert found is not None
    assert found.state == "capped"
    assert store.ids("smoke", "atss-joint-dirac") == set()


def test_the_store_finds_every_seed_of_an_experiment(store: Store) -> None:
    for seed in (0, 1):
        a_record(seed=seed, id=f"atss-joint-s{seed}-0123abcd").save(
            store.run_dir("smoke", f"atss-joint-s{seed}-0123abcd") / "record.json"
        )
    a_record(seed=2).save(store.reference_path("smoke", "atss-joint-s2-0123abcd"))
    a_record(seed=2).save(store.reference_path("smoke", "atss-joint-dirac-s2-0123abcd"))
    assert store.ids("smoke", "atss-joint") == {f"atss-joint-s{i}-0123abcd" for i in range(3)}


def test_the_last_checkpoint_tells_how_far_a_run_came(store: Store, tmp_path: Path) -> None:
    assert store.epochs_done(tmp_path) == 0
    for name in ("epoch_2.pth", "epoch_10.pth", "epoch_11.pth.tmp", "best.pth"):
        (tmp_path / name).touch()
    assert store.epochs_done(tmp_path) == 10
    (tmp_path / "epoch_10_iter_161.pth").touch()
    assert store.epochs_done(tmp_path) == 10


def test_a_run_that_was_stopped_in_its_first_epoch_is_begun(store: Store, tmp_path: Path) -> None:
    assert not store.is_begun(tmp_path)
    for name in (".epoch_0_iter_5.pth.0123abcd.partial", "epoch_0_iter_5.pth.sha256", "final.pth"):
        (tmp_path / name).touch()
    assert not store.is_begun(tmp_path)
    (tmp_path / "epoch_0_iter_5.pth").touch()
    assert store.is_begun(tmp_path)
    assert store.epochs_done(tmp_path) == 0


@pytest.mark.parametrize("name", ["smokey", "lap top", "COCO", "zzz"])
def test_an_unknown_profile_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown profile '{name}'"):
        profiles.get(name)
