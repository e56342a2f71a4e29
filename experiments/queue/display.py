"""Display during training of a table: rich's progress bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from experiments.queue.estimates import duration, in_all
from experiments.stale import by
from gfl import escape
from gfl.records.record import RunRecord

PLAIN_EVERY = 30.0  # seconds between plain lines of a run within an epoch
EMPTY = " "  # a column without any text, rich gives a width that it has not reckoned with
REPORTED = ("epoch", "epochs", "resumed", "loss", "AP", "images_per_second")  # of events


class Display:
    """Shows the progress of a table's runs on a console, in lines that are legible in a log.

    ``expected`` is the duration of a run in seconds: from records, then from runs that end.
    """

    def __init__(
        self,
        console: Console,
        expected: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.expected, self.clock = console, expected, clock
        self.total = self.begun = self.ended = 0
        self.jobs = 1
        self.running: dict[str, Task] = {}  # of ``_runs``
        self._reported_elsewhere: set[str] = set()
        self._last_lines: dict[str, float] = {}  # time of each run's last plain line
        self._live: Live | None = None
        self._table = Progress(
            _text("description", "bold"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TaskProgressColumn(text_format_no_percentage=EMPTY),
            _TimeLeft(lambda _: self.left),
            expand=True,
        )
        self._table.add_task("", total=None)
        self._runs = Progress(
            _text("description", max_width=console.width * 2 // 5),
            TaskProgressColumn(text_format_no_percentage=EMPTY),
            _text("fields[facts]", "dim", no_wrap=False, ratio=1),
            _TimeLeft(self.left_of),
            expand=True,
            get_time=clock,
            speed_estimate_period=math.inf,  # evaluations included
        )

    @contextmanager
    def table(self, total: int, jobs: int = 1) -> Iterator[None]:
        """Wrap the runs of a table: ``total`` are to be trained, ``jobs`` at a time."""
        self.total, self.jobs = total, jobs
        if not (self.console.is_interactive and total):
            yield
            return
        self._show_table()
        rows = Group(self._table, self._runs)
        with Live(rows, console=self.console, refresh_per_second=4, transient=True) as self._live:
            yield
        self._live = None

    def note(self, text: str, style: str | None = None) -> None:
        printable = escape.lines(text)
        self.console.print(
            printable, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def preparing(self, what: str, done: int = 0, of: int = 0) -> None:
        """Report the preparations before the first run, and their progress."""
        text = what + (f" {done}/{of}" if of else "")
        begun = not self._table.tasks[0].description.startswith(what)
        self._show(text, done, of or None)
        if not self._live and (begun or done == of or self._is_late("")):
            self._last_lines[""] = self.clock()
            self.note(text)

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
        self._reported_elsewhere.update(news)
        if names and not self.running:
            self._show(f"waiting for another process: {'; '.join(names)}")

    def done_elsewhere(self, name: str, record: RunRecord) -> None:
        """Report that another process has meanwhile trained a run of this table."""
        self.begun += 1
        self.ended += 1
        self._show_table()
        self.note(f"{_outcome(name, record)}, trained by another process")

    def begin(self, id: str, name: str) -> None:
        self.begun += 1
        phase = "starting"
        fields = {"epoch": 0, "epochs": 0, "resumed": 0, "phase": phase, "facts": phase}
        self._runs.add_task(escape.terminal(name), total=None, **fields)
        self.running[id] = self._runs.tasks[-1]
        self._last_lines[id] = self.clock()
        self._show_table()
        if not self._live:
            self.note(f"run {self.begun} of {self.total}: {name}")

    def event(self, id: str, event: dict[str, Any]) -> None:
        """Show an event of a run's worker."""
        run, kind = self.running[id], event["event"]
        if kind == "message":
            self.warning(f"{run.description}: {event['text']}")
            return
        before = run.fields["phase"].split(" ")[0]
        if not self._live and kind == "train" and 0 < run.fields["epoch"] < event["epoch"]:
            self._line(id, run)  # the end of an epoch
        self._update(run, event)
        if kind == "start" and run.fields["resumed"]:
            self.note(f"{run.description}: going on from iteration {run.fields['resumed']}")
        elif not self._live and kind != "start":  # nothing to report
            new_phase = kind == "phase" and run.fields["phase"].split(" ")[0] != before
            if kind == "eval" or new_phase or self._is_late(id):
                self._line(id, run)

    def end(self, id: str, record: RunRecord) -> None:
        run = self.running.pop(id)
        self._runs.remove_task(run.id)
        self.ended += 1
        # A complete run tells how long those to come take.
        if record.state != "failed" and not run.fields["resumed"]:
            self.expected = run.elapsed
        self._show_table()
        outcome = _outcome(run.description, record)
        if record.state == "failed":
            self.note(outcome, style="red")
        else:
            self.note(f"{outcome} ({duration(record.seconds)})", style="green")

    def lost(self, id: str) -> None:
        """Report a run that another process took over while this one was paused."""
        run = self.running.pop(id)
        self._runs.remove_task(run.id)
        self.begun -= 1
        self._show_table()
        self.warning(f"{run.description}: taken over by another process while this one was paused")

    def stopping(self) -> None:
        """Report that the runs in progress are being stopped: their workers may take a moment."""
        for run in self.running.values():
            self._update(run, {"event": "phase", "name": "stopping"})

    @property
    def fraction(self) -> float:
        """Return the part of the table that is trained."""
        running = sum(run.percentage for run in self.running.values()) / 100
        return (self.ended + running) / self.total if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Return the seconds left for the table; None while a run's duration is unknown."""
        running = list(self.running.values())
        paces = [run.total / run.speed for run in running if run.total and run.speed]
        whole = self.expected or (fmean(paces) if paces else None)
        if whole is None:
            return None
        ends = [self.left_of(run, whole) for run in running]
        ends += [whole] * (self.total - self.begun)
        return in_all([end for end in ends if end is not None], self.jobs)

    def left_of(self, run: Task, expected: float | None = None) -> float | None:
        """Return a run's seconds left, at its pace so far or else of a whole run's ``expected``."""
        if (left := run.time_remaining) is not None:
            return left
        expected = expected or self.expected
        return None if expected is None else expected * (1 - run.percentage / 100)

    def _update(self, run: Task, event: dict[str, Any]) -> None:
        """Update a run's row from an event of its worker."""
        kind, total, done = event["event"], run.total, run.completed
        fields = run.fields | {key: event[key] for key in REPORTED if key in event}
        if kind == "start":
            total, done = event["iters"], event.get("resumed", 0)
        elif kind == "train":
            done, fields["phase"] = event["iter"], ""
        elif kind == "phase":
            of = event.get("of")
            fields["phase"] = event["name"] + (f" {event.get('done')}/{of}" if of else "")
        elif kind == "eval":
            # The worker does not report every step: an epoch's last one follows from this.
            done = max(done, (total or 0) * event["epoch"] // max(fields["epochs"], 1))
            fields["phase"] = ""
        fields["facts"] = "  ".join(_facts(fields))
        self._runs.update(run.id, total=total, completed=done, **fields)
        self._show_table()

    def _is_late(self, id: str) -> bool:
        return self.clock() - self._last_lines.get(id, 0.0) >= PLAIN_EVERY

    def _line(self, id: str, run: Task) -> None:
        self._last_lines[id] = self.clock()
        known = [("run", _about(self.left_of(run)))]
        known += [("table", _about(self.left))] if self.total > 1 else []
        lefts = ", ".join(f"{what} {left}" for what, left in known if left)
        name = f"{run.description}: " if self.jobs > 1 else "  "
        self.note(name + ", ".join([*_facts(run.fields), *([f"left: {lefts}"] if lefts else [])]))

    def _show_table(self) -> None:
        runs = f"{self.ended} of {self.total} runs finished" if self.total > 1 else "1 run"
        self._show(runs, self.fraction, 1.0)

    def _show(self, text: str, done: float = 0, of: float | None = None) -> None:
        """Show what is being done, and how far it is, in the first row."""
        row = self._table.tasks[0]
        row.description, row.completed, row.total = escape.terminal(text), done, of


class _TimeLeft(ProgressColumn):
    """Column of estimates, in the words of ``duration``."""

    def __init__(self, left: Callable[[Task], float | None]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self.left = left

    def render(self, task: Task) -> Text:
        return Text(_about(self.left(task)) or EMPTY, style="cyan")


def _text(of_task: str, style: str = "none", **column: Any) -> TextColumn:
    """Return a column of an attribute of the tasks."""
    return TextColumn(f"{{task.{of_task}}}", style, markup=False, table_column=Column(**column))


def _facts(seen: dict[str, Any]) -> list[str]:
    """Return epoch, loss, AP, speed and phase of a run, as far as known."""
    facts = [f"epoch {seen['epoch']}/{seen['epochs']}"] if seen["epoch"] else []
    facts += [f"loss {loss:.3f}"] if (loss := seen.get("loss")) is not None else []
    facts += [f"AP {ap:.1f}"] if (ap := seen.get("AP")) is not None else []
    if (speed := seen.get("images_per_second")) is not None:
        facts.append(f"{speed:.{0 if speed >= 10 else 1}f} images/s")
    return facts + ([seen["phase"]] if seen["phase"] else [])


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
