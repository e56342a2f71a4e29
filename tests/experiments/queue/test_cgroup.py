"""What a container allows, read as Linux writes it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.queue import cgroup, machine

Write = Callable[..., None]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the process's groups and their files."""
    monkeypatch.setattr(cgroup, "TREE", tmp_path / "tree")
    monkeypatch.setattr(cgroup, "MINE", tmp_path / "mine")

    def write(mine: str, **files: str) -> None:
        (tmp_path / "mine").write_text(mine)
        for name, text in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_groups_nothing_is_limited(groups: Write) -> None:
    assert (cgroup.memory_limit(), cgroup.cpu_limit()) == (None, None)
    groups("0::/\n", **{"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert (cgroup.memory_limit(), cgroup.cpu_limit()) == (None, None)
    groups("1:cpu:/\n", **{"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert cgroup.cpu_limit() is None


def test_the_narrowest_of_a_group_and_those_above_it_holds(groups: Write) -> None:
    groups("0::/a/b\n", **{
        "memory.max": "max", "a/memory.max": "4096\n", "a/b/memory.max": "8192\n",
        "cpu.max": "max 100000", "a/cpu.max": "400000 100000\n", "a/b/cpu.max": "150000 100000\n",
    })  # fmt: skip
    assert (cgroup.memory_limit(), cgroup.cpu_limit()) == (4096, 1.5)


def test_a_containers_group_may_be_the_root_of_what_it_sees(groups: Write) -> None:
    groups("0::/docker/x\n", **{"memory.max": "4096\n", "cpu.max": "200000 100000\n"})
    assert (cgroup.memory_limit(), cgroup.cpu_limit()) == (4096, 2.0)


def test_the_first_version_has_a_tree_for_each_resource(groups: Write) -> None:
    groups("4:memory:/x\n2:cpu,cpuacct:/x\n0::/\n", **{
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/x/memory.limit_in_bytes": "4096\n",
        "cpu/x/cpu.cfs_quota_us": "250000\n", "cpu/x/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert (cgroup.memory_limit(), cgroup.cpu_limit()) == (4096, 2.5)


def test_a_machine_has_no_more_than_its_container(
    groups: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       64 kB\nMemAvailable:       32 kB\n")
    monkeypatch.setattr(machine, "MEMORY", meminfo)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert (machine.usable_memory(), machine.usable_cores()) == (32 << 10, 8)
    groups("0::/\n", **{"memory.max": "4096\n", "cpu.max": "350000 100000\n"})
    assert (machine.usable_memory(), machine.usable_cores()) == (4096, 3)
    groups("0::/\n", **{"memory.max": "99999999\n", "cpu.max": "50000 100000\n"})
    assert (machine.usable_memory(), machine.usable_cores()) == (32 << 10, 1)
