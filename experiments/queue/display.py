"""Display during training of a table: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from experiments.queue.progress import Clock, RunProgress, TableProgress, duration
from experiments.stale import by
from gfl import escape
from gfl.records.record import RunRecord

PLAIN_EVERY = 30.0  # seconds between plain lines of a run within an epoch


class Display:
    """Shows the progress of a table's runs on a console, in lines that are legible in a log.

    Called from one thread only; rich draws from another, which reads and never writes.
    """

    def __init__(
        self, console: Console, expected: float | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.console = console
        self.progress = TableProgress(expected=expected, clock=clock)
        self._live: Live | None = None
        self._preparing = ""
        self._elsewhere: list[str] = []  # runs that another process is training
        self._reported_elsewhere: set[str] = set()
        self._last_lines: dict[str, float] = {}  # time of each run's last plain line

    @contextmanager
    def table(self, total: int, jobs: int = 1) -> Iterator[None]:
        """Wrap the runs of a table: ``total`` are to be trained, ``jobs`` at a time."""
        self.progress.total, self.progress.jobs = total, jobs
        if not (self.console.is_terminal and total):
            yield
            return
        with Live(self, console=self.console, refresh_per_second=4, transient=True) as self._live:
            yield

    def note(self, text: str, style: str | None = None) -> None:
        printable = escape.lines(text)
        self.console.print(
            printable, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def preparing(self, what: str, done: int = 0, of: int = 0) -> None:
        """Report the preparations before the first run, and their progress."""
        begun = not self._preparing.startswith(what)
        self._preparing = what + (f" {done}/{of}" if of else "")
        if not self._live and (begun or done == of or self._is_late("")):
            self._last_lines[""] = self.progress.clock()
            self.note(self._preparing)

    def warning(self, text: str) -> None:
        self.note(text, style="yellow")

    def skipped(self, name: str, record: RunRecord) -> None:
        """Report a run that is already trained."""
        made = f"commit {by(record)}" if record.commit else by(record)
        self.note(f"{name}: already trained (AP {record.metrics['AP']:.1f}, {made})")

    def elsewhere(self, names: Sequence[str]) -> None:
        """Report runs that another process is training, once each."""
        if news := [name for name in names if name not in self._reported_elsewhere]:
            self.note(f"another process is training {'; '.join(news)}")
            self._preparing = ""
        self._elsewhere = list(names)
        self._reported_elsewhere.update(news)

    def done_elsewhere(self, name: str, record: RunRecord) -> None:
        """Report that another process has meanwhile trained a run of this table."""
        self.progress.leave_out()
        self.note(f"{_outcome(name, record)}, trained by another process")

    def begin(self, id: str, name: str) -> None:
        self._preparing = ""
        self.progress.begin(id, name)
        self._last_lines[id] = self.progress.clock()
        if not self._live:
            self.note(f"run {self.progress.begun} of {self.progress.total}: {name}")

    def event(self, id: str, event: dict[str, Any]) -> None:
        """Show an event of a run's worker."""
        run = self.progress.running[id]
        before = run.phase.split(" ")[0]
        if not self._live and event["event"] == "train" and 0 < run.epoch < event["epoch"]:
            self._line(id, run)  # the end of an epoch
        run.update(event)
        if event["event"] == "start" and run.resumed:
            self.note(f"{run.name}: going on from iteration {run.resumed}")
        elif event["event"] == "message":
            self.warning(f"{run.name}: {event['text']}")
        elif not self._live and event["event"] != "start":  # nothing to report
            new_phase = event["event"] == "phase" and run.phase.split(" ")[0] != before
            if event["event"] == "eval" or new_phase or self._is_late(id):
                self._line(id, run)

    def end(self, id: str, record: RunRecord) -> None:
        run = self.progress.end(id, whole=record.state != "failed")
        outcome = _outcome(run.name, record)
        if record.state == "failed":
            self.note(outcome, style="red")
        else:
            self.note(f"{outcome} ({duration(record.seconds)})", style="green")

    def stopping(self) -> None:
        """Report that the runs in progress are being stopped: their workers may take a moment."""
        for run in self.progress.running.values():
            run.phase = "stopping"

    def _is_late(self, id: str) -> bool:
        return self.progress.clock() - self._last_lines.get(id, 0.0) >= PLAIN_EVERY

    def _line(self, id: str, run: RunProgress) -> None:
        self._last_lines[id] = self.progress.clock()
        name = f"{run.name}: " if self.progress.jobs > 1 else "  "
        self.note(name + ", ".join(filter(None, (*run.facts(), self._left(run)))))

    def _left(self, run: RunProgress) -> str:
        known = [("run", _about(run.left(self.progress.expected)))]
        known += [("table", _about(self.progress.left))] if self.progress.total > 1 else []
        lefts = ", ".join(f"{what} {left}" for what, left in known if left)
        return f"left: {lefts}" if lefts else ""

    def __rich__(self) -> RenderableType:
        """Return what follows the lines printed so far; redrawn at each refresh."""
        running = list(self.progress.running.values())
        if self._preparing or not running:
            waiting = f"waiting for another process: {'; '.join(self._elsewhere)}"
            return _styled(self._preparing or (waiting if self._elsewhere else ""), "dim")
        if self.progress.jobs == 1:
            return self._one(running[0])
        return self._several(running)

    def _one(self, run: RunProgress) -> Group:
        title = f"run {self.progress.begun} of {self.progress.total}: {run.name}"
        facts = _styled("  ".join(run.facts()), "dim")
        return Group(_head(title, self._left(run)), _bar(run.fraction), facts)

    def _several(self, running: list[RunProgress]) -> Group:
        progress, left = self.progress, self.progress.left
        title = f"{progress.ended} of {progress.total} runs finished"
        lines = Grid.grid(expand=True, padding=(0, 2, 0, 0))
        lines.add_column(no_wrap=True)
        lines.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        lines.add_column(no_wrap=True, justify="right")
        for run in running:
            facts = _styled("  ".join(run.facts()), "dim")
            left_of_run = Text(_about(run.left(progress.expected)), "cyan")
            lines.add_row(_styled(run.name), facts, left_of_run)
        ends = f"left: {_about(left)}" if _about(left) else ""
        return Group(_head(title, ends), _bar(progress.fraction), lines)


def _outcome(name: str, record: RunRecord) -> str:
    outcome = f"{name}: {record.state}"
    if record.state == "failed":
        return f"{outcome}: {record.message}"
    if record.state == "capped":
        return f"{outcome} after {record.max_iters} iterations, a trial and not a result"
    ap = record.metrics.get("AP")
    return outcome if ap is None else f"{outcome}, AP {ap:.1f}"


def _about(seconds: float | None) -> str:
    """Format a time left; empty while it is unknown, and at the last step."""
    return "" if seconds is None or seconds < 0.5 else duration(seconds)


def _head(title: str, left: str) -> Grid:
    head = Grid.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(_styled(title, "bold"), Text(left, style="cyan"))
    return head


def _styled(text: str, style: str = "") -> Text:
    return Text(escape.terminal(text), style=style)


def _bar(fraction: float) -> Grid:
    bar = Grid.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(justify="right")
    bar.add_row(ProgressBar(total=1.0, completed=fraction), f"{fraction:4.0%}")
    return bar
