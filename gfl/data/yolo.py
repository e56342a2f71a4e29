"""Data sets in YOLO's layout: a text file of labels for each image, and one with class names.

A line is a class's number and, as fractions of the image, the centre and the size of a box, or the
points of a polygon, whose box is taken. An image without a label file, or with an empty one, has no
objects.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from gfl.data import finding
from gfl.data.json_values import some
from gfl.errors import UserError

NAME_FILES = (
    "classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels", "classes.names",
    "train/_darknet.labels",
)  # fmt: skip
YAML = (".yaml", ".yml")
EXCESS = 0.01  # by which a fraction may leave 0 to 1, of rounding


@dataclass
class Listed:
    """A split put together from many files, as COCO's three lists; names are below the root."""

    path: Path  # what messages name
    dataset: dict[str, Any]
    layout: str
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Description:
    """What a data set's YAML file says."""

    path: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name


def description(root: Path, given: Path | None = None) -> Description | None:
    """Return a folder's YAML file with class names and splits, if it has one.

    Raises:
        UserError: the file that was given is none, or the folder has several.
    """
    if given is not None and given.suffix.lower() in YAML:
        return _described(given, must=True)
    paths = sorted(p for p in root.iterdir() if p.suffix.lower() in YAML)
    found = [one for path in paths if (one := _described(path))]
    if len(found) > 1:
        preferred = [one for one in found if one.path.stem.lower() == "data"]
        if len(preferred) != 1:
            raise UserError(f"{root} has {some([one.name for one in found])}: name one as DATA")
        found = preferred
    return found[0] if found else None


def _described(path: Path, must: bool = False) -> Description | None:
    why = "it has no names, train and val"
    try:
        content = yaml.safe_load(path.read_bytes())
        if isinstance(content, dict) and "names" in content:
            return Description(path, content)
    except OSError as error:
        why = error.strerror or "cannot be read"
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
    if must:
        raise UserError(f"{path} describes no data set: {why}")
    return None


def read(root: Path, name: str, given: Path | None, whole: bool) -> Listed | None:
    """Return a split in YOLO's layout; None: there is none.

    Raises:
        UserError: it is not whole, or not what the layout demands.
    """
    if given is not None and given.suffix.lower() not in YAML:
        return None
    described = description(root, given)
    if described is None:
        images = _folder(root, name, whole)
        if images is None or not _labels_of(images):
            return None
        return _listed(root, images, images[0].parent, _names(root), ())
    content = described.content
    if whole and content.get("train") and content.get("val"):
        raise UserError(f"{described.path} has train and val: leave --split out")
    listed = _images(root, name, described)
    return _listed(root, listed, described.path, _class_names(described), content.get("kpt_shape"))


def _folder(root: Path, name: str, whole: bool) -> list[Path] | None:
    """The images of a split that no YAML file describes."""
    words = finding.SPELLINGS[name]
    tried = [p.format(word) for word in words for p in ("images/{}", "{}/images", "{}2017", "{}")]
    if whole:
        tried = ["images", "obj_train_data", "."]
    for path in tried:
        for folder in finding.in_any_case(root, path):
            if found := _pictures(folder):
                return found
    return None


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in finding.PICTURES)


def _images(root: Path, name: str, described: Description) -> list[Path]:
    """The images of a split that a YAML file names: a folder, a list in a text file, or several."""
    keys = {"train": ("train",), "val": ("val", "valid", "validation")}[name]
    given = next((described.content[k] for k in keys if described.content.get(k)), None)
    if given is None:
        raise UserError(f"{described.path} names no {name} images; --split 0.2 divides train's")
    found: list[Path] = []
    for one in given if isinstance(given, list) else [given]:
        place = _place(root, described, str(one))
        found += _in_list(root, place) if place.suffix == ".txt" else _pictures(place)
    if not found:
        raise UserError(f"{described.path}: no image lies in {some([given])}, the {name} images")
    return list(dict.fromkeys(found))


def _place(root: Path, described: Description, given: str) -> Path:
    """Where a YAML file's path leads: from itself, its ``path``, or below the data's folder."""
    given = given.replace("\\", "/")
    base = str(described.content.get("path") or "").replace("\\", "/")
    beside = described.path.parent
    plain = "/".join(part for part in PurePosixPath(given).parts if part not in ("..", ".", "/"))
    tried = [beside / base / given, beside / given, root / given, root / plain]
    tried += [root / "/".join(plain.split("/")[-n:]) for n in (3, 2)]
    for path in tried:
        if path.exists():
            return Path(os.path.normpath(path))
    raise UserError(f"{described.path} names {given}, which is not below {root}")


