"""``gfl photos``: one-time preparation of COCO 2017 val's photographs."""

from __future__ import annotations

from experiments.profiles import PHOTOS
from experiments.queue.display import Display
from experiments.queue.running import prepare_photos
from gfl import terminal
from gfl.data.photos_spec import PhotosSpec
from gfl.terminal import say


def photos(data: str, /) -> int:
    """Prepare the photographs of COCO 2017 val for --profile photos.

    Args:
        data: COCO's folder, with val2017/ and annotations/instances_val2017.json
    """
    spec = PHOTOS.photos
    assert spec is not None
    prepared = prepare_photos(spec, data, Display(terminal.console()))
    say(described(spec, prepared.images))
    say(f"in {prepared.root}")
    return 0


def described(spec: PhotosSpec, images: str) -> str:
    """Describe the prepared set."""
    return (
        f"{spec.train} photographs to train on, {spec.val} to validate, long side {spec.size} px; "
        f"classes: {', '.join(spec.classes)}; digest of the images: {images[:8]}"
    )
