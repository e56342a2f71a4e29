"""The normal form: a file that has it stays as it is, any mix of repairs gives the clean one."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfl.data import annotations, bboxes
from gfl.data.annotations import normal
from gfl.data.identified import content
from gfl.errors import UserError

Dataset = dict[str, Any]


def clean() -> Dataset:
    """Three images of 96 x 64 px with two objects each."""
    images = [
        {"id": 100 + i, "file_name": f"im_{i}.png", "width": 96, "height": 64} for i in range(3)
    ]
    boxes = [
        {
            "id": 1 + 2 * i + j,
            "image_id": 100 + i,
            "category_id": 7 - 4 * j,
            "bbox": [6 + 40 * j, 2 + 2 * i, 30.5, 36],
            "area": 1098.0,
            "iscrowd": 0,
        }
        for i in range(3)
        for j in range(2)
    ]
    names = [{"id": 7, "name": "nut"}, {"id": 3, "name": "bolt"}]
    return {"images": images, "annotations": boxes, "categories": names}


Change = Callable[[Dataset], object]


def every(part: str, change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda data: [change(item) for item in data[part]]


def text_of(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda item: item.update({key: str(item[key])})


def _polygon(item: dict[str, Any]) -> None:
    x, y, w, h = item.pop("bbox")
    item["segmentation"] = [[x, y, x + w, y, x + w, y + h], [x, y + h, x + w, y + h, x, y]]


# Each leaves one meaning, whatever else is changed; in an order in which all can be applied.
REPAIRS: dict[str, Change] = {
    "outlines alone": lambda data: [_polygon(a) for a in data["annotations"][::2]],
    "ids from 0": lambda data: [a.update(id=i) for i, a in enumerate(data["annotations"])],
    "no ids": every("annotations", lambda a: a.pop("id")),
    "no area": every("annotations", lambda a: a.pop("area")),
    "area 0": every("annotations", lambda a: a.update(area=0)),
    "no iscrowd": every("annotations", lambda a: a.pop("iscrowd")),
    "iscrowd false": every("annotations", lambda a: a.update(iscrowd=False)),
    "numbers as text": every(
        "annotations", lambda a: a.get("bbox") and a.update(bbox=[str(x) for x in a["bbox"]])
    ),
    "a box as text": lambda data: [
        a.update(bbox=json.dumps([float(x) for x in a["bbox"]])) for a in data["annotations"][1:2]
    ],
    "sizes as text": every("images", text_of("width")),
    "image ids as text": every("images", text_of("id")),
    "references as text": every("annotations", text_of("image_id")),
    "references as floats": every("annotations", lambda a: a.update(image_id=float(a["image_id"]))),
    "category ids as text": every("categories", text_of("id")),
    "category by text": every("annotations", text_of("category_id")),
    "an image twice": lambda data: data["images"].append(dict(data["images"][0])),
    "line ends": every("categories", lambda c: c.update(name=f"{c['name']}\r\n")),
    "half an emoji": lambda data: data["categories"][0].update(name="nut \ud83d"),
    "file names": every("images", lambda i: i.update(filename=i.pop("file_name"))),
}


@given(st.sets(st.sampled_from(sorted(REPAIRS))), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_any_mix_of_repairs_gives_the_clean_file(names, random):
    broken = clean()
    for name in REPAIRS:
        if name in names:
            REPAIRS[name](broken)
    for part in ("info", "licenses"):
        broken[part] = random.choice([[], {}, None, "x"])
    before = copy.deepcopy(broken)
    made = normal(broken, trainable=True, doubt=True)
    assert made.problems == []
    assert content(made.dataset) == content(clean())
    assert made.changed == bool(names)
    assert broken == before  # what was read is left alone


BOX = st.tuples(st.floats(0, 60), st.floats(0, 40), st.floats(1, 36), st.floats(1, 24))


@given(st.lists(st.tuples(BOX, st.sampled_from([3, 7]), st.booleans()), min_size=1))
@settings(deadline=None)
def test_a_file_in_normal_form_stays_as_it_is(objects):
    data = clean()
    data["annotations"] = [
        {
            "id": i,
            "image_id": 100 + i % 3,
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": int(crowd),
        }
        for i, (box, category, crowd) in enumerate(objects, 1)
    ]
    made = normal(data, trainable=True)
    assert (made.dataset is data, made.changed, made.remarks, made.problems) == (
        True,
        False,
        [],
        [],
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4)
)
KEYS = st.sampled_from(
    ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation", "name",
     "file_name", "width", "height", "supercategory"]
)  # fmt: skip


@given(
    st.sampled_from(annotations.PARTS),
    st.integers(0, 1),
    KEYS,
    JSON,
    st.sampled_from(["xywh", "cxcywh-fractions", None]),
    st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_anything_in_a_files_place_is_repaired_or_refused(part, at, key, value, layout, skip):
    data = clean()
    data[part][at] = value if key == "id" and not at else data[part][at] | {key: value}
    made = normal(data, layout=layout, trainable=True, skip=skip, doubt=True)
    if not made.problems:
        json.loads(content(made.dataset))
        again = normal(made.dataset, trainable=True)
        assert (again.problems, again.remarks) == ([], [])
        assert again.dataset is made.dataset


@given(JSON)
def test_any_json_is_refused_without_a_traceback(value):
    assert normal(value).problems
    assert normal({"images": [value], "annotations": [value], "categories": [value]}).problems


def remarks(change: Change, **how: Any) -> list[str]:
    data = clean()
    change(data)
    made = normal(data, trainable=True, doubt=True, **how)
    assert not made.problems
    return made.remarks


def problems(change: Change, **how: Any) -> str:
    data = clean()
    change(data)
    return "; ".join(normal(data, trainable=True, doubt=True, **how).problems)


def test_what_is_taken_for_what_is_said_in_a_clause():
    assert remarks(REPAIRS["no iscrowd"]) == []
    assert remarks(REPAIRS["no area"]) == ["areas taken from the boxes (6 of 6)"]
    assert remarks(REPAIRS["ids from 0"]) == ["annotations numbered from 1 (6 of 6)"]
    assert remarks(REPAIRS["line ends"]) == [
        r"class names read: 'nut\r\n' as 'nut', 'bolt\r\n' as 'bolt'"
    ]
    assert remarks(lambda d: d["annotations"][1].update(bbox=[0, 0, 0, 0], area=0)) == [
        "1 empty box left out: annotation 2 of im_0.png"
    ]


def test_references_by_name_resolve_where_nothing_else_has_the_name():
    def by_name(data: Dataset) -> None:
        names = {image["id"]: image["file_name"] for image in data["images"]}
        for one in data["annotations"]:
            one["image_id"] = names[one["image_id"]]

    data = clean()
    by_name(data)
    assert content(normal(data).dataset) == content(clean())
    for image in data["images"]:
        del image["id"]
    made = normal(data)
    assert [one["id"] for one in made.dataset["images"]] == [1, 2, 3]
    assert [one["image_id"] for one in made.dataset["annotations"]] == [1, 1, 2, 2, 3, 3]


def test_a_mask_gives_its_box():
    def masked(data: Dataset) -> None:
        one = data["annotations"][0]
        del one["bbox"]
        # Columns 10 to 12 of a height of 64, rows 5 to 8: runs down the columns.
        one["segmentation"] = {"size": [64, 96], "counts": [645, 4, 60, 4, 60, 4, 5367]}

    data = clean()
    masked(data)
    assert normal(data).dataset["annotations"][0]["bbox"] == [10, 5, 3, 4]


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [96, 64], "counts": [645, 4, 60, 4, 60, 4, 5367]},  # the sides swapped
        {"size": [32, 48], "counts": [645, 4, 887]},  # of the image before it was enlarged
        {"size": [1_000_000, 1_000_000], "counts": [1_000_000_000_000]},
        {"size": [-64, -96], "counts": [6144]},
        {"size": "64", "counts": "x"},
        {"counts": "x"},
    ],
)
def test_a_mask_of_another_size_than_its_image_gives_no_box(mask):
    def masked(data: Dataset) -> None:
        data["annotations"][0].update(bbox=None, segmentation=mask)

    said = "1 x annotation whose mask is not of its image's width and height: 1"
    assert problems(masked) == f"has {said}"
    assert remarks(masked, skip=True) == [f"left out: has {said}"]


@pytest.mark.parametrize("side", [1 << 16, 1_000_000, 1 << 39])
def test_a_mask_of_more_pixels_than_pycocotools_counts_gives_no_box(side):
    assert bboxes.of_outline({"size": [side, side], "counts": [0, side * side]}) is None
    assert bboxes.of_outline({"size": [side, side], "counts": "PPP"}) is None
    big = {"size": [side, side], "counts": [side * side]}
    data = clean()
    data["images"][0].update(width=side, height=side)
    data["annotations"][0].update(bbox=None, segmentation=big)
    assert "four finite numbers: 1" in normal(data).problems[0]


def test_text_that_is_an_id_and_anothers_name_is_neither():
    def named(data: Dataset) -> None:
        data["categories"][0]["name"], data["categories"][1]["name"] = "0", "7"
        data["annotations"][0]["category_id"] = "7"

    assert problems(named) == (
        "has 1 x annotation whose category_id is one's id and another's name: 1"
    )

    def of_itself(data: Dataset) -> None:
        named(data)
        data["categories"][0]["name"], data["categories"][1]["name"] = "7", "0"

    assert remarks(of_itself) == ["category_id read as a whole number (1 of 6)"]

    def all_text(data: Dataset) -> None:  # ids that are text are referred to as text
        named(data)
        for one in data["categories"]:
            one["id"] = str(one["id"])

    data = clean()
    all_text(data)
    made = normal(data, trainable=True)
    assert (made.problems, made.dataset["annotations"][0]["category_id"]) == ([], 7)


def corners(data: Dataset) -> None:
    for one in data["annotations"]:
        x, y, w, h = one["bbox"]
        one.update(bbox=[x, y, x + w, y + h])


def fractions(data: Dataset) -> None:
    for one in data["annotations"]:
        x, y, w, h = one["bbox"]
        one.update(bbox=[x / 96, y / 64, w / 96, h / 64])


def test_boxes_of_another_layout_are_refused_and_the_option_reads_them():
    said = problems(corners)
    assert "6 of 6 boxes fit their image, or their area, only as corners" in said
    moved = clean()
    corners(moved)
    assert normal(moved, trainable=True, doubt=True).lacks == ["corners"]
    assert "6 of 6 boxes lie between 0 and 1" in problems(fractions)
    for change, layout in ((corners, "xyxy"), (fractions, "xywh-fractions")):
        data = clean()
        change(data)
        made = normal(data, layout=layout, trainable=True, doubt=True)
        for one, right in zip(made.dataset["annotations"], clean()["annotations"], strict=True):
            assert one["bbox"] == pytest.approx(right["bbox"])
    assert not problems(lambda d: d["annotations"][0].update(bbox=[6, 2, 92, 36]))  # one sticks out


def laid_out(box: tuple[float, float, float, float], layout: str) -> list[float]:
    """A box of an image of 96 x 64 px in another layout."""
    x, y, w, h = box
    a, b, c, d = {
        "xywh": (x, y, w, h),
        "xyxy": (x, y, x + w, y + h),
        "cxcywh": (x + w / 2, y + h / 2, w, h),
    }[layout.removesuffix(bboxes.FRACTIONS)]
    return [a / 96, b / 64, c / 96, d / 64] if layout.endswith(bboxes.FRACTIONS) else [a, b, c, d]


@given(BOX, st.sampled_from(bboxes.LAYOUTS))
def test_every_layout_is_read_back(box, layout):
    assert bboxes.as_xywh(laid_out(box, layout), layout, (96, 64)) == pytest.approx(box, abs=1e-9)


@given(
    BOX,
    st.sampled_from([layout for layout in bboxes.LAYOUTS if layout != "xywh"]),
    st.sampled_from(["pixels", "pixels as text", "fractions", "third less fourth", "none"]),
    st.floats(0.3, 1),
)
@settings(deadline=None)
def test_areas_are_those_of_the_boxes_that_are_read_whatever_their_layout(box, layout, kind, part):
    """An outline's area is a part of the box's; one of numbers mistaken for a box is not kept."""
    numbers, area = laid_out(box, layout), part * box[2] * box[3]
    wrong = numbers[2] * numbers[3]  # what a tool writes that takes them for a width and a height
    given_area = {
        "pixels": area,
        "pixels as text": str(area),
        "fractions": area / (96 * 64),
        "third less fourth": wrong,
        "none": None,
    }[kind]
    in_fractions = layout.endswith(bboxes.FRACTIONS)
    if kind.startswith("pixels") and in_fractions and area <= 1:
        return  # a fraction, as far as anyone can tell
    data = clean()
    for one in data["annotations"]:
        one.update(bbox=numbers, area=given_area)
    made = normal(data, layout=layout, trainable=True)
    full = box[2] * box[3]
    for one in made.dataset["annotations"]:
        assert one["bbox"] == pytest.approx(box, abs=1e-9)
        if kind.startswith("pixels") or (kind == "fractions" and in_fractions):
            assert one["area"] == pytest.approx(area)
        elif kind == "third less fourth":
            assert 0 < one["area"] <= 1.02 * full
        elif kind == "none":
            assert one["area"] == pytest.approx(full)


def test_an_area_of_a_box_misread_is_taken_from_the_box_in_one_remark():
    data = clean()
    for one in data["annotations"]:
        one.update(bbox=[0.1, 0.1, 0.5, 0.5], area=0.25)
    made = normal(data, layout="xywh-fractions", trainable=True)
    assert [one["area"] for one in made.dataset["annotations"]] == [0.25 * 96 * 64] * 6
    assert made.remarks == ["areas as fractions of their images read in pixels (6 of 6)"]
    for one in data["annotations"]:
        one.update(bbox=[40, 20, 60, 40], area=60 * 40)  # not 20 x 20
    made = normal(data, layout="xyxy", trainable=True)
    assert [one["area"] for one in made.dataset["annotations"]] == [400] * 6
    assert made.remarks == ["areas taken from the boxes (6 of 6)"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["annotations"][0].update(image_id=9), "annotation of an unknown image: 1"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, math.nan, 4]), "four finite numbers: 1"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, -3, 4]), "negative size: 1"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, 4, 5]), "four finite numbers: 1"),
        (lambda d: d["annotations"][0].update(bbox=[99, 2, 3, 4]), "outside of its image: 1"),
        (lambda d: d["annotations"][0].update(iscrowd="perhaps"), "iscrowd 0 or 1: 1"),
        (lambda d: d["annotations"][0].update(ignore=2), "x annotation whose ignore is not 0 or 1"),
    ],
)
def test_a_broken_annotation_is_refused_or_left_out(change, said):
    assert said in problems(change)
    assert said in remarks(change, skip=True)[0]
    data = clean()
    change(data)
    made = normal(data, trainable=True, skip=True)
    assert [one["id"] for one in made.dataset["annotations"]] == [2, 3, 4, 5, 6]


def test_a_category_without_an_id_is_named_beside_what_it_breaks():
    def without(data: Dataset) -> None:
        for one in data["categories"]:
            del one["id"]

    unknown = "has 6 x annotation of an unknown category: 1, 2, 3, 4, 5"
    said = problems(without)
    assert said.startswith(unknown)
    assert said.endswith("; has 2 x category without an id: nut, bolt")

    def by_name(data: Dataset) -> None:
        without(data)
        for one in data["annotations"]:
            one["category_id"] = {7: "nut", 3: "bolt"}[one["category_id"]]

    assert problems(by_name) == ""


def test_where_nothing_would_be_left_that_is_said():
    def broken(data: Dataset) -> None:
        for one in data["annotations"]:
            one["bbox"] = None

    said = problems(broken, skip=True)
    assert said.startswith("has no annotation left, every one was left out: has 6 x annotation who")
    data = clean()
    broken(data)
    made = normal(data, trainable=True)
    assert (made.broken, made.kept) == (6, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["categories"][0].update(name=""), "category without a name: 7"),
        (lambda d: d["categories"][0].update(name=None), "category without a name: None"),
        (lambda d: d["images"][1].update(id=100), "image id used twice: 100"),
        (lambda d: d["images"][1].update(id="100"), "image id used twice: 100"),
        (lambda d: d["categories"][1].update(id=7), "category id used twice: 7"),
        (
            lambda d: d["categories"][1].update(name="nut", supercategory="fruit"),
            "category name used twice, for different groups: nut",
        ),
    ],
)
def test_what_has_two_meanings_is_refused(change, said):
    assert said in problems(change)


def test_a_foreign_format_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"shapes": [], "imagePath": "a.png"}')
    with pytest.raises(UserError, match="LabelMe's own format: export it as COCO"):
        annotations.read(path)


def test_at_most_five_cases_are_named_and_long_ones_cut():
    data = clean()
    for one in data["annotations"]:
        one["id"], one["bbox"] = "data:" + "x" * 5000, None
    said = "; ".join(normal(data).problems)
    assert "has 6 x annotation whose bbox is not four finite numbers" in said
    assert len(said) < 600


def test_an_id_that_was_given_to_another_is_not_mistaken_for_it():
    """Categories are numbered anew where one is text: 1 and 2 are then nobody's names for them."""
    data = clean()
    data["categories"][0]["id"] = "first"
    for one in data["annotations"]:
        one["category_id"] = {7: "first", 3: 3}[one["category_id"]]
    data["annotations"][0]["category_id"] = 1
    assert normal(data).problems == ["has 1 x annotation of an unknown category: 1"]
    data["annotations"][0]["category_id"] = "first"
    made = normal(data)
    assert [one["category_id"] for one in made.dataset["annotations"]] == [1, 2] * 3
