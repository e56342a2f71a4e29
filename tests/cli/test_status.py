"""How far every cell is, as told."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import recorded

from cli.main import main
from cli.status import standing
from experiments import profiles
from experiments.matrix import plan
from experiments.queue.locks import RunLock
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.records import lease
from gfl.records.record import Store

SMOKE = profiles.get("smoke")
Ask = Callable[..., str]


@pytest.fixture
def ask(store: Store, capsys: pytest.CaptureFixture) -> Ask:
    def call(*words: str) -> str:
        folders = ["--runs", str(store.runs), "--results", str(store.results)]
        assert main(["status", *words, "--profile", "smoke", *folders]) == 0
        return capsys.readouterr().out

    return call


def record(store: Store, experiment: Experiment, state: str = "finished") -> Path:
    """A record of a run at seed 0."""
    (run,) = (
        r for r in plan([catalogue.find("table-3")], SMOKE, [0]) if r.experiment == experiment
    )
    folder = store.run_dir("smoke", run.id)
    message = "it diverged" if state == "failed" else ""
    recorded.of(run, state=state, message=message).save(folder / "record.json")
    return folder


def test_the_states_of_a_run(store: Store) -> None:
    (run,) = (r for r in plan([catalogue.find("table-3")], SMOKE, [0]) if "table-3/QFL" in r.rows)
    assert str(standing(run, store)) == "missing"
    folder = store.run_dir("smoke", run.id)
    lock = RunLock.take(folder)
    assert lock is not None
    assert str(standing(run, store)) == "training"
    folder.mkdir()
    (folder / "epoch_0_iter_5.pth").touch()
    assert str(standing(run, store)) == "training, 0 of 2 epochs"
    (folder / "epoch_1.pth").touch()
    assert str(standing(run, store)) == "training, 1 of 2 epochs"
    (folder / "epoch_1_iter_9.pth").touch()
    assert str(standing(run, store)) == "training, 1 of 2 epochs"
    lock.release()
    assert str(standing(run, store)) == "partial, 1 of 2 epochs"
    record(store, run.experiment, "failed")
    assert str(standing(run, store)) == "failed, it diverged"
    record(store, run.experiment)
    assert str(standing(run, store)) == "finished, AP 12.3"


def test_a_run_that_another_machine_trains_is_shown_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = (r for r in plan([catalogue.find("table-3")], SMOKE, [0]) if "table-3/QFL" in r.rows)
    with monkeypatch.context() as there:
        there.setattr(lease, "host", lambda: "node017")
        lock = RunLock.take(store.run_dir("smoke", run.id))
    assert lock is not None
    assert str(standing(run, store)).startswith("training, on node017 since ")
    assert "silent" not in str(standing(run, store))
    lock.release()


@pytest.mark.parametrize("host", ["node017", lease.host()])
def test_an_owner_that_is_silent_is_shown_as_that(
    store: Store, ask: Ask, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be gone, or paused; another process that waits for the run finds out."""
    (run,) = (r for r in plan([catalogue.find("table-3")], SMOKE, [0]) if "table-3/QFL" in r.rows)
    with monkeypatch.context() as there:
        there.setattr(lease, "host", lambda: host)
        lock = RunLock.take(store.run_dir("smoke", run.id))
    assert lock is not None
    lock.hold.end()
    beat = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
    os.utime(lock.hold.path, (beat.timestamp(),) * 2)
    (line,) = (line for line in ask("table-3").splitlines() if line.split()[:1] == ["QFL"])
    shown = f"silent since {beat.astimezone():%Y-%m-%d %H:%M}"
    assert shown in line
    assert ("on node017" in line) == (host == "node017")
    found = {run["id"]: run for run in json.loads(ask("table-3", "--json"))["runs"]}
    assert found[run.id]["state"] == "training"
    assert found[run.id]["silent_since"] == "2026-01-02T12:30:00+00:00"
    assert sum(one["silent_since"] is None for one in found.values()) == 3
    lock.release()


