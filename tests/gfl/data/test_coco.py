"""A COCO folder that is whole, and every way in which one is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gfl.data.annotations import read
from gfl.data.coco import LARGEST, annotation_file, check
from gfl.errors import UserError

Edit = Callable[[dict[str, Any]], object]


def dataset() -> dict[str, Any]:
    box = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3.5, 4], "area": 14.0, "iscrowd": 0}
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 8, "file_name": "b.jpg", "width": 40, "height": 30},
        ],
        "annotations": [{"id": 1, **box}, {"id": 2, **box, "image_id": 8, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "cup"}, {"id": 1, "name": "bowl"}],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tiny COCO with empty images."""
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        for name in ("a.jpg", "b.jpg"):
            (folder / split / name).touch()
        annotation_file(folder, split).write_text(json.dumps(dataset()))
    return folder


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        check(root)
    return str(caught.value)


def edit(root: Path, change: Edit, split: str = "val2017") -> None:
    content = dataset()
    change(content)
    annotation_file(root, split).write_text(json.dumps(content))


def test_a_whole_folder_is_accepted(root):
    check(root)


def test_coco_tiny_is_accepted(shared):
    check(shared / "data/coco-tiny")


def test_one_split_can_be_asked_for_alone(root):
    shutil.rmtree(root / "train2017")
    annotation_file(root, "train2017").unlink()
    check(root, splits=["val2017"])


def test_one_message_lists_everything_that_is_missing(tmp_path):
    message = refusal(tmp_path)
    for part in (
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
        "train2017/",
        "val2017/",
    ):
        assert f"{tmp_path / part}".rstrip("/") in message
    assert message.count("is missing") == 4
    assert "Expected layout" in message
    assert f"{tmp_path}/val2017/*.jpg" in message


def test_a_folder_that_is_not_there_is_one_problem(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere/ is missing" in message
    assert message.count("is missing") == 1


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "coco.zip").touch()
    assert "coco.zip/ cannot be read: Not a directory" in refusal(tmp_path / "coco.zip")


def test_a_link_to_nowhere_in_the_folders_place(tmp_path):
    (tmp_path / "coco").symlink_to(tmp_path / "disk")
    assert f"coco is a link to {tmp_path}/disk, which is missing" in refusal(tmp_path / "coco")


def test_a_folder_in_a_files_place(root):
    annotation_file(root, "val2017").unlink()
    annotation_file(root, "val2017").mkdir()
    assert "instances_val2017.json cannot be read: Is a directory" in refusal(root)


