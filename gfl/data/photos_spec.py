"""Identity of the photographs in a run's configuration."""

from __future__ import annotations

from dataclasses import dataclass

SPLIT = "val2017"  # of COCO, and the folder of the prepared images
PERSON = "person"
SIZE = 320  # px, long side
TRAIN, VAL = 1693, 1000  # images
# Digests of the whole prepared set, made with OpenCV 4.12.0 (``images_digest``), and of its boxes
# (``boxes_digest``).
IMAGES = "7f3320a803b72ac2aeb1a11ebaebc8bee15f7b872b4ab3db831aefa6f3988d62"
BOXES = "b65e7f5df9e2d342551e20430b37899ed13d8cfa9b7b34bcc735de57e6fbfe1f"


@dataclass(frozen=True)
class PhotosSpec:
    """Data that determine a run's result, as in the run's configuration."""

    classes: tuple[str, ...] = (PERSON,)
    size: int = SIZE
    train: int = TRAIN
    val: int = VAL
    images: str = IMAGES
    boxes: str = BOXES
