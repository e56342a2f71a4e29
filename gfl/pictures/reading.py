"""Picture files named on the command line, folders included.

``gfl.data.images`` decodes them, as in training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from gfl.data.images import FORMATS, UNDECODED, named

DRAWN = ".boxes.png"  # this command's own output


def listed(given: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the files to read, each once, in order, and complaints about some names.

    A folder stands for the pictures directly in it, recognised by suffix, without hidden files and
    this command's own output.
    """
    endings = _endings()
    found: dict[Path, None] = {}
    complaints = []
    for path in given:
        if not path.is_dir():
            found[path] = None  # read, and then rejected, like any other
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
    """Return suffixes of pictures, unsupported formats included, to be rejected by name.

    So a folder of these is not silently empty.
    """
    known = Image.registered_extensions()
    return {ending for ending, format in known.items() if format in FORMATS} | {*UNDECODED}


def _is_for_us(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(DRAWN) and not path.is_dir()
