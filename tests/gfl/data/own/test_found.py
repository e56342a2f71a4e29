"""Data sets as tools export them: repaired and said, or refused with the option that decides it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import own_folder
import pytest
from own_folder import SIZE, SPLITS
from PIL import Image

from gfl.data.own import dataset
from gfl.data.own.spec import normal_file
from gfl.errors import UserError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return own_folder.write(tmp_path / "parts")


def edit(root: Path, change: Change, *splits: str) -> None:
    for split in splits or SPLITS:
        content = own_folder.annotations(split)
        change(content)
        own_folder.write_split(root, split, content)


def contents(data: dataset.OwnData) -> list[dict[str, Any]]:
    """Train and val as they are trained on and evaluated."""
    found = []
    for split in SPLITS:
        content = data.files.get(normal_file(split))
        part = getattr(data.spec, split)
        found.append(json.loads(content or (data.root / part.annotations).read_bytes()))
    return found


def objects(data: dataset.OwnData) -> list[list[tuple[Any, ...]]]:
    """Each split's objects: the image's file, the class, the box."""
    return [
        sorted(
            (
                Path(names[a["image_id"]]).name,
                classes[a["category_id"]],
                *(round(float(x), 6) for x in a["bbox"]),
            )
            for a in part["annotations"]
        )
        for part in contents(data)
        for names in [{i["id"]: i["file_name"] for i in part["images"]}]
        for classes in [{c["id"]: c["name"] for c in part["categories"]}]
    ]


def snapshot(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# The folders of ../shared/found: what is said, or None where it is nothing.
FOUND: dict[str, str | None] = {
    "roboflow-ids-from-0": "category 'hardware' left out",
    "no-iscrowd": None,
    "no-area": "areas taken from the boxes",
    "boxes-only-no-ids-no-sizes": "sizes read from the images",
    "string-image-ids": "image ids read as whole numbers",
    "windows-backslashes": "found under another name",
    "percent-encoded-names": "found under another name",
    "val-lists-categories-in-another-order": "categories matched with train's by name",
    "class-name-with-newline": r"'nut\n(m6)' as 'nut (m6)'",
    "class-name-formula": None,
    "more/01_annotation_ids_from_0": "annotations numbered from 1",
    "more/02_utf8_bom": "not plain UTF-8",
    "more/03_utf16": "not plain UTF-8",
    "more/08_umlaut_class": None,
    "more/09_newline_in_class": r"'nut\n' as 'nut'",
    "more/11_ignore": "taken for crowds, neither trained on nor counted (2 of 4)",
    "more/12_one_empty_box": "1 empty box left out: annotation 1 of train_0.png",
    "more/13_no_iscrowd_no_area": "areas taken from the boxes",
    "more/14_image_id_as_text": "image_id read as a whole number",
    "more/15_backslash": "found under another name",
    "more/16_nfd_names": "found under another name",
    "more/17_lone_surrogate_in_class": r"'nut \ud83d' as 'nut'",
}
REFUSED = {
    "normalised-boxes": "8 of 8 boxes lie between 0 and 1: they look normalised",
    "boxes-are-corners": "only as corners x1, y1, x2, y2, and 0 only as x, y, width, height",
    "class-name-empty": "1 x category without a name: 7",
}


@pytest.mark.parametrize("name", FOUND)
def test_a_folder_that_was_found_is_repaired(shared, name):
    data = dataset.read(shared / "found" / name)
    said = FOUND[name]
    assert said in "; ".join(data.remarks) if said else data.remarks == ()
    assert len(data.classes) == 2
    assert all(part["annotations"] for part in contents(data))


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_was_found_is_refused(shared, name):
    with pytest.raises(UserError) as refused:
        dataset.read(shared / "found" / name)
    said = str(refused.value)
    assert REFUSED[name] in said
    assert "instances_train2017.json" in said
    assert "instances_val2017.json" in said  # all at once
    assert "\n" not in said


def test_the_options_read_what_was_refused(shared):
    corners = dataset.read(shared / "found/boxes-are-corners", boxes="xyxy")
    fractions = dataset.read(shared / "found/normalised-boxes", boxes="xywh-fractions")
    clean = dataset.read(shared / "found/no-iscrowd")
    assert objects(corners) == objects(fractions) == objects(clean)


def _separators(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = f"C:\\photos\\{image['file_name']}"


def _urls(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = f"/data/local-files/?d=set%201/{image['file_name']}"


def _another_case(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = image["file_name"].upper()


def _no_endings(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = image["file_name"].removesuffix(".png")


def _dots(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = f"./{image['file_name']}"


def _split_over_two_ids(data: dict[str, Any]) -> None:
    data["images"].append(data["images"][0] | {"id": 9})
    data["annotations"][1]["image_id"] = 9


@pytest.mark.parametrize(
    "change",
    [
        _separators, _urls, _another_case, _no_endings, _dots, _split_over_two_ids,
        lambda data: data["categories"].reverse(),
        lambda data: data["categories"].append({"id": 9, "name": "washer"}),
    ],
)  # fmt: skip
def test_other_spellings_give_the_same_objects(root, change):
    right, before = objects(dataset.read(root)), snapshot(root)
    edit(root, change, "val")
    if change in (_separators, _another_case):
        edit(root, change)
    data = dataset.read(root)
    assert objects(data) == right
    assert data.remarks or change is _dots
    assert snapshot(root).keys() == before.keys()  # nothing is written beside the user's files


def test_names_in_another_unicode_form_are_found(root):
    (root / "val2017/val_0.png").rename(root / f"val2017/{unicodedata.normalize('NFD', 'Ö')}.png")
    edit(root, lambda data: data["images"][0].update(file_name="Ö.png"), "val")
    assert "1 image found under another name" in dataset.read(root).remarks[0]


def test_a_name_that_fits_several_files_is_refused(root):
    for folder in "ab":
        (root / "val2017" / folder).mkdir()
        shutil.copy(root / "val2017/val_0.png", root / "val2017" / folder / "x.png")
    edit(root, lambda data: data["images"][0].update(file_name="c/x.png"), "val")
    with pytest.raises(UserError, match=r"several files: c/x.png \(a/x.png, b/x.png\)"):
        dataset.read(root)
    edit(root, lambda data: data["images"][0].update(file_name="elsewhere/b/x.png"), "val")
    assert "elsewhere/b/x.png is b/x.png" in dataset.read(root).remarks[0]
    edit(
        root,
        lambda data: [i.update(file_name=f"{i['id']}/val_0.png") for i in data["images"]],
        "val",
    )
    with pytest.raises(UserError, match=r"2 images whose file fits several names: val_0\.png"):
        dataset.read(root)


def test_a_data_uri_in_a_names_place_is_cut(root):
    uri = "data:image/png;base64," + "A" * 10_000
    edit(root, lambda data: data["images"][1].update(file_name=uri), "val")
    with pytest.raises(
        UserError, match=r"1 image that .*val2017/ lacks: data:image/png"
    ) as refused:
        dataset.read(root)
    assert len(str(refused.value)) < 500


def test_everything_wrong_with_train_and_val_is_told_at_once(root):
    edit(root, lambda data: data["annotations"][0].update(bbox=[1, 2, -3, 4]), "train")
    own_folder.path(root, "val").write_text("{")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    edit(root, lambda data: data["annotations"][0].update(image_id=7), "val")
    assert "is not JSON" in str(refused.value)
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    assert "negative size: 1" in str(refused.value)
    assert "unknown image: 1" in str(refused.value)
    assert refused.value.lacks == ("broken left out",)
    data = dataset.read(root, skip_broken=True)
    assert data.train.objects == {"nut": 5, "bolt": 6}
    assert len(data.remarks) == 2


def _first_class(name: str, data: dict[str, Any]) -> None:
    first, *others = data["categories"]
    data["categories"] = [first | {"name": name}, *others]


def test_classes_that_differ_in_capitals_alone_are_told_so(root):
    edit(root, partial(_first_class, "Nut"), "val")
    with pytest.raises(UserError, match="but for capitals 'Nut' is 'nut' of train: spell them al"):
        dataset.read(root)
    edit(root, partial(_first_class, "screw"), "val")
    with pytest.raises(UserError, match="take these objects out of val, or have objects of"):
        dataset.read(root)


def test_widths_and_heights_in_each_others_place_are_told_so_and_the_way_out_works(root):
    def exchange(data: dict[str, Any]) -> None:
        for image in data["images"]:
            image["width"], image["height"] = image["height"], image["width"]

    edit(root, exchange, "val")
    with pytest.raises(UserError, match="every width is the image's height and every height its"):
        dataset.read(root)
    edit(root, lambda data: [(i.pop("width"), i.pop("height")) for i in data["images"]], "val")
    assert dataset.read(root).val.images
    edit(root, lambda data: data["images"][0].update(width=1, height=2), "val")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    assert "every width" not in str(refused.value)


def test_nobody_is_advised_to_leave_out_all_there_is(root):
    edit(root, lambda data: [a.pop("bbox") for a in data["annotations"]], "val")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    assert refused.value.lacks == ()
    with pytest.raises(UserError, match=r"every one was left out: .* four finite numbers"):
        dataset.read(root, skip_broken=True)


def test_a_sound_file_is_used_as_it_is_and_a_repaired_one_named_by_what_it_means(root):
    before = dataset.read(root)
    assert before.files == {}
    assert before.spec.val.normal is None
    edit(root, lambda data: [a.pop("area") for a in data["annotations"]], "val")
    repaired = dataset.read(root)
    assert list(repaired.files) == ["annotations-val.json"]
    content = repaired.files["annotations-val.json"]
    assert repaired.spec.val.normal == hashlib.sha256(content).hexdigest()
    assert content.isascii()
    assert repaired.spec.train == before.spec.train


def test_objects_to_ignore_count_nowhere(root):
    edit(root, lambda data: data["annotations"][0].update(ignore=1))
    data = dataset.read(root)
    assert data.train.objects == {"nut": 5, "bolt": 6}
    assert data.val.objects == {"nut": 2, "bolt": 3}
    assert [part["annotations"][0]["iscrowd"] for part in contents(data)] == [1, 1]
    assert not any("ignore" in a for part in contents(data) for a in part["annotations"])


def test_more_objects_than_detections_are_evaluated_is_a_warning(root):
    def many(data: dict[str, Any]) -> None:
        one = data["annotations"][0]
        data["annotations"] += [one | {"id": 1000 + i} for i in range(100)]

    edit(root, many)
    assert dataset.read(root).warnings == (
        "1 image in val has more than 100 objects, and AP covers at most 100 detections an "
        "image: val_0.png (102)",
    )


@pytest.mark.parametrize(
    ("annotations", "images", "words"),
    [
        ("annotations/instances_{}.json", "images/{}", ("Train", "Validation")),  # CVAT
        ("{}/labels.json", "{}/images", ("train", "validation")),  # MediaPipe
        ("Annotations/Instances_{}.JSON", "Images/{}", ("TRAIN", "VAL")),
        ("{}_annotations.coco.json", "{}", ("train", "val")),
    ],
)
def test_tools_names_are_found_in_any_case(root, annotations, images, words):
    for split, word in zip(SPLITS, words, strict=True):
        path, folder = root / annotations.format(word), root / images.format(word)
        path.parent.mkdir(parents=True, exist_ok=True)
        own_folder.path(root, split).rename(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        (root / f"{split}2017").rename(folder)
    data = dataset.read(root)
    assert data.spec.val.images == images.format(words[1])


def test_two_files_that_differ_in_case_alone_are_not_chosen_between(root):
    train = own_folder.path(root, "train")
    for name in ("Train.json", "TRAIN.json"):
        shutil.copy(train, root / name)
    train.unlink()
    with pytest.raises(UserError, match=r"has TRAIN.json, Train.json$") as err:
        dataset.read(root)
    assert err.value.lacks == ("train file",)


def test_a_second_file_that_might_be_meant_is_named(root):
    shutil.copy(own_folder.path(root, "train"), root / "train.json")
    assert dataset.read(root).remarks == (
        "instances_train2017.json (train): read rather than train.json",
    )


def test_the_home_folder_is_expanded(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    data = dataset.read("~/parts", val=f"~/parts/{own_folder.path(root, 'val').relative_to(root)}")
    assert data.root == root
    assert data.spec == dataset.read(root).spec


def whole(root: Path, count: int = 30) -> Path:
    """One file for all images, as CVAT exports a task."""
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    images = []
    for i in range(count):
        noise = random.Random(i).randbytes(SIZE[0] * SIZE[1] * 3)
        Image.frombytes("RGB", SIZE, noise).save(root / f"images/{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]})
    boxes = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [1, 2, 20, 30], "area": 600,
         "iscrowd": 0}
        for i in range(count)
    ]  # fmt: skip
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "nut"}]}
    (root / "annotations/instances_default.json").write_text(json.dumps(content))
    return root


def names(part: dict[str, Any]) -> set[str]:
    return {image["file_name"] for image in part["images"]}


def test_one_file_is_divided_the_same_way_every_time(tmp_path):
    root = whole(tmp_path / "cvat")
    with pytest.raises(UserError) as err:
        dataset.read(root)
    assert err.value.lacks == ("train and val files", "division")
    data = dataset.read(root, split=0.2)
    train, val = map(names, contents(data))
    assert (len(train), len(val), train & val) == (24, 6, set())
    assert "24 images to train on, 6 to evaluate on" in "; ".join(data.remarks)
    path = root / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    content["images"].reverse()
    path.write_text(json.dumps(content))
    assert names(contents(dataset.read(root, split=0.2))[1]) == val
    for part in contents(data):
        assert {a["image_id"] for a in part["annotations"]} == {i["id"] for i in part["images"]}


def test_copies_of_an_image_are_never_in_both_parts(tmp_path):
    root = whole(tmp_path / "cvat")
    path = root / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for i in range(0, 30, 3):
        for j, image in enumerate(content["images"][i : i + 3]):
            new = f"{i}_jpg.rf.{i}a{j}.png" if i % 2 else f"x{image['id']}.png"
            (root / "images" / image["file_name"]).rename(root / "images" / new)
            image["file_name"] = new
            if not i % 2:
                shutil.copy(root / f"images/x{i}.png", root / f"images/{new}.copy")
                (root / f"images/{new}.copy").replace(root / "images" / new)
    path.write_text(json.dumps(content))
    train, val = contents(dataset.read(root, split=0.2))
    groups = [{image["id"] // 3 for image in part["images"]} for part in (train, val)]
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == set(range(10))


@pytest.mark.parametrize("part", [0, 1, 1.5, -0.2])
def test_a_part_is_between_0_and_1(root, part):
    with pytest.raises(UserError, match="expected a part between 0 and 1"):
        dataset.read(root, split=part)


def _in_folders(root: Path, names: list[str]) -> None:
    """Name the images of val, and put them where they are called; the last has no file."""
    paths = sorted((root / "val2017").iterdir())
    for path, name in zip(paths, names, strict=True):
        (root / "val2017" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(root / "val2017" / name)
    (root / "val2017" / names[-1]).unlink()
    edit(
        root,
        lambda data: [i.update(file_name=n) for i, n in zip(data["images"], names, strict=True)],
        "val",
    )


@pytest.mark.parametrize(
    "names", [["a/0.png", "a/1.png", "b/0.png"], ["0.png", "1.png", "b/0.png"]]
)
def test_a_missing_image_never_takes_the_file_of_another(root, names):
    _in_folders(root, names)
    with pytest.raises(UserError, match=r"1 image that .*val2017/ lacks: b/0\.png"):
        dataset.read(root)


@pytest.mark.parametrize("prefix", ["", "/home/somebody/set/"])
def test_a_missing_image_never_takes_a_file_in_another_folder(root, prefix):
    _in_folders(root, ["a/0.png", "a/1.png", "a/2.png"])
    (root / "val2017/c").mkdir()
    shutil.copy(root / "val2017/a/1.png", root / "val2017/c/2.png")
    names = [f"{prefix}a/{i}.png" for i in range(3)]
    edit(
        root,
        lambda data: [i.update(file_name=n) for i, n in zip(data["images"], names, strict=True)],
        "val",
    )
    with pytest.raises(UserError, match=r"1 image that .*val2017/ lacks: .*a/2\.png"):
        dataset.read(root)


def test_of_several_whole_files_none_is_chosen(tmp_path):
    root = whole(tmp_path / "cvat")
    shutil.copy(root / "annotations/instances_default.json", root / "result.json")
    with pytest.raises(UserError, match=r"has 2 JSON files ") as err:
        dataset.read(root, split=0.2)
    assert err.value.lacks == ("file to divide",)
    assert dataset.read(root, train="result.json", split=0.2).val.images == 6


def test_a_set_that_is_divided_is_not_divided_again(root):
    for split, folder in (("train", "train"), ("val", "valid")):
        (root / f"{split}2017").rename(root / folder)
        own_folder.path(root, split).rename(root / folder / "_annotations.coco.json")
    with pytest.raises(UserError, match=r"has valid/_annotations\.coco\.json for val$") as err:
        dataset.read(root, split=0.2)
    assert err.value.lacks == ("no division or file to divide",)
    data = dataset.read(root, train="train/_annotations.coco.json", split=0.5)
    assert (data.train.images, data.val.images) == (3, 3)


def test_the_one_coco_file_of_a_folder_is_found_under_any_name(root):
    right = objects(dataset.read(root))
    for split in SPLITS:
        (root / f"{split}2017").rename(root / split)
        own_folder.path(root, split).rename(root / split / "via_export_coco.json")
        (root / split / "notes.json").write_text("{}")
    assert objects(dataset.read(root)) == right
    shutil.copy(root / "val/via_export_coco.json", root / "val/copy.json")
    with pytest.raises(UserError) as err:
        dataset.read(root)
    assert "val file" in err.value.lacks


def test_a_folder_of_another_format_names_it(root):
    for split in SPLITS:
        own_folder.path(root, split).unlink()
    path = root / "train2017/train_0.json"
    path.write_text(json.dumps({"shapes": [], "imagePath": "train_0.png"}))
    with pytest.raises(UserError, match="looks like LabelMe's own format: export it as COCO"):
        dataset.read(root)
    path.write_text(json.dumps({"a.png12": {"filename": "a.png", "size": 12, "regions": []}}))
    for train in (None, path):
        with pytest.raises(UserError, match="looks like VIA's own format: export it as COCO"):
            dataset.read(root, train=train)


def test_a_folder_around_the_data_names_the_inner_one(root):
    outer = root.parent / "download"
    outer.mkdir()
    root.rename(outer / "parts")
    with pytest.raises(UserError, match=r"download has its data in parts/: give .*parts"):
        dataset.read(outer)


def test_what_is_no_folder_is_told_with_the_way_out(root):
    with pytest.raises(UserError, match="the data's folder is an empty name"):
        dataset.read("")
    with pytest.raises(UserError, match=r"is not a folder$") as err:
        dataset.read(own_folder.path(root, "train"))
    assert err.value.lacks == ("folder and train file",)


def test_files_of_train_and_val_that_are_missing_are_told_in_one_sentence(root):
    for split in SPLITS:
        own_folder.path(root, split).rename(root / f"annotations/{split}-v3.json")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    said = str(refused.value)
    assert said.count("(it has annotations/train-v3.json, annotations/val-v3.json)") == 1
    assert refused.value.lacks == ("train and val files",)
