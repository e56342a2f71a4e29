"""The command that trains, against a worker that only pretends to."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import options

from cli.main import main
from cli.options import Training, Where
from experiments.queue import attempt
from experiments.queue.worker import ROOT, command, log_tail
from gfl.records.record import Request, RunRecord

FAKE_WORKER = Path(__file__).parents[1] / "fake_worker.py"
Trained = Callable[[], list[str]]
Cli = Callable[..., int]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the fake is a script, and lies elsewhere

    def call(*words: str) -> int:
        if words[0] == "run" and "--jobs" not in words:
            words = (*words, "--jobs", "1")
        return main([*words, *options(tmp_path)], worker=[sys.executable, str(FAKE_WORKER)])

    return call


def run_dirs(tmp_path: Path) -> list[Path]:
    return sorted(p for p in (tmp_path / "runs/smoke").iterdir() if p.is_dir())


def test_the_time_between_checkpoints_is_the_workers_and_no_part_of_the_run(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli("run", "table-3/QFL", "--checkpoint-minutes", "2.5") == 0
    (run_dir,) = run_dirs(tmp_path)
    assert Request.load(run_dir).checkpoint_minutes == 2.5
    assert cli("run", "table-3/QFL") == 0  # already trained
    assert run_dirs(tmp_path) == [run_dir]
    assert Training().machine(Where(profile="smoke")).checkpoint_minutes is None
    assert Training().machine(Where(profile="coco")).checkpoint_minutes == 10
    assert Training(checkpoint_minutes=3.0).machine(Where(profile="coco")).checkpoint_minutes == 3


def test_a_table_is_trained_once_and_shown(
    cli: Cli, tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3") == 0
    assert len(trained()) == 4
    out = capfd.readouterr().out
    assert "run 4 of 4: both, seed 0" in out
    assert "QFL, seed 0: finished, AP 31.6" in out
    folder = tmp_path / "results/tables/smoke"
    assert "| local | 1 |" in (folder / "table-3.local.md").read_text()
    assert {p.name for p in folder.iterdir()} == {
        "table-3.local.md",
        "table-3.local.csv",
    }

    assert cli("run", "table-3") == 0
    assert len(trained()) == 4
    assert "QFL, seed 0: already trained (AP 31.6, " in capfd.readouterr().out


def test_seeds_and_single_rows_add_up(cli: Cli, trained: Trained) -> None:
    assert cli("run", "table-3/QFL", "--seeds", "0", "1") == 0
    assert cli("run", "table-3", "--seeds", "1") == 0
    assert len(trained()) == len(set(trained())) == 5


@pytest.mark.usefixtures("smoke_counts")
def test_a_reference_is_no_reason_not_to_train(
    cli: Cli, tmp_path: Path, trained: Trained, clean_commit: str
) -> None:
    assert cli("run", "table-3/QFL") == 0
    assert cli("promote") == 0
    (record,) = (tmp_path / "runs").glob("*/*/record.json")
    record.unlink()
    assert cli("run", "table-3/QFL") == 0
    assert len(trained()) == 2


def test_a_dry_run_only_tells(cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert cli("run", "table-3", "--dry-run", "--seeds", "0", "1") == 0
    assert "8 runs, 8 to train" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_is_explained(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "die")
    assert cli("run", "table-3") == 1
    err = capfd.readouterr().err
    assert "none, seed 0: the worker ended with exit code 1" in err
    assert "RuntimeError: something broke" in err
    assert "Traceback" not in err
    assert "train.log" in err
    assert len(trained()) == 1

    monkeypatch.setenv("FAKE", "")
    assert cli("run", "table-3/none") == 0
    assert "going on from iteration 10" in capfd.readouterr().out


def test_the_users_mistake_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "user-error")
    assert cli("run", "table-3") == 2
    assert capfd.readouterr().err == "gfl: no GPU was found: take --device cpu\n"
    assert len(trained()) == 1


def test_a_worker_without_a_record_is_an_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "forget")
    assert cli("run", "table-3/QFL") == 1
    assert "left no record" in capfd.readouterr().err


def test_a_failed_run_is_told_and_goes_on_from_its_last_checkpoint(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: Trained,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("FAKE", "fail")
    assert cli("run", "table-3") == 1
    assert len(trained()) == 4  # the others are worth having
    out, err = capfd.readouterr()
    assert "QFL, seed 0: failed: the loss is not finite at iteration 7" in out
    assert err.count("its log: ") == 4
    assert "31.6" not in out.partition("Table 3:")[2]
    for run_dir in run_dirs(tmp_path):
        (run_dir / "epoch_4.pth").unlink()  # it diverged in the fourth

    monkeypatch.setenv("FAKE", "")
    assert cli("run", "table-3") == 0
    assert capfd.readouterr().out.count("going on from iteration 30") == 4
    assert len(trained()) == 8
    records = [RunRecord.load(run_dir / "record.json") for run_dir in run_dirs(tmp_path)]
    assert {record.state for record in records} == {"finished"}


def test_a_failed_run_of_other_code_is_set_aside_if_asked(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "fail")
    assert cli("run", "table-3/QFL") == 1
    (run_dir,) = run_dirs(tmp_path)
    request = Request.load(run_dir)
    replace(request, code={"gfl/losses.py": "0"}).save(run_dir)
    monkeypatch.setenv("FAKE", "")
    capfd.readouterr()
    assert cli("run", "table-3/QFL", "--again") == 0
    out = capfd.readouterr().out
    assert "training from scratch; the previous run is kept in" in out
    assert "going on" not in out
    aside = run_dir.with_name(f"{run_dir.name}.before-1")
    assert RunRecord.load(aside / "record.json").state == "failed"


def test_a_capped_run_is_a_trial_and_no_result(
    cli: Cli, tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3/QFL", "--max-iters", "2") == 0
    out = capfd.readouterr().out
    assert "QFL, seed 0: capped after 2 iterations, a trial and not a result" in out
    assert "QFL, seed 0: a trial of 2 iterations, not a result" in out
    assert "31.6" not in out.partition("Table 3:")[2]
    assert not (tmp_path / "results/tables/smoke").exists() or not list(
        (tmp_path / "results/tables/smoke").iterdir()
    )
    (capped,) = run_dirs(tmp_path)
    assert capped.name.endswith("-capped2")
    assert Request.load(capped).max_iters == 2

    assert cli("run", "table-3/QFL", "--max-iters", "2") == 0  # made again, from the start
    assert cli("run", "table-3/QFL") == 0
    assert len(trained()) == 3
    assert "going on" not in capfd.readouterr().out
    assert len(run_dirs(tmp_path)) == 2


def test_a_damaged_record_is_named_and_the_run_made_again(
    cli: Cli, tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3/QFL") == 0
    (path,) = (tmp_path / "runs").glob("*/*/record.json")
    path.write_text(path.read_text()[:-100])
    assert cli("run", "table-3/QFL") == 0
    assert len(trained()) == 2
    assert "set aside as record.json.damaged" in capfd.readouterr().err
    assert RunRecord.load(path).state == "finished"


@pytest.mark.parametrize("folder", ["runs", "results"])
def test_a_folder_that_cannot_be_written_is_found_before_training(
    cli: Cli, tmp_path: Path, folder: str, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / folder).write_text("in the way")
    assert cli("run", "table-3") == 2
    err = capfd.readouterr().err
    assert str(tmp_path / folder) in err
    assert "cannot write there" in err
    assert err.count("\n") == 1
    assert trained() == []


def test_a_full_disk_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def full(self: Request, run_dir: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Request, "save", full)
    assert cli("run", "table-3") == 2
    assert "the disk is full" in capfd.readouterr().err


def test_code_that_changed_between_start_and_end_is_dirty(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_commit: str
) -> None:
    monkeypatch.setenv("FAKE", "die")
    assert cli("run", "table-3/QFL") == 1
    (run_dir,) = run_dirs(tmp_path)
    assert not Request.load(run_dir).dirty
    monkeypatch.setenv("FAKE", "")
    monkeypatch.setattr(attempt, "code_state", lambda: ("another", False))
    assert cli("run", "table-3/QFL") == 0
    record = RunRecord.load(run_dir / "record.json")
    assert (record.commit, record.dirty) == ("another", True)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_goes_on_from_its_last_epoch(
    cli: Cli, tmp_path: Path, number: int, code: int, capfd: pytest.CaptureFixture
) -> None:
    process = start_hanging(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert err.startswith("stopped; run the same command again to go on")
        assert err.count("\n") == 1
    end_orphans(tmp_path)
    assert cli("run", "table-3/QFL") == 0
    assert "going on from iteration 10" in capfd.readouterr().out


def start_hanging(tmp_path: Path) -> subprocess.Popen:
    """A run that has finished its first epoch and stands still in its second."""
    program = (
        "import sys; from cli.main import main; "
        "sys.exit(main(sys.argv[2:], worker=[sys.executable, sys.argv[1]]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, FAKE_WORKER, "run", "table-3/QFL", *options(tmp_path)],
        env=os.environ | {"FAKE": "hang"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        if list((tmp_path / "runs").glob("*/*/hanging")):
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def end_orphans(tmp_path: Path) -> None:
    """The worker of a killed parent notices at its next word; this one has none to say."""
    for path in (tmp_path / "runs").glob("*/*/hanging"):
        if (pid := path.read_text()) and Path(f"/proc/{pid}").exists():
            os.kill(int(pid), signal.SIGKILL)


def test_several_gpus_take_torchs_launcher() -> None:
    worker = [sys.executable, "-m", "gfl.training.worker"]
    assert command(worker, 1) == worker
    many = command(worker, 4)
    assert many[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--nproc_per_node=4" in many
    assert many[-2:] == ["-m", "gfl.training.worker"]


def test_the_tail_of_a_log_is_its_exception(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "of an earlier start\n" * 5
        + "Traceback (most recent call last):\n"
        + '  File "a.py", line 1, in <module>\n    f()\n'
        + '  File "b.py", line 2, in f\n    g()\n    ~^^\n'
        + "ValueError: no\nsuch thing\n"
    )
    assert log_tail(log) == ['File "b.py", line 2, in f', "ValueError: no", "such thing"]
    log.write_text("early\n" * 10 + "late\n")
    assert log_tail(log, start=60, lines=2) == ["late"]
    log.write_text("")
    assert log_tail(log) == []
