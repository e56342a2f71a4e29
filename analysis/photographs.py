"""Images that are not embedded: their folder on this machine, and one as the network sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gfl.data import photos
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.training import worker


class NotInData(UserError):  # noqa: N818  not a fault of the code
    """Data that a profile lacks, whatever runs there are."""


def folder(profile: Profile, data: Path | None) -> Path | None:
    """Return the folder of a profile's photographs: ``data``, or the set prepared here, or None.

    Raises:
        UserError: ``data`` has no photographs, or the profile does not use them.
    """
    if profile.photos is None:
        if data is not None:
            raise UserError(f"--data is for figures at --profile photos, not {profile.name}")
        return None
    if data is None:
        root = worker.photos_root(profile.photos)
        return root if photos.found(profile.photos, root) else None
    if not (data / photos.SPLIT).is_dir():
        raise UserError(
            f"{data / photos.SPLIT} is not a folder: DATA is COCO's folder, or a prepared one"
        )
    return data


def read(root: Path, spec: photos.PhotosSpec, image_id: int) -> np.ndarray:
    """Return a prepared photograph, uint8 [height, width, 3], RGB.

    Raises:
        UserError: it is missing, or not an image.
    """
    import cv2

    path = root / photos.SPLIT / f"{image_id:012}.jpg"  # COCO's file names
    image = cv2.imread(str(path)) if path.is_file() else None
    if image is None:
        raise UserError(f"{path}: missing, or not an image")
    return cv2.cvtColor(photos.shrink(image, spec.size), cv2.COLOR_BGR2RGB)
