"""Data sets in Pascal VOC's layout: an XML file of boxes for each image.

Most labelling tools count pixels from 0; their corners are taken unchanged. VOC's own files count
from 1 and include the pixels of both corners: (1, 1, 1, 1) is the first pixel.
``Options.pixels_from`` says which applies. ``difficult`` objects, which VOC's evaluation ignores,
become COCO's crowds: neither trained on nor counted.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from gfl.data.json_values import flag, number, some
from gfl.data.own import finding
from gfl.data.own.split import Options, Split, assembled, left_out
from gfl.errors import UserError
from gfl.escape import counted

CORNERS = ("xmin", "ymin", "xmax", "ymax")
LAYOUT = "xyxy"
SETS = "ImageSets/Main/{}.txt"
BASES = ("VOCdevkit/*", "VOC20*")  # below the data's folder


def read(root: Path, name: str, given: Path | None, whole: bool, options: Options) -> Split | None:
    """Return a split in VOC's layout; None if there is none.

    Raises:
        UserError: it is incomplete or violates the layout.
    """
    for base in _bases(root):
        if (files := _files(base, name, given, whole)) is not None:
            return _split(root, name, base, *files, options)
    return None


def is_split(root: Path, name: str) -> bool:
    """Return whether a folder has a split in VOC's layout."""
    return any(_files(base, name, None, False) is not None for base in _bases(root))


def undivided(root: Path) -> str | None:
    """Describe a folder in VOC's layout that does not say which images are for training."""
    for base in _bases(root):
        if found := _files(base, "train", None, True):
            return f"Pascal VOC's files ({os.path.relpath(found[1][0], root)})"
    return None


def _bases(root: Path) -> list[Path]:
    inner = (path for pattern in BASES for path in sorted(root.glob(pattern)) if path.is_dir())
    return list(dict.fromkeys([root, *inner]))


def _files(
    base: Path, name: str, given: Path | None, whole: bool
) -> tuple[Path, list[Path]] | None:
    """Return what defines a split, and its XML files: of a list, of a folder, or all."""
    folders = finding.in_any_case(base, "Annotations")
    words = finding.SPELLINGS[name]
    if given is not None and given.is_dir():
        return _folder(given)
    if whole and given is None:
        return _folder(folders[0] if folders else base)
    lists = [given] if given else [base / SETS.format(word) for word in words]
    for path in lists:
        if path.is_file() and path.suffix == ".txt" and folders:
            return path, _in_list(path, folders[0])
    if given is not None:
        return None
    candidates = (pattern.format(word) for word in words for pattern in ("Annotations/{}", "{}"))
    found = (_folder(folder) for path in candidates for folder in finding.in_any_case(base, path))
    return next((one for one in found if one is not None), None)


def _folder(folder: Path) -> tuple[Path, list[Path]] | None:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".xml")
    return (folder, files) if files else None


def _in_list(path: Path, folder: Path) -> list[Path]:
    words = (line.split() for line in path.read_text("utf-8-sig", "replace").splitlines())
    names = [word[0] for word in words if word]
    found = [folder / f"{name.removesuffix('.xml')}.xml" for name in names]
    if missing := [file.name for file in found if not file.is_file()]:
        files = counted(len(missing), "file")
        raise UserError(f"{path} lists {files} that {folder}/ lacks: {some(missing)}")
    return found


def _split(
    root: Path, name: str, base: Path, path: Path, files: Sequence[Path], options: Options
) -> Split:
    pictures = finding.in_any_case(base, "JPEGImages") or finding.in_any_case(base, "images")
    images = finding.Images(pictures[0] if pictures else base)
    problems: list[str] = []
    sound: list[Path] = []
    said: list[str] = []
    listed: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    where: list[str] = []
    for file in files:
        short = os.path.relpath(file, root)
        try:
            tree = _parsed(file)
            found = list(_objects(tree))
        except ValueError as error:
            problems.append(f"{short}: {error}")
            continue
        sound.append(file)
        said.append((tree.findtext("filename") or "").strip())
        listed.append({"id": len(sound)} | _size(tree))
        boxes += [{"image_id": len(sound), **one} for one in found]
        where += [f"{short} object {i}" for i in range(1, len(found) + 1)]
    what = counted(len(problems), "XML file")
    remarks = left_out(path, what, problems, options, is_any_left=bool(boxes), with_image=True)
    remarks += _counted_from(path, boxes, where, options.pixels_from)
    listed = [
        {"file_name": at} | one
        for one, at in zip(listed, _images(root, images, sound, said), strict=True)
    ]
    ids = {name: id for id, name in enumerate(sorted({box["name"] for box in boxes}), 1)}
    for id, box in enumerate(boxes, 1):
        box |= {"id": id, "category_id": ids[box.pop("name")]}
    categories = [{"id": id, "name": name} for name, id in ids.items()]
    dataset = {"images": listed, "annotations": boxes, "categories": categories}
    return assembled(root, name, path, dataset, LAYOUT, remarks, where)


