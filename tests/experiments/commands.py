"""Commands at the smoke profile, and waiting for what they do in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def options(folder: Path) -> list[str]:
    folders = ["--runs", str(folder / "runs"), "--results", str(folder / "results")]
    return ["--profile", "smoke", *folders]


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
