"""Any COCO-like annotation file in one normal form, for training, checks and evaluation alike.

What has one meaning is repaired in memory and said in one line; what has two is a problem that
names the option that decides it. The normal form is what mmdet's dataset and pycocotools rely on
without looking:

| part | normal form |
|---|---|
| ids | whole numbers, each once; annotations' from 1 on: pycocotools marks "not matched" with 0 |
| ``image_id``, ``category_id`` | ids that are there |
| ``name`` of a category | text of one line, each once |
| ``bbox`` | four finite numbers: left, top, width and height in pixels |
| ``area`` | a number of 0 or more, to train on above 0; else that of the box |
| ``iscrowd`` | 0 or 1; 0 where it is missing |
| ``ignore`` | none: such an object is a crowd, neither trained on nor counted in evaluation |

A file in normal form stays as it is, object for object. Imports neither torch nor mmdet.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gfl.data import bboxes, class_names
from gfl.data.json_values import (
    EXACT,
    Found,
    Key,
    flag,
    is_above_0,
    is_number,
    key,
    number,
    read_json,
    sentences,
    some,
)
from gfl.errors import UserError

PARTS = ("images", "annotations", "categories")
KEPT = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}
FILE_NAMES = ("file_name", "filename", "path", "name")
SMALLEST_BOX = 1  # px; mmdet leaves smaller ones out of training
# What other formats have at the top of their JSON.
FOREIGN = {
    "shapes": "LabelMe's own format",
    "_via_img_metadata": "VIA's project file",
    "_via_settings": "VIA's project file",
    "assets": "VoTT's own format",
    "samples": "FiftyOne's own format",
    "items": "Datumaro's own format",
}

Item = dict[str, Any]


@dataclass
class Normal:
    """A data set in normal form, unless there are problems; what was repaired, a clause each."""

    dataset: Item
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    changed: bool = False  # also by what is not worth a word
    broken: int = 0  # annotations that ``skip`` leaves out

    def content(self) -> bytes:
        """Return it as an ASCII JSON file, of what training and evaluation read alone."""
        plain = {
            part: [{k: _plain(item[k]) for k in KEPT[part]} for item in self.dataset[part]]
            for part in ("images", "categories", "annotations")
        }
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def read(path: Path) -> Item:
    """Return a COCO file's content in normal form.

    Raises:
        UserError: it cannot be; names the file and all problems.
    """
    found = normal(read_json(path))
    if found.problems:
        raise UserError(f"{path} {'; '.join(found.problems)}")
    return found.dataset


def normal(
    dataset: object,
    *,
    layout: str | None = None,
    trainable: bool = False,
    skip: bool = False,
    doubt: bool = False,
) -> Normal:
    """Bring a parsed annotation file into the normal form.

    ``layout`` is one of ``bboxes.LAYOUTS``. With ``trainable`` boxes of less than a pixel are left
    out and those outside of their image are problems, as one's own data should be; with ``skip``
    broken annotations are left out. With ``doubt`` boxes that look like another layout's are a
    problem, unless a layout is given.
    """
    if problem := shape_problem(dataset):
        return Normal({}, problems=[problem])
    assert isinstance(dataset, dict)
    made = Normal(dataset)
    found: Found = defaultdict(list)
    images = _Images(dataset["images"], found, made)
    categories = _Categories(dataset["categories"], found, made)
    reader = _Annotations(images, categories, layout or "xywh", trainable, skip)
    annotations = reader.read(dataset["annotations"], made)
    found.update({what: which for what, which in reader.found.items() if not skip})
    made.problems = sentences(found)
    made.broken = sum(map(len, reader.found.values()))
    if doubt and layout is None and (why := bboxes.doubts(reader.seen)):
        # The boxes are what is wrong, not what they look like as another layout.
        made.problems = [*sentences(_without_boxes(found)), why]
    categories.used(annotations, made)
    if made.changed and not made.problems:
        made.dataset = dataset | {
            "images": images.items,
            "annotations": annotations,
            "categories": categories.items,
        }
    return made


def shape_problem(dataset: object) -> str:
    """Say why a parsed file is not COCO's at all; empty: it has COCO's three lists."""
    if not isinstance(dataset, dict):
        return (
            f"is not COCO: a JSON {type(dataset).__name__}, not an object with images, "
            "annotations and categories"
        )
    if odd := [part for part in PARTS if not isinstance(dataset.get(part), list)]:
        known = next((what for name, what in FOREIGN.items() if name in dataset), None)
        hint = f" (it looks like {known}: export it as COCO)" if known else ""
        return f"is not COCO: has no list of {', '.join(odd)}{hint}"
    return ""


def file_name(image: object) -> str | None:
    """Return the name of an image's file, under whichever of the names that tools give it."""
    if not isinstance(image, dict):
        return None
    names = (image.get(one) for one in FILE_NAMES)
    return next((name for name in names if isinstance(name, str) and name), None)