def test_a_file_in_the_images_place(root):
    shutil.rmtree(root / "val2017")
    (root / "val2017").touch()
    assert "val2017/ cannot be read: Not a directory" in refusal(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(root):
    annotation_file(root, "val2017").chmod(0)
    assert "instances_val2017.json cannot be read: Permission denied" in refusal(root)


def test_missing_images_are_counted_and_the_first_named(root):
    images = [
        {"id": i, "file_name": f"{i:012}.jpg", "width": 40, "height": 30} for i in range(7, 30)
    ]
    edit(root, lambda data: data.update(images=images), "train2017")
    message = refusal(root)
    assert "train2017/ lacks 23 of the 23 images that instances_train2017.json names" in message
    assert "000000000007.jpg, 000000000008.jpg" in message
    assert message.endswith("val2017/*.jpg")
    assert "000000000020.jpg" not in message
    assert "val2017/ lacks" not in message


def test_links_to_images_count_and_links_to_nowhere_do_not(root):
    image = root / "val2017/a.jpg"
    image.rename(root / "elsewhere.jpg")
    image.symlink_to(root / "elsewhere.jpg")
    check(root)
    (root / "elsewhere.jpg").unlink()
    assert "val2017/ lacks 1 of the 2 images that instances_val2017.json names: a.jpg" in refusal(
        root
    )
    image.unlink()
    image.symlink_to(image)
    assert "lacks 1 of the 2" in refusal(root)


def test_images_in_folders_of_their_own_are_found(root):
    (root / "val2017/more").mkdir()
    (root / "val2017/a.jpg").rename(root / "val2017/more/a.jpg")
    edit(root, lambda data: data["images"][0].update(file_name="more/a.jpg"))
    check(root)


def test_a_download_that_was_not_unzipped_is_pointed_at(root):
    shutil.rmtree(root / "train2017")
    (root / "train2017.zip").touch()
    assert "train2017/ is missing (train2017.zip is there: unzip it)" in refusal(root)


@pytest.mark.parametrize("given", [".", "coco/annotations", "coco/val2017"])
def test_a_folder_too_high_or_too_low_gets_a_did_you_mean(root, given):
    assert refusal(root.parent / given).endswith(f"Did you mean {root}?")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON: Expecting value: line 1 column 1"),
        (b'{"images": [', "is not JSON: Expecting value: line 1 column 13"),  # cut off
        (b"<html>", "is not JSON: Expecting value"),
        (b"\xff\xd8\xff\xe0\0\0", "is not JSON: "),  # a jpeg
        (b"[" * 100_000, "is not JSON: maximum recursion depth"),
        (b"[]", "is not COCO: a JSON list, not an object with images"),
        (b"3", "is not COCO: a JSON int"),
        (b"{}", "is not COCO: has no list of images, annotations, categories"),
        (b'{"images": [], "annotations": {}}', "has no list of annotations, categories"),
        (b'{"images": [], "annotations": [], "categories": []}', "has no images"),
        (b'{"images": [1], "annotations": ["x"], "categories": [null]}', "at position: 0"),
    ],
)
def test_files_that_are_not_coco(root, content, problem):
    annotation_file(root, "val2017").write_bytes(content)
    message = refusal(root)
    assert f"{annotation_file(root, 'val2017')} " in message
    assert problem in message
    assert "instances_train2017.json " not in message  # the other file is not blamed


def annotate(**changes: object) -> Edit:
    """Change the first annotation."""
    return lambda data: data["annotations"][0].update(changes)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (annotate(image_id=9), "1 x annotation of an unknown image: 1"),
        (annotate(image_id=[7]), "1 x annotation of an unknown image: 1"),
        (annotate(category_id=2), "1 x annotation of an unknown category: 1"),
        (annotate(bbox=[NAN, 0, 1, 1]), "1 x annotation whose bbox is not four finite numbers: 1"),
        (annotate(bbox=[0, INFINITY, 1, 1]), "bbox is not four finite numbers: 1"),
        (annotate(bbox=[0, 10**400, 1, 1]), "bbox is not four finite numbers: 1"),
        (annotate(bbox=[0, 0, 1]), "bbox is not four finite numbers: 1"),
        (annotate(bbox=None), "bbox is not four finite numbers: 1"),
        (annotate(bbox=[0, 0, -1, 1]), "1 x annotation with a bbox of negative size: 1"),
        (annotate(bbox=[0, 0, 1, -1]), "1 x annotation with a bbox of negative size: 1"),
        (annotate(iscrowd=2), "1 x annotation without iscrowd 0 or 1: 1"),
        (lambda data: data["images"][0].pop("file_name"), "1 x image without file_name: 7"),
        (lambda data: data["images"][1].update(width=0), "1 x image without a width and height"),
        (lambda data: data["images"][1].update(id=7), "1 x image id used twice: 7"),
        (lambda data: data["categories"][1].update(id=3), "1 x category id used twice: 3"),
        (
            lambda data: data["categories"][1].update(name="cup", supercategory="sports"),
            "category name used twice, for different groups: cup",
        ),
        (lambda data: data["categories"][1].pop("name"), "1 x category without a name"),
        (lambda data: data.update(annotations=[]), "instances_val2017.json has no annotations"),
    ],
)
def test_annotations_that_would_fail_or_count_wrong_are_named(root, change, problem):
    edit(root, change)
    message = refusal(root)
    assert problem in message
    assert message.count("\n  - ") == 1 or "unknown" in message


