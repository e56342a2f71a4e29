"""Several runs at a time, against a worker that only pretends to train."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import options

from cli.main import main
from experiments import profiles
from experiments.queue import machine, worker
from experiments.queue.display import Display
from experiments.queue.locks import is_locked
from experiments.queue.machine import Machine
from experiments.queue.worker import ROOT
from gfl.errors import UserError
from gfl.shapes import embedded

FAKE_WORKER = Path(__file__).parents[1] / "fake_worker.py"
SMOKE = profiles.get("smoke")
Trained = Callable[[], list[str]]
Cli = Callable[..., int]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(*words: str) -> int:
        words = ("run", "table-3", *words, *options(tmp_path))
        return main(words, worker=[sys.executable, str(FAKE_WORKER)])

    return call


def when_hanging(tmp_path: Path, count: int, then: Callable[[], None]) -> threading.Thread:
    """Do something once so many workers have finished an epoch and stand still."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while len(list((tmp_path / "runs").glob("*/*/hanging"))) < count:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def workers_left(tmp_path: Path) -> list[str]:
    pids = [path.read_text() for path in (tmp_path / "runs").glob("*/*/hanging")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_two_at_a_time_really_are(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained
) -> None:
    monkeypatch.setenv("FAKE", "meet")  # a worker ends its first epoch when another has begun
    assert cli("--jobs", "2") == 0
    assert len(set(trained())) == 4


