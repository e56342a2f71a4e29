"""Worker processes of runs: started, followed by their events, stopped, and diagnosed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gfl.errors import UserError
from gfl.training.preemption import GRACE, PREEMPTED, SIGNALS

ROOT = Path(__file__).resolve().parents[2]
TRAIN = (sys.executable, "-m", "gfl.training.worker")
# SIGINT lets the worker finish writing a file; without a response, the signals escalate.
PATIENCE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

# By torch's launcher to its workers, which it then gives 30 s; others would end it alone.
FORWARDED = "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2"
ENDINGS = ("preempted", "lost")  # events

# A worker, with mmdet and its loaders, uses UTF-8 for files and file names in any locale.
UTF8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}

Event = dict[str, Any]


class WorkerError(Exception):
    """Worker that ended before its run did; the message gives the reason and its log."""


class Stopped(Exception):  # noqa: N818  not an error
    """Worker stopped with the others."""


class Preempted(Exception):  # noqa: N818  not an error
    """Worker that stored a checkpoint and ended, as a signal asked; the run is to be resumed."""


class Terminated(KeyboardInterrupt):
    """End of this process by a signal that leaves time for checkpoints, unlike Ctrl-C."""


class Lost(Exception):  # noqa: N818  not an error
    """Worker that ended because another process had taken over its run."""


@dataclass(frozen=True)
class Rendezvous:
    """Where the launchers of a run meet, one on each of several nodes."""

    nodes: int
    node: int  # this one's number, from 0: the first process of node 0 emits the run's events
    host: str  # of node 0
    port: int


def command(worker: Sequence[str], gpus: int, rendezvous: Rendezvous | None = None) -> list[str]:
    """Return the command of a worker, or of its node's part of ``gpus`` under torch's launcher.

    The nodes of a run are numbered by whoever started them, and their number does not change:
    torch's static rendezvous. Its c10d rendezvous would number them in the order of their names.
    """
    if gpus == 1:
        return list(worker)
    meet = ["--standalone", f"--nproc_per_node={gpus}"]
    if rendezvous is not None:
        meet = [
            f"--nnodes={rendezvous.nodes}",
            f"--node_rank={rendezvous.node}",
            f"--nproc_per_node={gpus // rendezvous.nodes}",
            "--rdzv_backend=static",
            f"--master_addr={rendezvous.host}",
            f"--master_port={rendezvous.port}",
        ]
    return [worker[0], "-m", "torch.distributed.run", FORWARDED, *meet, *worker[1:]]


class Workers:
    """Workers of a table: a thread follows each one, and all are stopped together."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may call preempt() in any thread
        self._working: set[subprocess.Popen] = set()
        self._stopped = self._preempted = False

    def follow(
        self,
        worker: Sequence[str],
        run_dir: Path,
        on_event: Callable[[Event], None],
        environment: Mapping[str, str],
        inherited: Sequence[int],
    ) -> None:
        """Run a worker on a run's folder to its end, passing on each event it prints.

        The worker inherits the file descriptors, and ``environment`` in addition to this process's.

        Raises:
            UserError: the worker reports that the user can fix what stopped it.
            WorkerError: it failed in any other way.
            Stopped: the workers were stopped.
            Preempted: it stored a checkpoint and ended, by ``preempt`` or any other's signal.
            Lost: another process has taken over the run.
        """
        log_path = run_dir / "train.log"
        with log_path.open("ab") as log:
            start = log.tell()
            process = self._start([*worker, str(run_dir.resolve())], log, environment, inherited)
            try:
                failure, ending = _hand_on(process, log, on_event)
                code = process.wait()
            except BaseException:
                _end([process])
                raise
            finally:
                with self._lock:
                    self._working.discard(process)
        if self._stopped:
            raise Stopped
        # A launcher of several workers has a code of its own; of one just started, a signal's.
        if code and (ending == "preempted" or code in (PREEMPTED, *(-n for n in SIGNALS))):
            raise Preempted
        if code and ending == "lost":
            raise Lost
        if failure and failure.get("user"):
            raise UserError(str(failure.get("message")), failure.get("lacks") or ())
        if failure or code:
            raise WorkerError(_explain(failure, code, log_path, start))

    def _start(
        self,
        command: Sequence[str],
        log: BinaryIO,
        environment: Mapping[str, str],
        inherited: Sequence[int],
    ) -> subprocess.Popen:
        with self._lock:  # or stop() would miss one that is just starting
            if self._stopped:
                raise Stopped
            if self._preempted:
                raise Preempted
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **UTF8, **environment},
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C reaches the worker through stop(), once
            )
            self._working.add(process)
            return process

    def preempt(self) -> None:
        """Have all workers store a checkpoint and end, and start no more; returns at once.

        ``follow`` then raises Preempted, unless a run ends before.
        """
        with self._lock:
            self._preempted = True
            for process in self._working:
                process.send_signal(signal.SIGUSR1)

    def wait(self) -> None:
        """Wait for preempted workers to end, as long as they may take."""
        deadline = time.monotonic() + GRACE
        with self._lock:
            working = list(self._working)
        with contextlib.suppress(subprocess.TimeoutExpired):
            for process in working:
                process.wait(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End all workers, and start no more; a second Ctrl-C ends them sooner."""
        with self._lock:
            self._stopped = True
            working = list(self._working)
        _end(working)


def _hand_on(
    process: subprocess.Popen, log: BinaryIO, on_event: Callable[[Event], None]
) -> tuple[Event | None, str]:
    """Pass on a worker's output, to its end; return the event with the reason of a failure.

    And, if it ended for none, the event that says so: preempted or lost.
    """
    failure, ending = None, ""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            event = _parse(line)
            if event is None:
                os.write(log.fileno(), line)  # output of a library
            elif event["event"] == "error":
                failure = failure or event
            elif event["event"] in ENDINGS:
                # Of several processes: the first has failed, and the launcher ended the others.
                ending = "" if failure else event["event"]
            else:
                on_event(event)
    return failure, ending


def _end(processes: Sequence[subprocess.Popen]) -> None:
    """End workers and their child processes, gracefully at first."""
    for number, patience in PATIENCE:
        deadline = time.monotonic() + patience
        try:
            for process in processes:
                if process.poll() is None:
                    _signal(process, number)
            for process in processes:
                process.wait(max(0.0, deadline - time.monotonic()))
            break
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    for process in processes:
        _signal(process, signal.SIGKILL)  # loader processes that outlived it


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _explain(failure: Event | None, code: int, log: Path, start: int) -> str:
    ended = f"the worker ended with exit code {code}"
    if code < 0:
        ended = f"the worker was killed by {signal.Signals(-code).name}"
        ended += " (out of memory?)" if code == -signal.SIGKILL else ""
    lines = [ended]
    if failure:
        lines += [f"    {line}" for line in str(failure.get("message")).splitlines()[:8]]
    else:
        lines += [f"    {line}" for line in log_tail(log, start)]
    return "\n".join([*lines, f"  the whole log: {log}"])


def log_tail(log: Path, start: int = 0, lines: int = 6) -> list[str]:
    """Return a log's end, abridged: of a traceback the last frame and the exception."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - 100_000))
        text = file.read().decode(errors="replace").rstrip()
    _, found, trace = text.rpartition("Traceback (most recent call last):\n")
    if not found:
        return [line[:200] for line in text.splitlines() if line.strip()][-lines:]
    body = trace.splitlines()
    places = [i for i, line in enumerate(body) if line.startswith("  File ")]
    error = [i for i, line in enumerate(body) if line[:1].strip()][:1]
    keep = [body[places[-1]].strip()] if places else []
    return keep + [line[:200] for line in (body[error[0] :] if error else body)[:lines]]
