"""Training loop that begins in the midst of an epoch, where a checkpoint was stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mmdet.registry import DATA_SAMPLERS
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Sampler

from gfl.errors import UserError


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler[list[int]]):
    """Batches of an epoch without its first ones, whose images are then not loaded.

    An epoch's order follows from its seed and number, so the others are the same.

    Args:
        sampler: of indices.
        batch_size: images per batch.
        batches: configuration of the batch sampler; None: torch's.
    """

    def __init__(self, sampler: Any, batch_size: int, batches: dict[str, Any] | None) -> None:
        self.sampler = sampler  # mmengine's hook looks for it, to set the epoch
        self.skipped = 0  # batches
        if batches is None:
            self.batches: Any = BatchSampler(sampler, batch_size, drop_last=False)
        else:
            given = {"sampler": sampler, "batch_size": batch_size}
            self.batches = DATA_SAMPLERS.build(batches, default_args=given)

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the batches that are left."""
        return itertools.islice(self.batches, self.skipped, None)

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return len(self.batches)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop, of which ``ExactCheckpointHook`` sets where in an epoch it begins.

    It calls three more methods of hooks: ``after_loader_start``, before an epoch's first image is
    loaded; ``after_step``, when an iteration is over and counted, before the next one's images are
    loaded; and ``after_steps`` of an epoch.
    """

    batches_done = 0  # of the epoch at hand

    @property
    def evaluates_next(self) -> bool:
        """Return whether the epoch at hand ends with an evaluation."""
        epoch = self._epoch + 1
        due = epoch % self.val_interval == 0 or epoch == self._max_epochs
        return self.runner.val_loop is not None and epoch >= self.val_begin and due

    def run_epoch(self) -> None:
        """Train an epoch, or what is left of it."""
        runner: Any = self.runner
        runner.call_hook("before_train_epoch")
        runner.model.train()
        loader: Any = self.dataloader
        loader.batch_sampler.skipped = self.batches_done
        batches = iter(loader)
        runner.call_hook("after_loader_start")
        for index, batch in zip(self._indices(), batches, strict=False):
            self.run_iter(index, batch)
            self.batches_done = index + 1
            runner.call_hook("after_step")
        runner.call_hook("after_steps")
        runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.batches_done = 0

    def _indices(self) -> Iterator[int]:
        return itertools.count(self.batches_done)


@LOOPS.register_module()
class CappedTrainLoop(ResumableTrainLoop):
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

    def _indices(self) -> Iterator[int]:
        """Return the numbers of the epoch's iterations within the cap."""
        return iter(range(self.batches_done, self.batches_done + self._max_iters - self._iter))
