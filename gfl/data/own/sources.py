"""Splits of a data set as they stand on disk, in COCO's, YOLO's or Pascal VOC's format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gfl.data.annotations import PARTS, shape_problem
from gfl.data.identified import file_name
from gfl.data.json_values import is_plain, read_json, some
from gfl.data.own import finding, voc, yolo
from gfl.data.own.split import Options, Split
from gfl.errors import UserError
from gfl.files import sha256

VIA = " (it looks like VIA's own format: export it as COCO)"


def read(
    root: Path,
    name: str,
    given: Path | None,
    images: Path | None,
    whole: bool,
    options: Options,
) -> Split:
    """Find and read one split or, with ``whole``, the data set to divide.

    Raises:
        UserError: nothing is found, or nothing readable.
    """
    try:
        path, others = _json(root, name, given, whole)
    except UserError as none:
        if given is not None and given.suffix.lower() == ".json":
            raise
        for other in (yolo, voc):
            if (found := other.read(root, name, given, whole, options)) is not None:
                if images:
                    raise UserError(
                        f"{name}_images: {found.path} itself says where its images lie; that is "
                        "for COCO's JSON alone"
                    ) from None
                return found
        if given is None and (hint := _hint(root, whole)):
            raise hint from None
        raise none from None
    source = _coco(root, name, path, images)
    if others:
        listed = some([os.path.relpath(other, root) for other in others])
        source.remarks.append(f"read rather than {listed}")
    return source


def _hint(root: Path, whole: bool) -> UserError | None:
    """Describe a folder's content if nothing in it is readable as it stands."""
    if whole:
        return None
    for other in (yolo, voc):
        if found := other.undivided(root):
            why = f"{root} has {found}, but not both train and val"
            return UserError(why, "division or both files")
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]
    for inner in folders if len(folders) == 1 else ():  # as a ZIP file unpacks
        with suppress(UserError, OSError):
            if not yolo.description(inner) and not voc.is_split(inner, "train"):
                for name in finding.SPELLINGS:
                    finding.annotation_file(inner, name)
            return UserError(f"{root} has its data in {inner.name}/: give {inner}")
    for path in sorted(root.rglob("*.json"))[:1]:
        with suppress(UserError):
            content = read_json(path)
            if "looks like" in (problem := shape_problem(content)) or _is_via(content):
                return UserError(f"{path} {problem}{VIA if _is_via(content) else ''}")
    return None


def _is_via(content: object) -> bool:
    """Return True if a JSON file is in VIA's own format: an object with regions for each image."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(one, dict) and "regions" in one for one in content.values())
    )


def _json(root: Path, name: str, given: Path | None, whole: bool) -> tuple[Path, Sequence[Path]]:
    if given is not None:
        if given.suffix.lower() != ".json" or not given.is_file():
            raise UserError(f"{given} is not a JSON file, nor a data set in YOLO's or VOC's layout")
        return given, ()
    if whole:
        return finding.whole_file(root), ()
    return finding.annotation_file(root, name)


def _coco(root: Path, name: str, path: Path, images: Path | None) -> Split:
    dataset = read_json(path)
    problem = shape_problem(dataset) + (VIA if _is_via(dataset) else "")
    if not problem:
        problem = "; ".join(f"has no {part}" for part in PARTS if not dataset[part])
    if problem:
        raise UserError(f"{path} {problem}")
    names = [found for image in dataset["images"] if (found := file_name(image))]
    if not names:
        raise UserError(f"{path} has {len(dataset['images'])} x image without file_name")
    folder = images or finding.image_folder(root, path, name, names)
    source = Split(name, path, folder, dataset, sha256(path))
    if not is_plain(path):
        source.changed = True
        source.remarks.append("read in its encoding, which is not plain UTF-8")
    return source