def test_status_of_an_empty_checkout_writes_nothing(tmp_path: Path, ask: Ask) -> None:
    lines = ask("table-3").splitlines()
    assert lines[0] == "Table 3: 4 missing"
    assert [line.split()[:2] for line in lines[1:5]] == [
        [name, "missing"] for name in ("none", "QFL", "DFL", "both")
    ]
    assert lines[5].startswith("smoke profile: 4 runs, 4 to train")
    assert "time unknown (no comparable run is recorded)" in lines[5]
    assert "of disk" in lines[5]
    assert list(tmp_path.iterdir()) == []


def test_every_cell_is_shown_and_a_shared_run_with_all_of_its_cells(
    store: Store, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "TABLES", catalogue.PAPERS)
    record(store, Experiment(quality="joint"))
    out = ask("--jobs", "1")
    cells = [
        cell for table in catalogue.TABLES.values() if table.runs_at("smoke")
        for cell in table.cells() if cell.experiment
    ]  # fmt: skip
    assert len([line for line in out.splitlines() if line.startswith("  ")]) == len(cells)
    shared = [line for line in out.splitlines() if "finished, AP 12.3" in line]
    assert len(shared) == 3
    assert "also table-1c/2, table-3/QFL" in shared[0]
    # 9 runs of ATSS with Dirac deltas, 60 s each.
    time = "about 9 min for 9 of them (from speeds of local runs; "
    time += "no comparable run is recorded for the other 60)"
    assert f"70 runs, 69 to train, {time}" in out
    # Asked for one table, the others are still named.
    assert "also table-1a/joint w/ QFL/ATSS, table-1c/2" in ask("table-3")


def test_the_data_set_is_counted_where_it_is_not_drawn(
    ask: Ask, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfl.training.worker.EMBEDDED", tmp_path_factory.mktemp("none"))
    assert "of disk, 590 kB of it the data set (" in ask("table-3")  # 48 images


def test_each_seed_has_a_line(ask: Ask) -> None:
    lines = ask("table-3/QFL", "--seeds", "1", "0").splitlines()
    assert [line.split("  ")[1] for line in lines[1:3]] == ["QFL, seed 0", "QFL, seed 1"]


def test_status_for_programs(store: Store, ask: Ask) -> None:
    record(store, Experiment(quality="joint"))
    record(store, Experiment(), "failed")
    content = json.loads(ask("table-3", "--json", "--jobs", "2"))
    runs = {run["cells"][-1]: run for run in content["runs"]}
    assert runs["table-3/QFL"]["state"] == "finished"
    assert runs["table-3/QFL"]["AP"] == 12.34
    assert runs["table-3/none"]["state"] == "failed"
    assert runs["table-3/none"]["detail"] == "it diverged"
    assert runs["table-3/none"]["seconds"] == 60.0
    assert runs["table-3/DFL"]["seconds"] is None  # of another kind
    missing = content["missing"]
    assert (missing["runs"], missing["jobs"]) == (3, 2)
    assert (missing["timed_runs"], missing["seconds"]) == (1, 60.0)
    kept = sum(run["bytes"] for run in runs.values() if run["bytes"])
    assert missing["bytes"] > kept + missing["data_set_bytes"]


@pytest.mark.parametrize("words", [["status"], ["run", "table-3", "--dry-run"]])
def test_what_only_reads_leaves_a_damaged_record_where_it_is(
    store: Store, words: list[str], capsys: pytest.CaptureFixture
) -> None:
    path = record(store, Experiment()) / "record.json"
    path.write_text("damaged")
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    assert main([*words, "--profile", "smoke", *folders]) == 0
    out, err = capsys.readouterr()
    assert "not a usable record" in err
    assert "set aside" not in err
    assert "to train" in out
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]
    assert [p.name for p in store.runs.parent.iterdir()] == ["runs"]
