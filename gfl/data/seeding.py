"""Augmentation that is the same in every layout of loader processes, and after a resumption.

mmdet's transforms draw from the generators of whatever process loads an image. Those of loader
processes are in no checkpoint, each is handed other images when their number changes, and mmengine
seeds those that do not outlive an epoch alike in each. So what is drawn for an image has to follow
from the seed, the epoch and the image alone: the sampler sends them along with the index, and the
first transform seeds the generators with them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import DATA_SAMPLERS, TRANSFORMS
from mmengine.dataset import DefaultSampler


class SeededIndex(int):
    """An image's index in its data set, and what its augmentation is drawn from."""

    seed: int
    epoch: int


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's sampler, its order drawn from seed and epoch; its indices name both.

    mmengine draws from seed + epoch, so that seed 1 begins with seed 0's second order: of seeds
    whose spread is shown, too much is shared. The smoke and laptop profiles keep mmengine's own,
    with which their records were made.

    mmengine's hook tells it the epoch. An index reaches a loader process as it is.
    """

    def __iter__(self) -> Iterator[SeededIndex]:
        """Iterate over the indices of this epoch and, of several devices, this one."""
        epoch = self.epoch
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            (drawn,) = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(drawn))
            order = torch.randperm(len(self.dataset), generator=generator)
        order = order.repeat(-(-self.total_size // len(order)))  # every device has as many
        for position in order[self.rank : self.total_size : self.world_size].tolist():
            index = SeededIndex(position)
            index.seed, index.epoch = self.seed, epoch
            yield index


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seed numpy's and Python's generators for one image: the first transform of a pipeline.

    Not torch's, from which mmdet's transforms do not draw: where the training process itself
    loads, it is the model's. An index that no ``SeededSampler`` gave (another image in place of
    one that cannot be read) goes on with the numbers at hand.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change nothing in ``results``."""
        index = results["sample_idx"]
        if isinstance(index, SeededIndex):
            np.random.seed([index.seed, index.epoch, index])  # noqa: NPY002  mmdet draws from it
            random.seed(f"{index.seed} {index.epoch} {int(index)}")
        return results
