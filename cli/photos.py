"""``python -m experiments photos DATA``: the photographs of COCO 2017 val, prepared once."""

from __future__ import annotations

import argparse

from experiments.profiles import PHOTOS
from experiments.queue.display import Display
from experiments.queue.running import prepare_photos
from gfl import terminal
from gfl.data.photos_spec import PhotosSpec
from gfl.terminal import say

ABOUT = "prepare the photographs of COCO 2017 val for --profile photos"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's argument."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help="COCO's folder, with val2017/ and annotations/instances_val2017.json",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare them and say where they are.

    Raises:
        UserError: DATA is not COCO 2017 val.
    """
    spec = PHOTOS.photos
    assert spec is not None
    prepared = prepare_photos(spec, args.data, Display(terminal.console()))
    say(described(spec, prepared.images))
    say(f"in {prepared.root}")
    return 0


def described(spec: PhotosSpec, images: str) -> str:
    """Say what the prepared set is."""
    return (
        f"{spec.train} photographs to train on, {spec.val} to validate, long side {spec.size} px; "
        f"classes: {', '.join(spec.classes)}; digest of the images: {images[:8]}"
    )
