"""Class names: cleaned to one line, unique, and the same in training and validation."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from gfl.data.json_values import Found, some
from gfl.escape import counted

Item = dict[str, Any]
# Control characters other than white space, and unpaired surrogates.
MEANINGLESS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
LINE_ENDS = re.compile(r"\s*[\t\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]\s*")


def cleaned(categories: Sequence[Any], found: Found) -> tuple[list[Any], list[str]]:
    """Return categories with cleaned one-line names, and a clause for each change."""
    clean, said = [], []
    for one in categories:
        name = one.get("name")
        if isinstance(name, (int, float)) and not isinstance(name, bool):
            said.append(f"{name} as {str(name)!a}")
            one = one | {"name": str(name)}
        elif isinstance(name, str):
            text = LINE_ENDS.sub(" ", MEANINGLESS.sub("", name)).strip()
            if text != name:
                said.append(f"{name!a} as {text!a}")
                one = one | {"name": text}
        else:
            found["category without a name"].append(name)
        clean.append(one)
    return clean, [f"class names read: {some(said)}"] if said else []


def merged(
    categories: Sequence[Any], found: Found
) -> tuple[list[Any], dict[Any, Any], Sequence[str]]:
    """Merge categories of the same name and group; the same name in several groups is a problem.

    Also returns the id that replaces each one that goes, and the names that were merged.
    """
    first: dict[str, Item] = {}
    kept: list[Any] = []
    into: dict[Any, Any] = {}
    names: dict[str, None] = {}
    for one in categories:
        name = one.get("name")
        if isinstance(name, str) and name:
            same = first.setdefault(unicodedata.normalize("NFC", name), one)
            if same is not one and same.get("supercategory") == one.get("supercategory"):
                into[one["id"]] = same["id"]
                names[name] = None
                continue
            if same is not one:
                found["category name used twice, for different groups"].append(name)
        kept.append(one)
    return kept, into, list(names)


def is_group(category: Item, categories: Sequence[Item]) -> bool:
    """Return whether a first category may only be the name of a group, as Roboflow exports one."""
    others = [one for one in categories if one is not category]
    if not others or category is not categories[0]:
        return False
    named = any(one.get("supercategory") == category["name"] for one in others)
    return named or (category["id"] == 0 and category.get("supercategory") == "none")


def agree(train: Item, val: Item) -> tuple[Item, list[str], list[str]]:
    """Return the validation set with the training categories, matched by name.

    Also returns the matches made and the problems: objects of a class that is not trained.
    """
    if _listed(train) == _listed(val):
        return val, [], []
    ids = {_form(one): one["id"] for one in train["categories"]}
    objects: dict[Any, int] = defaultdict(int)
    for annotation in val["annotations"]:
        objects[annotation["category_id"]] += 1
    theirs = {_form(one): one for one in val["categories"]}
    only = [one for form, one in theirs.items() if form not in ids]
    if unknown := [one for one in only if objects[one["id"]]]:
        absent = [repr(one["name"]) for one in train["categories"] if _form(one) not in theirs]
        named = [f"{one['name']!r} ({counted(objects[one['id']], 'object')})" for one in unknown]
        also = f"; in train only: {some(absent)}" if absent else ""
        way = _way_out(unknown, train["categories"])
        return val, [], [f"classes of objects in val only: {some(named)}{also}{way}"]
    said = ["categories matched with train's by name"]
    if only:
        names = some([one["name"] for one in only])
        said.append(f"categories without an object that train lacks left out: {names}")
    to = {one["id"]: ids[form] for form, one in theirs.items() if form in ids}
    boxes = [a | {"category_id": to[a["category_id"]]} for a in val["annotations"]]
    return val | {"categories": train["categories"], "annotations": boxes}, said, []


def _way_out(unknown: Sequence[Item], trained: Sequence[Item]) -> str:
    """Suggest how to reconcile classes that have objects in val alone."""
    near = {_form(one).casefold(): one["name"] for one in trained}
    alike = [
        f"{one['name']!r} is {near[folded]!r}"
        for one in unknown
        if (folded := _form(one).casefold()) in near
    ]
    if alike:
        return f"; but for capitals {some(alike)} of train: spell them alike in both files"
    return "; take these objects out of val, or have objects of their classes in train"


def _listed(dataset: Item) -> list[tuple[Any, str]]:
    return [(one["id"], one["name"]) for one in dataset["categories"]]


def _form(category: Item) -> str:
    return unicodedata.normalize("NFC", category["name"])
