"""Locks of two machines that share a folder: each is a process that takes itself for a host.

A host's name and kernel are what ``gfl.records.lease`` reads of them; everything else is real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import wait_for

from experiments.queue import locks
from experiments.queue.locks import RunLock, is_locked, owner
from experiments.queue.slurm_jobs import Job
from experiments.queue.worker import ROOT
from gfl.records import lease as leases
from gfl.records.lease import Hold, LostError, lease_path, look, numbers

# Answers orders, a line each, by a line of JSON: so each host acts when it is told to.
HOST = """
import fcntl, json, os, pathlib, sys, types
from experiments.queue import locks
from gfl.records import lease
name, run_dir = sys.argv[1], pathlib.Path(sys.argv[2])
lease.host = lambda: name
lease.kernel = lambda: "kernel of " + name
lease.BEAT = 0.05
locks.SILENCE = float(sys.argv[3])
lock, now = None, 0.0
for order in sys.stdin:
    (order, *by), answer = order.split(), None
    if order == "take":
        lock = locks.RunLock.take(run_dir)
        answer = lock is not None
    elif order == "is_locked":
        answer = locks.is_locked(run_dir)
    elif order == "check":
        try:
            lock.check()
            answer = "held"
        except lease.LostError as err:
            answer = str(err)
    elif order == "release":
        lock.release()
    elif order == "later":
        now += float(*by)
        locks.time = types.SimpleNamespace(monotonic=lambda: now)
    print(json.dumps(answer), flush=True)
"""
NEVER = 1e9  # s, of silence


class Host:
    """A process that is a machine of its own, as far as the lease can tell."""

    def __init__(self, name: str, run_dir: Path, silence: float, environment: dict[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, name, str(run_dir), str(silence)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )

    def __call__(self, order: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(order, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


Hosts = Callable[..., Host]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "a-run"


@pytest.fixture
def hosts(run_dir: Path) -> Iterator[Hosts]:
    """Start hosts, and end them with the test."""
    started: list[Host] = []

    def start(name: str, silence: float = NEVER, **environment: str) -> Host:
        started.append(Host(name, run_dir, silence, environment))
        return started[-1]

    yield start
    for host in started:
        host.process.kill()
        host.process.wait()
        for pipe in (host.process.stdin, host.process.stdout):
            assert pipe is not None
            pipe.close()


def beats(run_dir: Path, count: int = 3) -> None:
    """Wait until a lease has been kept alive so many times."""
    seen: set[int] = set()

    def several() -> bool:
        found = look(run_dir)
        seen.update([found.beat] if found else [])
        return len(seen) > count

    wait_for(several)


def test_of_two_hosts_one_trains_a_run(hosts: Hosts, run_dir: Path) -> None:
    a, b = hosts("a", silence=0.5), hosts("b", silence=0.5)
    assert a("take") is True
    assert b("take") is False
    beats(run_dir, 20)  # longer than the silence of one that is gone
    assert b("take") is False
    assert b("is_locked") is True
    a("release")
    assert b("is_locked") is False
    assert numbers(run_dir) == []
    assert b("take") is True
    assert a("take") is False


def test_of_many_who_take_a_run_at_a_time_one_gets_it(run_dir: Path) -> None:
    """Threads: flock and links are of each open file, not of the process."""
    for _ in range(20):
        start, taken = threading.Barrier(8), []

        def take(start: threading.Barrier = start, taken: list = taken) -> None:
            start.wait()
            taken.append(RunLock.take(run_dir))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (lock,) = [lock for lock in taken if lock is not None]
        assert [p.name for p in run_dir.parent.iterdir()] == [lock.hold.path.name]
        lock.release()
    assert list(run_dir.parent.iterdir()) == []


def test_a_dead_owner_on_another_host_is_gone_after_a_silence_and_not_before(
    hosts: Hosts, run_dir: Path
) -> None:
    a, patient, b = hosts("a"), hosts("patient"), hosts("b", silence=0.5)
    assert a("take") is True
    a.process.kill()
    a.process.wait()
    assert patient("take") is False
    assert b("take") is False  # whatever its file says: the silence begins when it is watched
    wait_for(lambda: b("take"))
    assert patient("take") is False
    assert numbers(run_dir) == [2]


def test_an_owner_that_is_paused_loses_its_run_and_knows_when_it_wakes(
    hosts: Hosts, run_dir: Path
) -> None:
    a, b = hosts("a"), hosts("b", silence=0.5)
    assert a("take") is True
    a.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: b("take"))
    a.process.send_signal(signal.SIGCONT)
    assert "another process took over the run" in a("check")
    a("release")  # of nothing: the run is the other's
    assert b("check") == "held"
    assert a("take") is False
    found = owner(run_dir)
    assert found is not None
    assert found[0].host == "b"


def test_a_pause_shorter_than_the_silence_loses_nothing(hosts: Hosts, run_dir: Path) -> None:
    """By the watcher's clock, which only its orders advance; a beat begins the silence anew."""
    a, b = hosts("a"), hosts("b", silence=600)
    assert a("take") is True
    a.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, a.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert b("take") is False
    b("later 599")
    assert b("take") is False
    a.process.send_signal(signal.SIGCONT)
    beats(run_dir)
    assert b("take") is False
    a.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, a.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert b("take") is False  # perhaps it has seen the last beat before
    b("later 599")
    assert b("take") is False
    a.process.send_signal(signal.SIGCONT)
    assert a("check") == "held"
    a.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, a.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert b("take") is False
    b("later 600")
    assert b("take") is True


