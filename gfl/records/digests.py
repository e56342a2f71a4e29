"""Provenance of a run: digests of this package's code, and versions of the packages it uses.

Needs neither torch nor git, so it is fast and works in a zip of the project.
"""

from __future__ import annotations

import ast
import hashlib
import platform
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gfl.syntax import written

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "gfl/"
# Every Python file of this package counts as code except these, which cannot change a run's weights
# or metrics: ...
OUTSIDE = (
    # ... a configuration is hashed in the run's id, so its source need not be;
    "gfl/experiment.py",
    "gfl/config/",
    # ... nor that of the user's own data, or of prepared photographs (a record has the images'
    # digest);
    "gfl/data/own/",
    "gfl/data/photos.py",
    "gfl/data/photos_spec.py",
    # ... uses of a trained detector, in files and in pictures, and of third-party weights;
    "gfl/data/weights.py",
    "gfl/pictures/",
    "gfl/predictions/",
    # ... the startup of mmdet's own tools, which are no runs;
    "gfl/ops/startup/",
    # ... and the setup of a process and the writing of records.
    "gfl/errors.py",
    "gfl/escape.py",
    "gfl/files.py",
    "gfl/hardware.py",
    "gfl/records/",
    "gfl/syntax.py",
    "gfl/terminal.py",
)
INSIDE = ("gfl/config/machine.py",)  # of those: a machine's settings are in no id
PACKAGES = (
    "torch", "torchvision", "onedl-mmdetection", "onedl-mmengine", "onedl-mmcv", "numpy",
    "pycocotools", "opencv-python-headless", "pillow",
)  # fmt: skip
DIGITS = 12
THEN = " then "  # between the values at a run's start and at its resumption
NOTHING = "nothing"  # in place of the digest of a missing file

Code = Mapping[str, str]  # digest by path, "gfl/losses.py"


def counts(path: str) -> bool:
    """Return True if a file, by its path in the project, is code that can change a run."""
    if not (path.startswith(PACKAGE) and path.endswith(".py")):
        return False
    if any(part.startswith(".") for part in path.split("/")):  # editors' locks and copies
        return False
    return path in INSIDE or not path.startswith(OUTSIDE)


def code() -> dict[str, str]:
    """Digest the current code on disk, file by file."""
    found = ((path.relative_to(ROOT).as_posix(), path) for path in (ROOT / PACKAGE).rglob("*.py"))
    return {name: of_source(path.read_bytes()) for name, path in sorted(found) if counts(name)}


@lru_cache(maxsize=4096)
def of_source(source: bytes) -> str:
    """Digest the meaning of a Python file: comments, docstrings and layout do not change it.

    A file that is not valid Python is digested as it is.
    """
    try:
        text = written(ast.parse(source))
    except (SyntaxError, ValueError):
        text = "not Python: " + hashlib.sha256(source).hexdigest()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


EMPTY = of_source(b"")


def changed(then: Code, now: Code) -> list[str]:
    """Return the files that differ, are new or are gone, sorted.

    Ignores files that only moved, and those without code.
    """
    found = {path for path in then.keys() & now.keys() if then[path] != now[path]}
    gone = {path: then[path] for path in then.keys() - now.keys() if then[path] != EMPTY}
    new = {path: now[path] for path in now.keys() - then.keys() if now[path] != EMPTY}
    return sorted({*found, *_unpaired(gone, new), *_unpaired(new, gone)})


def _unpaired(files: Code, others: Code) -> list[str]:
    """Return the files whose digest has no counterpart left among the others."""
    left = Counter(others.values())
    unpaired = []
    for path in sorted(files):
        if left[files[path]]:
            left[files[path]] -= 1
        else:
            unpaired.append(path)
    return unpaired


def merged(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Merge the digests, or versions, from a run's start with those from its resumption.

    Where they differ, both values are kept, so that the entry equals neither.
    """
    both = {}
    for name in sorted({*then, *now}):
        before, after = then.get(name, NOTHING), now.get(name, NOTHING)
        both[name] = before if before.split(THEN)[-1] == after else f"{before}{THEN}{after}"
    return both


def versions() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that train."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
