"""COCO on disk: find it, and say all that is wrong with it before an hour is spent on it.

Imports neither torch nor mmdet. All of COCO takes about half a minute and 3.4 GB, nearly all of
it for train2017's 450 MB of annotations, which mmdet then reads again; each image folder is listed
once, not asked file by file.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from gfl import escape
from gfl.errors import UserError

SPLITS = ("train2017", "val2017")
WIDEST = 80  # columns of an id or a name in a message
PARTS = ("images", "annotations", "categories")
TEST_DEV, TEST_IMAGES = "annotations/image_info_test-dev2017.json", "test2017"

Found = defaultdict[str, list[object]]  # what is wrong -> the ids or names it is wrong with


def annotation_file(root: Path, split: str) -> Path:
    """Return where COCO keeps a split's boxes."""
    return root / "annotations" / f"instances_{split}.json"


def check(root: Path, splits: Sequence[str] = SPLITS) -> None:
    """Raise one UserError that lists everything missing from or wrong with a COCO folder."""
    problems = _folder_problem(root)
    if not problems:
        labels: dict[str, list[object]] = {}
        for split in splits:
            problems += _split_problems(root, split, labels)
        # mmdet numbers the classes in each file's order: a different order is a different label.
        if any(label != next(iter(labels.values())) for label in labels.values()):
            problems.append(f"the categories of {' and '.join(labels)} differ, or their order does")
    if problems:
        raise UserError(_message(root, splits, problems))


def check_test_dev(root: Path) -> None:
    """Raise a UserError, of one line, for what is missing from test-dev's images or their list.

    The list has the images and the categories, and no annotations: the server keeps those.
    """
    path = root / TEST_DEV
    dataset = read_json(path)
    listed = dataset | {"annotations": []} if isinstance(dataset, dict) else dataset
    problems = [f"{path} {problem}" for problem in dataset_problems(listed)]
    if not problems:
        problems = [
            f"{path} has no {part}" for part in ("images", "categories") if not listed[part]
        ]
    problems = problems or _image_problems(root / TEST_IMAGES, dataset, path)
    if problems:
        raise UserError(problems[0])


def categories(root: Path, split: str = "val2017") -> tuple[str, ...]:
    """Return the categories' names in the file's order, which is mmdet's order of the labels."""
    path = annotation_file(root, split)
    dataset = read_json(path)
    found: Found = defaultdict(list)
    listed = dataset.get("categories") if isinstance(dataset, dict) else None
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path} has no categories: it is not COCO's annotation of objects")
    _check_categories(listed, found)
    problems = _sentences(found)
    if problems:
        raise UserError(f"{path} {'; '.join(problems)}")
    return tuple(category["name"] for category in listed)


def read_json(path: Path) -> Any:
    """Return a JSON file's content, or raise a UserError that names the file and the reason."""
    try:
        with path.open("rb") as file:
            return json.load(file)
    except OSError as error:
        raise UserError(_why(path, error)) from None
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, or bytes not in UTF-8
        raise UserError(f"{path} is not JSON: {error}") from None


def dataset_problems(dataset: object) -> list[str]:
    """Say what keeps a parsed annotation file from being COCO's boxes; nothing if it is sound.

    Asked of it is what mmdet's dataset and pycocotools' evaluation rely on without looking.
    """
    if not isinstance(dataset, dict):
        return [f"is not COCO: a JSON {type(dataset).__name__}, not an object with images, "
                "annotations and categories"]  # fmt: skip
    odd = [part for part in PARTS if not isinstance(dataset.get(part), list)]
    if odd:
        return [f"is not COCO: has no list of {', '.join(odd)}"]
    found: Found = defaultdict(list)
    image_ids = _check_images(dataset["images"], found)
    category_ids = _check_categories(dataset["categories"], found)
    _check_annotations(dataset["annotations"], image_ids, category_ids, found)
    return _sentences(found)


def _check_images(images: list[Any], found: Found) -> set[int]:
    ids = _ids(images, "image", found)
    for image in images:
        if not isinstance(image, dict):
            continue
        if not isinstance(image.get("file_name"), str):
            found["image without file_name"].append(image.get("id"))
        if not all(is_number(image.get(key)) and image[key] > 0 for key in ("width", "height")):
            found["image without a width and height above 0"].append(image.get("id"))
    return set(ids)


def _check_categories(listed: list[Any], found: Found) -> set[int]:
    ids = _ids(listed, "category", found)
    names = [category.get("name") for category in listed if isinstance(category, dict)]
    unnamed = [name for name in names if not isinstance(name, str)]
    if unnamed:
        found["category without a name"] += unnamed
    else:
        found["category name used twice"] += [n for n, times in Counter(names).items() if times > 1]
    return set(ids)


