"""This machine: devices, limits, and the share of each of several concurrent runs."""

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
from experiments.queue.worker import Rendezvous
from gfl import escape, hardware
from gfl.errors import UserError
from gfl.experiment import Profile

MEMORY_OF_A_RUN = 2 << 30  # bytes, rounded up generously from the laptop profile's 1.2 GB

CHECKPOINT_MINUTES = 10.0  # at COCO's scale, where an epoch takes an hour; elsewhere minutes

MEMORY = Path("/proc/meminfo")
ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
ALLOCATED = 0.95  # of a GPU that runs share; excludes each process's own overhead


@dataclass(frozen=True)
class Machine:
    """Devices, data and limits of this machine's runs; not part of a run's identity."""

    data_root: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = 1
    max_iters: int | None = None
    jobs: int | None = None  # concurrent runs; None: as many as do not slow one another down
    checkpoint_minutes: float | None = None  # between checkpoints in an epoch; None: none in it
    nodes: int = 1  # machines that a run's devices are on
    rendezvous: Rendezvous | None = None  # of those machines, on one of them

    def check(self, profile: Profile) -> None:
        """Reject several processes of a run on one CPU, and devices that nodes cannot share.

        Raises:
            UserError: that is asked for.
        """
        if self.gpus % self.nodes:
            gpus = escape.counted(self.gpus, "GPU")
            raise UserError(f"{gpus} cannot be shared evenly by {self.nodes} nodes")
        if self.gpus > self.nodes and self.device_of(profile) == "cpu":
            raise UserError(
                f"--gpus {self.gpus} is for CUDA: the {profile.name} profile is trained on the CPU "
                "here; --jobs (make: JOBS) trains several rows at once"
            )

    def device_of(self, profile: Profile) -> str:
        """Return what trains a profile's runs, cpu or cuda."""
        return profile.device if self.device == "auto" else self.device

    def jobs_for(self, profile: Profile, runs: int) -> int:
        """Return how many of the given number of runs to train concurrently.

        A run on embedded data takes one core, so that its result depends on nothing else; any other
        has the machine to itself.
        """
        if self.jobs is not None:
            return max(1, min(self.jobs, runs))
        if not profile.is_small or self.device_of(profile) != "cpu" or self.gpus > 1:
            return 1
        return max(1, min(usable_cores(), usable_memory() // MEMORY_OF_A_RUN, runs))

    def cores_for(self, profile: Profile, jobs: int) -> int | None:
        """Return the cores of each concurrent run, for threads and loaders; None for all.

        An embedded run on the CPU computes in one thread in any case.
        """
        if jobs == 1 or (profile.is_small and self.device_of(profile) == "cpu"):
            return None
        return max(1, usable_cores() // jobs)

    def environment(self, profile: Profile, slot: int, jobs: int) -> dict[str, str]:
        """Return the variables that give the ``slot``-th concurrent run its share of the GPUs.

        GPUs are assigned in turn; runs on the same one have equal shares of its memory.
        """
        if jobs == 1 or self.device_of(profile) == "cpu":
            return {}
        gpus = visible_gpus()
        if self.gpus > len(gpus):  # the worker reports it
            return {}
        mine = [gpus[(slot * self.gpus + i) % len(gpus)] for i in range(self.gpus)]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
        if (sharing := math.ceil(jobs * self.gpus / len(gpus))) > 1:
            # If the old name is set, even empty, the CUDA allocator ignores the new one.
            name = next((n for n in ALLOCATOR if n in os.environ), ALLOCATOR[-1])
            part = f"per_process_memory_fraction:{ALLOCATED / sharing:.3f}"
            environment[name] = ",".join(filter(None, (os.environ.get(name), part)))
        return environment


def usable_cores() -> int:
    """Return the number of cores this process may use, limited by a container's share."""
    cores = hardware.cores()
    share = cgroup.cpu_limit()
    return cores if share is None else max(1, min(cores, int(share)))


def usable_memory() -> int:
    """Return the bytes of memory free for runs, limited by a container's share."""
    listed = MEMORY.read_text(encoding="utf-8") if MEMORY.exists() else ""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", listed, re.MULTILINE)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all that macOS reports
    free = int(found[1]) << 10 if found else whole
    limit = cgroup.memory_limit()
    return free if limit is None else min(free, limit)


def visible_gpus() -> list[str]:
    """List the CUDA devices a worker would see, without torch, which takes seconds."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run(
        [tool, "--list-gpus"], capture_output=True, encoding="utf-8", errors="replace"
    )
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(i) for i in range(len(lines))] if not listed.returncode else []
