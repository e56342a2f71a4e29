"""Multi-device runs: one process per device, started by torch's launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import torch
from mmengine import dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import distributed, nn

from gfl.training.preemption import GRACE, preemption

SECONDS_BETWEEN_LOOKS = 1.0

_control: Any = None  # group of what the processes say to each other beside tensors; None: all


def join(gpus: int) -> None:
    """Join the run's other processes: over NCCL, each on its own device, or over gloo on a CPU.

    Call it before mmengine does: its own way sets a CUDA device even if there is none.

    Raises:
        RuntimeError: the launcher started a different number of processes.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != gpus:
        raise RuntimeError(f"{started} processes started for {gpus} devices")
    _end_with_parent()
    if not torch.cuda.is_available():
        distributed.init_process_group("gloo")
        return
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl")
    global _control
    _control = distributed.new_group(backend="gloo")  # else each word would wait for the GPU


def agreed(value: int) -> int:
    """Return the greatest value of all the run's processes."""
    greatest = torch.tensor(value)
    dist.all_reduce(greatest, "max", _control)
    return int(greatest)


def gathered(part: Any) -> list[Any]:
    """Return the parts of all the run's processes in the first, and none in the others."""
    return dist.gather_object(part, group=_control) or []


def from_first(value: Any) -> Any:
    """Return the first process's value in all."""
    values = [value]
    dist.broadcast_object_list(values, group=_control)
    return values[0]


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_distributed():
        distributed.destroy_process_group()


def _end_with_parent() -> None:
    """End this process with the launcher: in its own session, no signal reaches it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # The launcher ends at a third signal, and leaves processes that answer the first.
        deadline = time.monotonic() + GRACE
        while preemption.has_arrived() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@MODEL_WRAPPERS.register_module()
class ChannelsLastDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, also for CPUs, with weights in the convolutions' memory layout.

    Gradients are exchanged in buffers allocated here, once.
    """

    def __init__(
        self, module: nn.Module, device_ids: list[int], broadcast_buffers: bool = False
    ) -> None:
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        on_cpu = next(module.parameters()).device.type == "cpu"
        super().__init__(
            module,
            device_ids=None if on_cpu else device_ids,
            broadcast_buffers=broadcast_buffers,
        )
