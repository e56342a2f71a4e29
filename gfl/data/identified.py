"""Images and categories with unique ids, as annotations refer to them; and the repairs made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gfl.data import class_names
from gfl.data.json_values import EXACT, Found, Key, is_above_0, key, number, some
from gfl.errors import Lack

KEPT = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
}
FILE_NAMES = ("file_name", "filename", "path", "name")

Item = dict[str, Any]


@dataclass
class Normal:
    """Data set in normal form, unless there are problems; with a clause for each repair."""

    dataset: Item
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lacks: list[Lack] = field(default_factory=list)  # of the problems, what the user may decide
    changed: bool = False  # includes changes too minor to report
    broken: int = 0  # annotations dropped by ``skip``
    kept: int = 0  # sound or repaired annotations


def content(dataset: Item) -> bytes:
    """Return an ASCII JSON file of only the parts of a data set that training and evaluation read.

    The data set is in normal form.
    """
    plain = {
        part: [{k: _plain(item[k]) for k in keys} for item in dataset[part]]
        for part, keys in KEPT.items()
    }
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def file_name(image: Item) -> str | None:
    """Return an image's file name, under any of the keys that tools use."""
    names = (image.get(one) for one in FILE_NAMES)
    return next((name for name in names if isinstance(name, str) and name), None)


class Images:
    """Images in normal form, and the mapping from annotations' references to their ids."""

    def __init__(
        self,
        listed: Sequence[Any],
        found: Found,
        made: Normal,
        without: frozenset[str] = frozenset(),
    ) -> None:
        listed = once(listed, "image", made)
        named = [_named_image(image) for image in listed]
        if any(a is not b for a, b in zip(named, listed, strict=True)):
            made.changed = True
        ids, self.of = identified(named, "image", "file_name", found, made)
        self.items = [with_values(image, id=id) for image, id in zip(named, ids, strict=True)]
        self.sizes: dict[Any, tuple[float, float]] = {}
        self.names: dict[Any, str] = {}
        left_out = [one for one in self.items if without and file_name(one) in without]
        self.left_out = {one["id"] for one in left_out}
        if left_out:
            self.items = [one for one in self.items if one["id"] not in self.left_out]
            made.changed = True
        for image in self.items:
            if not isinstance(image.get("file_name"), str):
                found["image without file_name"].append(image.get("id"))
            width, height = image.get("width"), image.get("height")
            if is_above_0(width) and is_above_0(height):
                self.sizes[image["id"]] = width, height
            else:
                found["image without a width and height above 0"].append(image.get("id"))
            self.names[image["id"]] = str(image.get("file_name"))


def _named_image(image: Item) -> Item:
    name = file_name(image)
    sides = {side: number(image.get(side)) for side in ("width", "height")}
    return with_values(image, **{k: v for k, v in sides.items() if v is not None},
                 **({} if name is None else {"file_name": name}))  # fmt: skip


class Categories:
    """Categories in normal form: one-line names, each unique."""

    def __init__(self, listed: Sequence[Any], found: Found, made: Normal) -> None:
        listed = once(listed, "category", made)
        clean, said = class_names.cleaned(listed, found)
        made.changed |= any(a is not b for a, b in zip(clean, listed, strict=True))
        made.remarks += said
        ids, self.of = identified(clean, "category", "name", found, made)
        clean = [with_values(one, id=id) for one, id in zip(clean, ids, strict=True)]
        self.items, into, names = class_names.merged(clean, found)
        if into:
            made.changed = True
            made.remarks.append(f"categories of one name put together: {some(names)}")
            self.of = {one: into.get(id, id) for one, id in self.of.items()}
        self.unnamed = {one["id"] for one in self.items if one.get("name") == ""}

    def used(self, annotations: Sequence[Item], made: Normal) -> None:
        """Drop unnamed categories without objects; one with objects is a problem."""
        if not self.unnamed:
            return
        used = self.unnamed & {annotation["category_id"] for annotation in annotations}
        if used:
            made.problems.append(f"has {len(used)} x category without a name: {some(list(used))}")
            return
        made.changed = True
        made.remarks.append(
            f"categories without a name and objects left out: ids {some([*self.unnamed])}"
        )
        self.items = [one for one in self.items if one["id"] not in self.unnamed]


def once(items: Sequence[Any], kind: str, made: Normal) -> Sequence[Any]:
    """Drop exact duplicates."""
    with suppress(AttributeError, TypeError):  # not an object, or an id that is a list
        if len({item.get("id") for item in items}) == len(items):
            return items
    seen: dict[Key, Any] = {}
    kept = []
    for item in items:
        id = key(item.get("id")) if isinstance(item, dict) else None
        if id is not None and item == seen.setdefault(id, item) and item is not seen[id]:
            continue
        kept.append(item)
    if len(kept) == len(items):
        return items
    made.changed = True
    made.remarks.append(f"{len(items) - len(kept)} x {kind} listed twice, taken once")
    return kept


def identified(
    items: Sequence[Any], kind: str, name: str, found: Found, made: Normal
) -> tuple[list[Any], dict[Key, Any]]:
    """Return each item's id in normal form, and a mapping from other references to ids.

    An item without an id, or with an id that nothing refers to, may be referenced by its name.
    """
    keys: list[Key | None] = []
    for position, item in enumerate(items):
        id = key(item.get("id"))
        if item.get("id") is None and isinstance(item.get(name), str):
            id = item[name]
        if id is None:
            found[f"{kind} without an integer id, at position"].append(position)
        keys.append(id)
    twice = [id for id, times in Counter(keys).items() if times > 1 and id is not None]
    found[f"{kind} id used twice"] += twice
    plain = all(isinstance(id, int) and -EXACT < id < EXACT for id in keys)
    ids = list(keys) if plain else list(range(1, len(items) + 1))
    if not plain:
        made.remarks.append(f"{kind} ids that are text, or too large, numbered from 1")
    elif any(type(item.get("id")) is not int for item in items):
        made.remarks.append(f"{kind} ids read as whole numbers")
    of = {one: id for one, id in zip(keys, ids, strict=True) if one is not None}
    # A textual id takes precedence over another item's name.
    texts = [item.get("id") for item in items]
    of |= {text.strip(): of[one] for text, one in zip(texts, keys, strict=True)
           if isinstance(text, str) and one is not None}  # fmt: skip
    times = Counter(title for item in items if isinstance(title := item.get(name), str))
    for item, id in zip(items, ids, strict=True):
        if isinstance(title := item.get(name), str) and times[title] == 1:
            of.setdefault(title, id)
        made.changed |= not plain or type(item.get("id")) is not type(id)
    return ids, of


def with_values(item: Item, **values: Any) -> Item:
    """Return an item with these values, or the item itself if it has them."""
    if all(k in item and type(item[k]) is type(v) and item[k] == v for k, v in values.items()):
        return item
    return item | values


def _plain(value: Any) -> Any:
    """Return 6 for 6.0, so that equal data sets have equal content."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
