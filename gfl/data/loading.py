"""How mmdet reads the embedded data set: decoded once, then from memory that processes share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from filelock import FileLock
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from gfl.data.shapes import SPLITS, ShapesSpec, file_name


def decode(
    spec: ShapesSpec, root: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write the drawn images' pixels into one file for each split, unless they are there already.

    All that train on the data set, and their loader processes, map these files: memory holds them
    once. 8000 images of 128 x 128 pixels take 0.4 GB, on disk too. ``progress(done, total)`` is
    called with numbers of images.

    Raises:
        OSError: they cannot be written; each process can decode the images for itself.
    """
    done, total = 0, spec.train + spec.val
    shape = (spec.image_size, spec.image_size, 3)
    with FileLock(root / ".pixels.lock"):
        for split in SPLITS:
            folder, count = root / f"{split}2017", spec.count(split)
            done += count
            if _pixels(folder).exists():
                continue
            partial = _pixels(folder).with_suffix(".partial")
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            try:
                # Not through a map: on a full disk, writing into one ends the process.
                with partial.open("wb") as file:
                    np.lib.format.write_array_header_1_0(file, header)
                    for index in range(count):
                        if index % 100 == 0:
                            progress(done - count + index, total)
                        file.write(mmcv.imread(folder / file_name(index)).tobytes())
                partial.replace(_pixels(folder))
            finally:
                partial.unlink(missing_ok=True)


@TRANSFORMS.register_module()
class LoadImageFromMemory(LoadImageFromFile):
    """Load an image from the file of decoded ones or, where there is none, keep it once decoded."""

    def __init__(self) -> None:
        super().__init__()
        self._decoded: dict[str, np.ndarray] = {}

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add ``img`` (uint8 [H, W, 3], BGR) with its shapes, as the parent does."""
        path = Path(results["img_path"])
        shared = _mapped(path.parent)
        if shared is not None:
            image = shared[int(path.stem) - 1]
        elif (name := str(path)) in self._decoded:
            image = self._decoded[name]
        else:
            loaded = super().transform(results)
            if loaded is None:
                return None
            image = self._decoded[name] = loaded["img"]
        results["img"] = image = image.copy()  # later transforms may write into it
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


def _pixels(folder: Path) -> Path:
    return folder.with_suffix(".npy")


@cache  # of the process, not of a transform: one that is sent to another process stays small
def _mapped(folder: Path) -> np.ndarray | None:
    try:
        return np.load(_pixels(folder), mmap_mode="r").view(np.ndarray)
    except FileNotFoundError:
        return None
