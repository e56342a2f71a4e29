"""Image loading for mmdet: shared memory for the embedded data set, upright for the user's own.

The embedded images are decoded once, then read from memory that processes share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from filelock import FileLock
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from gfl.data import images
from gfl.errors import UserError
from gfl.files import replacing, sha256, write_text
from gfl.shapes.embedded import SPLITS, ShapesSpec, file_name


def decode(
    spec: ShapesSpec,
    root: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    report: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the drawn images' pixels into one file for each split, unless they exist already.

    All processes that train on the data set, and their loaders, map these files, so that memory
    holds them once. 8000 images of 128 x 128 pixels take 0.4 GB, on disk too. A file that does not
    match its checksum is reported and rewritten. ``progress(done, total)`` is called with numbers
    of images. Processes that do this at the same time wait for one another.

    Raises:
        UserError: a drawn image cannot be read, or a damaged file cannot be replaced.
        OSError: they cannot be written; each process can decode the images for itself.
    """
    if all(_is_whole(spec, root, split) for split in SPLITS):
        return  # without the lock, which a read-only folder does not allow
    try:
        with FileLock(root / ".pixels.lock"):
            _write_missing(spec, root, progress, report)
    except OSError as err:
        for split in SPLITS:
            path = _pixels(_folder(root, split))
            if path.exists() and not _is_whole(spec, root, split):
                raise UserError(
                    f"{path}: it does not match its checksum and cannot be written again "
                    f"({err.strerror or err}); delete it"
                ) from err
        raise


def _write_missing(
    spec: ShapesSpec,
    root: Path,
    progress: Callable[[int, int], None],
    report: Callable[[str], None],
) -> None:
    for left in root.glob(".*2017.npy.*"):  # from a killed process
        left.unlink()
    done, total = 0, spec.train + spec.val
    for split in SPLITS:
        before, done = done, done + spec.count(split)
        if _is_whole(spec, root, split):
            continue
        if (path := _pixels(_folder(root, split))).exists():
            report(f"{path}: it does not match its checksum; decoding the images again")
        _write(spec, root, split, lambda index, before=before: progress(before + index, total))


def is_decoded(root: Path) -> bool:
    """Return True if there is a file of decoded images, whole or not."""
    return any(_pixels(_folder(root, split)).exists() for split in SPLITS)


def _is_whole(spec: ShapesSpec, root: Path, split: str) -> bool:
    """Return True if the split's file exists, intact and for these images."""
    path = _pixels(_folder(root, split))
    try:
        if _checksum(path).read_text(encoding="utf-8").strip() != sha256(path):
            return False
        pixels = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError):
        return False
    return pixels.shape == _shape(spec, split) and pixels.dtype == np.uint8


def _write(spec: ShapesSpec, root: Path, split: str, progress: Callable[[int], None]) -> None:
    folder, shape = _folder(root, split), _shape(spec, split)
    path = _pixels(folder)
    # Not through a memory map: on a full disk, writing into one kills the process.
    with replacing(path) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for index in range(shape[0]):
            if index % 100 == 0:
                progress(index)
            file.write(_read(folder / file_name(index)).tobytes())
    write_text(_checksum(path), sha256(path) + "\n")


def _read(path: Path) -> np.ndarray:
    """Return an image, uint8 [H, W, 3], BGR.

    Raises:
        UserError: the file, although drawn by this project, is not an image.
    """
    image = mmcv.imread(path)
    if image is None:
        raise UserError(
            f"{path}: no image can be read from it; delete {path.parents[1]}, and the data set is "
            "drawn anew"
        )
    return image


@TRANSFORMS.register_module()
class LoadImageFromMemory(BaseTransform):
    """Load an image from the decoded file or, without one, decode and keep it.

    Replaces mmcv's ``LoadImageFromFile``.
    """

    def __init__(self) -> None:
        self._decoded: dict[str, np.ndarray] = {}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` (uint8 [H, W, 3], BGR) with its shapes, as mmcv does.

        Raises:
            UserError: the file is not an image.
        """
        path = Path(results["img_path"])
        shared = _mapped(path.parent)
        if shared is not None:
            image = shared[int(path.stem) - 1]
        elif (name := str(path)) in self._decoded:
            image = self._decoded[name]
        else:
            image = self._decoded[name] = _read(path)
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


def _shape(spec: ShapesSpec, split: str) -> tuple[int, int, int, int]:
    return (spec.count(split), spec.image_size, spec.image_size, 3)


def _folder(root: Path, split: str) -> Path:
    return root / f"{split}2017"


def _pixels(folder: Path) -> Path:
    return folder.with_suffix(".npy")


def _checksum(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


@cache  # per process, not per transform, so that a pickled transform stays small
def _mapped(folder: Path) -> np.ndarray | None:
    try:
        return np.load(_pixels(folder), mmap_mode="r").view(np.ndarray)
    except (FileNotFoundError, ValueError):  # missing, or truncated since ``decode`` looked
        return None
