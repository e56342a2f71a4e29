"""Augmentation independent of the number of loader processes and of resumption.

mmdet's transforms draw from the generators of the process that loads an image. Those of loaders are
in no checkpoint, a loader's images depend on the number of loaders, and mmengine seeds loaders that
do not outlive an epoch alike in each. So an image's random numbers must follow from the seed, the
epoch and the image alone: the sampler passes these along with the index, and the first transform
seeds the generators with them.
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
    """Index of an image in its data set, with the seed and epoch of its augmentation."""

    seed: int
    epoch: int


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's sampler with the order drawn from seed and epoch; its indices carry both.

    mmengine draws from seed + epoch, so that seed 1 begins with seed 0's second order: too much in
    common for seeds whose spread is reported. The smoke and laptop profiles keep mmengine's own,
    with which their records were made.

    mmengine's hook sets the epoch. An index reaches a loader process unchanged.
    """

    def __iter__(self) -> Iterator[SeededIndex]:
        """Iterate over this epoch's indices; with several devices, over this device's share."""
        epoch = self.epoch
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            (drawn,) = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(drawn))
            order = torch.randperm(len(self.dataset), generator=generator)
        order = order.repeat(-(-self.total_size // len(order)))  # every device has the same number
        for position in order[self.rank : self.total_size : self.world_size].tolist():
            index = SeededIndex(position)
            index.seed, index.epoch = self.seed, epoch
            yield index


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seed numpy's and Python's generators for one image: the first transform of a pipeline.

    Not torch's, which mmdet's transforms do not use and which, if the training process itself
    loads images, belongs to the model. An index not from a ``SeededSampler`` (another image
    replacing an unreadable one) continues with the current state.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return ``results`` unchanged."""
        index = results["sample_idx"]
        if isinstance(index, SeededIndex):
            np.random.seed([index.seed, index.epoch, index])  # noqa: NPY002  mmdet draws from it
            random.seed(f"{index.seed} {index.epoch} {int(index)}")
        return results
