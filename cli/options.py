"""What the project's commands share: options, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cli.remedies import worded
from experiments import profiles
from experiments.queue.worker import ROOT, WorkerError
from gfl import escape, terminal
from gfl.errors import UserError, disk_error
from gfl.experiment import Profile
from gfl.records import account
from gfl.records.record import Store
from gfl.terminal import say

T = TypeVar("T")

READING = ("status", "config", "diff")  # the commands that write nothing, whatever they find


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints as one line and a near miss named."""

    def error(self, message: str) -> NoReturn:
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            known = re.findall(r"[\w-]+", choice[2])
            near = difflib.get_close_matches(choice[1], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            what = message.partition(":")[0].removeprefix("argument ")
            raise UserError(f"{what}: unknown {choice[1]!r}; {hint}")
        if message.startswith("unrecognized arguments"):
            given = message.split()[2]
            near = difflib.get_close_matches(given, self._options(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see {self.prog} --help"
            raise UserError(f"unknown argument {given!r}; {hint}")
        raise UserError(f"{message}; see {self.prog} --help")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Take ~ for the home folder in every argument: a shell leaves it in ``--data=~/coco``."""
        home = [os.path.expanduser(text) if text[:1] == "~" else text for text in arg_strings]
        return super()._get_values(action, home)  # pyright: ignore[reportAttributeAccessIssue]

    def _options(self) -> list[str]:
        """The options of this parser and of its commands."""
        nested = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        parsers = [self, *(p for action in nested for p in action.choices.values())]
        return [option for p in parsers for option in p._option_string_actions]


def whole_number(name: str, least: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``least``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < least:
            raise UserError(f"{name} {text!r}: expected a whole number, {least} or more")
        return int(text)

    return parse


def number_above(name: str, least: float = 0.0) -> Callable[[str], float]:
    """An argparse type: a finite number above ``least``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value < math.inf:
            raise UserError(f"{name} {text!r}: expected a number above {least:g}")
        return value

    return parse


def add_profile(parser: argparse.ArgumentParser, default: str = "laptop") -> None:
    """The options that say which runs are meant, and where their records lie."""
    known = ", ".join(p if p != default else f"{p} (default)" for p in profiles.PROFILES)
    parser.add_argument("--profile", default=default, help=known)
    parser.add_argument(
        "--gpus",
        type=whole_number("--gpus", 1),
        default=1,
        help="devices of a run; coco's batch and learning rate follow it (the paper: 8)",
    )
    add_folders(parser)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The options that say where records lie; not for everyday use."""
    parser.add_argument("--runs", type=Path, default=_beside("runs"), help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=_beside("results"), help=argparse.SUPPRESS)


def add_seeds(parser: argparse.ArgumentParser, what: str | None = None) -> None:
    seed = whole_number("--seeds", 0)
    parser.add_argument("--seeds", nargs="+", type=seed, default=[0], metavar="SEED", help=what)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=whole_number("--jobs", 1),
        help="runs at a time (default: one a core on embedded data and CPU, else one)",
    )


def add_again(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--again",
        action="store_true",
        help="train anew what other code or versions than today's have trained; the old is kept",
    )


def chosen(args: argparse.Namespace) -> tuple[Profile, Store]:
    """The profile and the store that the options of ``add_profile`` name."""
    reads = args.command in READING or getattr(args, "dry_run", False)
    store = Store(args.runs, args.results, mend=not reads)
    return profiles.get(args.profile, args.gpus), store


def guarded(prog: str, run: Callable[[], int]) -> int:
    """Run a command: the user's mistakes are one line and exit code 2."""
    terminal.prepare()
    account.complete()
    try:
        code = run()
        sys.stdout.flush()
        return code
    except UserError as err:
        complain(prog, err)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        terminal.abandon_output()
        return 0
    except OSError as err:
        if (users := disk_error(err, Path("disk"))) is None:
            raise
        complain(prog, users)
    return 2


def complain(prog: str, err: Exception) -> None:
    """Tell what ended a command, and which option supplies what was missing."""
    say(f"{prog}: {escape.message(worded(err))}", error=True)


def stoppable(prog: str, work: Callable[[], T]) -> tuple[int, T | None]:
    """Do what trains; return an exit code, and what came of it if it was neither stopped nor broke.

    However it is stopped, its workers are too, and the same command goes on with it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, _interrupt)
    try:
        return 0, work()
    except KeyboardInterrupt:
        again = "run the same command again to go on from the last finished epoch"
        say(f"stopped; {again}", error=True)
        return 130, None
    except WorkerError as err:
        complain(prog, err)
        return 1, None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _beside(name: str) -> Path:
    """A folder of the checkout, from wherever the command is given."""
    path = ROOT / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