def _counted_from(
    path: Path, boxes: Sequence[dict[str, Any]], where: Sequence[str], first: int | None
) -> list[str]:
    """Shift corners that count pixels from 1; report it where they might.

    Raises:
        UserError: they should count from 1, but some are below it.
    """
    least = [min(box["bbox"][:2]) for box in boxes]
    if first == 1:
        if below := [at for at, one in zip(where, least, strict=True) if one < 1]:
            raise UserError(
                f"{path}: pixels_from 1, but {counted(len(below), 'box begins', 'boxes begin')} "
                f"below 1, so pixels are counted from 0: {some(below)}"
            )
        for box in boxes:
            left, top, *last = box["bbox"]
            box["bbox"] = [left - 1, top - 1, *last]
    elif first is None and boxes and min(least) == 1:
        return [
            "no box begins at 0, some at 1: pixels may be counted from 1, as in VOC's own files; "
            "corners are taken as they stand, pixels_from 1 moves them by a pixel"
        ]
    return []


def _parsed(file: Path) -> ET.Element:
    """Parse an XML file; reject a document type, whose entities may be an expansion bomb."""
    try:
        content = file.read_bytes()
        check = expat.ParserCreate()
        check.StartDoctypeDeclHandler = _refuse
        check.Parse(content, True)
        return ET.fromstring(content)
    except OSError as error:
        raise ValueError(error.strerror) from None
    except (expat.ExpatError, ET.ParseError, LookupError) as error:
        raise ValueError(f"not XML, {error}") from None


def _refuse(*_: object) -> NoReturn:
    raise ValueError("it declares a document type (DTD), which may expand without limit")


def _images(
    root: Path, images: finding.Images, files: Sequence[Path], said: Sequence[str]
) -> list[str]:
    """Return the images of XML files, below the root: matched by file name, else by their content.

    An image with an XML file of its own name is never matched by another's content.
    """
    named = [_beside(file) or _of(images, file.stem) for file in files]
    taken = {os.path.abspath(path) for path in named if path}
    found = []
    for file, path, other in zip(files, named, said, strict=True):
        if path is None and other and (path := _of(images, other)):
            path = None if os.path.abspath(path) in taken else path
        found.append(_below(root, path or images.folder / file.stem))
    return found


def _beside(file: Path) -> Path | None:
    candidates = [
        file.with_suffix(end) for lower in finding.PICTURES for end in (lower, lower.upper())
    ]
    return next((path for path in candidates if path.is_file()), None)


def _of(images: finding.Images, name: str) -> Path | None:
    return images.folder / at if (at := images.find(name)) else None


def _below(root: Path, path: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _size(tree: ET.Element) -> dict[str, float]:
    sides = {side: number(tree.findtext(f"size/{side}") or "") for side in ("width", "height")}
    return {side: value for side, value in sides.items() if value is not None and value > 0}


def _objects(tree: ET.Element) -> Iterator[dict[str, Any]]:
    for one in tree.findall("object"):
        name = (one.findtext("name") or "").strip()
        if not name:
            raise ValueError("an object without a name")
        if (box := one.find("bndbox")) is None:
            raise ValueError(f"an object {name!a} without a bndbox")
        corners = [number(box.findtext(corner) or "") for corner in CORNERS]
        difficult = flag(one.findtext("difficult"))
        if None in corners or difficult is None:
            raise ValueError(f"an object {name!a} without four corners, or difficult is not 0 or 1")
        yield {"name": name, "bbox": corners} | ({"ignore": 1} if difficult else {})
