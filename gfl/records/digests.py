"""What a run was trained by: digests of this package's code, and versions of the packages it uses.

Needs neither torch nor git: it is fast, and works in a zip of the project.
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
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "gfl/"
# The code that counts is every Python file of this package but these, which cannot change a weight
# or a metric of a run: ...
OUTSIDE = (
    # ... a configuration is hashed in the run's id, so where it comes from need not be;
    "gfl/experiment.py",
    "gfl/config/",
    # ... so is what came of reading one's own data, and of preparing photographs (a record has the
    # digest of the images);
    "gfl/data/own/",
    "gfl/data/photos.py",
    "gfl/data/photos_spec.py",
    # ... what is seen of a trained detector, in files and in pictures, and of others' weights;
    "gfl/data/weights.py",
    "gfl/pictures/",
    "gfl/predictions/",
    # ... what mmdet's own tools start with, which are no run;
    "gfl/ops/startup/",
    # ... and how a process is set up and runs are written down.
    "gfl/errors.py",
    "gfl/escape.py",
    "gfl/files.py",
    "gfl/hardware.py",
    "gfl/records/",
    "gfl/terminal.py",
)
INSIDE = ("gfl/config/machine.py",)  # of those: what a machine adds is in no id
PACKAGES = (
    "torch", "torchvision", "onedl-mmdetection", "onedl-mmengine", "onedl-mmcv", "numpy",
    "pycocotools", "opencv-python-headless", "pillow",
)  # fmt: skip
DIGITS = 12
THEN = " then "  # between the value a run was started with and the one it was resumed with
NOTHING = "nothing"  # in place of the digest of a file that was not there

Code = Mapping[str, str]  # digest by path, "gfl/losses.py"


def counts(path: str) -> bool:
    """Whether a file of the project, by its path in it, is code that can change a run."""
    if not (path.startswith(PACKAGE) and path.endswith(".py")):
        return False
    if any(part.startswith(".") for part in path.split("/")):  # editors' locks and copies
        return False
    return path in INSIDE or not path.startswith(OUTSIDE)


def code() -> dict[str, str]:
    """Digest the code as it is on disk now, file by file."""
    found = ((path.relative_to(ROOT).as_posix(), path) for path in (ROOT / PACKAGE).rglob("*.py"))
    return {name: of_source(path.read_bytes()) for name, path in sorted(found) if counts(name)}


@lru_cache(maxsize=4096)
def of_source(source: bytes) -> str:
    """Digest what a Python file does: comments, docstrings and layout do not change it.

    A file that is no Python is digested as it is.
    """
    try:
        text = _written(ast.parse(source))
    except (SyntaxError, ValueError):
        text = "not Python: " + hashlib.sha256(source).hexdigest()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _written(value: Any) -> str:
    """Write a syntax tree the same on every version of Python; ``ast.dump`` does not."""
    if isinstance(value, list):
        return "[" + ",".join(_written(v) for v in value if not _is_remark(v)) + "]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = [(name, _written(v)) for name, v in ast.iter_fields(value) if v is not None]
    # Later versions of Python have more fields, which are empty. u"" is "".
    inner = [f"{name}={text}" for name, text in fields if text != "[]" and name != "kind"]
    return f"{type(value).__name__}({','.join(inner)})"


def _is_remark(node: Any) -> bool:
    """Whether a statement is a string alone: a docstring, of whatever it is."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


EMPTY = of_source(b"")


def changed(then: Code, now: Code) -> list[str]:
    """Return the files that differ, are new or are gone, sorted.

    A file that was only moved does not count, nor does one without code.
    """
    found = {path for path in then.keys() & now.keys() if then[path] != now[path]}
    gone = {path: then[path] for path in then.keys() - now.keys() if then[path] != EMPTY}
    new = {path: now[path] for path in now.keys() - then.keys() if now[path] != EMPTY}
    return sorted({*found, *_unpaired(gone, new), *_unpaired(new, gone)})


def _unpaired(files: Code, others: Code) -> list[str]:
    """The files for whose digest the others have no file left."""
    left = Counter(others.values())
    unpaired = []
    for path in sorted(files):
        if left[files[path]]:
            left[files[path]] -= 1
        else:
            unpaired.append(path)
    return unpaired


def merged(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Merge the digests, or versions, that a run was started with and those it was resumed with.

    Where they differ, both values are kept, so that the entry equals neither of them.
    """
    both = {}
    for name in sorted({*then, *now}):
        before, after = then.get(name, NOTHING), now.get(name, NOTHING)
        both[name] = before if before.split(THEN)[-1] == after else f"{before}{THEN}{after}"
    return both


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that train, as installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
