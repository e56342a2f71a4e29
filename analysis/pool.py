"""Parallel work on several runs, in separate processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from experiments.queue.machine import usable_cores

Map = Callable[[Iterable[Any]], Iterator[Any]]
Make = Callable[..., Callable[[Any], Any]]  # returns the function of a job
Reporter = Callable[[str], None]  # receives progress messages
LEAST = 4  # jobs that justify a process, whose start takes a second or two


def quiet(line: str) -> None:
    """Ignore progress."""


_lasting: ProcessPoolExecutor | None = None  # of ``lasting``
_numbers = itertools.count()
# In a worker process: the function last made there, and the number of its ``workers``.
_made: tuple[int, Callable[[Any], Any]] | None = None


@contextmanager
def lasting(runs: int) -> Iterator[None]:
    """Keep one process per core for all ``workers`` within: each imports its modules once.

    None are started for few runs, or on one core.
    """
    global _lasting
    count = min(usable_cores(), runs // LEAST)
    if _lasting is not None or count < 2:
        yield
        return
    _lasting = _processes(count)
    try:
        yield
    finally:
        _lasting.shutdown(cancel_futures=True)
        _lasting = None


@contextmanager
def workers(jobs: int, make: Make, *given: Any) -> Iterator[Map]:
    """Yield a ``map`` of the function that ``make(*given)`` returns, over a process per core.

    Each process makes its own. It runs in this process if there are too few jobs, or cores.
    """
    count = min(usable_cores(), jobs // LEAST)
    if count < 2:
        yield partial(map, make(*given))
        return
    pool = _lasting or _processes(count)
    try:
        yield partial(pool.map, partial(_call, next(_numbers), make, given))
    finally:
        if pool is not _lasting:
            pool.shutdown(cancel_futures=True)


def kept_workers(jobs: int, make: Make, *given: Any) -> AbstractContextManager[Map]:
    """Return ``workers`` for jobs too short to start processes for: only within ``lasting``."""
    return workers(jobs * LEAST if _lasting else 0, make, *given)


def _processes(count: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the caller may have threads (torch has).
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # There is a process for each core. Read when numpy and torch are imported, later.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def _call(number: int, make: Make, given: tuple[Any, ...], item: Any) -> Any:
    """Call the function in a worker process, where it is made first, once per ``workers``."""
    global _made
    if _made is None or _made[0] != number:
        _made = number, make(*given)
    return _made[1](item)
