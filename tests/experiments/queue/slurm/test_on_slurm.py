"""Runs on a real Slurm of two nodes: whatever happens to jobs, the records are those of no cluster.

Where Slurm is not installed these tests skip, with the reason.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import wait_for
from slurm_cluster import SlurmCluster

from cli.main import main
from experiments import profiles
from experiments.matrix import Run, select
from experiments.queue import slurm_jobs
from experiments.queue.display import Display
from experiments.queue.machine import Machine
from experiments.queue.running import run_missing
from experiments.queue.slurm.ledger import Ledger
from experiments.queue.worker import TRAIN
from gfl import terminal
from gfl.records.record import Store

SMOKE = profiles.get("smoke")
HERE = Path(__file__).parents[2]
CHAIN = (sys.executable, str(HERE / "chain_worker.py"))
SLOW = (sys.executable, str(HERE / "slow_worker.py"))
Gfl = Callable[..., int]


@pytest.fixture
def gfl(slurm: SlurmCluster, store: Store, monkeypatch: pytest.MonkeyPatch) -> Gfl:
    """The command, at the smoke profile, with a worker that the tests name."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # of the workers

    def call(*words: str, worker: tuple[str, ...] = CHAIN) -> int:
        folders = ["--runs", str(store.runs), "--results", str(store.results)]
        return main([*words, "--profile", "smoke", *folders], worker)

    return call


def undisturbed(runs: list[Run], folder: Path) -> Store:
    """The records of the runs, trained here without a cluster."""
    store = Store(folder / "local/runs", folder / "local/results")
    run_missing(runs, store, Machine(jobs=2), Display(terminal.console()), CHAIN)
    return store


def job_of(run: Run, store: Store) -> str:
    submission = Ledger.of(store, "smoke", run.id).submission()
    assert submission is not None
    return submission.job


def iteration(run: Run, store: Store) -> int:
    progress = Ledger.of(store, "smoke", run.id).progress()
    return 0 if progress is None else progress.iteration


def status(gfl: Gfl, capsys: pytest.CaptureFixture[str], target: str) -> dict[str, dict[str, Any]]:
    """What ``gfl status`` says, by run."""
    capsys.readouterr()
    assert gfl("status", target, "--json") == 0
    return {run["id"]: run for run in json.loads(capsys.readouterr().out)["runs"]}


def starts(store: Store, run: Run) -> list[int]:
    """Slurm's count of restarts at each start of a run's worker."""
    lines = (store.runs / "smoke/starts.txt").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.split()[0] == run.id]


def assert_same_record(run: Run, a: Store, b: Store) -> None:
    """Both recorded the run, with the same results."""
    first, second = a.local("smoke", run.id), b.local("smoke", run.id)
    assert first is not None
    assert second is not None
    for what in ("state", "message", "metrics", "curve", "evals"):
        assert getattr(first, what) == getattr(second, what), what


