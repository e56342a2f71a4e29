"""Commands at the smoke profile, and waiting for what they do in other processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli.main import main
from gfl.records.record import Store


def options(folder: Path, profile: str = "smoke") -> list[str]:
    folders = ["--runs", str(folder / "runs"), "--results", str(folder / "results")]
    return ["--profile", profile, *folders]


def call(store: Store, *words: str, profile: str = "smoke") -> int:
    """Call the command with the fake worker; return its exit code."""
    worker = [sys.executable, str(Path(__file__).with_name("fake_worker.py"))]
    return main([*words, *options(store.runs.parent, profile)], worker=worker)


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: it did not become so.
    """
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)
