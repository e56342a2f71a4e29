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

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]
Reporter = Callable[[str], None]  # receives progress messages
LEAST = 4  # jobs that justify a process, whose start takes a second or two


def quiet(line: str) -> None:
    """Ignore progress."""


_lasting: ProcessPoolExecutor | None = None  # of ``lasting``
_numbers = itertools.count()
_started = -1  # in a worker process: the number of what it was last initialised for


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
def workers(jobs: int, start: Callable[..., None], *given: Any) -> Iterator[Map]:
    """Yield a ``map`` over a process per core, each initialised by ``start(*given)``.

    It runs in this process if there are too few jobs, or cores.
    """
    count = min(usable_cores(), jobs // LEAST)
    if count < 2:
        start(*given)
        yield map
        return
    pool = _lasting or _processes(count)
    try:
        yield partial(_mapped, pool, (next(_numbers), start, given))
    finally:
        if pool is not _lasting:
            pool.shutdown(cancel_futures=True)


def kept_workers(jobs: int, start: Callable[..., None], *given: Any) -> AbstractContextManager[Map]:
    """Return ``workers`` for jobs too short to start processes for: only within ``lasting``."""
    return workers(jobs * LEAST if _lasting else 0, start, *given)


def _processes(count: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the caller may have threads (torch has).
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # There is a process for each core. Read when numpy and torch are imported, later.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def _mapped(
    pool: ProcessPoolExecutor,
    begin: tuple[int, Callable[..., None], tuple[Any, ...]],
    function: Callable[..., Any],
    items: Iterable[Any],
) -> Iterator[Any]:
    return pool.map(partial(_after, *begin, function), items)


def _after(
    number: int,
    start: Callable[..., None],
    given: tuple[Any, ...],
    function: Callable[..., Any],
    item: Any,
) -> Any:
    """Call a function in a worker process, which is initialised first, once per ``workers``."""
    global _started
    if _started != number:
        start(*given)
        _started = number
    return function(item)
