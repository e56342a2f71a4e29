"""Normal form of COCO-like annotation files, shared by training, checks and evaluation.

Unambiguous faults are repaired in memory and reported in one line; an ambiguous one is a problem
that names the option that resolves it. mmdet's dataset and pycocotools rely on the normal form
without checking:

| part | normal form |
|---|---|
| ids | whole numbers, each once; annotations' from 1 on: pycocotools marks "not matched" with 0 |
| ``image_id``, ``category_id`` | existing ids |
| ``name`` of a category | text of one line, unique |
| ``bbox`` | four finite numbers: left, top, width and height in pixels |
| ``area`` | a number of 0 or more, to train on above 0; else the box's |
| ``iscrowd`` | 0 or 1; 0 where it is missing |
| ``ignore`` | none: such an object is a crowd, neither trained on nor counted in evaluation |

A file in normal form stays unchanged, object for object. Imports neither torch nor mmdet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gfl.data import bboxes
from gfl.data.identified import Categories, Images, Item, Normal, once, with_values
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
from gfl.escape import counted

PARTS = ("images", "annotations", "categories")
SMALLEST_BOX = 1  # px; mmdet excludes smaller ones from training
MOST_OF_BOX = 1.01  # limit of an object's area, as a fraction of its box's; above 1 for rounding
# Problems of an annotation whose flag, iscrowd or ignore, is neither a yes nor a no.
FLAGS = "annotation without iscrowd 0 or 1", "annotation whose ignore is not 0 or 1"
# Top-level JSON keys of other formats.
FOREIGN = {
    "shapes": "LabelMe's own format",
    "_via_img_metadata": "VIA's project file",
    "_via_settings": "VIA's project file",
    "assets": "VoTT's own format",
    "samples": "FiftyOne's own format",
    "items": "Datumaro's own format",
}


def read(path: Path) -> Item:
    """Return a COCO file's content in normal form.

    Raises:
        UserError: it cannot be repaired; names the file and all problems.
    """
    return in_normal_form(read_json(path), path)


def in_normal_form(dataset: object, where: Path | str) -> Item:
    """Return a parsed file's content in normal form; ``where`` is its source, for messages.

    Raises:
        UserError: it cannot be repaired; names all problems.
    """
    found = normal(dataset)
    if found.problems:
        raise UserError(f"{where} {'; '.join(found.problems)}")
    return found.dataset


def normal(
    dataset: object,
    *,
    layout: str | None = None,
    trainable: bool = False,
    skip: bool = False,
    doubt: bool = False,
    without: frozenset[str] = frozenset(),
) -> Normal:
    """Bring a parsed annotation file into the normal form.

    ``layout`` is one of ``bboxes.LAYOUTS``. ``trainable`` drops boxes of less than a pixel and
    reports those outside of their image as problems, as for the user's own data; ``skip`` drops
    broken annotations. With ``doubt``, boxes that look like another layout's are a problem unless
    a layout is given. Images whose file is in ``without`` are dropped with their annotations.
    """
    if problem := shape_problem(dataset):
        return Normal({}, problems=[problem])
    assert isinstance(dataset, dict)
    made = Normal(dataset)
    found: Found = defaultdict(list)
    images = Images(dataset["images"], found, made, without)
    categories = Categories(dataset["categories"], found, made)
    reader = _Annotations(
        images, categories, layout or "xywh", trainable, skip, doubt and layout is None
    )
    annotations = reader.read(dataset["annotations"], made)
    found.update({what: which for what, which in reader.found.items() if not skip})
    made.problems = sentences(found)
    made.kept = len(annotations)
    made.broken = sum(map(len, reader.found.values()))
    if made.broken and (not annotations or not skip):
        made.problems += [f"has {what}" for what in _without_ids(dataset, reader.found)]
    if made.broken and not annotations and skip:
        left_out = "; ".join(sentences(reader.found))
        made.problems.append(f"has no annotation left, every one was left out: {left_out}")
    if reader.doubt and (why := bboxes.doubts(reader.seen)):
        # Report the boxes themselves, not the other layout they might resemble.
        made.problems = [*sentences(_without_boxes(found)), why[0]]
        made.lacks.append(why[1])
    categories.used(annotations, made)
    if made.changed and not made.problems:
        made.dataset = dataset | {
            "images": images.items,
            "annotations": annotations,
            "categories": categories.items,
        }
    return made


def shape_problem(dataset: object) -> str:
    """Explain why a parsed file is not COCO's at all; empty if it has COCO's three lists."""
    if not isinstance(dataset, dict):
        return (
            f"is not COCO: a JSON {type(dataset).__name__}, not an object with images, "
            "annotations and categories"
        )
    if odd := [part for part in PARTS if not isinstance(dataset.get(part), list)]:
        known = next((what for name, what in FOREIGN.items() if name in dataset), None)
        hint = f" (it looks like {known}: export it as COCO)" if known else ""
        return f"is not COCO: has no list of {', '.join(odd)}{hint}"
    for part in ("images", "categories"):
        if odd := [i for i, one in enumerate(dataset[part]) if not isinstance(one, dict)]:
            return f"is not COCO: {part} that are not objects, at position: {some(odd)}"
    return ""


def _without_ids(dataset: Item, found: Found) -> list[str]:
    """Report images or categories without an id if annotations refer to unknown ones."""
    said = []
    for kind, part in (("image", "images"), ("category", "categories")):
        items = [one for one in dataset[part] if one.get("id") is None]
        if items and found.get(f"annotation of an unknown {kind}"):
            names = some([one.get("name", one.get("file_name")) for one in items])
            said.append(f"{len(items)} x {kind} without an id: {names}")
    return said


def _without_boxes(found: Found) -> Found:
    return defaultdict(list, {what: v for what, v in found.items() if "box" not in what})


class _Broken(str):
    """Problem with a reference, in place of an id."""


class _Annotations:
    """Reads annotations one by one and collects broken ones in ``found``."""

    def __init__(
        self,
        images: Images,
        categories: Categories,
        layout: str,
        trainable: bool,
        skip: bool,
        doubt: bool,
    ) -> None:
        self.images, self.categories, self.layout = images, categories, layout
        self.trainable, self.skip, self.doubt = trainable, skip, doubt
        self.found: Found = defaultdict(list)
        self.repaired: Counter[str] = Counter()
        self.empty: list[str] = []
        self.seen: list[tuple[list[float], tuple[float, float], object]] = []

    def read(self, listed: Sequence[Any], made: Normal) -> list[Item]:
        kept = []
        for position, one in enumerate(once(listed, "annotation", made)):
            if self._is_normal(one):
                kept.append(one)
            elif not isinstance(one, dict):
                self.found["annotation that is not an object, at position"].append(position)
            elif (read := self._one(one)) is not None:
                kept.append(read)
        numbered = self._numbered(kept)
        made.changed |= len(kept) < len(listed) or any(
            a is not b for a, b in zip(numbered, listed, strict=False)
        )
        made.remarks += [f"{what} ({n} of {len(listed)})" for what, n in self.repaired.items()]
        if self.empty:
            empty = counted(len(self.empty), "empty box", "empty boxes")
            made.remarks.append(f"{empty} left out: {some(self.empty)}")
        if self.skip:
            made.remarks += [f"left out: {what}" for what in sentences(self.found)]
        return numbered

    def _is_normal(self, one: Any) -> bool:
        """Return True if an annotation is plainly in normal form: COCO has 860 000.

        False is inconclusive: ``_one`` then examines it.
        """
        try:
            x, y, w, h = box = one["bbox"]
            size = self.images.sizes[one["image_id"]]
            least = SMALLEST_BOX if self.trainable else 0
            sound = (
                type(box) is list
                and {type(x), type(y), type(w), type(h), type(one["area"])} <= {int, float}
                and {type(one["image_id"]), type(one["category_id"]), type(one["iscrowd"])} == {int}
                and self.images.of[one["image_id"]] == one["image_id"]
                and self.categories.of[one["category_id"]] == one["category_id"]
                and 0 <= one["iscrowd"] <= 1
                and not one.get("ignore")
                and 0 <= x <= x + w <= size[0] + bboxes.TOLERANCE
                and 0 <= y <= y + h <= size[1] + bboxes.TOLERANCE
                and min(w, h) >= least
                and (one["area"] > 0 or (one["area"] == 0 and not self.trainable))
                and is_number(one["area"])
            )
        except (TypeError, KeyError, ValueError):
            return False
        if (
            not sound
            or self.layout != "xywh"
            or (self.trainable and (x >= size[0] or y >= size[1]))
        ):
            return False
        if self.doubt:
            self.seen.append((box, size, one["area"]))
        return True

    def _one(self, one: Item) -> Item | None:
        """Return an annotation in normal form; None if it is broken or its box is empty."""
        name = one.get("id")
        image = self._id(one.get("image_id"), self.images.of, "image")
        if image in self.images.left_out:
            return None
        category = self._id(one.get("category_id"), self.categories.of, "category")
        broken: list[str] = [what for what in (image, category) if isinstance(what, _Broken)]
        size = None if isinstance(image, _Broken) else self.images.sizes.get(image)
        given = self._box(one, size)
        flags = flag(one.get("iscrowd")), flag(one.get("ignore"))
        if given is None:
            broken.append(self._without_box(one, size))
        broken += [what for what, value in zip(FLAGS, flags, strict=True) if value is None]
        if given is not None and size is not None:
            if self.doubt:
                self.seen.append((given, size, one.get("area")))
            box = bboxes.as_xywh(given, self.layout, size) if self.layout != "xywh" else given
            broken += self._wrong(box, size)
        for what in broken:
            self.found[str(what)].append(name)
        if broken or given is None or size is None:
            return None
        if self.trainable and min(box[2:]) < SMALLEST_BOX:
            self.empty.append(f"annotation {name} of {self.images.names[image]}")
            return None
        if flags[1]:
            self.repaired["objects to ignore taken for crowds, neither trained on nor counted"] += 1
            one = {k: v for k, v in one.items() if k != "ignore"}
        crowd = 1 if any(flags) else 0
        area = self._area(self._scaled(one.get("area"), box, size), box)
        return with_values(
            one, image_id=image, category_id=category, bbox=box, area=area, iscrowd=crowd
        )

    def _id(self, given: object, ids: Mapping[Key, Any], kind: str) -> Any:
        unknown = _Broken(f"annotation of an unknown {kind}")
        if type(given) is int:
            return ids.get(given, unknown)
        id = key(given)
        if isinstance(id, int) and id in ids:
            named = given.strip() if isinstance(given, str) else id
            if ids.get(named, ids[id]) != ids[id]:
                return _Broken(f"annotation whose {kind}_id is one's id and another's name")
            self.repaired[f"{kind}_id read as a whole number"] += 1
            return ids[id]
        name = next((one for one in (given, id) if isinstance(one, str) and one in ids), None)
        if name is None:
            return unknown
        self.repaired[f"{kind}_id that is text resolved"] += 1
        return ids[name]

    def _without_box(self, one: Item, size: tuple[float, float] | None) -> str:
        drawn = one.get("bbox") in (None, []) and not self.layout.endswith(bboxes.FRACTIONS)
        if drawn and size and bboxes.is_mask_of_another_size(one.get("segmentation"), size):
            return "annotation whose mask is not of its image's width and height"
        return "annotation whose bbox is not four finite numbers"

    def _box(self, one: Item, size: tuple[float, float] | None) -> list[float] | None:
        given = one.get("bbox")
        if given is None or given == []:
            if self.layout.endswith(bboxes.FRACTIONS) or not one.get("segmentation"):
                return None
            found = bboxes.of_outline(one["segmentation"], size)
            if found is not None:
                self.repaired["boxes drawn around their segmentations"] += 1
                a, b, c, d = found  # pixels, in the layout's order
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

    def _scaled(self, given: object, box: Sequence[float], size: tuple[float, float]) -> object:
        """Return an area in pixels, given boxes of another layout.

        None if it is not the area of an object in its box, but of the misread numbers.
        """
        area = number(given)
        if self.layout == "xywh" or area is None or area <= 0:
            return given
        if self.layout.endswith(bboxes.FRACTIONS) and area <= 1:
            area *= size[0] * size[1]
            self.repaired["areas as fractions of their images read in pixels"] += 1
            given = area
        return given if area <= MOST_OF_BOX * box[2] * box[3] else None

    def _area(self, given: object, box: Sequence[float]) -> object:
        # COCO's own may be 0; mmdet excludes such an object from training.
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
        given = [one.get("id") for one in kept]
        if all(type(id) is int and 0 < id < EXACT for id in given) and len({*given}) == len(kept):
            return kept
        ids = [key(id) for id in given]
        sound = all(isinstance(id, int) and 0 < id < EXACT for id in ids)
        if not sound or len(set(ids)) < len(ids):
            self.repaired["annotations numbered from 1"] += len(kept)
            ids = list(range(1, len(kept) + 1))
        elif any(type(one["id"]) is not int for one in kept):
            self.repaired["annotation ids read as whole numbers"] += len(kept)
        return [with_values(one, id=id) for one, id in zip(kept, ids, strict=True)]
