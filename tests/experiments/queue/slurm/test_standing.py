"""What ``gfl status`` says of jobs, from Slurm's commands and from what jobs wrote themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import recorded

from cli.main import main
from experiments import profiles
from experiments.matrix import Run, select
from experiments.queue import slurm_jobs
from experiments.queue.slurm.ledger import Ledger, Progress, Submission
from experiments.queue.slurm.standing import look
from gfl.records.record import Store

SMOKE = profiles.get("smoke")
WHEN = "2026-01-02T03:04:05+00:00"
Answer = Callable[[str, str, int], None]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Slurm's commands, each of which prints what the test says; none at first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def say(program: str, text: str, code: int = 0) -> None:
        path = folder / program
        (folder / f"{program}.txt").write_text(text)
        to = ">&2" if code else ""
        path.write_text(
            f'#!/bin/sh\necho "{program} $*" >>{tmp_path}/asked\n'
            f'while read -r line; do echo "$line" {to}; done <{path}.txt\nexit {code}\n'
        )
        path.chmod(0o755)

    return say


@pytest.fixture
def ask(store: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*words: str) -> str:
        folders = ["--runs", str(store.runs), "--results", str(store.results)]
        assert main(["status", "table-3", *words, "--profile", "smoke", *folders]) == 0
        return capsys.readouterr().out

    return call


def runs() -> list[Run]:
    return select("table-3", SMOKE, [0])[1]


def submit(store: Store, run: Run, job: str) -> Ledger:
    ledger = Ledger.of(store, "smoke", run.id)
    log = ledger.jobs / f"{job}_0_log.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("srun: error\nthe last line\n")
    ledger.write(Submission(job, WHEN, 60, 1, str(log)))
    return ledger


def progress(job: str, stage: str = "training", restarts: int = 0, message: str = "") -> Progress:
    at = {"epoch": 2, "epochs": 4, "iteration": 20, "iterations": 40, "seconds_left": 7200.0}
    return Progress(job, restarts, stage, "n1", WHEN, WHEN, **at, message=message)  # type: ignore[arg-type]


def line(text: str, name: str) -> str:
    (found,) = (one for one in text.splitlines() if one.split()[:1] == [name])
    return " ".join(found.split())


def test_jobs_in_every_state(store: Store, answer: Answer, ask: Callable[..., str]) -> None:
    none, qfl, dfl, both = runs()
    submit(store, none, "7_0")
    submit(store, qfl, "7_1").write(progress("7_1", "preempted", 1))
    submit(store, dfl, "7_2").write(progress("7_2"))
    submit(store, both, "7_3").write(progress("7_3", "failed", message="out of disk\n  a line"))
    answer(
        "squeue",
        "7_0|7|PENDING||1:00:00|Priority\n"
        "7_1|8|PENDING||1:00:00|BeginTime\n"
        "7_2|9|RUNNING|n[1-2]|0:48:00|None\n"
        "7_3|10|FAILED|n1|0:00|NonZeroExitCode\n",
        0,
    )
    text = ask()
    assert text.splitlines()[0] == "Table 3: 1 training, 1 queued, 1 requeued, 1 failed"
    assert line(text, "none").startswith("none queued, job 7_0 (Priority) ")
    wanted = "QFL requeued, job 7_1 (BeginTime), epoch 2/4, restarted 1 x "
    assert line(text, "QFL").startswith(wanted)
    start, _, rest = line(text, "DFL").partition(" since ")
    assert start == "DFL training, job 7_2 on n[1-2]"
    assert ", epoch 2/4, about 2 h 00 min left, 0:48:00 to its limit" in rest
    assert line(text, "both").startswith("both failed, job 7_3: out of disk ")
    assert "job 7_3 failed; its log ends:\n    srun: error\n    the last line\n" in text
    found = {run["id"]: run for run in json.loads(ask("--json"))["runs"]}
    assert found[dfl.id]["job"] == {
        "id": "7_2",
        "cluster": None,
        "state": "training",
        "submitted": WHEN,
        "slurm_state": "RUNNING",
        "reason": "None",
        "nodes": "n[1-2]",
        "limit_left": "0:48:00",
        "since": WHEN,
        "written": WHEN,
        "restarts": 0,
        "epoch": 2,
        "epochs": 4,
        "seconds_left": 7200.0,
        "message": "",
        "log": str(Ledger.of(store, "smoke", dfl.id).jobs / "7_2_0_log.out"),
        "asked_slurm": True,
        "log_end": [],
    }
    end = found[both.id]["job"]["log_end"]
    assert end[:2] == ["srun: error", "the last line"]


def test_a_finished_run_needs_no_job(store: Store, answer: Answer, ask: Callable[..., str]) -> None:
    none, *_ = runs()
    submit(store, none, "7").write(progress("7", "finished"))
    recorded.of(none).save(store.run_dir("smoke", none.id) / "record.json")
    answer("squeue", "", 0)
    assert line(ask(), "none").startswith("none finished, AP 12.3 ")


def test_a_cancelled_run_is_what_its_checkpoints_are(
    store: Store, answer: Answer, ask: Callable[..., str]
) -> None:
    none, *_ = runs()
    submit(store, none, "7").write(progress("7", "preempted"))
    folder = store.run_dir("smoke", none.id)
    folder.mkdir()
    (folder / "epoch_1.pth").touch()
    answer("squeue", "7|7|CANCELLED|n1|0:10|None\n", 0)
    text = ask()
    assert line(text, "none").startswith("none partial, 1 of 2 epochs, job 7 cancelled ")
    assert "log ends" not in text


def test_an_earlier_jobs_progress_is_not_this_ones(
    store: Store, answer: Answer, ask: Callable[..., str]
) -> None:
    none, *_ = runs()
    submit(store, none, "8").write(progress("7"))
    answer("squeue", "8|8|PENDING||1:00:00|None\n", 0)
    assert line(ask(), "none").startswith("none queued, job 8 ")


@pytest.mark.parametrize("is_there", [False, True])
def test_where_slurm_cannot_be_asked_jobs_are_as_they_last_wrote(
    store: Store, answer: Answer, ask: Callable[..., str], is_there: bool
) -> None:
    none, qfl, dfl, both = runs()
    submit(store, none, "7_0")
    submit(store, qfl, "7_1").write(progress("7_1", "preempted"))
    submit(store, dfl, "7_2").write(progress("7_2"))
    submit(store, both, "7_3").write(progress("7_3", "failed", message="out of disk"))
    if is_there:
        answer("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n", 1)
    text = ask()
    assert line(text, "none").startswith("none queued, job 7_0 ")
    assert line(text, "QFL").startswith("QFL requeued, job 7_1, epoch 2/4 ")
    assert line(text, "DFL").startswith("DFL training, job 7_2 on n1 since ")
    assert ", as of " in line(text, "DFL")
    assert line(text, "both").startswith("both failed, job 7_3: out of disk ")
    assert "Slurm cannot be asked here" in text
    found = json.loads(ask("--json"))["runs"]
    assert [run["job"]["asked_slurm"] for run in found] == [False] * 4


def test_what_of_a_job_is_left(answer: Answer) -> None:
    assert slurm_jobs.queued(["7"]) is None  # no squeue
    answer("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n", 1)
    assert slurm_jobs.queued(["7"]) is None
    answer("squeue", "slurm_load_jobs error: Invalid job id specified\n", 1)
    assert slurm_jobs.queued(["7"]) == {}
    answer("squeue", "7|7|COMPLETING|n1|0:10|None\n", 0)
    assert slurm_jobs.queued(["7"])  # something of it may still run
    answer("squeue", "7|7|COMPLETED|n1|0:10|None\n", 0)
    assert slurm_jobs.queued(["7"]) == {}
    answer("squeue", "12_3|40|RUNNING|n1|0:10|None\n", 0)
    found = slurm_jobs.queued(["40", "12_3"])  # by its own number, too
    assert found is not None
    assert found["40"] == found["12_3"]


def test_the_cluster_is_the_one_that_the_commands_know(answer: Answer) -> None:
    assert slurm_jobs.cluster() is None
    answer("scontrol", "slurm_load_ctl_conf error: Unable to contact slurm controller\n", 1)
    assert slurm_jobs.cluster() is None
    answer("scontrol", "CliFilterPlugins = (null)\nClusterName             = alpha\n", 0)
    assert slurm_jobs.cluster() == "alpha"


def test_jobs_that_the_controller_has_forgotten_are_looked_up_in_the_accounting(
    answer: Answer,
) -> None:
    assert slurm_jobs.final_states([]) == {}
    assert slurm_jobs.final_states(["7"]) == {}
    table = "JobID|State\n7|CANCELLED by 1000\n8_0|TIMEOUT\n8_[1-3,5%2]|CANCELLED by 0\n"
    answer("sacct", table, 0)
    found = slurm_jobs.final_states(["7", "8_0", "8_2", "8_4", "9"])
    assert found == {"7": "CANCELLED", "8_0": "TIMEOUT", "8_2": "CANCELLED"}
    answer("sacct", "Slurm accounting storage is disabled\n", 1)
    assert slurm_jobs.final_states(["7"]) == {}


def test_each_of_slurms_commands_is_asked_once(
    store: Store, answer: Answer, ask: Callable[..., str], tmp_path: Path
) -> None:
    for number, run in enumerate(runs()):
        submit(store, run, f"7_{number}")
    answer("squeue", "7_0|7|RUNNING|n1|0:10|None\n7_1|8|CANCELLED|n1|0:10|None\n", 0)
    answer("sacct", "JobID|State\n7_2|TIMEOUT\n7_3|NODE_FAIL\n", 0)
    text = ask()
    assert [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()] == [
        "squeue",
        "sacct",
    ]
    assert line(text, "none").startswith("none training, job 7_0 starting on n1 ")
    assert line(text, "QFL").startswith("QFL missing, job 7_1 cancelled ")
    assert line(text, "DFL").startswith("DFL failed, job 7_2 timeout ")
    assert line(text, "both").startswith("both failed, job 7_3 node fail ")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ("FAILED", "none failed, 1 of 2 epochs, job 7 failed, not requeued after its checkpoint "),
        ("TIMEOUT", "none failed, 1 of 2 epochs, job 7 timeout, not requeued after its "),
        ("CANCELLED", "none partial, 1 of 2 epochs, job 7 cancelled "),
    ],
)
def test_a_job_that_stored_a_checkpoint_and_is_not_requeued_has_ended(
    store: Store, answer: Answer, ask: Callable[..., str], ended: str, expected: str
) -> None:
    """As one that has reached its time limit once too often."""
    none, *_ = runs()
    submit(store, none, "7").write(progress("7", "preempted"))
    folder = store.run_dir("smoke", none.id)
    folder.mkdir()
    (folder / "epoch_1.pth").touch()
    answer("squeue", f"7|7|{ended}|n1|0:00|None\n", 0)
    text = ask()
    assert line(text, "none").startswith(expected)
    assert ("job 7 failed; its log ends:" in text) == (ended != "CANCELLED")


def test_jobs_of_another_cluster_are_as_they_last_wrote(
    store: Store, answer: Answer, ask: Callable[..., str]
) -> None:
    none, qfl, dfl, _ = runs()
    for run, cluster in ((none, "alpha"), (qfl, "beta"), (dfl, "beta")):
        ledger = submit(store, run, "7")
        ledger.write(replace(ledger.submission(), cluster=cluster))  # type: ignore[type-var]
        ledger.write(replace(progress("7"), cluster="beta"))
    answer("scontrol", "ClusterName = alpha\n", 0)
    answer("squeue", "7|7|PENDING|n1|0:10|Priority\n", 0)
    text = ask()
    # Not begun: its progress is that of the other cluster's job 7.
    assert line(text, "none").startswith("none queued, job 7 (Priority) ")
    assert line(text, "QFL").startswith("QFL training, job 7 on n1 since ")
    assert ", as of " in line(text, "QFL")
    assert "Slurm here does not know cluster beta: its jobs are as they last wrote\n" in text
    assert "cannot be asked" not in text
    found = {run["id"]: run["job"] for run in json.loads(ask("--json"))["runs"]}
    assert found[none.id]["asked_slurm"]
    assert found[none.id]["cluster"] == "alpha"
    assert not found[qfl.id]["asked_slurm"]


def test_the_end_of_a_failed_jobs_log_is_the_error(store: Store, answer: Answer) -> None:
    none, *_ = runs()
    ledger = submit(store, none, "7")
    (ledger.jobs / "7_0_log.out").write_text(
        "run 1 of 1: none, seed 0\n"
        "Traceback (most recent call last):\n"
        '  File "job.py", line 3, in run\n'
        "    raise self.error\n"
        "experiments.queue.worker.WorkerError: none, seed 0: the worker ended with exit code 1\n"
        "    RuntimeError: something broke\n"
        "srun: error: n1: task 0: Exited with exit code 1\n"
    )
    answer("squeue", "", 0)
    (found,) = look({none.id: ledger}).values()
    assert found.log_end(store.run_dir("smoke", none.id)) == [
        'File "job.py", line 3, in run',
        "experiments.queue.worker.WorkerError: none, seed 0: the worker ended with exit code 1",
        "    RuntimeError: something broke",
        "srun: error: n1: task 0: Exited with exit code 1",
        f"the whole log: {ledger.jobs / '7_0_log.out'}",
    ]
