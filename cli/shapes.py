"""``gfl shapes``: the embedded data set as image files, in COCO's layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cli.options import ProfileName
from experiments import profiles
from experiments.queue.display import Display
from experiments.queue.machine import Machine
from experiments.queue.running import prepare_data
from gfl import escape, terminal
from gfl.errors import UserError
from gfl.shapes import embedded
from gfl.terminal import say
from gfl.training.worker import embedded_root


def shapes(folder: str, /, *, profile: ProfileName = "laptop") -> int:
    """Write a profile's embedded data set as PNG files with COCO annotations.

    Args:
        folder: a new or empty one
    """
    if (spec := profiles.get(profile).dataset) is None:
        raise UserError(f"the images of the {profile} profile are not embedded, but photographs")
    root, display = embedded_root(spec), Display(terminal.console())
    with display.table(1):
        prepare_data(profiles.get(profile), Machine(), display)
        embedded.export(root, Path(folder), partial(display.preparing, "writing PNG files"))
    say(f"{escape.counted(spec.train + spec.val, 'image')} in {folder}")
    return 0