def _check_annotations(
    annotations: list[Any], image_ids: set[int], category_ids: set[int], found: Found
) -> None:
    # pycocotools marks "not matched" with 0, so an annotation of id 0 is never found.
    found["annotation with id 0"] += [i for i in _ids(annotations, "annotation", found) if i == 0]
    for annotation in annotations:
        if not isinstance(annotation, dict):
            continue
        get, name = annotation.get, annotation.get("id")
        if not is_in(get("image_id"), image_ids):
            found["annotation of an unknown image"].append(name)
        if not is_in(get("category_id"), category_ids):
            found["annotation of an unknown category"].append(name)
        box = get("bbox")
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_number, box)):
            found["annotation whose bbox is not four finite numbers"].append(name)
        elif box[2] < 0 or box[3] < 0:
            found["annotation with a bbox of negative size"].append(name)
        area = get("area")
        if area is None or not is_number(area) or area < 0:
            found["annotation without an area of 0 or more"].append(name)
        if get("iscrowd") not in (0, 1):
            found["annotation without iscrowd 0 or 1"].append(name)


def _ids(items: list[Any], kind: str, found: Found) -> list[int]:
    """Return the ids of images, annotations or categories; note those missing or used twice."""
    ids = []
    for position, item in enumerate(items):
        if isinstance(item, dict) and isinstance(item.get("id"), Integral):
            ids.append(item["id"])
        else:
            found[f"{kind} without an integer id, at position"].append(position)
    found[f"{kind} id used twice"] += [i for i, times in Counter(ids).items() if times > 1]
    return ids


def is_number(x: object) -> bool:
    """Say whether x is a finite number of a size that a box, an area or a score can have."""
    return isinstance(x, Real) and bool(x < 1e12 and not x < -1e12)  # NaN < 1e12 is false


def is_in(x: object, ids: set[int]) -> bool:
    """Say whether x is one of the ids; it may be anything, also what no set can hold."""
    return isinstance(x, Real) and x in ids


def _split_problems(root: Path, split: str, labels: dict[str, list[object]]) -> list[str]:
    """List what is wrong with one split; add its categories to ``labels`` if they can be read."""
    path, folder = annotation_file(root, split), root / split
    problems: list[str] = []
    dataset = None
    try:
        dataset = read_json(path)
        problems += [f"{path} {problem}" for problem in dataset_problems(dataset)]
        if not problems:
            problems += [f"{path} has no {part}" for part in PARTS if not dataset[part]]
    except UserError as error:
        problems.append(str(error))
    if not isinstance(dataset, dict) or problems:
        return problems + _folder_problem(folder)
    labels[split] = [(category["id"], category["name"]) for category in dataset["categories"]]
    return _image_problems(folder, dataset, path)


def _image_problems(folder: Path, dataset: dict[str, Any], path: Path) -> list[str]:
    """List which images of a sound annotation file are missing."""
    if problems := _folder_problem(folder):
        return problems
    there = _files(folder)
    names = [image["file_name"] for image in dataset["images"]]
    # A name with a folder in it is not in the folder's listing; COCO has none.
    missing = [n for n in names if n not in there and not ("/" in n and (folder / n).is_file())]
    if missing:
        count = f"{len(missing)} of the {len(names)} images"
        return [f"{folder}/ lacks {count} that {path.name} names: {some(missing)}"]
    return []


def _files(folder: Path) -> set[str]:
    """Return the names of a folder's files; a link that leads nowhere is not one."""

    def is_file(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file()
        except OSError:  # a link to itself
            return False

    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if is_file(entry)}


def _folder_problem(folder: Path) -> list[str]:
    try:
        os.scandir(folder).close()
    except OSError as error:
        packed = folder.with_suffix(".zip")
        hint = f" ({packed.name} is there: unzip it)" if packed.is_file() else ""
        return [_why(folder, error, "/") + hint]
    return []


def _why(path: Path, error: OSError, slash: str = "") -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{path}{slash} cannot be read: {error.strerror}"
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, which is missing"
    return f"{path}{slash} is missing"


def _message(root: Path, splits: Sequence[str], problems: Iterable[str]) -> str:
    files = [f"annotations/instances_{split}.json" for split in splits]
    folders = [f"{split}/*.jpg" for split in splits]
    lines = [
        f"{root} is not a complete COCO folder:",
        *(f"  - {problem}" for problem in problems),
        "Expected layout, as unpacked from https://cocodataset.org/#download:",
        *(f"  {root}/{part}" for part in files + folders),
    ]
    elsewhere = [
        folder
        for folder in (root.parent, *root.glob("*/"))
        if folder != root and any(annotation_file(folder, split).is_file() for split in splits)
    ]
    if elsewhere and not any(annotation_file(root, split).is_file() for split in splits):
        lines.append(f"Did you mean {elsewhere[0]}?")
    return "\n".join(lines)


def _sentences(found: Found) -> list[str]:
    return [f"has {len(which)} x {what}: {some(which)}" for what, which in found.items() if which]


def some(things: Sequence[object], most: int = 5) -> str:
    """Return the first few of a list as text, with an ellipsis if there are more."""
    shown = ", ".join(escape.shortened(str(thing), WIDEST) for thing in things[:most])
    return f"{shown}, ..." if len(things) > most else shown
