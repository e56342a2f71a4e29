"""A COCO-format folder of one's own: found under many names, and what is wrong with it named."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_folder
import pytest
from own_folder import SIZE
from PIL import Image

from gfl.data.own import dataset
from gfl.data.own.spec import OwnSplit
from gfl.errors import UserError
from gfl.files import sha256

CLASSES = ("nut", "bolt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return own_folder.write(tmp_path / "parts")


def test_a_folder_of_cocos_names_is_read_with_its_classes_in_the_files_order(root):
    data = dataset.read(root)
    assert data.classes == CLASSES
    assert data.train == dataset.Contents(6, {"nut": 6, "bolt": 6})
    assert str(data.val) == "3 images, 6 objects"
    assert data.warnings == ()
    train = own_folder.path(root, "train")
    assert data.spec.train == OwnSplit(
        "annotations/instances_train2017.json", "train2017", sha256(train)
    )
    assert data.val_file == own_folder.path(root, "val")
    assert data.val_images == root / "val2017"


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/instances_{}.json", "{}"),
        ("annotations/{}.json", "images/{}"),
        ("{}.json", "images"),
        ("{}/_annotations.coco.json", "{}"),
        ("{}.json", "."),
    ],
)
def test_other_tools_names_are_found(root, annotations, images):
    _rename(root, annotations, images, {"train": "train", "val": "val"})
    data = dataset.read(root)
    assert data.spec.train.annotations == annotations.format("train")
    assert data.spec.val.images == images.format("val")


def test_val_is_also_found_as_valid(root):
    _rename(root, "{}/_annotations.coco.json", "{}", {"train": "train", "val": "valid"})
    assert dataset.read(root).spec.val.annotations == "valid/_annotations.coco.json"


def test_files_of_any_name_are_given_by_name(root, monkeypatch):
    _rename(root, "boxes/{}-v3.json", "pictures-{}", {"train": "a", "val": "b"})
    with pytest.raises(
        UserError, match=r"neither annotations/instances_train2017\.json nor"
    ) as err:
        dataset.read(root)
    assert err.value.lacks == ("train and val files",)
    found = dataset.read(root, train="boxes/a-v3.json", val="boxes/b-v3.json")
    assert "train_0.png is pictures-a/train_0.png" in found.remarks[0]
    # Below the data's folder, or the current one, as a shell completes them.
    monkeypatch.chdir(root.parent)
    data = dataset.read(
        root,
        train="boxes/a-v3.json",
        val="parts/boxes/b-v3.json",
        train_images="pictures-a",
        val_images="parts/pictures-b",
    )
    assert data.spec.train.images == "pictures-a"
    assert data.spec.val.annotations == "boxes/b-v3.json"


def _rename(root: Path, annotations: str, images: str, words: dict[str, str]) -> None:
    for split, word in words.items():
        path = root / annotations.format(word)
        path.parent.mkdir(parents=True, exist_ok=True)
        own_folder.path(root, split).rename(path)
        folder = root / images.format(word)
        folder.mkdir(parents=True, exist_ok=True)
        for image in list((root / f"{split}2017").iterdir()):
            image.rename(folder / image.name)
        (root / f"{split}2017").rmdir()


Defect = Callable[[dict[str, Any]], object]


def _first(part: str, **values: Any) -> Defect:
    return lambda content: content[part][0].update(values)


BROKEN: dict[str, tuple[Defect, str]] = {
    "no images": (lambda c: c["images"].clear() or c["annotations"].clear(), "has no images"),
    "no annotations": (lambda c: c["annotations"].clear(), "has no annotations"),
    "no categories": (
        lambda c: c["categories"].clear() or c["annotations"].clear(),
        "has no annotations, categories|has no annotations; has no categories",
    ),
    "no list of categories": (lambda c: c.pop("categories"), "has no list of categories"),
    "an unknown category": (
        _first("annotations", category_id=8),
        "has 1 x annotation of an unknown category: 1",
    ),
    "no category": (
        lambda c: c["annotations"][0].pop("category_id"),
        "has 1 x annotation of an unknown category: 1",
    ),
    "a box of negative width": (_first("annotations", bbox=[9, 2, -5, 9]), "negative size: 1"),
    "a box outside": (_first("annotations", bbox=[64, 2, 9, 9]), "box outside of its image: 1"),
    "a box that is NaN": (
        _first("annotations", bbox=[math.nan, 2, 9, 9]),
        "annotation whose bbox is not four finite numbers: 1",
    ),
    "only crowds": (
        lambda c: [a.update(iscrowd=1) for a in c["annotations"]],
        "has no object that is not a crowd",
    ),
    "another size": (
        _first("images", width=48, height=64),
        r"another size than the file says: \w+_0.png \(64 x 48, not 48 x 64\)",
    ),
    "a missing image": (
        lambda c: c["images"][1].update(file_name="gone.png"),
        r"1 image that \S+2017/ lacks: gone.png",
    ),
}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_annotation_file_is_refused_in_a_line_that_names_it(root, split, defect):
    break_it, message = BROKEN[defect]
    content = own_folder.annotations(split)
    break_it(content)
    own_folder.write_split(root, split, content)
    with pytest.raises(UserError, match=message) as refused:
        dataset.read(root)
    assert split in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_not_there_or_no_json_are_named(root):
    with pytest.raises(UserError, match="nowhere is missing"):
        dataset.read(root / "nowhere")
    file = own_folder.path(root, "val")
    with pytest.raises(UserError, match=r"instances_val2017.json is not a folder"):
        dataset.read(file)
    file.write_text('{"images": [')
    with pytest.raises(UserError, match=r"instances_val2017.json is not JSON: "):
        dataset.read(root)
    file.write_text("[]")
    with pytest.raises(UserError, match="is not COCO: a JSON list"):
        dataset.read(root)
    file.write_text('{"images": [1, {}], "annotations": [{}], "categories": [{}]}')
    with pytest.raises(UserError, match="images that are not objects, at position: 0"):
        dataset.read(root)
    file.unlink()
    with pytest.raises(UserError, match=r"has neither annotations/instances_val2017\.json") as err:
        dataset.read(root)
    assert err.value.lacks == ("val file", "division")
    with pytest.raises(UserError, match=r"val other.json: neither in "):
        dataset.read(root, val="other.json")


def test_images_that_are_no_pictures_or_too_small_are_named(root):
    (root / "train2017/train_0.png").write_bytes(b"")
    (root / "val2017/val_2.png").write_bytes(b"<html>")
    with pytest.raises(
        UserError,
        match=r"read \(empty, 0 bytes\): train_0.png.*read \(not an image, or .*\): val_2.png$",
    ) as err:
        dataset.read(root)
    assert err.value.lacks == ("broken left out",)
    data = dataset.read(root, skip_broken=True)
    assert "left out: 1 image cannot be read (empty, 0 bytes): train_0.png" in data.remarks[0]
    assert "supported: JPEG" in data.remarks[1]
    for split, lost in (("train", 0), ("val", 2)):
        content, gone = own_folder.annotations(split), 100 + lost
        left = [one for one in content["images"] if one["id"] != gone]
        boxes = [one for one in content["annotations"] if one["image_id"] != gone]
        found = json.loads(data.files[f"annotations-{split}.json"])
        assert [one["file_name"] for one in found["images"]] == [one["file_name"] for one in left]
        kept = found["annotations"]
        assert kept == [{key: one[key] for key in kept[0]} for one in boxes]
    for path in (root / "val2017").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"3 images cannot be read .*val_2\.png$") as refused:
        dataset.read(root, skip_broken=True)
    assert refused.value.lacks == ()
    own_folder.write(shutil.rmtree(root) or root)
    content = own_folder.annotations("train")
    content["images"][2] |= {"width": 64, "height": 31}
    own_folder.write_split(root, "train", content)
    Image.new("RGB", (64, 31)).save(root / "train2017/train_2.png")
    with pytest.raises(UserError, match=r"1 image under 32 px, too small to train on: train_2.png"):
        dataset.read(root)


def test_an_images_size_is_that_of_the_upright_picture(root):
    """mmcv turns what EXIF says is turned; the boxes have to be of that."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(root / "train2017/train_0.png", exif=exif)
    with pytest.raises(UserError, match=r"\(48 x 64, not 64 x 48\)"):
        dataset.read(root)
    Image.new("RGB", SIZE[::-1]).save(root / "train2017/train_0.png", exif=exif)
    assert dataset.read(root).train.images == 6