def seen_from_elsewhere(monkeypatch: pytest.MonkeyPatch, name: str = "elsewhere") -> None:
    """Make this process another host."""
    monkeypatch.setattr(leases, "host", lambda: name)
    monkeypatch.setattr(leases, "kernel", lambda: f"kernel of {name}")


def test_a_clock_that_jumps_takes_no_lease_from_a_living_owner(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the file server's, by which beats are dated, nor the one of who looks."""
    lock = RunLock.take(run_dir)
    assert lock is not None
    seen_from_elsewhere(monkeypatch)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    year = 365 * 86400
    for jump in (0, -30 * year, 20 * year, -1):
        os.utime(lock.hold.path, (1.7e9 + jump, 1.7e9 + jump))  # a beat
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 - 2 * jump)
        assert RunLock.take(run_dir) is None
        now += 0.9 * locks.SILENCE
        assert RunLock.take(run_dir) is None
    now += 0.2 * locks.SILENCE  # none since
    other = RunLock.take(run_dir)
    assert other is not None
    with pytest.raises(LostError):
        lock.check()


def test_who_was_paused_before_it_takes_a_lease_takes_no_younger_one(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = RunLock.take(run_dir)
    assert dead is not None
    dead.leave()
    link, taken = locks._link, []

    def late(draft: Path, path: Path) -> bool:
        monkeypatch.setattr(locks, "_link", link)
        second = RunLock.take(run_dir)
        assert second is not None
        second.release()
        taken.append(RunLock.take(run_dir))  # the numbers begin again
        return link(draft, path)

    monkeypatch.setattr(locks, "_link", late)
    assert RunLock.take(run_dir) is None
    (third,) = taken
    assert third is not None
    third.check()
    third.release()
    assert look(run_dir) is None


class FakeSlurm:
    """What Slurm's commands answer here: the jobs of one cluster, or nothing."""

    def __init__(self) -> None:
        self.cluster, self.states = "here", {"12": "RUNNING"}
        self.is_there = True
        self.asked: list[list[str]] = []

    def known(self, ids: list[str]) -> dict[str, Job] | None:
        self.asked.append(ids)
        found = {id: Job(id, self.states[id], "n1", "", "") for id in ids if id in self.states}
        return found if self.is_there else None


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Slurm's commands; this process is in job 12 of cluster "here", on another node than later."""
    fake = FakeSlurm()
    monkeypatch.setattr(locks.slurm_jobs, "cluster", lambda: fake.cluster)
    monkeypatch.setattr(locks.slurm_jobs, "known", fake.known)
    monkeypatch.setattr(locks, "_answers", {})
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "here")
    return fake


