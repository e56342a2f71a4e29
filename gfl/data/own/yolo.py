"""Data sets in YOLO's layout: a text file of labels for each image, and one with class names.

A line is a class number and, as fractions of the image, the centre and size of a box or the points
of a polygon, which is replaced by its bounding box. An image without a label file, or with an empty
one, has no objects.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gfl.data.json_values import some
from gfl.data.own import finding
from gfl.data.own.split import Options, Split, assembled, left_out
from gfl.errors import Lack, UserError
from gfl.escape import counted

NAME_FILES = (
    "classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels", "classes.names",
    "train/_darknet.labels",
)  # fmt: skip
YAML = (".yaml", ".yml")
SPLITS = finding.SPELLINGS  # also the keys of a YAML file
LAYOUT = "cxcywh-fractions"
EXCESS = 0.01  # tolerance of fractions outside 0 to 1, for rounding


@dataclass(frozen=True)
class Description:
    """Content of a data set's YAML file."""

    path: Path
    content: dict[str, Any]


def description(root: Path, given: Path | None = None) -> Description | None:
    """Return a folder's YAML file with class names and splits, if it has one.

    Raises:
        UserError: the given file is not one, the folder has several, or one is not YAML.
    """
    if given is not None and given.suffix.lower() in YAML:
        if (one := _described(given)) is None:
            raise UserError(f"{given} describes no data set: it has no names, train and val")
        return one
    found, broken = [], []
    for path in sorted(p for p in root.iterdir() if p.suffix.lower() in YAML):
        try:
            if one := _described(path):
                found.append(one)
        except UserError as error:
            broken.append((path, error))
    for path, error in broken:
        if not found or path.stem.lower() == "data":
            raise error
    if len(found) > 1:
        preferred = [one for one in found if one.path.stem.lower() == "data"]
        if len(preferred) != 1:
            raise UserError(
                f"{root} has {some([one.path.name for one in found])}: name one as DATA"
            )
        found = preferred
    return found[0] if found else None


def _described(path: Path) -> Description | None:
    """Parse a YAML file that describes a data set; all values are text, so no name becomes True."""
    import yaml  # 10 ms, which every command would pay

    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # constructs only text
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path} is not YAML: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, dict) and "names" in content:
        return Description(path, content)
    return None


def read(root: Path, name: str, given: Path | None, whole: bool, options: Options) -> Split | None:
    """Return a split in YOLO's layout; None if there is none.

    Raises:
        UserError: it is incomplete or violates the layout.
    """
    if given is not None and given.suffix.lower() not in YAML:
        return None
    described = description(root, given)
    if described is None:
        images = _folder(root, name, whole)
        if images is None or not _labels_of(images):
            return None
        return _split(root, name, images, images[0].parent, _names(root), (), options)
    content = described.content
    if whole and content.get("train") and content.get("val"):
        raise UserError(f"{described.path} has train and val", "no division")
    images, remarks = _images(root, name, described)
    names = _class_names(described)
    keypoints = content.get("kpt_shape")
    split = _split(root, name, images, described.path, names, keypoints, options)
    split.remarks += remarks
    return split


def undivided(root: Path) -> str | None:
    """Describe a folder in YOLO's layout that does not say which images are for training."""
    images = _folder(root, "train", True)
    labels = _labels_of(images) if images else []
    return f"YOLO's labels ({os.path.relpath(labels[0], root)})" if labels else None


def _folder(root: Path, name: str, whole: bool) -> list[Path] | None:
    """Return the images of a split that no YAML file describes."""
    words = finding.SPELLINGS[name]
    candidates = [
        p.format(word) for word in words for p in ("images/{}", "{}/images", "{}2017", "{}")
    ]
    if whole:
        candidates = ["images", "obj_train_data", "."]
    for path in candidates:
        for folder in finding.in_any_case(root, path):
            if found := _pictures(folder):
                return found
    return None


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in finding.PICTURES)


