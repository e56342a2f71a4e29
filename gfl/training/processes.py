"""Multi-device runs: one process per device, started by torch's launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import LOOPS, MODEL_WRAPPERS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import distributed, nn

from gfl.errors import UserError

SECONDS_BETWEEN_LOOKS = 1.0


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
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl"
    distributed.init_process_group(backend)


def leave() -> None:
    """Leave the process group, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _end_with_parent() -> None:
    """End this process with the launcher: in its own session, no signal reaches it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
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


@LOOPS.register_module()
class CappedTrainLoop(EpochBasedTrainLoop):
    """Training loop over the first steps of the whole schedule, with an evaluation.

    Args:
        cap: number of optimizer steps.

    Raises:
        UserError: the schedule has fewer steps.
    """

    def __init__(
        self, runner: Runner, dataloader: Any, max_epochs: int, val_interval: int, cap: int
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_interval=val_interval)
        if cap > self._max_iters:
            raise UserError(f"{cap} is no cap: the schedule has {self._max_iters} iterations")
        self._max_iters = cap
        self._max_epochs = -(-cap // len(self.dataloader))

    def run_epoch(self) -> None:
        """Train an epoch, or the part of it within the cap."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        left = self._max_iters - self._iter
        for index, batch in zip(range(left), self.dataloader, strict=False):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
