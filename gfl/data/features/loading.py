"""Loading of stored photograph features in mmdet, in place of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.datasets.transforms import PackDetInputs
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.utils.misc import samplelist_boxtype2tensor
from mmdet.registry import DATA_SAMPLERS, MODELS, TRANSFORMS
from torch import Tensor

from gfl.data import photos
from gfl.data.features.stored import canvas, divisible, kept, on_canvas


@MODELS.register_module()
class FeaturePreprocessor(DetDataPreprocessor):
    """Batches stored features, or pictures, in place of mmdet's image preprocessor.

    Args:
        network: a key of ``gfl.data.features.frozen.NETWORKS``.
        size: long side of the prepared images, px.
    """

    def __init__(self, network: str, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return ``inputs`` as the backbone takes them, and the samples.

        A batch's images share a canvas.
        """
        data = self.cast_data(data)  # type: ignore[assignment]
        if isinstance(data["inputs"][0], Tensor):
            return self._pictures(**data)
        samplelist_boxtype2tensor(data["data_samples"])
        # Stored with channels last, the layout of the model's convolutions.
        # Cast first: autocast does not stack float16.
        levels = (torch.stack([one.float() for one in level]) for level in data["inputs"])
        inputs = tuple(level.permute(0, 3, 1, 2) for level in levels)
        return {"inputs": inputs, "data_samples": data["data_samples"]}

    def _pictures(self, inputs: list[Tensor], data_samples: list[Any]) -> dict[str, Any]:
        """Put pictures, uint8 [3, H, W], on canvases like those of the stored features."""
        for image, sample in zip(inputs, data_samples, strict=True):
            height, width = image.shape[-2:]
            sample.set_metainfo(shapes(height, width, self.size))
        arrays = [image.permute(1, 2, 0).cpu().numpy() for image in inputs]
        canvases = torch.cat([on_canvas(array, self.network, self.size) for array in arrays])
        return {"inputs": canvases.to(self.device), "data_samples": data_samples}


def shapes(height: int, width: int, size: int) -> dict[str, tuple[int, int]]:
    """Return the shapes that mmdet's preprocessor records of an image's padding."""
    padded = divisible(height), divisible(width)
    return {"batch_input_shape": canvas(height, width, size), "pad_shape": padded}


@TRANSFORMS.register_module()
class ShrinkPicture(BaseTransform):
    """Resize a picture to the size of a prepared photograph."""

    def __init__(self, size: int) -> None:
        self.size = size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` and add its shape and scale, as mmdet's ``Resize`` does."""
        image = results["img"]
        height, width = image.shape[:2]
        small = photos.shrink(image, self.size)
        scale = small.shape[1] / width, small.shape[0] / height
        return results | {"img": small, "img_shape": small.shape[:2], "scale_factor": scale}


@TRANSFORMS.register_module()
class LoadPrepared(BaseTransform):
    """Substitute a blank of the prepared photograph's size, and scale the boxes to it.

    Replaces loading and resizing; works before or after the boxes are loaded, as these do.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` (uint8 [H, W, 3], zeros) with its shapes and scale, as mmdet does."""
        before = results["width"], results["height"]
        width, height = photos.prepared_size(*before, self.size)
        scale = width / before[0], height / before[1]
        results["img"] = np.broadcast_to(np.uint8(0), (height, width, 3))
        results |= {"ori_shape": before[::-1], "img_shape": (height, width), "scale_factor": scale}
        if "gt_bboxes" in results:
            results["gt_bboxes"].rescale_(scale)
            results["gt_bboxes"].clip_((height, width))
        return results


@TRANSFORMS.register_module()
class PackFeatures(PackDetInputs):
    """Pack a photograph's stored features, float16 [H, W, C] per level, in place of the image."""

    def __init__(self, network: str, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return ``inputs`` and ``data_samples``."""
        results = results.copy()
        height, width = results.pop("img").shape[:2]
        packed = super().transform(results)
        packed["data_samples"].set_metainfo(shapes(height, width, self.size))
        path = Path(results["img_path"])
        features = kept(path.parents[1], self.network, self.size)
        levels = features.of(path.name, flipped=bool(results.get("flip", False)))
        packed["inputs"] = tuple(torch.from_numpy(np.array(level)) for level in levels)
        return packed


@DATA_SAMPLERS.register_module()
class CanvasBatchSampler(AspectRatioBatchSampler):
    """Batches of images that share a canvas; the last batch of each canvas may be smaller.

    Args:
        sampler: of a ``CocoDataset``.
        batch_size: images per batch.
        size: long side of the prepared images, px.
    """

    def __init__(self, sampler: Any, batch_size: int, size: int) -> None:
        super().__init__(sampler, batch_size)
        self.dataset: Any = sampler.dataset
        self.size = size

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over batches of indices, full ones first, in the order of the sampler."""
        waiting: dict[tuple[int, int], list[int]] = {}
        for index in self.sampler:
            batch = waiting.setdefault(self._canvas(index), [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch[:]
                batch.clear()
        yield from (batch for batch in waiting.values() if batch)

    def __len__(self) -> int:
        """Return the number of batches in one pass."""
        return sum(-(-count // self.batch_size) for count in self._counts.values())

    @cached_property
    def _counts(self) -> Counter[tuple[int, int]]:
        return Counter(map(self._canvas, range(len(self.dataset))))

    def _canvas(self, index: int) -> tuple[int, int]:
        info = self.dataset.get_data_info(index)
        width, height = photos.prepared_size(info["width"], info["height"], self.size)
        return canvas(height, width, self.size)
