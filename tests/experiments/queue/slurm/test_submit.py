"""``--executor slurm`` on the command line, and a job's own start."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.main import main
from experiments import profiles
from experiments.matrix import select
from experiments.queue.machine import Machine
from experiments.queue.slurm.job import PORTS, JobDisplay, Place, TrainingJob
from experiments.queue.slurm.ledger import Ledger
from experiments.queue.worker import Rendezvous, command
from gfl.errors import UserError

SMOKE = profiles.get("smoke")
Gfl = Callable[..., int]


@pytest.fixture
def gfl(tmp_path: Path) -> Gfl:
    def call(*words: str) -> int:
        folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        return main([*words, "--profile", "smoke", *folders])

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partition", "gpu"], "--partition is for --executor slurm"),
        (["--nodes", "2"], "--nodes is for --executor slurm"),
        (["--cluster", "here.toml"], "--cluster is for --executor slurm"),
        (["--executor", "slurm", "--cluster", "absent.toml"], "absent.toml: No such file"),
        (
            ["--executor", "slurm", "--time", "soon"],
            "--time 'soon': expected minutes, or a time",
        ),
        (["--executor", "slurm", "--nodes", "2"], "1 GPU cannot be shared evenly by 2 nodes"),
        (["--executor", "slurm", "--gpus", "2"], "--gpus 2 is for CUDA"),
        (["--executor", "slurm"], "no Slurm here (sbatch is not on the path)"),
        (["--executor", "slrum"], "slrum"),
    ],
)
def test_a_wrong_option_is_one_line(
    gfl: Gfl,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gfl("run", "table-3", *words) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert message in err[0]
    assert not (tmp_path / "runs/smoke/.slurm").exists()


def test_a_dry_run_prints_the_script_and_writes_nothing(
    gfl: Gfl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--executor", "slurm", "--partition", "gpu", "--time", "2-00:00:00", "--jobs", "3")
    assert gfl("run", "table-3", *words, "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("smoke profile: 4 runs, 4 to train")
    script = out[out.index("#!/bin/bash") :]
    wanted = {"--partition=gpu", "--time=2880", "--array=0-3%3"}
    assert {f"#SBATCH {flag}" for flag in wanted} <= set(script)
    assert list(tmp_path.iterdir()) == []


def test_what_slurm_refuses_is_said_in_its_words(
    gfl: Gfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text(
            "#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gfl("run", "table-3/QFL", "--executor", "slurm") == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith("gfl: Slurm refuses the job: ")
    assert "invalid partition specified: gpu" in err[-1]
    assert list((tmp_path / "runs/smoke").glob(".slurm/*.json")) == []


def test_the_launchers_of_a_run_meet_on_its_first_node() -> None:
    worker = (sys.executable, "-m", "gfl.training.worker")
    words = command(worker, 8, Rendezvous(2, 1, "10.0.0.7", 12345))
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert words[-2:] == ["-m", "gfl.training.worker"]
    assert set(words) >= {
        "--nnodes=2", "--node_rank=1", "--nproc_per_node=4", "--rdzv_backend=static",
        "--master_addr=10.0.0.7", "--master_port=12345",
    }  # fmt: skip
    assert "--standalone" not in words
    assert command(worker, 1) == list(worker)


def test_every_start_of_a_job_meets_at_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURMD_NODENAME": "n2", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}.items():
        monkeypatch.setenv(name, value)

    def port(job: int, restarts: int) -> int:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        here = SimpleNamespace(num_nodes=2, node=1, raw_job_id=str(job), job_id=f"{job}")
        place = Place.here(here)
        assert place.rendezvous is not None
        assert (place.node, place.restarts, place.rendezvous.node) == ("n2", restarts, 1)
        return place.rendezvous.port

    found = [port(job, restarts) for job in (70_001, 70_002) for restarts in range(3)]
    assert len(set(found)) == len(found)
    assert set(found) <= set(PORTS)
    assert Place.here(SimpleNamespace(num_nodes=1, job_id="7")).rendezvous is None


def test_a_training_goes_on_where_its_progress_cannot_be_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "absent", "run")
    display = JobDisplay(ledger, Place("7", 0, "n1", None))
    display.begin("id", "none, seed 0")
    display.event("id", {"event": "start", "iters": 40, "epochs": 4})
    progress = ledger.progress()
    assert progress is not None
    assert (progress.job, progress.stage, progress.node) == ("7", "training", "n1")
    shutil.rmtree(ledger.folder)
    ledger.folder.touch()  # no folder any more: nothing can be written there
    display.event("id", {"event": "train", "iter": 11, "epoch": 2, "loss": 1.0})
    assert (display.progress.epoch, display.progress.iteration) == (2, 11)


def test_a_job_whose_code_would_train_another_run_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [run] = select("table-3/QFL", SMOKE, [0])
    changed = replace(run, profile=replace(SMOKE, schedule=replace(SMOKE.schedule, lr=0.5)))
    for name in ("SUBMITIT_EXECUTOR", "SLURM_JOB_ID", "SLURMD_NODENAME"):
        monkeypatch.setenv(name, {"SUBMITIT_EXECUTOR": "slurm"}.get(name, "7"))
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    job = TrainingJob(changed, tmp_path / "runs", tmp_path / "results", Machine(), ("false",))
    with pytest.raises(UserError, match="the code has changed since it was submitted"):
        job()
    assert not (tmp_path / "runs").exists()
