"""Runner of set-up's commands: a line per step on the terminal, their output in the log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "setup.log"

# The first line of pip's output that matches gives the reason of a failure.
REASONS = (
    (r"No space left on device|Errno 28", "the disk is full: free some space"),
    (
        r"name resolution|Failed to establish a new connection|Max retries|Read timed out|"
        r"ProxyError|ConnectionError|SSLError",
        "the package index cannot be reached: check the network or pip's proxy and index settings",
    ),
    (r"ensurepip", "this Python has no ensurepip (Debian, Ubuntu: install its python3-venv)"),
    (r"libGL\.so", "OpenCV's build for desktops was picked up instead of the headless one"),
    (r"No matching distribution|ResolutionImpossible", "a pinned version cannot be had here"),
)


class SetupError(Exception):
    """Failure of set-up: the reason, in one line, and the log lines that show it."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = lines


def explained(step: str, said: str) -> SetupError:
    """Return the likely reason of a step's failure, from its output."""
    lines = [line.strip()[:160] for line in said.splitlines() if line.strip()]
    for sign, reason in REASONS:
        for line in lines:
            if re.search(sign, line):
                return SetupError(f"{step} failed: {reason}", [line])
    return SetupError(f"{step} failed", lines[-8:])


class Steps:
    """Runs commands one by one: output to the log, one line each on the terminal."""

    def __init__(self, lock: int) -> None:
        self.log = LOG.open("w", encoding="utf-8", errors="backslashreplace")
        self.lock = lock  # inherited, so that a pip orphaned by kill -9 still holds it
        self.live = sys.stdout.isatty()

    def run(self, name: str, *command: str | Path) -> None:
        """Run one command; raise SetupError with the likely reason if it fails."""
        self.log.write(f"== {name}: {' '.join(map(str, command))}\n")
        self.log.flush()
        began, start = time.monotonic(), self.log.tell()
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(self.lock,),
        )
        try:
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=0.5)
                self.show(name, time.monotonic() - began, live=True)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        self.show(name, time.monotonic() - began, live=False)
        if child.returncode:
            raise explained(name, LOG.read_bytes()[start:].decode(errors="replace"))

    def show(self, name: str, seconds: float, *, live: bool) -> None:
        line = f"  {name:<22} {seconds:4.0f} s"
        if not live:
            print(("\r\x1b[K" if self.live else "") + line, flush=True)
        elif self.live:
            lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
            last = next((x.strip() for x in reversed(lines) if not x.startswith("WARN")), "")
            last = "".join(c if c.isprintable() else " " for c in last)
            room = max(shutil.get_terminal_size().columns - len(line) - 3, 0)
            print(f"\r\x1b[K{line}  {last[:room]}", end="", flush=True)


def clean_environment() -> dict[str, str]:
    """Return the user's environment (proxy, index, cache) without settings that mislead pip."""
    env = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER"):
        env.pop(name, None)
    # Built in isolation, onedl-mmcv sees no torch and is pure Python; otherwise it would compile.
    env.pop("PIP_NO_BUILD_ISOLATION", None)
    # By name, not by path: pip splits these values at spaces.
    env.update(PIP_CONSTRAINT="constraints.txt", PIP_BUILD_CONSTRAINT="constraints.txt")
    env.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_PROGRESS_BAR="off", PIP_NO_INPUT="1")
    env["TMPDIR"] = str(VENV / "tmp")  # /tmp is often too small for torch's wheels
    return env