def _without_boxes(found: Found) -> Found:
    return defaultdict(list, {what: v for what, v in found.items() if "box" not in what})


class _Images:
    """The images in normal form, and the way from what annotations call them to their ids."""

    def __init__(self, listed: Sequence[Any], found: Found, made: Normal) -> None:
        listed = _once(listed, "image", made)
        named = [_named_image(image) for image in listed]
        if any(a is not b for a, b in zip(named, listed, strict=True)):
            made.changed = True
        ids, self.of = _identified(named, "image", "file_name", found, made)
        self.items = [_with(image, id=id) for image, id in zip(named, ids, strict=True)]
        self.sizes: dict[Any, tuple[float, float]] = {}
        self.names: dict[Any, str] = {}
        for image in self.items:
            if not isinstance(image, dict):
                continue
            if not isinstance(image.get("file_name"), str):
                found["image without file_name"].append(image.get("id"))
            width, height = image.get("width"), image.get("height")
            if is_above_0(width) and is_above_0(height):
                self.sizes[image["id"]] = width, height
            else:
                found["image without a width and height above 0"].append(image.get("id"))
            self.names[image["id"]] = str(image.get("file_name"))


def _named_image(image: Any) -> Any:
    if not isinstance(image, dict):
        return image
    name = file_name(image)
    sides = {side: number(image.get(side)) for side in ("width", "height")}
    return _with(image, **{k: v for k, v in sides.items() if v is not None},
                 **({} if name is None else {"file_name": name}))  # fmt: skip


class _Categories:
    """The categories in normal form: names of one line, each once."""

    def __init__(self, listed: Sequence[Any], found: Found, made: Normal) -> None:
        listed = _once(listed, "category", made)
        clean, said = class_names.cleaned(listed, found)
        made.changed |= any(a is not b for a, b in zip(clean, listed, strict=True))
        made.remarks += said
        ids, self.of = _identified(clean, "category", "name", found, made)
        clean = [_with(one, id=id) for one, id in zip(clean, ids, strict=True)]
        self.items, merged = class_names.merged(clean, found)
        if merged:
            made.changed = True
            made.remarks.append(f"categories of one name put together: {some(list(merged.names))}")
            self.of = {one: merged.into.get(id, id) for one, id in self.of.items()}
        self.unnamed = {
            one["id"] for one in self.items if isinstance(one, dict) and one.get("name") == ""
        }

    def used(self, annotations: Sequence[Item], made: Normal) -> None:
        """Leave out what has no name if it has no object; a class without a name is a problem."""
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


def _once(items: Sequence[Any], kind: str, made: Normal) -> Sequence[Any]:
    """Leave out what is listed again word for word."""
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


def _identified(
    items: Sequence[Any], kind: str, name: str, found: Found, made: Normal
) -> tuple[list[Any], dict[Key, Any]]:
    """Return each item's id in normal form, and the ids by what they are called elsewhere.

    An item without an id may be meant by its name, as may one with an id that nothing refers to.
    """
    keys: list[Key | None] = []
    for position, item in enumerate(items):
        good = isinstance(item, dict)
        id = key(item.get("id")) if good else None
        if id is None and good and item.get("id") is None and isinstance(item.get(name), str):
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
    elif any(type(item.get("id")) is not int for item in items if isinstance(item, dict)):
        made.remarks.append(f"{kind} ids read as whole numbers")
    of = {one: id for one, id in zip(keys, ids, strict=True) if one is not None}
    titles = [item.get(name) if isinstance(item, dict) else None for item in items]
    titles = [title if isinstance(title, str) else None for title in titles]
    times = Counter(titles)
    for title, id in zip(titles, ids, strict=True):
        if title is not None and times[title] == 1:
            of.setdefault(title, id)
    made.changed |= any(
        not plain or (isinstance(item, dict) and type(item.get("id")) is not type(id))
        for item, id in zip(items, ids, strict=True)
    )
    return ids, of