def test_runs_on_a_cluster_that_breaks_end_as_if_nothing_had_happened(
    slurm: SlurmCluster,
    gfl: Gfl,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CHAIN_SECONDS", "0.2")
    _, runs = select("table-3", SMOKE, [0])
    assert gfl("run", "table-3", "--executor", "slurm", "--time", "30") == 0
    assert "submitted 4 runs to Slurm as job" in capsys.readouterr().out
    first = {run.id: job_of(run, store) for run in runs}
    wait_for(lambda: all(iteration(run, store) for run in runs))
    # A second command submits nothing twice.
    assert gfl("run", "table-3", "--executor", "slurm") == 0
    assert "submitted" not in capsys.readouterr().out
    assert {run.id: job_of(run, store) for run in runs} == first
    found = status(gfl, capsys, "table-3")
    assert {run["state"] for run in found.values()} == {"training"}
    where = {id: run["job"]["nodes"] for id, run in found.items()}
    assert sorted(where.values()) == ["n1", "n1", "n2", "n2"]
    # Both jobs of a node die with it; of the other two one is requeued and one is cancelled.
    dead = [run for run in runs if where[run.id] == "n1"]
    requeued, cancelled = (run for run in runs if where[run.id] == "n2")
    slurm.kill_node("n1")
    slurm.call("scontrol", "requeue", first[requeued.id])
    slurm.call("scancel", first[cancelled.id])
    wait_for(lambda: not slurm_jobs.queued([first[cancelled.id]]))
    wait_for(lambda: status(gfl, capsys, "table-3")[requeued.id]["state"] != "training")
    found = status(gfl, capsys, "table-3")
    assert "cancelled" in found[cancelled.id]["detail"]
    assert found[cancelled.id]["state"] in ("missing", "partial")
    assert gfl("run", "table-3", "--executor", "slurm") == 0
    assert "submitted 1 run to Slurm" in capsys.readouterr().out
    # One more run is slower than its job's limit allows, once that is a minute.
    _, [limited] = select("table-3/QFL", SMOKE, [1])
    monkeypatch.setenv("CHAIN_SECONDS", "0.85")
    assert gfl("run", "table-3/QFL", "--seeds", "1", "--executor", "slurm") == 0
    wait_for(lambda: iteration(limited, store))
    job = job_of(limited, store)
    slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_for(lambda: slurm.state(job) == "PENDING")
    slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=30")
    wait_for(lambda: slurm.call("sinfo", "-hNn", "n1", "-o", "%T").split()[0].startswith("down"))
    slurm.start_node("n1")
    runs.append(limited)
    wait_for(lambda: not slurm_jobs.queued(job_of(run, store) for run in runs), 90)
    monkeypatch.setenv("CHAIN_SECONDS", "0")
    local = undisturbed(runs, tmp_path)
    for run in runs:
        assert_same_record(run, store, local)
    for run in dead:
        assert starts(store, run) == [0, 1]
    assert starts(store, requeued) == [0, 1]
    assert starts(store, cancelled) == [0, 0]
    assert starts(store, limited) == [0, 1]
    assert {p.name for p in (store.runs / "smoke").iterdir() if p.is_dir()} == {
        ".slurm",
        *(run.id for run in runs),
    }
    # Now the command prints the table, and submits nothing.
    capsys.readouterr()
    assert gfl("run", "table-3", "--executor", "slurm") == 0
    out = capsys.readouterr().out
    assert "already trained" in out
    assert "submitted" not in out


def test_a_job_that_is_not_requeued_after_its_limit_has_failed_and_its_run_goes_on(
    slurm: SlurmCluster,
    gfl: Gfl,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CHAIN_SECONDS", "0.2")
    settings = tmp_path / "cluster.toml"
    settings.write_text("time = 5\nmax_timeouts = 0\n")
    _, [run] = select("table-3/DFL", SMOKE, [0])
    words = ("run", "table-3/DFL", "--executor", "slurm", "--cluster", str(settings))
    assert gfl(*words) == 0
    wait_for(lambda: iteration(run, store))
    job = job_of(run, store)
    # For submitit, the signal before the limit: a job of less than ten minutes is always near it.
    slurm.call("scancel", "--signal=USR2", job)
    wait_for(lambda: not slurm_jobs.queued([job]))
    found = status(gfl, capsys, "table-3/DFL")[run.id]
    assert found["state"] == "failed"
    assert found["detail"].endswith(f"job {job} failed, not requeued after its checkpoint")
    assert found["job"]["cluster"] == slurm_jobs.cluster() == "loopback"
    assert "timed-out too many times" in "\n".join(found["job"]["log_end"])
    monkeypatch.setenv("CHAIN_SECONDS", "0")
    assert gfl(*words) == 0
    assert job_of(run, store) != job
    wait_for(lambda: not slurm_jobs.queued([job_of(run, store)]))
    assert starts(store, run) == [0, 0]
    assert_same_record(run, store, undisturbed([run], tmp_path))


def test_a_run_that_a_more_urgent_job_displaces_goes_on_where_it_was(
    slurm: SlurmCluster, gfl: Gfl, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAIN_SECONDS", "0.1")
    _, [run] = select("table-3/both", SMOKE, [0])
    assert gfl("run", "table-3/both", "--executor", "slurm") == 0
    wait_for(lambda: iteration(run, store))
    # All cores of both nodes, for a moment.
    urgent = ("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null")
    slurm.call("sbatch", *urgent, "--wrap=true")
    wait_for(lambda: not slurm_jobs.queued([job_of(run, store)]))
    progress = Ledger.of(store, "smoke", run.id).progress()
    assert progress is not None
    assert (progress.stage, progress.restarts) == ("finished", 1)
    assert starts(store, run) == [0, 1]
    monkeypatch.setenv("CHAIN_SECONDS", "0")
    assert_same_record(run, store, undisturbed([run], tmp_path))


def test_a_submission_that_no_ledger_confirms_is_cancelled_and_made_again(
    slurm: SlurmCluster,
    gfl: Gfl,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As if the command had been killed after sbatch, before it wrote down the job."""

    def killed(self: Ledger, entry: object) -> None:
        raise SystemExit(-9)

    monkeypatch.setenv("CHAIN_SECONDS", "0.2")
    _, [run] = select("table-3/both", SMOKE, [1])
    words = ("run", "table-3/both", "--seeds", "1", "--executor", "slurm")
    with monkeypatch.context() as at_once:
        at_once.setattr(Ledger, "write", killed)
        with pytest.raises(SystemExit):
            gfl(*words)
    assert Ledger.of(store, "smoke", run.id).submission() is None
    (file,) = (store.runs / "smoke/.slurm").glob("*.unconfirmed.json")
    name = file.name.partition(".")[0]
    states = ("squeue", "--noheader", "--states=all", "--format=%T", f"--name={name}")
    assert slurm.call(*states).split()[0] in ("PENDING", "CONFIGURING", "RUNNING")
    monkeypatch.setenv("CHAIN_SECONDS", "0")
    assert gfl(*words) == 0
    out = capsys.readouterr().out
    assert f"cancelled {name}, 1 run: " in out
    assert "submitted 1 run to Slurm" in out
    assert slurm.call(*states).split() == ["CANCELLED"]
    wait_for(lambda: not slurm_jobs.queued([job_of(run, store)]))
    assert_same_record(run, store, undisturbed([run], tmp_path))
    assert not list(file.parent.glob("*.unconfirmed.json"))


def weights(store: Store, run: Run) -> dict[str, torch.Tensor]:
    path = store.run_dir("smoke", run.id) / "final.pth"
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def assert_same(run: Run, a: Store, b: Store) -> None:
    """Both trained the run, to the same bits."""
    assert_same_record(run, a, b)
    one, other = weights(a, run), weights(b, run)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_nodes_of_one_process_are_one_node_of_two_even_if_they_are_interrupted(
    slurm: SlurmCluster, gfl: Gfl, store: Store, tmp_path: Path
) -> None:
    profile = profiles.get("smoke", 2)
    _, [run] = select("table-3/both", profile, [0])
    words = ("--executor", "slurm", "--gpus", "2", "--nodes", "2")
    assert gfl("run", "table-3/both", *words, worker=SLOW) == 0
    wait_for(lambda: iteration(run, store))
    # The signal before a time limit, to all processes of both nodes.
    slurm.call("scancel", "--signal=USR2", job_of(run, store))
    there = Store(tmp_path / "one-node/runs", tmp_path / "one-node/results")
    # As for two nodes, without a place where their launchers meet: both processes are here.
    machine = Machine(gpus=2, nodes=2)
    run_missing([run], there, machine, Display(terminal.console()), TRAIN)
    wait_for(lambda: not slurm_jobs.queued([job_of(run, store)]))
    assert_same(run, store, there)
    progress = Ledger.of(store, "smoke", run.id).progress()
    assert progress is not None
    assert (progress.stage, progress.restarts) == ("finished", 1)
