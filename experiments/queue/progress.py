"""Progress of a table's runs and the time left, from their workers' events."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]


def duration(seconds: float) -> str:
    """Format a duration: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunProgress:
    """Run in training."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock = name, clock
        self.iter = self.iters = self.resumed = self.epoch = self.epochs = 0
        self.loss: float | None = None
        self.ap: float | None = None
        self.speed: float | None = None
        self.phase = "starting"
        self.begun = self.since = clock()

    def update(self, event: dict[str, Any]) -> None:
        """Process an event of the worker."""
        kind = event["event"]
        if kind == "start":
            self.iters, self.epochs = event["iters"], event["epochs"]
            self.iter = self.resumed = event.get("resumed", 0)
            self.since = self.clock()
        elif kind == "train":
            self.iter, self.epoch, self.phase = event["iter"], event["epoch"], ""
            self.loss, self.speed = event.get("loss"), event.get("images_per_second")
        elif kind == "phase":
            done, of = event.get("done"), event.get("of")
            self.phase = event["name"] + (f" {done}/{of}" if of else "")
        elif kind == "eval":
            self.ap, self.phase = event.get("AP"), ""
            # The worker does not report every step: an epoch's last one follows from this.
            self.epoch = event["epoch"]
            self.iter = max(self.iter, self.iters * self.epoch // max(self.epochs, 1))

    @property
    def fraction(self) -> float:
        return self.iter / self.iters if self.iters else 0.0

    def pace(self) -> float | None:
        """Return the seconds per iteration, evaluations included; None before there are any."""
        done, elapsed = self.iter - self.resumed, self.clock() - self.since
        return elapsed / done if done > 0 and elapsed > 2 else None

    def left(self, expected: float | None) -> float | None:
        """Return the seconds left, at the pace so far or else of ``expected``, a run's seconds."""
        if pace := self.pace():
            return pace * (self.iters - self.iter)
        return None if expected is None else expected * (1 - self.fraction)

    def facts(self) -> list[str]:
        """Return epoch, loss, AP, speed and phase, as far as known."""
        facts = [f"epoch {self.epoch}/{self.epochs}"] if self.epoch else []
        facts += [f"loss {self.loss:.3f}"] if self.loss is not None else []
        facts += [f"AP {self.ap:.1f}"] if self.ap is not None else []
        if self.speed is not None:
            facts.append(f"{self.speed:.{0 if self.speed >= 10 else 1}f} images/s")
        return facts + ([self.phase] if self.phase else [])


class TableProgress:
    """Runs of a table: ``total`` to train, ``jobs`` at a time.

    ``expected`` is the duration of a run in seconds: from records, then from runs that end.
    """

    def __init__(
        self,
        total: int = 0,
        jobs: int = 1,
        expected: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.total, self.jobs, self.expected, self.clock = total, jobs, expected, clock
        self.begun = self.ended = 0
        self.running: dict[str, RunProgress] = {}

    def begin(self, id: str, name: str) -> RunProgress:
        self.begun += 1
        self.running[id] = run = RunProgress(name, self.clock)
        return run

    def end(self, id: str, whole: bool = True) -> RunProgress:
        """End a run; if it was a complete one, expect its duration of those to come."""
        run = self.running.pop(id)
        self.ended += 1
        if whole and not run.resumed:
            self.expected = self.clock() - run.begun
        return run

    def leave_out(self) -> None:
        """Count a run that another process has trained."""
        self.begun += 1
        self.ended += 1

    @property
    def fraction(self) -> float:
        running = sum(run.fraction for run in list(self.running.values()))
        return (self.ended + running) / self.total if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Return the seconds left for the table; None while a run's duration is unknown."""
        running = list(self.running.values())
        paces = [pace * run.iters for run in running if (pace := run.pace())]
        whole = self.expected or (sum(paces) / len(paces) if paces else None)
        if whole is None:
            return None
        lefts = (run.left(whole) for run in running)
        ends = [whole if left is None else left for left in lefts]
        ends += [0.0] * (self.jobs - len(ends))
        heapq.heapify(ends)
        for _ in range(self.total - self.begun):  # each begins where a run ends first
            heapq.heapreplace(ends, ends[0] + whole)
        return max(ends)