def _images(root: Path, name: str, described: Description) -> tuple[list[Path], list[str]]:
    """Return the images of a split from the YAML file: a folder, a list in a text file, or several.

    Also returns remarks on how paths were resolved.
    """
    given = next((described.content[k] for k in SPLITS[name] if described.content.get(k)), None)
    if given is None:
        lacks: tuple[Lack, ...] = ("val images by division",) if name == "val" else ()
        raise UserError(f"{described.path} names no {name} images", lacks)
    found: list[Path] = []
    remarks: list[str] = []
    for one in given if isinstance(given, list) else [given]:
        place, said = _place(root, described, str(one))
        found += _in_list(root, place) if place.suffix == ".txt" else _pictures(place)
        remarks += said
    if not found:
        raise UserError(f"{described.path}: no image lies in {some([given])}, the {name} images")
    found = list(dict.fromkeys(found))
    if outside := [path for path in found if not path.is_relative_to(root)]:
        count = f"{len(outside)} of {len(found)} {name} images lie"
        folders = dict.fromkeys(os.path.relpath(path.parent, root) for path in outside)
        remarks.append(f"{count} outside of the folder, in {some([*folders])}")
    return found, remarks


def _place(root: Path, described: Description, given: str) -> tuple[Path, list[str]]:
    """Resolve a path in a YAML file: relative to the file, its ``path``, or the data's folder.

    Paths inside the data's folder take precedence. Also reports any part that was ignored.
    """
    given = given.replace("\\", "/")
    base = str(described.content.get("path") or "").replace("\\", "/")
    beside = described.path.parent
    plain = "/".join(part for part in PurePosixPath(given).parts if part not in ("..", ".", "/"))
    candidates = [beside / base / given, beside / given, root / given, root / plain]
    candidates += [root / "/".join(plain.split("/")[-n:]) for n in (3, 2)]
    places = [Path(os.path.normpath(path)) for path in candidates]
    there = [place for place in places if place.exists()]
    if not there:
        raise UserError(f"{described.path} names {given}, which is not below {root}")
    place = next((one for one in there if one.is_relative_to(root)), there[0])
    if place == places[0]:
        return place, []
    is_absolute = given.startswith("/") or finding.DRIVE.match(given)
    label = given if is_absolute else f"path: {base}" if base else ""
    below = os.path.relpath(place, root)
    return place, [f"{some([label])} is not followed: {some([below])} is taken"] if label else []


