"""Image loading for mmdet: shared memory for the embedded data set, upright for the user's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from gfl.data import images
from gfl.errors import UserError
from gfl.shapes.embedded import pixels_path


@TRANSFORMS.register_module()
class LoadImageFromMemory(BaseTransform):
    """Load an image of the embedded data set, from the array that all processes share.

    Replaces mmcv's ``LoadImageFromFile``; the image file that the annotations name need not exist.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` (uint8 [H, W, 3], BGR) with its shapes, as mmcv does.

        Raises:
            UserError: the array is missing or damaged.
        """
        path = Path(results["img_path"])
        image = _mapped(path.parent)[int(path.stem) - 1]
        results["img"] = image = image.copy()  # later transforms may write into it
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadUprightImage(BaseTransform):
    """Load an image of the user's data exactly as the preliminary check and prediction do.

    Replaces mmcv's ``LoadImageFromFile``, which applies the EXIF orientation of JPEGs only.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` (uint8 [H, W, 3], BGR, upright) with its shapes, as mmcv does.

        Raises:
            ImageError: the file cannot be read, or not correctly.
        """
        results["img"] = image = images.read(Path(results["img_path"])).bgr
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@cache  # per process, not per transform, so that a pickled transform stays small
def _mapped(folder: Path) -> np.ndarray:
    """Return the images of a split, by the folder that image files would lie in."""
    path = pixels_path(folder.parent, folder.name.removesuffix("2017"))
    try:
        return np.load(path, mmap_mode="r").view(np.ndarray)
    except (FileNotFoundError, EOFError, ValueError) as err:
        raise UserError(
            f"{path} is missing or damaged; any run of this profile draws the data set again"
        ) from err
