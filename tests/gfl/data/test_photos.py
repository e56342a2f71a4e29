"""The rule, the preparation and the boxes of the photographs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_folder import COUNT, SPEC, annotation, name
from coco_folder import write as write_coco

from gfl.data import photos
from gfl.data.annotations import read
from gfl.data.photos import prepared_size, selected, split_annotation
from gfl.data.photos_spec import IMAGES, PhotosSpec
from gfl.errors import UserError
from gfl.predictions.matches import digest_of


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_every_image_with_a_person_is_taken_in_the_order_of_its_names_digest() -> None:
    splits = selected(annotation(), SPEC)
    with_person = [name(i) for i in range(COUNT) if i not in (1, 6)]  # a crowd's, too
    expected = sorted(with_person, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    assert [image["file_name"] for image in splits["val"]] == expected[:3]
    assert [image["file_name"] for image in splits["train"]] == expected[3:]


def test_other_annotations_than_cocos_are_refused_with_their_count() -> None:
    with pytest.raises(UserError, match=r"8 images show a person, not the 9 of COCO 2017 val"):
        selected(annotation(), replace(SPEC, train=6))


@pytest.mark.parametrize(
    ("size", "prepared"),
    [
        ((640, 480), (320, 240)),
        ((480, 640), (240, 320)),
        ((640, 427), (320, 214)),  # 213.5, to even
        ((640, 425), (320, 212)),  # 212.5, to even
        ((500, 375), (320, 240)),
        ((240, 200), (240, 200)),  # never enlarged
    ],
)
def test_the_long_side_is_320_px_at_most(size: tuple[int, int], prepared: tuple[int, int]) -> None:
    assert prepared_size(*size) == prepared


def test_originals_and_what_is_prepared_of_them_give_the_same_set(
    coco: Path, tmp_path: Path
) -> None:
    first = photos.write(SPEC, coco, tmp_path / "first")
    small = tmp_path / "small"
    shutil.copytree(coco / "annotations", small / "annotations")
    shutil.copytree(tmp_path / "first/val2017", small / "val2017")
    second = photos.write(SPEC, small, tmp_path / "second")
    assert contents(first.root) == contents(second.root)
    assert (first.images, first.boxes) == (second.images, second.boxes)
    for image in json.loads((small / "annotations/instances_val2017.json").read_text())["images"]:
        path = small / "val2017" / image["file_name"]
        if image["id"] not in (2, 7):
            height, width = cv2.imread(str(path)).shape[:2]
            assert (width, height) == prepared_size(image["width"], image["height"], SPEC.size)


def test_boxes_stay_in_pixels_of_the_original_and_area_is_the_boxs(
    coco: Path, tmp_path: Path
) -> None:
    root = photos.write(SPEC, coco, tmp_path / "set").root
    found = json.loads(photos.annotation_path(root, "val").read_text())
    assert found["categories"] == [{"id": 1, "name": "person"}]
    first = found["annotations"][0]
    width, height = (found["images"][0][key] for key in ("width", "height"))
    index = found["images"][0]["id"] - 1
    assert first["bbox"] == [4.25, 3.5, width / 2, height / 2 + index]
    assert first["area"] == pytest.approx(width / 2 * (height / 2 + index))
    both = [
        one
        for split in ("train", "val")
        for one in json.loads(photos.annotation_path(root, split).read_text())["annotations"]
    ]
    assert [one["iscrowd"] for one in both if one["image_id"] == 3] == [1]
    assert sum(one["iscrowd"] for one in both) == 1


def test_an_audit_evaluates_against_the_same_boxes_without_any_image(
    coco: Path, tmp_path: Path
) -> None:
    root = photos.write(SPEC, coco, tmp_path / "set").root
    official = read(coco / "annotations/instances_val2017.json")
    evaluated = read(photos.annotation_path(root, "val"))
    assert photos.validation(official, SPEC) == evaluated
    assert digest_of(photos.validation(official, SPEC)) == digest_of(evaluated)
    assert photos.validation(official, None) is official


def test_any_order_and_any_ids_give_the_same_file() -> None:
    dataset = annotation()
    images = selected(dataset, SPEC)["train"]
    other = dataset | {"annotations": dataset["annotations"][::-1]}
    other["annotations"] = [
        one | {"id": i, "area": 3} for i, one in enumerate(other["annotations"])
    ]
    found = [split_annotation(each, images, ("person",)) for each in (dataset, other)]
    assert found[0] == found[1]


def test_a_set_that_is_there_needs_no_data(coco: Path, tmp_path: Path) -> None:
    made = photos.write(SPEC, coco, tmp_path / "set")
    assert photos.write(SPEC, None, tmp_path / "set") == made


def test_what_is_drawn_beside_the_images_changes_nothing(coco: Path, tmp_path: Path) -> None:
    made = photos.write(SPEC, coco, tmp_path / "set")
    (made.root / "val2017" / f"{name(0)}.boxes.png").write_bytes(b"drawn")
    (made.root / "val2017/.DS_Store").touch()
    assert photos.write(SPEC, None, tmp_path / "set") == made


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": 1}', "\ufeff{}"])
def test_a_set_whose_manifest_is_damaged_is_made_again(
    coco: Path, tmp_path: Path, text: str
) -> None:
    made = photos.write(SPEC, coco, tmp_path / "set")
    (made.root / photos.MANIFEST).write_text(text, "utf-8")
    assert photos.found(SPEC, made.root) is None
    assert photos.write(SPEC, coco, tmp_path / "set") == made


def test_a_full_disk_is_said_and_leaves_nothing(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=f"^{tmp_path / 'set'}: the disk is full; free some space"):
        photos.write(SPEC, coco, tmp_path / "set")
    assert {path.name for path in tmp_path.iterdir()} <= {".set.lock"}


def test_a_set_that_lost_an_image_or_changed_its_boxes_is_made_again(
    coco: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    photos.write(SPEC, coco, root)
    before = contents(root)
    next((root / "val2017").iterdir()).unlink()
    photos.write(SPEC, coco, root)
    assert contents(root) == before
    path = photos.annotation_path(root, "val")
    path.write_text(path.read_text().replace("4.25", "4.75"))
    photos.write(SPEC, coco, root)
    assert contents(root) == before


def test_what_is_missing_is_said_once_with_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(UserError) as none:
        photos.write(SPEC, None, tmp_path / "set")
    with pytest.raises(UserError) as empty:
        photos.write(SPEC, tmp_path / "nowhere", tmp_path / "set")
    parts = ("zips/val2017.zip", "816 MB", "annotations_trainval2017.zip", "253 MB")
    layout = ("DIR/val2017/000000000139.jpg", "DIR/annotations/instances_val2017.json")
    for told in (str(none.value), str(empty.value)):
        for part in (*parts, *layout):
            assert part in told
    assert f"{tmp_path}/nowhere/annotations/instances_val2017.json is missing" in str(empty.value)


def test_a_missing_image_is_named(coco: Path, tmp_path: Path) -> None:
    lacking = shutil.copytree(coco, tmp_path / "lacking")
    (lacking / "val2017" / name(0)).unlink()
    with pytest.raises(UserError, match=rf"lacks 1 of the 8 images .*: {name(0)}"):
        photos.write(SPEC, lacking, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_image_that_is_none_or_another_is_named(coco: Path, tmp_path: Path) -> None:
    other = shutil.copytree(coco, tmp_path / "other")
    (other / "val2017" / name(3)).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=rf"{name(3)}: .*not an image"):
        photos.write(SPEC, other, tmp_path / "set")
    cv2.imwrite(str(other / "val2017" / name(3)), np.zeros((50, 64, 3), np.uint8))
    with pytest.raises(UserError, match=rf"{name(3)}: .* was not 300 x 275 pixels"):
        photos.write(SPEC, other, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_difference_from_the_references_set_is_said(coco: Path, tmp_path: Path) -> None:
    made = photos.write(SPEC, coco, tmp_path / "set")
    images, boxes = made.differences(SPEC)
    assert made.images[:8] in images
    assert IMAGES[:8] in images
    assert "not comparable" in boxes
    assert not made.differences(replace(SPEC, images=made.images, boxes=made.boxes))


def test_real_originals_are_prepared_to_the_byte(shared: Path) -> None:
    originals, small = shared / "data/coco-tiny", shared / "data/photos/val2017"
    dataset = json.loads((originals / "annotations/instances_val2017.json").read_text())
    people = {a["image_id"] for a in dataset["annotations"] if a["category_id"] == 1}
    chosen = [i["file_name"] for i in dataset["images"] if i["id"] in people]
    assert len(chosen) == 49
    for each in chosen:
        assert photos.prepare(originals / "val2017" / each) == (small / each).read_bytes(), each


def test_the_rebuilt_boxes_are_the_official_ones(shared: Path) -> None:
    """To two decimals, which is all that COCO's files have."""
    official = json.loads(
        (shared / "data/coco-tiny/annotations/instances_val2017.json").read_text()
    )
    rebuilt = json.loads((shared / "data/photos/annotations/instances_val2017.json").read_text())
    people = {a["image_id"] for a in official["annotations"] if a["category_id"] == 1}
    images = [image for image in official["images"] if image["id"] in people]
    classes = [category["name"] for category in official["categories"]]
    theirs, ours = (split_annotation(each, images, classes) for each in (official, rebuilt))
    assert theirs["annotations"] == ours["annotations"]
    assert len(ours["annotations"]) > 400


def test_the_references_set_has_the_counts_and_digests_that_the_rule_names(
    shared: Path, tmp_path: Path
) -> None:
    spec = PhotosSpec()
    made = photos.write(spec, shared / "data/photos", tmp_path / "set")
    assert not made.differences(spec)
    boxes = {}
    for split in ("train", "val"):
        found = json.loads(photos.annotation_path(made.root, split).read_text())
        assert len(found["images"]) == getattr(spec, split)
        boxes[split] = Counter(one["iscrowd"] for one in found["annotations"])
    assert boxes == {"train": {0: 6873, 1: 147}, "val": {0: 3904, 1: 80}}
