"""Atomic writing of files and folders, and checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it if the block succeeds.

    Readers see either the old file or the new one, even during the write or after a crash. Several
    processes may write the same path at once. Names may be as long as the file system allows.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0600 would not survive a shared folder
        os.replace(name, path)
    except BaseException as err:
        Path(name).unlink(missing_ok=True)
        if isinstance(err, OSError) and err.errno is not None and err.filename is None:
            err.filename = str(path)  # a write that fails does not say where
        raise


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """Yield a sibling folder that replaces ``root`` if the block succeeds, else is removed.

    For one process at a time.
    """
    partial = _partial(root)
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    try:
        partial.mkdir()
        yield partial
        if root.exists():
            shutil.rmtree(root)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def discard(root: Path) -> None:
    """Delete a folder that ``whole_folder`` made, if it exists: at no time is it there in part."""
    partial = _partial(root)
    shutil.rmtree(partial, ignore_errors=True)
    if root.exists():
        root.rename(partial)
        shutil.rmtree(partial, ignore_errors=True)


def _partial(root: Path) -> Path:
    return root.with_name(f".{root.name}.partial")


def writable_or_cached(path: Path) -> Path:
    """Return a path for derived data, or one in the user's cache if it is missing and read-only.

    So that a checkout that only its owner may change is of use to others.
    """
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if there == path or os.access(there, os.W_OK):
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "gfl-reproduction" / path.name


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` unchanged and atomically, and return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())
    return path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