def leave_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one of a login node, outside of any job."""
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.delenv("SLURM_CLUSTER_NAME")
    seen_from_elsewhere(monkeypatch)


def test_a_jobs_lease_is_gone_when_slurm_says_so(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunLock.take(run_dir)
    assert lock is not None
    leave_node(monkeypatch)
    with monkeypatch.context() as silent:
        silent.setattr(locks, "SILENCE", 0.0)  # it would be gone by that
        silent.setattr(locks, "SECONDS_OF_AN_ANSWER", -1.0)
        for state in ("PENDING", "REQUEUED", "SUSPENDED"):
            slurm.states["12"] = state
            assert RunLock.take(run_dir) is None
            assert RunLock.take(run_dir) is None
    found = owner(run_dir)
    assert found is not None
    assert (found[0].job, found[0].pid) == ("12", os.getpid())
    slurm.states["12"] = "CANCELLED"
    monkeypatch.setattr(locks, "_answers", {})
    assert owner(run_dir) is None
    del slurm.states["12"]
    monkeypatch.setattr(locks, "_answers", {})
    other = RunLock.take(run_dir)
    assert other is not None
    with pytest.raises(LostError):
        lock.check()
    assert slurm.asked == [["12"]] * len(slurm.asked)


def test_slurm_is_asked_once_about_the_jobs_of_all_runs(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [run_dir.with_name(f"run-{n}") for n in range(5)]
    for number, folder in enumerate(folders):
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        assert RunLock.take(folder) is not None
    slurm.states = {"0": "RUNNING", "1": "PENDING", "3": "TIMEOUT", "4": "RUNNING"}
    leave_node(monkeypatch)
    for _ in range(3):
        assert [is_locked(folder) for folder in folders] == [True, True, False, False, True]
    assert slurm.asked == [["0", "1", "2", "3", "4"]]
    # A lease that is younger than the answer is asked about.
    with monkeypatch.context() as there:
        there.setenv("SLURM_JOB_ID", "5")
        there.setenv("SLURM_CLUSTER_NAME", "here")
        seen_from_elsewhere(there, "a node")
        assert RunLock.take(run_dir) is not None
    slurm.states["5"] = "PENDING"
    assert is_locked(run_dir)
    assert len(slurm.asked) == 2
    assert "5" in slurm.asked[1]


def test_an_owner_that_was_killed_in_a_job_that_runs_on_is_gone_by_its_silence(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a step that was cancelled, or a process in an interactive allocation."""
    lock = RunLock.take(run_dir)
    assert lock is not None
    lock.leave()
    assert not is_locked(run_dir)  # on its own machine, at once: the kernel knows
    leave_node(monkeypatch)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert RunLock.take(run_dir) is None
    now += 0.9 * locks.SILENCE
    assert RunLock.take(run_dir) is None
    now += 0.2 * locks.SILENCE
    assert RunLock.take(run_dir) is not None


