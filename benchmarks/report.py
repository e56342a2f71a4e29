"""Table of ratios as Markdown and CSV, with the hardware it was measured on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import Case
from benchmarks.measure import SHORT_TURNS, Result
from gfl import escape

FASTER, OBJECTS, BATCH = 1.5, 10, 16  # target speed-up, for so many objects and this batch
SLOWEST = 1 / 1.05  # and nowhere more than 5 % slower
ASSIGNMENT_MIB = 2048
FIELDS = (
    "head", "batch", "objects", "device", "ours_s", "stock_s", "ratio", "ratio_q1", "ratio_q3",
    "ours_mib", "stock_mib",
)  # fmt: skip
Line = tuple[Case, Result]

ABOUT = """\
Assignment, losses and backward pass from the head's outputs to the gradients on them: our
`AblationHead` (gfl/head.py) beside stock mmdet's head of the same variant, on the same tensors,
at {height} x {width} px with strides 8 to 128 and 80 classes. The towers' convolutions are the
same code in both and are left out: a whole training step differs by much less. The losses of the
two agree to 1e-4, asserted before each measurement.

Ours and stock take turns, {repeat} times each ({short} times at B = 2); seconds are medians,
{clock}.
The ratio is stock / ours of a pair of turns (above 1, ours is faster): median [quartiles].
Memory is the peak on top of the outputs, {memory}.
"""


@dataclass(frozen=True)
class Setting:
    """Hardware, versions and settings of a measurement."""

    device: str  # "cpu" or "cuda"
    gpu: str | None
    cpu: str
    cores: int
    threads: int
    torch: str
    commit: str
    repeat: int
    busy: float | None  # processes competing for a core at the start, if the system reports it

    @property
    def slug(self) -> str:
        """File name: the hardware in lower case with hyphens."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        name = self.gpu or f"{self.cpu} {self.cores} cores {threads}"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def setting(device: str, threads: int, repeat: int) -> Setting:
    """Return the setting of a measurement on this machine, at this commit."""
    import torch

    from experiments.checkout import code_state
    from gfl.hardware import cpu_name

    commit, dirty = code_state()
    return Setting(
        device=device,
        gpu=torch.cuda.get_device_name() if device == "cuda" else None,
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        threads=threads,
        torch=torch.__version__,
        commit=(commit or "unknown")[:12] + (" with changes" if dirty and commit else ""),
        repeat=repeat,
        busy=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def shortfalls(lines: Sequence[Line]) -> list[str]:
    """List every case slower than its target."""
    found = []
    for case, result in lines:
        name = f"{case.head}, B = {case.batch}, {_objects(case)}: {result.ratio:.2f}"
        if (case.batch, case.objects) == (BATCH, OBJECTS) and result.ratio < FASTER:
            found.append(f"{name}, should be at least {FASTER}")
        elif result.ratio < SLOWEST:
            found.append(f"{name}, should be at least {SLOWEST:.2f}")
    return found


def markdown(lines: Sequence[Line], alone: Sequence[Line], setting: Setting) -> str:
    """Return the whole file: hardware, method, table, missed targets."""
    height, width = lines[0][0].image
    cuda = setting.device == "cuda"
    wall = cuda or setting.threads > 1
    about = ABOUT.format(
        height=height,
        width=width,
        repeat=setting.repeat,
        short=setting.repeat * SHORT_TURNS,
        clock="wall time" if wall else "CPU time of the process (one thread)",
        memory="by torch's CUDA allocator" if cuda else "resident, in a fresh process",
    )
    out = [f"# Speed beside stock mmdet: {escape.markdown(setting.gpu or setting.cpu)}", "", about]
    hardware = f"{escape.markdown(setting.cpu)}, {setting.cores} cores, {setting.threads} used"
    out += [f"{hardware}; torch {setting.torch}; commit {setting.commit}."]
    if setting.busy is not None and setting.busy > 0.5:
        out += [
            "Other processes ran on the machine meanwhile (load average at the beginning: "
            f"{setting.busy:.1f})."
        ]
    out += ["", "| head | B | objects | ours s | stock s | ratio | ours MiB | stock MiB |"]
    out += ["|---|--:|--:|--:|--:|--:|--:|--:|"]
    for case, r in lines:
        ratio = f"{r.ratio:.2f} [{r.low:.2f}, {r.high:.2f}]"
        cells = [case.head, case.batch, case.objects, f"{r.ours:.3f}", f"{r.stock:.3f}", ratio]
        out.append(_row([*cells, _mib(r.ours_mib), _mib(r.stock_mib)]))
    out += ["", _verdict(lines), "", *(f"- {line}" for line in shortfalls(lines))]
    out += ["", f"The assignment alone (less than {ASSIGNMENT_MIB} MiB is asked for):", ""]
    out += ["| assignment | B | objects | s | MiB |", "|---|--:|--:|--:|--:|"]
    for case, r in alone:
        name = "FCOS" if case.head == "FCOSHead" else "ATSS"
        out.append(_row([name, case.batch, case.objects, f"{r.ours:.3f}", _mib(r.ours_mib)]))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)) + "\n"


def table_csv(lines: Sequence[Line], alone: Sequence[Line]) -> str:
    """Return the same numbers, one case per line; the assignment alone has no stock values."""
    rows: list[Sequence[object]] = [FIELDS]
    for case, r in lines:
        seconds = [f"{x:.4f}" for x in (r.ours, r.stock, r.ratio, r.low, r.high)]
        name = [case.head, case.batch, case.objects, case.device]
        rows.append([*name, *seconds, _mib(r.ours_mib), _mib(r.stock_mib)])
    for case, r in alone:
        name = "FCOS assignment" if case.head == "FCOSHead" else "ATSS assignment"
        head = [name, case.batch, case.objects, case.device, f"{r.ours:.4f}"]
        rows.append([*head, "", "", "", "", _mib(r.ours_mib), ""])
    return escape.csv_file(rows)


def _verdict(lines: Sequence[Line]) -> str:
    target = f"Target: at least {FASTER}x as fast at B = {BATCH} with {OBJECTS} objects"
    target += ", and nowhere slower by more than 5 %."
    if not any((case.batch, case.objects) == (BATCH, OBJECTS) for case, _ in lines):
        target += f" B = {BATCH} was not measured."
    return f"{target} {'Missed in:' if shortfalls(lines) else 'Met in every case measured.'}"


def _objects(case: Case) -> str:
    return f"{escape.counted(case.objects, 'object')} an image"


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(escape.markdown(str(cell)) for cell in cells)} |"
