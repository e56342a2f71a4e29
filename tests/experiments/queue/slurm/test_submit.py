"""``--executor slurm`` on the command line, and a job's own start."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recorded
from rich.console import Console

from cli.main import main
from experiments import profiles
from experiments.matrix import select
from experiments.queue.display import Display
from experiments.queue.machine import Machine
from experiments.queue.slurm import standing, submit
from experiments.queue.slurm.cluster import Cluster
from experiments.queue.slurm.job import PORTS, JobDisplay, Place, TrainingJob
from experiments.queue.slurm.ledger import Ledger, Submission
from experiments.queue.worker import Rendezvous, command
from gfl.errors import UserError
from gfl.records.record import Store, read_json, write_json

SMOKE = profiles.get("smoke")
Gfl = Callable[..., int]
Program = Callable[[str, str], None]  # its name and its shell script


@pytest.fixture
def gfl(tmp_path: Path) -> Gfl:
    def call(*words: str) -> int:
        folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        return main([*words, "--profile", "smoke", *folders])

    return call


@pytest.fixture
def login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Slurm's commands, which a test may replace: all jobs wait for ever."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    log = tmp_path / "submitted"
    write("scontrol", "echo 'ClusterName = alpha'")
    write("srun", "exit 1")
    write("scancel", f'echo "$*" >>{tmp_path}/cancelled')
    write("sbatch", f'echo "$*" >>{log}; echo Submitted batch job $(wc -l <{log})')
    tasks = 'for i in 0 1 2 3; do echo "1_$i|$((i + 2))|PENDING||30:00|Priority"; done'
    write("squeue", f"[ ! -e {log} ] || {tasks}")
    return write


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
        (["--executor", "slurm", "--time", "2"], "time = 2 (minutes): expected 3 or more"),
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


def test_a_dry_run_says_that_nothing_would_be_submitted(
    gfl: Gfl, tmp_path: Path, login_node: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "runs", tmp_path / "results")
    _, [run] = select("table-3/QFL", SMOKE, [0])
    words = ("run", "table-3/QFL", "--executor", "slurm", "--dry-run")
    assert gfl(*words) == 0
    assert "#!/bin/bash" in capsys.readouterr().out
    login_node("squeue", "echo '7|7|PENDING||30:00|Priority'")
    Ledger.of(store, "smoke", run.id).write(Submission("7", "2026-01-02T03:04:05", 60, 1, ""))
    assert gfl(*words) == 0
    *_, job, last = capsys.readouterr().out.splitlines()
    assert job.startswith("QFL, seed 0: queued, job 7 (Priority)")
    assert last == "nothing to submit: every run has a job"
    recorded.of(run).save(store.run_dir("smoke", run.id) / "record.json")
    assert gfl(*words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "nothing to submit: every run is trained"
    assert "#!/bin/bash" not in out


def left_behind(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "runs/smoke/.slurm").rglob("*") if not path.is_dir()]


def test_what_slurm_refuses_is_said_once_in_its_words_and_leaves_nothing(
    gfl: Gfl, tmp_path: Path, login_node: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    login_node("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    for target in ("table-3/QFL", "table-3"):
        assert gfl("run", target, "--executor", "slurm") == 2
        err = capsys.readouterr().err
        said = "gfl: sbatch failed: sbatch: error: invalid partition specified: gpu"
        assert err.splitlines()[-1] == said
        assert err.count("invalid partition") == 1
        assert left_behind(tmp_path) == []


def test_a_job_whose_number_sbatch_could_not_say_is_cancelled(
    gfl: Gfl, tmp_path: Path, login_node: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    """The controller may have taken it before the connection broke."""
    script = 'grep -h job-name "$1" >>' + str(tmp_path / "named")
    login_node("sbatch", f"{script}; echo 'sbatch: error: Socket timed out' >&2; exit 1")
    login_node("squeue", "true")
    assert gfl("run", "table-3", "--executor", "slurm") == 2
    assert "sbatch failed: sbatch: error: Socket timed out" in capsys.readouterr().err
    (line,) = (tmp_path / "named").read_text().splitlines()
    name = line.partition("--job-name=")[2]
    assert name.startswith("gfl-smoke-")
    (cancelled,) = (tmp_path / "cancelled").read_text().splitlines()
    assert cancelled.split()[1] == f"--name={name}"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("here", ["alpha", "beta"])
def test_what_a_killed_command_submitted_is_cancelled_on_its_own_cluster(
    here: str, gfl: Gfl, tmp_path: Path, login_node: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs/smoke/.slurm"
    folder.mkdir(parents=True)
    unconfirmed = folder / "gfl-smoke-0a1b2c3d.unconfirmed.json"
    write_json(unconfirmed, {"cluster": "alpha", "runs": ["a", "b"]})
    login_node("scontrol", f"echo 'ClusterName = {here}'")
    login_node("squeue", "true")
    assert gfl("run", "table-3/QFL", "--executor", "slurm") == 0
    out = capsys.readouterr().out
    said = "cancelled gfl-smoke-0a1b2c3d, 2 runs: the command that submitted it was interrupted"
    assert (said in out) == (here == "alpha")
    assert unconfirmed.exists() == (here == "beta")
    assert (tmp_path / "cancelled").exists() == (here == "alpha")
    assert "submitted 1 run to Slurm" in out


def test_what_a_command_submitted_and_wrote_down_before_it_was_killed_stays(
    gfl: Gfl, tmp_path: Path, login_node: Program
) -> None:
    assert gfl("run", "table-3/QFL", "--executor", "slurm") == 0
    folder = tmp_path / "runs/smoke/.slurm"
    (entry,) = folder.glob("*.job.json")
    name = read_json(entry)["name"]
    assert name.startswith("gfl-smoke-")
    run = entry.name.removesuffix(".job.json")
    unconfirmed = folder / f"{name}.unconfirmed.json"
    write_json(unconfirmed, {"cluster": "alpha", "runs": [run]})
    assert gfl("run", "table-3/DFL", "--executor", "slurm") == 0
    assert not unconfirmed.exists()
    assert not (tmp_path / "cancelled").exists()


def test_where_no_slurm_answers_one_line_says_so(
    gfl: Gfl, tmp_path: Path, login_node: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    login_node("scontrol", "echo 'scontrol: error: fetch_config: DNS lookup failed' >&2; exit 1")
    assert gfl("run", "table-3", "--executor", "slurm") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gfl: Slurm does not answer here (scontrol show config fails): submit ")
    assert not (tmp_path / "submitted").exists()
    assert not (tmp_path / "runs/smoke/.slurm").exists()


def test_of_commands_that_submit_at_a_time_each_run_is_submitted_once(
    tmp_path: Path, login_node: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them see a run without a job, before any submits it."""
    _, runs = select("table-3", SMOKE, [0])
    store = Store(tmp_path / "runs", tmp_path / "results")
    together, looked = threading.Barrier(3), threading.local()

    def look(*arguments: Any) -> Any:
        found = standing.look(*arguments)
        if not hasattr(looked, "once"):
            looked.once = True
            together.wait()
        return found

    monkeypatch.setattr(submit, "look", look)
    monkeypatch.setattr(submit, "prepare_all", lambda *_: None)

    def command() -> list[str]:
        display = Display(Console(quiet=True))
        return submit.submit_missing(
            runs, store, Machine(), Cluster(), display, ("false",), again=False
        )

    with ThreadPoolExecutor(3) as threads:
        said = [future.result() for future in [threads.submit(command) for _ in range(3)]]
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1
    assert sum("submitted 4 runs to Slurm as job 1" in lines[0] for lines in said) == 1
    others = [lines for lines in said if "submitted" not in lines[0]]
    assert [len(lines) for lines in others] == [5, 5]
    assert "queued, job 1_0 (Priority)" in others[0][0]
    found = [Ledger.of(store, "smoke", run.id).submission() for run in runs]
    assert [entry and (entry.cluster, entry.job) for entry in found] == [
        ("alpha", f"1_{number}") for number in range(4)
    ]
    names = {path.name for path in (tmp_path / "runs/smoke/.slurm").iterdir()}
    assert names == {"jobs", *(f"{run.id}.job.json" for run in runs)}


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
