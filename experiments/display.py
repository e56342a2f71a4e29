"""What a person sees while a table is trained: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from gfl.record import RunRecord

PLAIN_EVERY = 30.0  # seconds between plain lines within an epoch


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass
class Tracker:
    """Where the run in hand stands, from its worker's events."""

    total: int  # runs of the table to train
    clock: Callable[[], float] = time.monotonic
    index: int = 0  # of the run in hand, from 1
    name: str = ""
    expected: float | None = None  # seconds of a whole run, from records

    def begin(self, name: str) -> None:
        self.index += 1
        self.name = name
        self.iter = self.iters = self.resumed = self.epoch = self.epochs = 0
        self.loss = self.ap = self.speed = None
        self.phase = "starting"
        self.begun = self.since = self.clock()

    def update(self, event: dict[str, Any]) -> None:
        """Take in what a worker says."""
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
            # The worker does not tell of every step: of an epoch's last one this does.
            self.epoch = event["epoch"]
            self.iter = max(self.iter, self.iters * self.epoch // max(self.epochs, 1))

    def end(self) -> None:
        """Take a whole run's time for the time of those to come."""
        if not self.resumed:
            self.expected = self.clock() - self.begun

    @property
    def fraction(self) -> float:
        return self.iter / self.iters if self.iters else 0.0

    @property
    def run_left(self) -> float | None:
        """Seconds to the end of the run, at the pace so far; None before there is one."""
        done, elapsed = self.iter - self.resumed, self.clock() - self.since
        if done > 0 and elapsed > 2:
            return elapsed * (self.iters - self.iter) / done
        return None if self.expected is None else self.expected * (1 - self.fraction)

    @property
    def table_left(self) -> float | None:
        left = self.run_left
        if left is None:
            return None
        done = self.iter - self.resumed
        whole = self.expected or (self.clock() - self.since) * self.iters / max(done, 1)
        return left + whole * (self.total - self.index)

    def facts(self) -> list[str]:
        """Epoch, loss, AP, speed and phase, as far as they are known."""
        facts = [f"epoch {self.epoch}/{self.epochs}"] if self.epoch else []
        facts += [f"loss {self.loss:.3f}"] if self.loss is not None else []
        facts += [f"AP {self.ap:.1f}"] if self.ap is not None else []
        facts += [f"{self.speed:.0f} images/s"] if self.speed is not None else []
        return facts + ([self.phase] if self.phase else [])

    def left(self) -> str:
        run, table = self.run_left, self.table_left
        if run is None or table is None:
            return ""
        whole = f", table {duration(table)}" if self.total > 1 else ""
        return f"left: run {duration(run)}{whole}"


class Display:
    """Follows the runs of a table on a console; what is printed stays readable in a log."""

    def __init__(self, console: Console, expected: float | None = None) -> None:
        self.console = console
        self.tracker = Tracker(total=0, expected=expected)
        self._live: Live | None = None
        self._last_line = 0.0

    @contextmanager
    def table(self, total: int) -> Iterator[None]:
        """Around the runs of a table, of which ``total`` are to be trained."""
        self.tracker.total = total
        if not (self.console.is_terminal and total):
            yield
            return
        view = _View(self.tracker)
        with Live(view, console=self.console, refresh_per_second=4, transient=True) as self._live:
            yield

    def note(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def skipped(self, name: str, record: RunRecord | None) -> None:
        ap = record.metrics.get("AP") if record else None
        self.note(f"{name}: finished before" + (f", AP {ap:.1f}" if ap is not None else ""))

    def begin(self, name: str) -> None:
        self.tracker.begin(name)
        self._last_line = self.tracker.clock()
        if not self._live:
            self.note(f"run {self.tracker.index} of {self.tracker.total}: {name}")

    def event(self, event: dict[str, Any]) -> None:
        before = self.tracker.phase.split(" ")[0]
        if not self._live and event["event"] == "train":
            self._end_of_epoch(event["epoch"])
        self.tracker.update(event)
        if event["event"] == "start" and self.tracker.resumed:
            self.note(f"{self.tracker.name}: going on from iteration {self.tracker.resumed}")
        elif event["event"] == "message":
            self.note(f"{self.tracker.name}: {event['text']}", style="yellow")
        elif not self._live:
            self._plain(event, new_phase=self.tracker.phase.split(" ")[0] != before)

    def end(self, record: RunRecord) -> None:
        self.tracker.end()
        outcome = f"{self.tracker.name}: {record.state}"
        if record.state == "failed":
            self.note(f"{outcome}: {record.message}", style="red")
            return
        if record.state == "capped":
            outcome += f" after {record.max_iters} iterations, a trial and not a result"
        elif (ap := record.metrics.get("AP")) is not None:
            outcome += f", AP {ap:.1f}"
        self.note(f"{outcome} ({duration(record.seconds)})", style="green")

    def _end_of_epoch(self, epoch: int) -> None:
        if 0 < self.tracker.epoch < epoch:
            self._line()

    def _plain(self, event: dict[str, Any], new_phase: bool) -> None:
        late = self.tracker.clock() - self._last_line >= PLAIN_EVERY
        if event["event"] == "eval" or late or (event["event"] == "phase" and new_phase):
            self._line()

    def _line(self) -> None:
        self._last_line = self.tracker.clock()
        facts = [*self.tracker.facts(), self.tracker.left()]
        self.note(f"  {', '.join(filter(None, facts))}")


class _View:
    """Drawn anew by rich at each refresh."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def __rich__(self) -> Group:
        tracker = self.tracker
        if not tracker.index:
            return Group()
        head = Grid.grid(expand=True)
        head.add_column()
        head.add_column(justify="right")
        title = f"run {tracker.index} of {tracker.total}: {tracker.name}"
        head.add_row(Text(title, style="bold"), Text(tracker.left(), style="cyan"))
        bar = Grid.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        bar.add_row(ProgressBar(total=1.0, completed=tracker.fraction), f"{tracker.fraction:4.0%}")
        return Group(head, bar, Text("  ".join(tracker.facts()), style="dim"))