def test_all_of_a_table_finish_and_the_lines_name_their_run(
    cli: Cli, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("--jobs", "3", "--seeds", "0", "1") == 0
    out = capfd.readouterr().out
    assert len(set(trained())) == len(trained()) == 8
    # They begin in the table's order, whichever ends first.
    begun = [line for line in out.splitlines() if line.startswith("run ")]
    names = ["none", "QFL", "DFL", "both"]
    assert begun == [
        f"run {i + 1} of 8: {names[i % 4]}, seed {i // 4}" for i in range(8)
    ]  # fmt: skip
    assert "QFL, seed 1: epoch 4/4, loss" in out
    assert "QFL, seed 1: finished, AP 32.6" in out


def test_ctrl_c_stops_all_and_says_so_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "hang")
    thread = when_hanging(tmp_path, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert cli("--jobs", "2") == 130
    thread.join()
    err = capfd.readouterr().err
    assert err.startswith("stopped; run the same command again to go on")
    assert err.count("\n") == 1
    assert workers_left(tmp_path) == []

    monkeypatch.setenv("FAKE", "")
    assert cli("--jobs", "2") == 0
    assert capfd.readouterr().out.count("going on from iteration 10") == 2


def test_a_second_ctrl_c_does_not_wait(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "deaf")  # to everything that can be ignored

    monkeypatch.setattr(worker, "PATIENCE", tuple((number, 300.0) for number, _ in worker.PATIENCE))

    def press_again_and_again() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    thread = when_hanging(tmp_path, 2, press_again_and_again)
    assert cli("--jobs", "2") == 130
    thread.join()
    assert workers_left(tmp_path) == []
    assert not list((tmp_path / "runs").glob("*/*/record.json"))  # as if left to themselves


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_second_ctrl_c_at_once_stops_the_workers_too(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "hang")
    monkeypatch.setattr(Display, "stopping", interrupt)
    thread = when_hanging(tmp_path, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert cli("--jobs", "2") == 130
    thread.join()
    assert workers_left(tmp_path) == []
    assert not list((tmp_path / "runs").glob("*/*/record.json"))  # as if waited for


@pytest.mark.parametrize(
    ("whom", "number", "code"),
    [
        ("a worker", signal.SIGTERM, 75),
        ("a worker", signal.SIGUSR1, 75),
        ("gfl", signal.SIGTERM, 130),
    ],
)
def test_a_signal_to_end_lets_all_workers_store_a_checkpoint(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture,
    whom: str, number: signal.Signals, code: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("FAKE", "heed")

    def signal_one() -> None:
        if whom == "gfl":
            os.kill(os.getpid(), number)
            return
        file = next((tmp_path / "runs").glob("*/*/hanging"))
        while not (pid := file.read_text()):
            time.sleep(0.02)
        os.kill(int(pid), number)

    waited: list[str] = []
    wait = worker.Workers.wait

    def wait_and_be_asked_again(workers: worker.Workers) -> None:
        for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), again)
        wait(workers)
        waited.extend(path.parent.name for path in (tmp_path / "runs").glob("*/*/heeded"))

    monkeypatch.setattr(worker.Workers, "wait", wait_and_be_asked_again)
    thread = when_hanging(tmp_path, 2, signal_one)
    assert cli("--jobs", "2") == code
    thread.join()
    assert workers_left(tmp_path) == []
    assert len(set(waited)) == 2  # before the workers were stopped
    err = capfd.readouterr().err
    assert err == "stopped; run the same command again to go on from where it stopped\n"

    monkeypatch.setenv("FAKE", "")
    assert cli("--jobs", "2") == 0
    assert capfd.readouterr().out.count("going on from iteration 10") == 2


def test_workers_that_are_preempted_before_they_start_do_not(tmp_path: Path) -> None:
    workers = worker.Workers()
    workers.preempt()
    with pytest.raises(worker.Preempted):
        workers.follow(["false"], tmp_path, print, {}, ())


def test_a_run_that_another_took_over_is_left_to_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    """Here the other process has lost it, too: the run is free again, and goes on."""
    monkeypatch.setenv("FAKE", "lose")
    assert cli("--jobs", "2") == 0
    assert len(trained()) == 8
    assert len(set(trained())) == 4
    out = capfd.readouterr().out
    assert "QFL, seed 0: taken over by another process while this one was paused" in out
    assert out.count("going on from iteration 10") == 4
    assert out.count("finished, AP") == 4
    assert "run 5 of 4" not in out


def test_a_worker_that_could_not_be_waited_for_keeps_its_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "hang")
    monkeypatch.setattr(worker.Workers, "stop", lambda workers: None)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupt)
    thread = when_hanging(tmp_path, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert cli("--jobs", "1") == 130
    thread.join()
    (hanging,) = (tmp_path / "runs").glob("*/*/hanging")
    assert is_locked(hanging.parent)
    os.kill(int(hanging.read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_locked(hanging.parent):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_dies_stops_the_others_which_go_on_later(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: Trained,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("FAKE", "die-or-hang")  # the first row's dies once the second's hangs
    assert cli("--jobs", "2") == 1
    err = capfd.readouterr().err
    assert err.count("the worker ended with exit code 1") == 1
    assert "none, seed 0: the worker ended with exit code 1" in err
    assert "RuntimeError: something broke" in err
    assert "stopped with it: QFL, seed 0" in err
    assert "Traceback" not in err
    assert workers_left(tmp_path) == []
    assert len(trained()) == 2

    monkeypatch.setenv("FAKE", "")
    assert cli("--jobs", "2") == 0
    assert capfd.readouterr().out.count("going on from iteration 10") == 2


def test_a_mistake_of_the_user_is_told_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "user-error")
    assert cli("--jobs", "4") == 2
    assert capfd.readouterr().err == "gfl: no GPU was found: take --device cpu\n"


def test_failed_runs_do_not_stop_the_others(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FAKE", "fail")
    assert cli("--jobs", "2") == 1
    assert len(trained()) == 4
    assert capfd.readouterr().err.count("its log: ") == 4


def test_a_single_missing_run_looks_as_with_one_job(
    cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert cli("--jobs", "2") == 0
    next((tmp_path / "runs").glob("*/*/record.json")).unlink()
    capfd.readouterr()
    assert cli("--jobs", "2") == 0
    out = capfd.readouterr().out
    assert "run 1 of 1: " in out
    assert "\n  epoch 4/4" in out


def test_the_data_are_drawn_once_before_the_first_run(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    drawn = []

    def write(
        spec: embedded.ShapesSpec, root: Path, *, progress: Callable[[int, int], None], **_: object
    ) -> None:
        drawn.append((spec, root.parent))
        progress(0, 48)
        progress(48, 48)

    monkeypatch.setattr(embedded, "write", write)
    assert cli("--jobs", "2") == 0
    assert drawn == [(SMOKE.dataset, data)]
    out = capfd.readouterr().out
    assert out.index("drawing the embedded data set 48/48") < out.index("run 1 of 4")
    assert cli("--jobs", "2") == 0  # nothing is missing, and nothing needs data
    assert len(drawn) == 1


def test_data_that_cannot_be_drawn_start_no_worker(
    cli: Cli, data: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    monkeypatch.setattr("gfl.training.worker.EMBEDDED", tmp_path / "file")
    assert cli() == 2
    err = capfd.readouterr().err
    assert "cannot write the data set" in err
    assert err.count("\n") == 1
    assert trained() == []


def test_coco_is_refused_before_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    words = ["run", "table-3", "--profile", "coco", "--max-iters", "2", *folders]
    assert main(words, worker=["no such worker"]) == 2
    assert "needs COCO, and its folder is not named: DATA=" in capfd.readouterr().err
    assert main([*words, "--data", str(tmp_path / "none")], worker=["no such worker"]) == 2
    err = capfd.readouterr().err
    assert "none is not a complete COCO folder" in err
    assert "annotations/instances_val2017.json" in err
    assert err.count("Expected layout") == 1


def test_several_devices_are_refused_on_a_cpu(cli: Cli, capfd: pytest.CaptureFixture) -> None:
    assert cli("--gpus", "2") == 2
    err = capfd.readouterr().err
    assert "--gpus 2 is for CUDA: the smoke profile is trained on the CPU here" in err
    assert err.count("\n") == 1
    Machine(gpus=8).check(profiles.get("coco"))
    with pytest.raises(UserError, match="the coco profile is trained on the CPU"):
        Machine(gpus=8, device="cpu").check(profiles.get("coco"))


def test_how_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(machine, "usable_memory", lambda: 64 << 30)
    coco, gpu = profiles.get("coco"), profiles.get("gpu")
    assert Machine().jobs_for(SMOKE, 8) == 3
    assert Machine().jobs_for(SMOKE, 2) == 2
    assert Machine().jobs_for(SMOKE, 0) == 1
    assert Machine(device="cuda").jobs_for(SMOKE, 8) == 1
    assert Machine(gpus=2).jobs_for(SMOKE, 8) == 1
    assert Machine().jobs_for(gpu, 8) == 1
    assert Machine(device="cpu").jobs_for(gpu, 8) == 3
    assert Machine(device="cpu").jobs_for(coco, 8) == 1
    assert Machine(jobs=5).jobs_for(coco, 8) == 5
    assert Machine(jobs=5).jobs_for(SMOKE, 4) == 4
    monkeypatch.setattr(machine, "usable_memory", lambda: 4 << 30)
    assert Machine().jobs_for(SMOKE, 8) == 2


def test_the_estimate_counts_runs_at_a_time(cli: Cli, capfd: pytest.CaptureFixture) -> None:
    assert cli("--jobs", "2") == 0
    capfd.readouterr()
    assert cli("--dry-run", "--jobs", "2", "--seeds", "0", "1", "2", "3") == 0
    assert "16 runs, 12 to train, 2 at a time, about 6 min" in capfd.readouterr().out
