"""``python -m benchmarks``: measure every case and write the table."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from cli.options import Parser, guarded, whole_number
from experiments.queue.worker import ROOT
from gfl import terminal
from gfl.files import write_text
from gfl.terminal import say

BATCHES, OBJECTS = (2, 16), (1, 10, 100)
ALONE = (16, 100)  # images and objects of the assignment's own line


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return the exit code, which says nothing about speed."""
    return guarded("benchmarks", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="benchmarks", description="Our head beside stock mmdet's.")
    count = whole_number
    parser.add_argument("--quick", action="store_true", help="B = 2 only")
    parser.add_argument(
        "--threads", type=count("--threads", 1), default=1, help="on a CPU (1, as the runs)"
    )
    parser.add_argument("--repeat", type=count("--repeat", 1), default=5, help="turns a case (5)")
    parser.add_argument(
        "--image", type=count("--image", 32), nargs=2, default=(800, 1333), metavar=("H", "W"),
        help="size in px (800 1333)",
    )  # fmt: skip
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks")
    args = parser.parse_args(argv)

    from benchmarks import cases, measure, report  # seconds of imports, not needed for --help

    cases.quiet()
    batches = BATCHES[:1] if args.quick else BATCHES
    for device in _devices():
        setting = report.setting(device, args.threads, args.repeat)
        lines, alone = [], []
        with _pool(args.no_memory) as pool:
            shapes = list(itertools.product(cases.STOCK, batches, OBJECTS))
            for number, (head, batch, objects) in enumerate(shapes, 1):
                case = cases.Case(head, batch, objects, tuple(args.image), device)
                result = measure.measure(case, args.repeat, args.threads, pool)
                lines.append((case, result))
                _say(
                    f"[{number}/{len(shapes)}] {device} {head} B={batch} objects={objects}: "
                    f"{result.ratio:.2f} [{result.low:.2f}, {result.high:.2f}]"
                )
            for head in ("ATSSHead", "FCOSHead"):
                case = cases.Case(head, *ALONE, tuple(args.image), device)
                found = measure.measure_assignment(case, args.repeat, args.threads, pool)
                alone.append((case, found))
        write_text(args.out / f"{setting.slug}.csv", report.table_csv(lines, alone))
        path = args.out / f"{setting.slug}.md"
        say(write_text(path, report.markdown(lines, alone, setting)).read_text(encoding="utf-8"))
        _say(f"written: {path}")
    return 0


@contextlib.contextmanager
def _pool(none: bool) -> Iterator[Executor | None]:
    from benchmarks.measure import fresh_processes

    with contextlib.nullcontext() if none else fresh_processes() as pool:
        yield pool


def _devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _say(text: str) -> None:
    say(text, error=True)


if __name__ == "__main__":
    terminal.as_utf8()
    sys.exit(main())