def test_boxes_without_size_are_coco(root):
    edit(root, annotate(bbox=[0, 0, 5, 0], area=0))  # train2017 has one
    check(root)


@pytest.mark.parametrize(("part", "largest"), LARGEST.items())
def test_ids_that_predictions_could_not_be_stored_with_are_refused(root, part, largest):
    def change(id: int, data: dict[str, Any]) -> None:
        old, data[part][0]["id"] = data[part][0]["id"], id
        for one in data["annotations"]:
            for key, kind in (("image_id", "images"), ("category_id", "categories")):
                if part == kind and one[key] == old:
                    one[key] = id

    edit(root, partial(change, largest + 1), "train2017")
    edit(root, partial(change, largest))
    check(root)
    edit(root, partial(change, largest + 1))
    said = f"has {part} with ids over {largest} or under 0: {largest + 1}"
    assert said in refusal(root)
    edit(root, lambda data: data["annotations"][1].update(id=2**40))  # a crowd
    check(root)


def renumber(data: dict[str, Any]) -> None:
    """Exchange the ids of the categories, 3 and 1, and of their annotations."""
    for one in data["categories"]:
        one["id"] = 4 - one["id"]
    for one in data["annotations"]:
        one["category_id"] = 4 - one["category_id"]


@pytest.mark.parametrize("change", [lambda data: data["categories"].reverse(), renumber])
def test_categories_in_another_order_or_with_other_ids_are_matched_by_name(root, change):
    edit(root, change)
    assert check(root) == ["instances_val2017.json: categories matched with train2017's by name"]


def test_repairs_of_a_file_and_its_categories_order_are_one_line(root):
    edit(root, lambda data: (data["categories"].reverse(), annotate(area=NAN)(data)))
    assert check(root) == [
        "instances_val2017.json: areas taken from the boxes (1 of 2); "
        "categories matched with train2017's by name"
    ]


def test_splits_with_other_categories_are_refused(root):
    edit(root, lambda data: data["categories"][1].update(name="plate"))
    message = refusal(root)
    assert (
        "the categories of train2017 and val2017 differ: in train2017 only: bowl; "
        "in val2017 only: plate" in message
    )
    edit(root, lambda data: data["categories"].append({"id": 9, "name": "fork"}))
    assert "train2017 and val2017 differ: in val2017 only: fork\n" in refusal(root)


def test_everything_wrong_is_in_one_message(root):
    (root / "train2017/a.jpg").unlink()
    edit(root, annotate(iscrowd=2, bbox=[0, 0, -1, 1]))
    message = refusal(root)
    assert message.count("\n  - ") == 3


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (annotate(id=0), "annotations numbered from 1 (2 of 2)"),
        (annotate(id=2), "annotations numbered from 1 (2 of 2)"),
        (annotate(id="x"), "annotations numbered from 1 (2 of 2)"),
        (annotate(area=NAN), "areas taken from the boxes (1 of 2)"),
        (annotate(ignore=1), "objects to ignore taken for crowds"),
        (lambda data: data["categories"][1].update(name="cup"), "of one name put together: cup"),
    ],
)
def test_what_has_one_meaning_is_repaired_and_said_in_a_line(root, change, remark):
    for split in ("train2017", "val2017"):
        edit(root, change, split)
    said = check(root)
    assert [line.partition(":")[0] for line in said] == [
        "instances_train2017.json",
        "instances_val2017.json",
    ]
    assert all(remark in line for line in said)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_any_of_its_encodings_is_read(root, encoding):
    change = dataset()
    change["categories"][0]["name"] = "Schlüssel"
    for split in ("train2017", "val2017"):
        text = json.dumps(change, ensure_ascii=False)
        annotation_file(root, split).write_bytes(text.encode(encoding))
    assert check(root) == []
    names = [one["name"] for one in read(annotation_file(root, "val2017"))["categories"]]
    assert names == ["Schlüssel", "bowl"]


def test_neither_torch_nor_mmdet_is_imported():
    code = "import sys, gfl.data.coco; print({'torch', 'mmdet', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
