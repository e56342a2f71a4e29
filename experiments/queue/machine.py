"""This machine: where and under which limits it runs, and what each of several runs may use."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.queue import cgroup
from gfl import hardware
from gfl.errors import UserError
from gfl.experiment import Profile

MEMORY_OF_A_RUN = 2 << 30  # bytes, rounded up generously from the laptop profile's 1.2 GB

MEMORY = Path("/proc/meminfo")
ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
ALLOCATED = 0.95  # of a GPU that runs share; what each process has there besides is not counted


@dataclass(frozen=True)
class Machine:
    """The devices, data and limits of this machine's runs; no part of a run's identity."""

    data_root: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = 1
    max_iters: int | None = None
    jobs: int | None = None  # runs at a time; None: as many as do not slow one another down

    def check(self, profile: Profile) -> None:
        """Reject --gpus above 1 for a profile that trains on the CPU.

        Raises:
            UserError: it is.
        """
        if self.gpus > 1 and self._device(profile) == "cpu":
            raise UserError(
                f"--gpus {self.gpus} is for CUDA: the {profile.name} profile is trained on the CPU "
                "here; --jobs (make: JOBS) trains several rows at once"
            )

    def _device(self, profile: Profile) -> str:
        return profile.device if self.device == "auto" else self.device

    def jobs_for(self, profile: Profile, runs: int) -> int:
        """Return how many of so many runs are trained at a time.

        A run on embedded data takes one core, so that its result depends on nothing else; any
        other has the machine for itself.
        """
        if self.jobs is not None:
            return max(1, min(self.jobs, runs))
        if not profile.is_small or self._device(profile) != "cpu" or self.gpus > 1:
            return 1
        return max(1, min(usable_cores(), usable_memory() // MEMORY_OF_A_RUN, runs))

    def cores_for(self, profile: Profile, jobs: int) -> int | None:
        """Return the cores of each of so many runs at a time, for threads and loaders; None: all.

        An embedded run on the CPU computes in one thread in any case.
        """
        if jobs == 1 or (profile.is_small and self._device(profile) == "cpu"):
            return None
        return max(1, usable_cores() // jobs)

    def environment(self, profile: Profile, slot: int, jobs: int) -> dict[str, str]:
        """Return the variables that give the ``slot``-th run at a time its part of the GPUs.

        They are dealt out in turn; runs that meet on one have equal parts of its memory.
        """
        if jobs == 1 or self._device(profile) == "cpu":
            return {}
        gpus = visible_gpus()
        if self.gpus > len(gpus):  # the worker says so
            return {}
        mine = [gpus[(slot * self.gpus + i) % len(gpus)] for i in range(self.gpus)]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
        if (sharing := math.ceil(jobs * self.gpus / len(gpus))) > 1:
            # The CUDA allocator reads the old name, empty or not, and then not the new one.
            name = next((n for n in ALLOCATOR if n in os.environ), ALLOCATOR[-1])
            part = f"per_process_memory_fraction:{ALLOCATED / sharing:.3f}"
            environment[name] = ",".join(filter(None, (os.environ.get(name), part)))
        return environment


def usable_cores() -> int:
    """The cores that this process may use, a container's share of them included."""
    cores = hardware.cores()
    share = cgroup.cpu_limit()
    return cores if share is None else max(1, min(cores, int(share)))


def usable_memory() -> int:
    """The bytes of memory that are free for runs, at most what a container may have."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _read(MEMORY), re.MULTILINE)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS tells no more
    free = int(found[1]) << 10 if found else whole
    limit = cgroup.memory_limit()
    return free if limit is None else min(free, limit)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def visible_gpus() -> list[str]:
    """The CUDA devices that a worker would see, found without torch, which takes seconds."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run(
        [tool, "--list-gpus"], capture_output=True, encoding="utf-8", errors="replace"
    )
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(i) for i in range(len(lines))] if not listed.returncode else []
