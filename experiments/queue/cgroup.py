"""Container limits, from the control groups of this process on Linux.

Version 2 has ``memory.max`` and ``cpu.max`` in each group's folder, version 1 a tree per resource.
A group's limit includes its subgroups.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

TREE = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")


def memory_limit() -> int | None:
    """Return the memory limit, in bytes, of this process and its group; None without a limit."""
    found = [_numbers(group / "memory.max") for group in _groups("")]
    found += [_numbers(group / "memory.limit_in_bytes") for group in _groups("memory")]
    return min((limit for limit, *_ in filter(None, found)), default=None)


def cpu_limit() -> float | None:
    """Return the CPU limit of this process and its group, in cores; None without a limit."""
    found = [_numbers(group / "cpu.max") for group in _groups("")]
    for group in _groups("cpu"):
        quota, period = (_numbers(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        found.append(quota + period)
    return min((pair[0] / pair[1] for pair in found if len(pair) == 2), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and its ancestors; "" is version 2's tree."""
    try:
        lines = MINE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = PurePosixPath(path.lstrip("/"))
            yield from (TREE / controller / group for group in (own, *own.parents))


def _numbers(path: Path) -> list[int]:
    """Return the numbers of a limit; empty without such a file, or if it says ``max`` or -1."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [int(word) for word in words] if all(map(str.isdecimal, words)) else []