@pytest.mark.parametrize(
    ("categories", "how"),
    [
        ([{"id": 7, "name": "nut"}, {"id": 3, "name": "screw"}], r"'screw' \(3 objects\)"),
        ([{"id": 7, "name": "Nut"}, {"id": 3, "name": "bolt"}], "in train only: 'nut'"),
    ],
)
def test_objects_of_a_class_that_is_not_trained_are_refused(root, categories, how):
    own_folder.write_split(root, "val", own_folder.annotations("val") | {"categories": categories})
    with pytest.raises(UserError, match=how):
        dataset.read(root)


def test_what_may_be_meant_is_a_warning(root):
    content = own_folder.annotations("train")
    content["annotations"] = [a for a in content["annotations"][2:] if a["category_id"] == 7]
    content["annotations"][0]["bbox"] = [50, 10, 18, 20]
    content["images"] += [
        {"id": 1, "file_name": "../val2017/val_0.png", "width": SIZE[0], "height": SIZE[1]}
    ]
    own_folder.write_split(root, "train", content)
    found = dataset.read(root).warnings
    assert [warning.partition(":")[0] for warning in found] == [
        "no object in train of",
        "1 box in train sticks out of its image and is cut at its border in training",
        "2 images in train have no objects",
        "1 image is in train and in val",
    ]
    assert found[0].endswith(": bolt")
