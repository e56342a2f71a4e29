"""Seconds of two alternating steps, and the additional memory of a step."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch.utils import benchmark

from analysis.speed import record
from benchmarks.cases import Case, assignment, check, quiet, steps
from experiments.checkout import code_state
from gfl.hardware import cpu_name

MIB = 2**20
SHORT_BATCH, SHORT_TURNS = 2, 3  # a short step is noisier, and three are cheap
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of getrusage
Side = Literal["ours", "stock", "assignment"]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Result:
    """Medians, and stock / ours of each alternating pair of steps, with its quartiles."""

    ours: float  # seconds
    stock: float
    ratio: float
    low: float
    high: float


def compare(ours: Sequence[float], stock: Sequence[float]) -> Result:
    """Return the medians of both, and of their pairwise ratio, with its quartiles."""
    ratios = [b / a for a, b in zip(ours, stock, strict=True)]
    low, middle, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Result(statistics.median(ours), statistics.median(stock), middle, low, high)


def measure(case: Case, repeat: int, threads: int, pool: Executor | None) -> record.Case:
    """Assert that the two heads' losses agree, then time them, and measure memory in ``pool``."""
    torch.set_num_threads(threads)
    ours, stock = steps(case)
    check(ours()[0], stock()[0])  # also warms up both
    turns = repeat * (SHORT_TURNS if case.batch <= SHORT_BATCH else 1)
    now = clock(case.device, threads)
    taken = [(seconds(ours, now), seconds(stock, now)) for _ in range(turns)]
    times = asdict(compare(*zip(*taken, strict=True)))
    result = record.Case(case.head, case.batch, case.objects, **times)
    if pool is None:
        return result
    del ours, stock
    peaks = [pool.submit(peak, case, side, threads).result() for side in ("ours", "stock")]
    return replace(result, ours_mib=peaks[0], stock_mib=peaks[1])


def measure_assignment(
    case: Case, repeat: int, threads: int, pool: Executor | None
) -> record.Assignment:
    """Time our assignment alone; it has no stock counterpart."""
    torch.set_num_threads(threads)
    step = assignment(case)
    step()
    now = clock(case.device, threads)
    taken = statistics.median(seconds(step, now) for _ in range(repeat))
    mib = None if pool is None else pool.submit(peak, case, "assignment", threads).result()
    name = "FCOS" if case.head == "FCOSHead" else "ATSS"
    return record.Assignment(name, case.batch, case.objects, taken, mib)


def machine(device: str, threads: int) -> record.Machine:
    """Describe this machine, at this commit."""
    commit, dirty = code_state()
    return record.Machine(
        device=device,
        gpu=torch.cuda.get_device_name() if device == "cuda" else None,
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        threads=threads,
        torch=torch.__version__,
        commit=(commit or "unknown")[:12] + (" with changes" if dirty and commit else ""),
        busy=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def clock(device: str, threads: int) -> Callable[[], float]:
    """Return CPU time for one thread, nearly independent of other processes; else wall time.

    Wall time is read when a GPU has done what it was given.
    """
    return time.process_time if device == "cpu" and threads == 1 else benchmark.timer


def seconds(step: Callable[[], object], now: Callable[[], float]) -> float:
    """Return the seconds of a step."""
    # Not benchmark.Timer, which runs a step twice before each timing.
    start = now()
    _kept = step()  # hundreds of megabytes, freed outside the timing
    return now() - start


def in_turns(
    steps: Mapping[Name, Callable[[int], object]], count: int, now: Callable[[], float]
) -> dict[Name, list[float]]:
    """Return the seconds of ``count`` calls of each step, with the call's number.

    All take their turn before any takes the next, and the starting one rotates, so that other load
    on the machine affects all alike.
    """
    names = list(steps)
    for name in names:
        steps[name](0)  # warm-up
    taken: dict[Name, list[float]] = {name: [] for name in names}
    for number in range(count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(seconds(partial(steps[name], number), now))
    return taken


@contextmanager
def fresh_processes() -> Iterator[Executor]:
    """Yield processes for one task each that have imported everything, but done nothing yet.

    A process's peak only ever rises, so each measurement needs its own. A forked process begins at
    its current memory; a spawned one inherits its parent's peak (Linux).
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.measure"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield pool


def peak(case: Case, side: Side, threads: int) -> float:
    """Return the MiB of a first step's peak beyond prior memory: outputs and objects."""
    torch.set_num_threads(threads)
    quiet()
    tiny = replace(case, batch=1, objects=1, image=(32, 32))
    _step(tiny, side)()  # triggers lazy loading
    step = _step(case, side)
    if case.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _kept = step()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = _resident_from_now()
    _kept = step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT - before) / MIB


def _resident_from_now() -> float:
    """Return the resident bytes and, on Linux, reset the peak to them.

    Memory freed earlier would otherwise hide a step that needs less.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:  # not Linux: the peak so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT
    return pages * resource.getpagesize()


def _step(case: Case, side: Side) -> Callable[[], object]:
    if side == "assignment":
        return assignment(case)
    ours, stock = steps(case)
    return ours if side == "ours" else stock
