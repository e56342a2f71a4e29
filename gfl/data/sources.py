"""One split of a data set as it stands on disk, whatever its format: COCO, YOLO or Pascal VOC."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gfl.data import finding, voc, yolo
from gfl.data.annotations import PARTS, shape_problem
from gfl.data.identified import file_name
from gfl.data.json_values import is_plain, read_json, some
from gfl.errors import UserError
from gfl.files import sha256


@dataclass
class Source:
    """A split's annotations, not yet in normal form, and where its images lie."""

    name: str  # "train" or "val"
    path: Path  # what messages name
    folder: Path
    dataset: dict[str, Any]
    sha256: str
    layout: str | None = None  # of the boxes, where the format says it
    rewritten: bool = False  # even if nothing in it needs repair
    remarks: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str | None]:
        """Each image's file, as the annotations name it."""
        return [file_name(image) for image in self.dataset["images"]]


def read(root: Path, name: str, given: Path | None, images: Path | None, whole: bool) -> Source:
    """Find and read one split, or with ``whole`` the data set that is to be divided.

    Raises:
        UserError: there is nothing, or nothing that can be read.
    """
    try:
        path, others = _json(root, name, given, whole)
    except UserError as none:
        if given is not None and given.suffix.lower() == ".json":
            raise
        for other in (yolo, voc):
            if (found := other.read(root, name, given, whole)) is not None:
                return _made(root, name, found)
        raise none from None
    source = _coco(root, name, path, images)
    if others:
        shown = some([os.path.relpath(other, root) for other in others])
        source.remarks.append(f"read rather than {shown}")
    return source


def _json(root: Path, name: str, given: Path | None, whole: bool) -> tuple[Path, Sequence[Path]]:
    if given is not None:
        if given.suffix.lower() != ".json" or not given.is_file():
            raise UserError(f"{given} is not a JSON file, nor a data set in YOLO's or VOC's layout")
        return given, ()
    if whole:
        return finding.whole_file(root), ()
    return finding.annotation_file(root, name)


def _coco(root: Path, name: str, path: Path, images: Path | None) -> Source:
    dataset = read_json(path)
    problem = shape_problem(dataset)
    if not problem:
        problem = "; ".join(f"has no {part}" for part in PARTS if not dataset[part])
    if problem:
        raise UserError(f"{path} {problem}")
    names = [found for image in dataset["images"] if (found := file_name(image))]
    if not names:
        raise UserError(f"{path} has {len(dataset['images'])} x image without file_name")
    folder = images or finding.image_folder(root, path, name, names)
    source = Source(name, path, folder, dataset, sha256(path))
    if not is_plain(path):
        source.rewritten = True
        source.remarks.append("read in its encoding, which is not plain UTF-8")
    return source


def _made(root: Path, name: str, found: yolo.Listed) -> Source:
    """A source of what was put together of many files; its checksum is that of their content."""
    content = json.dumps(found.dataset, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    return Source(name, found.path, root, found.dataset, digest, found.layout, True, found.remarks)
