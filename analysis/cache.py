"""Disk cache of slow results under one rule: same inputs and same code, same result.

An entry's name is a digest of its inputs and of the meaning of the module that makes it and of all
modules of this project that it imports. Comments, layout, docstrings and the text of exceptions are
not part of the meaning; nor is a module that the maker does not import. Entries lie beside the
embedded data, which git ignores, and may be deleted at any time.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gfl.files import replacing
from gfl.records.record import RecordError, digest, read_json, write_json
from gfl.syntax import meaning
from gfl.training import worker

ROOT = Path(__file__).parents[1]
FOLDER = "cache"
PACKAGES = ("numpy", "scipy", "pandas", "pycocotools")
# Modules that train, declare, name and find runs, and those that count cores. Their contribution to
# a result is in its inputs: the runs' ids and checksums, the profile. So a changed training loop or
# table discards nothing that was measured on stored predictions.
OF_INPUTS = frozenset(
    {
        "experiments.matrix",
        "experiments.profiles",
        "experiments.queue.machine",
        "experiments.tables.catalogue",
        "gfl.data.photos",
        "gfl.records.record",
        "gfl.training.worker",
    }
)


@dataclass(frozen=True)
class Entry:
    """File of one result; reading returns None if it is missing or altered."""

    path: Path

    def json(self) -> Any:
        with suppress(OSError, RecordError):
            found = read_json(self.path)
            if found.get("sha256") == digest(found.get("content")):
                return found["content"]
        return None

    def keep_json(self, content: Any) -> None:
        """Store JSON content, unless the checkout is read-only."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, {"sha256": digest(content), "content": content}, indent=None)

    def arrays(self) -> dict[str, np.ndarray] | None:
        unreadable = suppress(OSError, ValueError, KeyError, EOFError, BadZipFile)
        with unreadable, self.path.open("rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in file.files}
        return None

    def keep_arrays(self, **arrays: Any) -> None:
        """Store arrays, unless the checkout is read-only."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as file:
                np.savez(file, **arrays)


def entry(name: str, inputs: Any, *makers: str, folder: Path | None = None) -> Entry:
    """Return the entry of a result by its inputs and the modules that make it.

    ``name`` is that of its kind with the suffix of JSON or of arrays: ``errors.json``.
    """
    kind, _, suffix = name.rpartition(".")
    everything = [kind, inputs, code(*makers), _versions()]
    folder = worker.EMBEDDED / FOLDER if folder is None else folder
    return Entry(folder / f"{kind}-{digest(everything)[:32]}.{suffix}")


def is_writable() -> bool:
    """Return whether entries are kept here: not in a read-only checkout."""
    folder = worker.EMBEDDED / FOLDER
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


@cache  # it searches the packages' metadata on disk
def _versions() -> list[str]:
    return [version(package) for package in PACKAGES]


@cache
def code(*modules: str, root: Path = ROOT) -> str:
    """Return a digest of the meaning of modules and of all that they import below ``root``."""
    total = hashlib.sha256()
    for name in sorted(modules_of(*modules, root=root)):
        total.update(f"{name} {_meaning_of(_file(name, root))}\n".encode())
    return total.hexdigest()


def modules_of(*modules: str, root: Path = ROOT) -> set[str]:
    """Return the modules below ``root`` that these import, with themselves and their packages.

    Imports for types only are not followed, nor is ``OF_INPUTS``.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    found: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in found or name in OF_INPUTS:
            continue
        found.add(name)
        todo += _imports(name, root)
    return found


@cache
def _meaning_of(path: Path) -> str:
    return hashlib.sha256(meaning(path.read_text(encoding="utf-8")).encode()).hexdigest()


def _file(name: str, root: Path) -> Path:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"no module {name} in {root}", name=name)


def _is_module(name: str, root: Path) -> bool:
    with suppress(ModuleNotFoundError):
        return bool(_file(name, root))
    return False


@cache
def _imports(name: str, root: Path) -> tuple[str, ...]:
    """Return the modules below ``root`` that a module itself imports, and their packages."""
    path = _file(name, root)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = {name, *_named(ast.parse(path.read_text(encoding="utf-8")), package)}
    parts = [one.split(".") for one in found]
    nested = {".".join(some[:length]) for some in parts for length in range(1, len(some) + 1)}
    return tuple(sorted(one for one in nested if _is_module(one, root)))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the names in import statements, except imports for types only."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.If) and _is_for_types(node.test):
        for child in node.orelse:
            yield from _named(child, package)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _named(child, package)


def _is_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
