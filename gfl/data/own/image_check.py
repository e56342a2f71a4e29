"""Check that decodes every image of a data set before training, several at a time.

An image with an intact header may still be truncated, and would abort training hours later. Sound
images are remembered by name, size and modification time, so that a resumed run, and the next on
the same folder, do not decode them again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL

from gfl import hardware
from gfl.data import images
from gfl.data.images import ImageError
from gfl.files import write_text

REMEMBERED = Path(__file__).resolve().parents[3] / "data" / "checked-images"  # git-ignored
READER = f"1, Pillow {PIL.__version__}"  # software that decides which files are sound
MOST_THREADS = 8  # each holds an image: half a GB for 50 million pixels

Size = tuple[int, int]
Key = list[int]  # a file's size in bytes and its modification time, ns
Progress = Callable[[int, int], None]


def examine(
    root: Path, paths: Iterable[Path], progress: Progress = lambda done, total: None
) -> dict[Path, Size | ImageError]:
    """Return each image's upright width and height, px, or the error that prevents reading it.

    ``root`` is the data set's folder, the key of remembered results. ``progress(done, total)`` is
    called with numbers of images, if any have to be decoded.
    """
    memory = _Memory(root)
    known = {path: memory.size(path) for path in paths}
    todo = [path for path, size in known.items() if size is None]
    found: dict[Path, Size | ImageError] = {p: size for p, size in known.items() if size}
    pool = ThreadPoolExecutor(min(hardware.cores(), MOST_THREADS))
    # Around all threads, for warning filters belong to the whole process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decoded = zip(todo, pool.map(_decoded, todo), strict=True)
            for done, (path, (key, size)) in enumerate(decoded, 1):
                found[path] = size
                if not isinstance(size, ImageError):
                    memory.add(path, key, size)
                progress(done, len(todo))
        finally:
            pool.shutdown(cancel_futures=True)
            memory.save()
    return {path: found[path] for path in known}


def _decoded(path: Path) -> tuple[Key, Size | ImageError]:
    key = _key(path)  # taken before reading: if the file changes meanwhile, the old key is stored
    try:
        picture = images.read(path)
    except ImageError as err:
        return key, err
    return key, (picture.width, picture.height)


def _key(path: Path) -> Key:
    try:
        about = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a NUL byte
        return []
    return [about.st_size, about.st_mtime_ns]


class _Memory:
    """Images of a folder that decoded without error, in a JSON file."""

    def __init__(self, root: Path) -> None:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        self._file = REMEMBERED / f"{name}.json"
        self._known, self._changed = self._load(), False

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_bytes())
            return dict(content["images"]) if content["reader"] == READER else {}
        except (OSError, ValueError, KeyError, TypeError):  # missing, or not in this format
            return {}

    def size(self, path: Path) -> Size | None:
        """Return an image's size if the file is unchanged since it was found sound."""
        match self._known.get(os.path.abspath(path)):
            case [int(bytes_), int(time), int(width), int(height)]:
                return (width, height) if [bytes_, time] == _key(path) else None
        return None

    def add(self, path: Path, key: Key, size: Size) -> None:
        self._known[os.path.abspath(path)] = [*key, *size]
        self._changed = True

    def save(self) -> None:
        if self._changed:
            with suppress(OSError):  # a read-only checkout: decoded again next time
                content = {"reader": READER, "images": self._known}
                write_text(self._file, json.dumps(content) + "\n")
