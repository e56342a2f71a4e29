"""Deterministic division of one annotation file into training and validation."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from gfl.errors import UserError
from gfl.escape import counted
from gfl.files import sha256

COPY = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.|$)")  # Roboflow's mark of an augmented copy


def divide(
    dataset: Mapping[str, Any], part: float, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the training and validation parts; the latter has ``part`` of all images.

    Divides by the hash of file names; images with equal content, and Roboflow's copies of one
    image, stay together.

    Raises:
        UserError: a part would be empty.
    """
    groups = _groups(dataset, folder)
    order = sorted(
        groups, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    )
    wanted, chosen = max(1, round(part * len(dataset["images"]))), set()
    for name in order:
        if len(chosen) >= wanted:
            break
        chosen |= groups[name]
    if len(chosen) == len(dataset["images"]):
        raise UserError(f"split {part:g}: {counted(len(chosen), 'image')} cannot be divided")
    return _only(dataset, chosen, False), _only(dataset, chosen, True)


def _only(dataset: Mapping[str, Any], ids: set[Any], inside: bool) -> dict[str, Any]:
    images = [one for one in dataset["images"] if (one["id"] in ids) == inside]
    boxes = [one for one in dataset["annotations"] if (one["image_id"] in ids) == inside]
    return {**dataset, "images": images, "annotations": boxes}


def _groups(dataset: Mapping[str, Any], folder: Path) -> dict[str, set[Any]]:
    """Return the ids of images that belong together, keyed by the name of one of them."""
    root: dict[Hashable, Hashable] = {}

    def top(name: Hashable) -> Hashable:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    sizes: dict[int, list[Path]] = defaultdict(list)
    names = {one["id"]: _name(one["file_name"]) for one in dataset["images"]}
    paths = {folder / one["file_name"]: names[one["id"]] for one in dataset["images"]}
    for path in paths:
        sizes[path.stat().st_size].append(path)
    for alike in sizes.values():
        if len(alike) > 1:
            for path in alike:
                a, b = sorted((top(paths[path]), top(("content", sha256(path)))), key=str)
                root[b] = a
    groups: dict[Hashable, set[Any]] = defaultdict(set)
    for id, name in names.items():
        groups[top(name)].add(id)
    return {min(names[id] for id in ids): ids for ids in groups.values()}


def _name(file: str) -> str:
    return COPY.sub("", unicodedata.normalize("NFC", os.path.normpath(file)))
