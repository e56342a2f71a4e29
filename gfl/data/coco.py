"""COCO on disk: find it, and report everything wrong with it before training starts.

Imports neither torch nor mmdet. All of COCO takes about half a minute and 3.4 GB, nearly all of
it for train2017's 450 MB of annotations, which mmdet then reads again; each image folder is listed
once rather than queried file by file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gfl.data.annotations import PARTS, normal
from gfl.data.json_values import read_json, some, unreadable
from gfl.errors import UserError

SPLITS = ("train2017", "val2017")
# The largest ids in evaluated data that stored predictions can hold (gfl.predictions.schema).
LARGEST = {"images": 2**31 - 1, "annotations": 2**31 - 1, "categories": 2**15 - 1}
TEST_DEV, TEST_IMAGES = "annotations/image_info_test-dev2017.json", "test2017"


def annotation_file(root: Path, split: str) -> Path:
    """Return the path of a split's annotation file."""
    return root / "annotations" / f"instances_{split}.json"


def check(root: Path, splits: Sequence[str] = SPLITS) -> list[str]:
    """Raise one UserError that lists everything missing from or wrong with a COCO folder.

    Returns the repairs, one line per file; ``gfl.data.annotations`` makes the same ones whenever
    the file is read.
    """
    problems = _folder_problem(root)
    remarks: dict[str, list[str]] = {split: [] for split in splits}
    if not problems:
        categories: dict[str, dict[str, int]] = {}
        for split in splits:
            problems += _split_problems(root, split, categories, remarks[split])
        problems += _disagreement(categories, remarks)
    if problems:
        raise UserError(_message(root, splits, problems))
    names = {split: annotation_file(root, split).name for split in splits}
    return [f"{names[split]}: {'; '.join(said)}" for split, said in remarks.items() if said]


def check_test_dev(root: Path) -> None:
    """Raise a one-line UserError if test-dev's images or their list are missing or incomplete.

    The list has the images and the categories but no annotations, which the server keeps.
    """
    path = root / TEST_DEV
    dataset = read_json(path)
    listed = dataset | {"annotations": []} if isinstance(dataset, dict) else dataset
    found = normal(listed)
    # A repair, too, is a problem: the server reads the list as it is.
    problems = [f"{path} {problem}" for problem in found.problems or found.remarks]
    if not problems:
        problems = [
            f"{path} has no {part}" for part in ("images", "categories") if not listed[part]
        ]
    problems = problems or _image_problems(root / TEST_IMAGES, dataset, path)
    if problems:
        raise UserError(problems[0])


def _disagreement(
    categories: dict[str, dict[str, int]], remarks: dict[str, list[str]]
) -> list[str]:
    """List categories not shared with the first split; add a remark if only their order differs."""
    problems = []
    first, *others = categories or [""]
    for split in others:
        mine, theirs = categories[first], categories[split]
        only = {first: mine.keys() - theirs.keys(), split: theirs.keys() - mine.keys()}
        if differ := [f"in {one} only: {some(sorted(of))}" for one, of in only.items() if of]:
            problems.append(f"the categories of {first} and {split} differ: {'; '.join(differ)}")
        elif [*mine.items()] != [*theirs.items()]:
            remarks[split].append(f"categories matched with {first}'s by name")
    return problems


def _split_problems(
    root: Path, split: str, categories: dict[str, dict[str, int]], remarks: list[str]
) -> list[str]:
    """List a split's problems; add its categories, if readable, as ids by name."""
    path, folder = annotation_file(root, split), root / split
    problems: list[str] = []
    dataset = {}
    try:
        found = normal(read_json(path), doubt=True)
        dataset = found.dataset
        problems += [f"{path} {problem}" for problem in found.problems]
        if not problems:
            problems += [f"{path} has no {part}" for part in PARTS if not dataset[part]]
            problems += [f"{path} {what}" for what in _unstorable(dataset) if split != SPLITS[0]]
        remarks += found.remarks
    except UserError as error:
        problems.append(str(error))
    if problems:
        return problems + _folder_problem(folder)
    categories[split] = {category["name"]: category["id"] for category in dataset["categories"]}
    return _image_problems(folder, dataset, path)


def _unstorable(dataset: dict[str, Any]) -> list[str]:
    """List the ids too large for stored predictions; crowds are exempt, for they are not stored."""
    problems = []
    for part, largest in LARGEST.items():
        ids = [one["id"] for one in dataset[part] if not one.get("iscrowd")]
        if found := [id for id in ids if not 0 <= id <= largest]:
            problems.append(f"has {part} with ids over {largest} or under 0: {some(found)}")
    return problems


def _image_problems(folder: Path, dataset: dict[str, Any], path: Path) -> list[str]:
    """List the missing images of a sound annotation file."""
    if problems := _folder_problem(folder):
        return problems
    there = _files(folder)
    names = [image["file_name"] for image in dataset["images"]]
    # Names that contain a folder are not in the folder's listing; COCO has none.
    missing = [n for n in names if n not in there and not ("/" in n and (folder / n).is_file())]
    if missing:
        count = f"{len(missing)} of the {len(names)} images"
        return [f"{folder}/ lacks {count} that {path.name} names: {some(missing)}"]
    return []


def _files(folder: Path) -> set[str]:
    """Return the names of a folder's files, without broken links."""

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
        return [unreadable(folder, error, "/") + hint]
    return []


def _message(root: Path, splits: Sequence[str], problems: Iterable[str]) -> str:
    files = [f"annotations/instances_{split}.json" for split in splits]
    folders = [f"{split}/*.jpg" for split in splits]
    lines = [
        f"{root} is not a complete COCO folder:",
        *(f"  - {problem}" for problem in problems),
        "  Expected layout, as unpacked from https://cocodataset.org/#download:",
        *(f"    {root}/{part}" for part in files + folders),
    ]
    elsewhere = [
        folder
        for folder in (root.parent, *root.glob("*/"))
        if folder != root and any(annotation_file(folder, split).is_file() for split in splits)
    ]
    if elsewhere and not any(annotation_file(root, split).is_file() for split in splits):
        lines.append(f"  Did you mean {elsewhere[0]}?")
    return "\n".join(lines)
