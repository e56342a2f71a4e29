"""Work on several runs at a time, in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from experiments.queue.machine import usable_cores

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]
Tell = Callable[[str], None]  # how far the work has come
LEAST = 4  # jobs that a process of its own is started for: that takes a second or two


def quiet(line: str) -> None:
    """Tell nothing."""


@contextmanager
def workers(jobs: int, start: Callable[..., None], *given: Any) -> Iterator[Map]:
    """Give a ``map`` over as many processes as there are cores, each begun by ``start(*given)``.

    It maps here where the jobs are too few, or the cores.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    start(*given)
