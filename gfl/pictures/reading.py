"""The picture files that a command line names, folders included.

They are decoded by ``gfl.data.images``, as training decodes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from gfl.data.images import FORMATS, UNDECODED, Picture, named, read

__all__ = ["Picture", "listed", "named", "read"]

DRAWN = ".boxes.png"  # what we write ourselves


def listed(given: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that are meant, each once, in order, and what is wrong with some names.

    A folder stands for the pictures that lie directly in it, by their names' endings, without
    hidden files and without what this command drew before.
    """
    endings = _endings()
    found: dict[Path, None] = {}
    complaints = []
    for path in given:
        if not path.is_dir():
            found[path] = None  # read, and then refused, like any other
            continue
        try:
            inside = sorted(path.iterdir())
        except OSError as err:
            complaints.append(f"{named(path)}: {err.strerror}")
            continue
        pictures = [p for p in inside if p.suffix.lower() in endings and _is_for_us(p)]
        found.update(dict.fromkeys(pictures))
        if not pictures:
            deeper = " (its folders are not searched)" if any(p.is_dir() for p in inside) else ""
            complaints.append(f"{named(path)}: no picture lies in this folder{deeper}")
    return list(found), complaints


def _endings() -> set[str]:
    """The endings of pictures; those of formats that cannot be read too, to be refused by name.

    A folder of them is not silently empty.
    """
    known = Image.registered_extensions()
    return {ending for ending, format in known.items() if format in FORMATS} | {*UNDECODED}


def _is_for_us(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(DRAWN) and not path.is_dir()
