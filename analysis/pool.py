"""Parallel work on several runs, in separate processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from experiments.queue.machine import usable_cores

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]
Reporter = Callable[[str], None]  # receives progress messages
LEAST = 4  # jobs that justify a process, whose start takes a second or two


def quiet(line: str) -> None:
    """Ignore progress."""


@contextmanager
def workers(jobs: int, start: Callable[..., None], *given: Any) -> Iterator[Map]:
    """Yield a ``map`` over a process per core, each initialised by ``start(*given)``.

    It runs in this process if there are too few jobs, or cores.
    """
    count = min(usable_cores(), jobs // LEAST)
    if count < 2:
        start(*given)
        yield map
        return
    # Spawned, not forked: the caller may have threads (torch has).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _begin, (start, given))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(start: Callable[..., None], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    start(*given)