def _in_list(root: Path, path: Path) -> list[Path]:
    """Return the images that a text file lists; maps other machines' paths below the root."""
    lines = path.read_text("utf-8-sig", "replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    beside = [Path(os.path.normpath(path.parent / name)) for name in names]
    # Relative to the root where possible, so that each name is compared with all the others.
    asked = [
        os.path.relpath(at, root) if at.is_file() and at.is_relative_to(root) else name
        for at, name in zip(beside, names, strict=True)
    ]
    hits = [root / hit if hit else None for hit in finding.Images(root).find_all(asked)]
    found = [hit or at for hit, at in zip(hits, beside, strict=True)]
    if missing := [name for name, at in zip(names, found, strict=True) if not at.is_file()]:
        raise UserError(f"{path} lists {counted(len(missing), 'missing image')}: {some(missing)}")
    return [Path(os.path.normpath(at)) for at in found]


def _class_names(described: Description) -> dict[int, str]:
    names = described.content["names"]
    if isinstance(names, list):
        names = {str(i): name for i, name in enumerate(names)}
    if not isinstance(names, dict) or not names or not all(map(_is_class, names)):
        raise UserError(f"{described.path}: names is neither a list nor numbers with names")
    if odd := [k for k, name in names.items() if not isinstance(name, str) or not name.strip()]:
        raise UserError(f"{described.path}: names has no text for class {some(odd)}")
    found = {int(k): name for k, name in names.items()}
    count = described.content.get("nc")
    if len(found) < len(names) or (count is not None and count != str(len(names))):
        said = f"nc is {count}" if len(found) == len(names) else "a number is there twice"
        classes = counted(len(names), "class", "classes")
        raise UserError(f"{described.path}: names has {classes}, but {said}")
    return found


def _is_class(key: object) -> bool:
    return bool(re.fullmatch("[0-9]{1,6}", str(key)))


def _names(root: Path) -> dict[int, str]:
    for name in NAME_FILES:
        path = root / name
        if path.is_file():
            lines = path.read_text("utf-8-sig", "replace").rstrip().splitlines()
            if blank := [i for i, line in enumerate(lines, 1) if not line.strip()]:
                raise UserError(
                    f"{path} has no class in line {some(blank)}: a class's number is its line's"
                )
            return dict(enumerate(line.strip() for line in lines))
    raise UserError(
        f"{root} has YOLO labels, but neither a data.yaml nor a {NAME_FILES[0]} that names the "
        "classes, a line each"
    )


def _labels_of(images: Sequence[Path]) -> list[Path]:
    return [path for image in images if (path := _label_file(image)).is_file()]


def _label_file(image: Path) -> Path:
    paths = _label_files(image)
    return next((path for path in paths if path.is_file()), paths[-1])


def _label_files(image: Path) -> list[Path]:
    """Return possible label files of an image: ``labels`` for the last ``images``, or beside it."""
    *folders, name = image.parts
    found = [image.with_suffix(".txt")]
    for i in reversed(range(len(folders))):
        if folders[i].lower() == "images":
            words = ("labels", "Labels")
            inside = [Path(*folders[:i], word, *folders[i + 1 :], name) for word in words]
            return [path.with_suffix(".txt") for path in inside] + found
    return found


def _split(
    root: Path,
    name: str,
    images: Sequence[Path],
    path: Path,
    names: dict[int, str],
    keypoints: object,
    options: Options,
) -> Split:
    if not _labels_of(images):
        labels = os.path.relpath(_label_files(images[0])[0], root)
        raise UserError(
            f"{path}: none of its {counted(len(images), 'image')} has a label file; the first "
            f"one's is looked for as {labels}"
        )
    problems: list[str] = []
    lost: list[str] = []
    kept: list[Path] = []
    boxes: list[dict[str, Any]] = []
    where: list[str] = []
    without = twice = 0
    for image in images:
        file = _label_file(image)
        found, wrong = _labels(file, os.path.relpath(file, root), names, bool(keypoints))
        problems += wrong
        if wrong and not found:
            lost.append(os.path.relpath(file, root))
            continue
        kept.append(image)
        here: dict[tuple[Any, ...], str] = {}
        for label, at in found:
            here.setdefault(label, at)
        without += not file.is_file()
        twice += len(found) - len(here)
        boxes += [{"image_id": len(kept), "category_id": c, "bbox": [*box]} for c, *box in here]
        where += here.values()
    what = counted(len(problems), "label")
    remarks = left_out(path, what, problems, options, is_any_left=bool(boxes))
    if lost:  # it would pass for an image without objects
        images_lost = counted(len(lost), "image")
        remarks.append(f"left out: {images_lost} without a readable label: {some(lost)}")
    if without:
        have = "has" if without == 1 else "have"
        remarks.append(f"{counted(without, 'image')} without a label file {have} no objects")
    if twice:
        remarks.append(f"{counted(twice, 'label')} listed twice, taken once")
    dataset = {
        "images": [
            {"id": id, "file_name": os.path.relpath(image, root).replace(os.sep, "/")}
            for id, image in enumerate(kept, 1)
        ],
        "annotations": [{"id": id, **box} for id, box in enumerate(boxes, 1)],
        "categories": [{"id": id, "name": name} for id, name in sorted(names.items())],
    }
    return assembled(root, name, path, dataset, LAYOUT, remarks, where)


def _labels(
    file: Path, label: str, names: dict[int, str], keypoints: bool
) -> tuple[list[tuple[tuple[Any, ...], str]], list[str]]:
    """Return a label file's objects, each with its place, and the problems of the others."""
    if not file.is_file():
        return [], []
    try:
        lines = file.read_text("utf-8-sig", "replace").splitlines()
    except OSError as error:
        return [], [f"{label}: {error.strerror}"]
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        at = f"{label} line {number}"
        try:
            found.append((_object(line, names, keypoints), at))
        except ValueError as error:
            wrong.append(f"{at}: {error}")
    return found, wrong


def _object(line: str, names: dict[int, str], keypoints: bool) -> tuple[Any, ...]:
    """Parse a line: class, then centre and size of its box."""
    first, *words = line.split()
    try:
        label, numbers = float(first), [float(word) for word in words]
    except ValueError:
        raise ValueError("not numbers") from None
    if label not in names:
        raise ValueError(f"class {first}, but {counted(len(names), 'class', 'classes')} named")
    if not all(-EXCESS <= x <= 1 + EXCESS for x in numbers[: 4 if keypoints else None]):
        raise ValueError("coordinates outside 0 to 1")
    if len(numbers) == 4 or (keypoints and len(numbers) > 4):
        return int(label), *numbers[:4]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(numbers) + 1} numbers, neither a box nor a polygon")
    xs, ys = numbers[::2], numbers[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    assert math.isfinite(left + top + right + bottom)
    return int(label), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