def _in_list(root: Path, path: Path) -> list[Path]:
    """The images that a text file lists; another machine's paths are found below the root."""
    lines = path.read_text("utf-8-sig", "replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    beside = [path.parent / name for name in names]
    # Below the root where it lies there, so that each name is held against all the others.
    asked = [
        os.path.relpath(at, root) if at.is_file() and at.is_relative_to(root) else name
        for at, name in zip(beside, names, strict=True)
    ]
    hits = finding.Images(root).find_all(asked)
    if missing := [name for name, hit in zip(names, hits, strict=True) if hit is None]:
        raise UserError(f"{path} lists {len(missing)} images that are missing: {some(missing)}")
    return [Path(os.path.normpath(root / hit)) for hit in hits if hit]


def _class_names(described: Description) -> dict[int, str]:
    names = described.content["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(_is_class(k) for k in names):
        raise UserError(f"{described.path}: names is neither a list nor numbers with names")
    return {int(k): str(v) for k, v in names.items()}


def _is_class(key: object) -> bool:
    return bool(re.fullmatch("[0-9]{1,6}", str(key)))


def _names(root: Path) -> dict[int, str]:
    for name in NAME_FILES:
        path = root / name
        if path.is_file():
            lines = path.read_text("utf-8-sig", "replace").splitlines()
            return dict(enumerate(line.strip() for line in lines if line.strip()))
    raise UserError(
        f"{root} has YOLO labels, but neither a data.yaml nor a {NAME_FILES[0]} that names the "
        "classes, a line each"
    )


def _labels_of(images: Sequence[Path]) -> list[Path]:
    return [path for image in images if (path := _label_file(image)).is_file()]


def _label_file(image: Path) -> Path:
    """The label file of an image: ``labels`` for the last ``images`` of its path, or beside it."""
    parts = list(image.parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i].lower() == "images":
            for word in ("labels", "Labels"):
                path = Path(*parts[:i], word, *parts[i + 1 :]).with_suffix(".txt")
                if path.is_file():
                    return path
            break
    return image.with_suffix(".txt")


def _listed(
    root: Path, images: Sequence[Path], path: Path, names: dict[int, str], keypoints: object
) -> Listed:
    listed = Listed(path, {}, "cxcywh-fractions")
    if not _labels_of(images):
        raise UserError(
            f"{path}: none of its {len(images)} images has a label file, {_label_file(images[0])}"
        )
    problems: list[str] = []
    boxes: list[dict[str, Any]] = []
    without = twice = 0
    for id, image in enumerate(images, 1):
        file = _label_file(image)
        without += not file.is_file()
        here: dict[tuple[Any, ...], None] = {}
        for where, label in _lines(file):
            try:
                one = _object(label, names, bool(keypoints))
                twice += one in here
                here[one] = None
            except ValueError as error:
                problems.append(f"{os.path.relpath(file, root)} line {where}: {error}")
        boxes += [{"image_id": id, "category_id": c, "bbox": list(box)} for c, *box in here]
    if problems:
        raise UserError(f"{path}: {len(problems)} labels that cannot be read: {some(problems)}")
    if without:
        listed.remarks.append(f"{without} images without a label file have no objects")
    if twice:
        listed.remarks.append(f"{twice} labels that are there twice, taken once")
    listed.dataset = {
        "images": [
            {"id": id, "file_name": os.path.relpath(image, root).replace(os.sep, "/")}
            for id, image in enumerate(images, 1)
        ],
        "annotations": [{"id": id, **box} for id, box in enumerate(boxes, 1)],
        "categories": [{"id": id, "name": name} for id, name in sorted(names.items())],
    }
    return listed


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if file.is_file():
        for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), 1):
            if line.strip():
                yield number, line


def _object(line: str, names: dict[int, str], keypoints: bool) -> tuple[Any, ...]:
    """A line's class, and the centre and size of its box."""
    first, *words = line.split()
    try:
        label, numbers = float(first), [float(word) for word in words]
    except ValueError:
        raise ValueError("not numbers") from None
    if label not in names:
        raise ValueError(f"class {first} of {len(names)}")
    if not all(-EXCESS <= x <= 1 + EXCESS for x in numbers[: 4 if keypoints else None]):
        raise ValueError("numbers outside of 0 to 1")
    if len(numbers) == 4 or (keypoints and len(numbers) > 4):
        return int(label), *numbers[:4]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(numbers) + 1} numbers, neither a box nor a polygon")
    xs, ys = numbers[::2], numbers[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    assert math.isfinite(left + top + right + bottom)
    return int(label), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