class _Annotations:
    """Reads annotations one by one; what is broken is collected in ``found``."""

    def __init__(
        self, images: _Images, categories: _Categories, layout: str, trainable: bool, skip: bool
    ) -> None:
        self.images, self.categories, self.layout = images, categories, layout
        self.trainable, self.skip = trainable, skip
        self.found: Found = defaultdict(list)
        self.repaired: Counter[str] = Counter()
        self.empty: list[str] = []
        self.seen: list[tuple[list[float], tuple[float, float], object]] = []

    def read(self, listed: Sequence[Any], made: Normal) -> list[Item]:
        kept = []
        for position, one in enumerate(_once(listed, "annotation", made)):
            if not isinstance(one, dict):
                self.found["annotation that is not an object, at position"].append(position)
            elif (read := self._one(one)) is not None:
                kept.append(read)
        numbered = self._numbered(kept)
        made.changed |= len(kept) < len(listed) or any(
            a is not b for a, b in zip(numbered, listed, strict=False)
        )
        made.remarks += [f"{what} ({n} of {len(listed)})" for what, n in self.repaired.items()]
        if self.empty:
            made.remarks.append(f"{len(self.empty)} empty boxes left out: {some(self.empty)}")
        if self.skip:
            made.remarks += [f"left out: {what}" for what in sentences(self.found)]
        return numbered

    def _one(self, one: Item) -> Item | None:
        """Return an annotation in normal form; None: it is broken, or its box empty."""
        name = one.get("id")
        image = self._id(one.get("image_id"), self.images.of, "image")
        category = self._id(one.get("category_id"), self.categories.of, "category")
        broken = [f"annotation of an unknown {kind}" for kind, id in
                  (("image", image), ("category", category)) if id is None]  # fmt: skip
        given, flags = self._box(one), (flag(one.get("iscrowd")), flag(one.get("ignore")))
        if given is None:
            broken.append("annotation whose bbox is not four finite numbers")
        if None in flags:
            broken.append("annotation without iscrowd 0 or 1")
        size = self.images.sizes.get(image)
        if given is not None and size is not None:
            self.seen.append((given, size, one.get("area")))
            box = bboxes.as_xywh(given, self.layout, size) if self.layout != "xywh" else given
            broken += self._wrong(box, size)
        for what in broken:
            self.found[what].append(name)
        if broken or given is None or size is None:
            return None
        if self.trainable and min(box[2:]) < SMALLEST_BOX:
            self.empty.append(f"annotation {name} of {self.images.names[image]}")
            return None
        if flags[1]:
            self.repaired["objects to ignore taken for crowds, neither trained on nor counted"] += 1
            one = {k: v for k, v in one.items() if k != "ignore"}
        crowd = 1 if any(flags) else 0
        area = self._area(one.get("area"), box)
        return _with(one, image_id=image, category_id=category, bbox=box, area=area, iscrowd=crowd)

    def _id(self, given: object, ids: Mapping[Key, Any], kind: str) -> Any:
        if type(given) is int:
            return ids.get(given)
        id = key(given)
        if isinstance(id, int) and id in ids:
            self.repaired[f"{kind}_id read as a whole number"] += 1
            return ids[id]
        name = next((one for one in (given, id) if isinstance(one, str) and one in ids), None)
        if name is None:
            return None
        self.repaired[f"{kind}_id that is text resolved"] += 1
        return ids[name]

    def _box(self, one: Item) -> list[float] | None:
        given = one.get("bbox")
        if given is None or given == []:
            if self.layout.endswith(bboxes.FRACTIONS) or not one.get("segmentation"):
                return None
            found = bboxes.of_outline(one["segmentation"])
            if found is not None:
                self.repaired["boxes drawn around their segmentations"] += 1
                a, b, c, d = found  # pixels, as the layout has them
                found = {"xyxy": [a, b, a + c, b + d], "cxcywh": [a + c / 2, b + d / 2, c, d]}.get(
                    self.layout, found
                )
            return found
        box = bboxes.four_numbers(given)
        if box is not None and box is not given:
            self.repaired["boxes written as text or otherwise read as four numbers"] += 1
        return box

    def _wrong(self, box: Sequence[float], size: tuple[float, float]) -> list[str]:
        x, y, w, h = box
        if w < 0 or h < 0:
            return ["annotation with a bbox of negative size"]
        outside = x >= size[0] or y >= size[1] or x + w <= 0 or y + h <= 0
        if self.trainable and outside and w >= SMALLEST_BOX and h >= SMALLEST_BOX:
            return ["annotations with a box outside of its image"]
        return []

    def _area(self, given: object, box: Sequence[float]) -> object:
        # COCO's own may be 0; mmdet leaves such an object out of training.
        needed = self.trainable and box[2] * box[3] > 0
        if is_above_0(given) or (is_number(given) and given == 0 and not needed):
            return given
        area = number(given)
        if isinstance(given, str) and area is not None and area > 0:
            self.repaired["areas written as text read as numbers"] += 1
            return area
        self.repaired["areas taken from the boxes"] += 1
        return box[2] * box[3]

    def _numbered(self, kept: list[Item]) -> list[Item]:
        ids = [key(one.get("id")) for one in kept]
        sound = all(isinstance(id, int) and 0 < id < EXACT for id in ids)
        if not sound or len(set(ids)) < len(ids):
            self.repaired["annotations numbered from 1"] += len(kept)
            ids = list(range(1, len(kept) + 1))
        elif any(type(one["id"]) is not int for one in kept):
            self.repaired["annotation ids read as whole numbers"] += len(kept)
        return [_with(one, id=id) for one, id in zip(kept, ids, strict=True)]


def _with(item: Any, **values: Any) -> Any:
    """Return an item with these values; itself, where it has them."""
    if not isinstance(item, dict):
        return item
    if all(k in item and type(item[k]) is type(v) and item[k] == v for k, v in values.items()):
        return item
    return item | values


def _plain(value: Any) -> Any:
    """Return 6 for 6.0, so that one data set has one content."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
