"""Benchmark of this head beside stock mmdet's: all cases, and the table."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import torch

from analysis.speed import page, record
from analysis.speed.record import Benchmark, Loss
from benchmarks import cases, measure
from gfl.files import write_text
from gfl.terminal import say

BATCHES, OBJECTS = (2, 16), (1, 10, 100)
ALONE = (16, 100)  # images and objects for the line of the assignment alone


def measure_all(
    quick: bool, threads: int, repeat: int, image: tuple[int, int], *, memory: bool, out: Path
) -> None:
    """Measure, write the table into a folder and print it; ``quick``: only two images."""
    cases.quiet()
    batches = BATCHES[:1] if quick else BATCHES
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        machine = measure.machine(device, threads)
        measured, alone = [], []
        with measure.fresh_processes() if memory else contextlib.nullcontext() as pool:
            shapes = list(itertools.product(cases.STOCK, batches, OBJECTS))
            for number, (head, batch, objects) in enumerate(shapes, 1):
                case = cases.Case(head, batch, objects, image, device)
                result = measure.measure(case, repeat, threads, pool)
                measured.append(result)
                say(
                    f"[{number}/{len(shapes)}] {device} {head} B={batch} objects={objects}: "
                    f"{result.ratio:.2f} [{result.low:.2f}, {result.high:.2f}]",
                    error=True,
                )
            for head in ("ATSSHead", "FCOSHead"):
                case = cases.Case(head, *ALONE, image, device)
                alone.append(measure.measure_assignment(case, repeat, threads, pool))
        turns = repeat, repeat * measure.SHORT_TURNS
        write(Loss(machine, image, *turns, tuple(measured), tuple(alone)), out)


def write(found: Benchmark, folder: Path) -> None:
    """Write a benchmark's record and its page into a folder, and print the page."""
    path, text = record.save(found, folder), page.markdown(page.page(found))
    say(text)
    say(f"written: {path}, {write_text(path.with_suffix('.md'), text)}", error=True)