def test_slurm_is_not_believed_about_the_job_of_another_cluster(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clusters that share a folder: each numbers its jobs by itself."""
    lock = RunLock.take(run_dir)
    assert lock is not None
    slurm.cluster, slurm.states = "there", {}
    seen_from_elsewhere(monkeypatch)
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "there")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # job 12 there was requeued
    assert RunLock.take(run_dir) is None
    leave_node(monkeypatch)
    assert is_locked(run_dir)
    assert RunLock.take(run_dir) is None
    lock.check()
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    assert RunLock.take(run_dir) is not None


def test_a_lease_of_an_earlier_version_names_no_cluster_and_is_understood(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunLock.take(run_dir)
    assert lock is not None
    written = json.loads(lock.hold.path.read_text())
    assert written.pop("cluster") == "here"
    lock.hold.path.write_text(json.dumps(written))
    lock.check()
    slurm.states = {}
    leave_node(monkeypatch)
    found = owner(run_dir)
    assert found is not None
    assert found[0].job == "12"
    assert slurm.asked == []


def test_where_slurm_cannot_be_asked_a_jobs_silence_counts(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunLock.take(run_dir) is not None
    leave_node(monkeypatch)
    slurm.is_there = False
    assert RunLock.take(run_dir) is None
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    assert RunLock.take(run_dir) is not None


def test_a_requeued_job_goes_on_at_once_whatever_slurm_says_of_it(
    run_dir: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RunLock.take(run_dir)
    assert first is not None
    seen_from_elsewhere(monkeypatch, "another node")
    assert RunLock.take(run_dir) is None  # it runs: here
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    second = RunLock.take(run_dir)
    assert second is not None
    assert second.hold.path == lease_path(run_dir, 2)


def test_a_machine_that_was_started_anew_has_no_owners_of_before(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = leases._read
    ids = {"/etc/machine-id": "an installation", "/proc/sys/kernel/random/boot_id": "1"}
    monkeypatch.setattr(leases, "_read", lambda path: ids.get(path) or read(path))
    assert RunLock.take(run_dir) is not None
    monkeypatch.setattr(leases, "kernel", lambda: "2")
    assert RunLock.take(run_dir) is not None


def test_on_the_same_machine_without_flock_the_process_decides(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError(38, "no locks here")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    child = subprocess.Popen(["sleep", "60"])
    start = leases.process_start(child.pid)
    assert start
    own = leases.of_this_process

    def of_the_child(has_flock: bool) -> leases.Lease:
        return replace(own(has_flock), pid=child.pid, started=start)

    with monkeypatch.context() as patch:
        patch.setattr(leases, "of_this_process", of_the_child)
        assert RunLock.take(run_dir) is not None
    assert is_locked(run_dir)
    assert RunLock.take(run_dir) is None
    # Its number may be another process's by now.
    with monkeypatch.context() as patch:
        patch.setattr(leases, "process_start", lambda pid: f"after {start}")
        assert not is_locked(run_dir)
    child.kill()
    child.wait()
    assert not is_locked(run_dir)
    assert RunLock.take(run_dir) is not None


def test_a_folder_without_hard_links_has_locks_too(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    lock = RunLock.take(run_dir)
    assert lock is not None
    assert RunLock.take(run_dir) is None
    lock.check()
    lock.release()
    again = RunLock.take(run_dir)
    assert again is not None
    again.release()


def test_a_link_whose_answer_was_lost_is_taken(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.link

    def twice(source: Path, target: Path) -> None:  # as a client of NFS asks again
        whole(source, target)
        whole(source, target)

    monkeypatch.setattr(os, "link", twice)
    lock = RunLock.take(run_dir)
    assert lock is not None
    assert RunLock.take(run_dir) is None


def test_a_successor_that_died_before_it_cleared_up_owns_the_run(
    hosts: Hosts, run_dir: Path
) -> None:
    """Two leases: the later counts, and its owner is judged as any."""
    a, b, c = hosts("a"), hosts("b"), hosts("c", silence=0.5)
    assert a("take") is True
    first = lease_path(run_dir, 1).read_bytes()
    a.process.kill()
    a.process.wait()
    lease_path(run_dir, 1).unlink()
    assert b("take") is True
    lease_path(run_dir, 1).rename(lease_path(run_dir, 2))
    lease_path(run_dir, 1).write_bytes(first)
    b.process.kill()
    b.process.wait()
    wait_for(lambda: c("take"))
    assert numbers(run_dir) == [3]


def test_a_lease_that_cannot_be_understood_is_somebodys(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir.parent.mkdir()
    lease_path(run_dir, 1).write_text("{}")
    assert is_locked(run_dir)
    assert owner(run_dir) is None
    assert RunLock.take(run_dir) is None
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    assert RunLock.take(run_dir) is not None


def test_a_lock_of_an_earlier_version_holds(run_dir: Path) -> None:
    run_dir.parent.mkdir()
    with locks.lock_path(run_dir).open("w") as file:
        locks.fcntl.flock(file, locks.fcntl.LOCK_EX)
        assert is_locked(run_dir)
        assert RunLock.take(run_dir) is None
    assert not is_locked(run_dir)
    assert RunLock.take(run_dir) is not None


def test_a_worker_inherits_the_lease_by_its_environment(run_dir: Path) -> None:
    assert Hold.inherited({}) is None
    lock = RunLock.take(run_dir)
    assert lock is not None
    hold = Hold.inherited(lock.environment)
    assert hold is not None
    hold.check()
    lock.release()
    with pytest.raises(LostError, match="another process took over the run"):
        hold.check()
    assert hold.is_lost
