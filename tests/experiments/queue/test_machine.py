"""What each of several runs at a time may use."""

from pathlib import Path

import pytest

from experiments import profiles
from experiments.queue import machine
from experiments.queue.machine import Machine, visible_gpus

SMOKE, GPU, COCO = (profiles.get(name) for name in ("smoke", "gpu", "coco"))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    for name in machine.ALLOCATOR:
        monkeypatch.delenv(name, raising=False)


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 10)
    assert Machine().cores_for(COCO, 1) is None
    assert Machine().cores_for(COCO, 3) == 3
    assert Machine(device="cpu").cores_for(COCO, 4) == 2
    assert Machine().cores_for(GPU, 16) == 1
    # An embedded run on the CPU has one thread whatever the machine: its bits depend on it.
    assert Machine().cores_for(SMOKE, 3) is None
    assert Machine(device="cpu").cores_for(GPU, 3) is None


@pytest.mark.usefixtures("gpus")
def test_gpus_are_dealt_out_in_turn() -> None:
    dealt = [Machine().environment(GPU, slot, 3) for slot in range(3)]
    assert dealt == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("2", "5", "7")]
    # 4 on 3: two meet on the first, and no run knows which it will be.
    shared = [Machine().environment(GPU, slot, 4) for slot in range(4)]
    assert [found["CUDA_VISIBLE_DEVICES"] for found in shared] == ["2", "5", "7", "2"]
    assert {found["PYTORCH_ALLOC_CONF"] for found in shared} == {
        "per_process_memory_fraction:0.475"
    }
    pairs = [Machine(gpus=2).environment(COCO, slot, 2) for slot in range(2)]
    assert [found["CUDA_VISIBLE_DEVICES"] for found in pairs] == ["2,5", "7,2"]


@pytest.mark.usefixtures("gpus")
def test_a_single_run_and_one_on_the_cpu_are_told_nothing() -> None:
    assert Machine().environment(GPU, 0, 1) == {}
    assert Machine().environment(SMOKE, 0, 2) == {}
    assert Machine(device="cpu").environment(GPU, 0, 2) == {}
    assert Machine(gpus=4).environment(COCO, 0, 2) == {}  # more than there are


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("name", machine.ALLOCATOR)
def test_the_users_own_allocator_settings_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv(name, "expandable_segments:True")
    told = Machine().environment(GPU, 2, 3)
    assert told == {
        "CUDA_VISIBLE_DEVICES": "0",
        name: "expandable_segments:True,per_process_memory_fraction:0.317",
    }


def test_gpus_are_counted_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: a (UUID: 1)'\necho 'GPU 1: b (UUID: 2)'\n")
    tool.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
