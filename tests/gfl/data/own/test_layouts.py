"""YOLO's and Pascal VOC's layouts give the objects of the same data set in COCO's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_folder
import pytest
from own_folder import CATEGORIES, SIZE, SPLITS

from gfl.data.own import dataset
from gfl.data.own.spec import normal_file
from gfl.errors import UserError

NAMES = ["bolt", "nut"]  # by YOLO's numbers
CLASSES = {category["id"]: category["name"] for category in CATEGORIES}
Objects = list[list[tuple[str, str, tuple[float, ...]]]]


def expected() -> Objects:
    """The objects of ``own_folder``: the image, the class, the box."""
    found = []
    for split in SPLITS:
        data = own_folder.annotations(split)
        names = {image["id"]: image["file_name"] for image in data["images"]}
        found.append([(names[a["image_id"]], CLASSES[a["category_id"]], tuple(a["bbox"]))
                      for a in data["annotations"]])  # fmt: skip
    return found


def read(data: dataset.OwnData) -> Objects:
    found = []
    for split in SPLITS:
        part = json.loads(data.files[normal_file(split)])
        names = {image["id"]: Path(image["file_name"]).name for image in part["images"]}
        classes = {category["id"]: category["name"] for category in part["categories"]}
        found.append([(names[a["image_id"]], classes[a["category_id"]], tuple(a["bbox"]))
                      for a in part["annotations"]])  # fmt: skip
    return found


def same(found: Objects, right: Objects) -> None:
    for mine, theirs in zip(found, right, strict=True):
        for a, b in zip(sorted(mine), sorted(theirs), strict=True):
            assert a[:2] == b[:2]
            assert a[2] == pytest.approx(b[2], abs=1e-6)


def images(root: Path, folder: str) -> None:
    """Move the images of a COCO folder, and leave its boxes out."""
    own_folder.write(root)
    for split in SPLITS:
        place = root / folder.format(split)
        place.parent.mkdir(parents=True, exist_ok=True)
        (root / f"{split}2017").rename(place)
        own_folder.path(root, split).unlink()
    (root / "annotations").rmdir()


def yolo(root: Path, folder: str = "images/{}", polygons: bool = False) -> Path:
    images(root, folder)
    for split, objects in zip(SPLITS, expected(), strict=True):
        for image in {name for name, _, _ in objects}:
            path = root / folder.replace("images", "labels").format(split) / f"{image[:-4]}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [
                _line(NAMES.index(name), box, polygons) for i, name, box in objects if i == image
            ]
            path.write_text("\n".join(lines) + "\n")
    return root


def _line(label: int, box: tuple[float, ...], polygon: bool) -> str:
    x, y, w, h = box[0] / SIZE[0], box[1] / SIZE[1], box[2] / SIZE[0], box[3] / SIZE[1]
    numbers = [x + w / 2, y + h / 2, w, h]
    if polygon:
        numbers = [x, y, x + w, y, x + w, y + h, x, y + h, x, y + h / 2]
    return f"{label} " + " ".join(f"{number:.9f}" for number in numbers)


YAML = {
    "a list of names": "train: images/train\nval: images/val\nnames: [bolt, nut]\n",
    "numbered names": "train: images/train\nval: images/val\nnames:\n  0: bolt\n  1: nut\n",
    "another machine's path": (
        "path: /home/somebody/datasets/parts\ntrain: images/train\nval: images/val\n"
        "nc: 2\nnames: ['bolt', 'nut']\n"
    ),
    "Roboflow's": "train: ../images/train\nval: ../images/val\nnames: ['bolt', 'nut']\n",
    "several folders": "train: [images/train]\nval:\n- images/val\nnames: ['bolt', 'nut']\n",
}


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("content", YAML.values(), ids=YAML.keys())
def test_yolo_with_a_yaml_file_gives_the_same_objects(tmp_path, content, polygons):
    root = yolo(tmp_path / "parts", polygons=polygons)
    (root / "data.yaml").write_text(content)
    data = dataset.read(root)
    assert data.classes == ("bolt", "nut")
    same(read(data), expected())
    assert dataset.read(root / "data.yaml").spec == data.spec
    assert dataset.read(root).spec == data.spec


@pytest.mark.parametrize("folder", ["images/{}", "{}/images", "{}"])
def test_yolo_without_a_yaml_file_needs_names_of_classes(tmp_path, folder):
    root = yolo(tmp_path / "parts", folder)
    with pytest.raises(UserError, match=r"neither a data\.yaml nor a classes\.txt"):
        dataset.read(root)
    (root / "classes.txt").write_text("bolt\nnut\n")
    same(read(dataset.read(root)), expected())


def test_yolo_lists_images_in_a_text_file(tmp_path):
    root = yolo(tmp_path / "parts")
    for split in SPLITS:
        listed = sorted((root / "images" / split).iterdir())
        lines = [f"/content/elsewhere/images/{split}/{path.name}" for path in listed]
        (root / f"{split}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [bolt, nut]\n")
    same(read(dataset.read(root)), expected())


def test_an_image_without_labels_has_no_objects(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    (root / "labels/train/train_0.txt").unlink()
    (root / "labels/train/train_1.txt").write_text("")
    data = dataset.read(root)
    assert (data.train.images, data.train.objects) == (6, {"bolt": 4, "nut": 4})
    assert "1 image without a label file has no objects" in data.remarks[0]
    assert "2 images in train have no objects: they are not trained on" in data.warnings


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2, but 2 classes named"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5, but 2 classes named"),
        ("0 0.5 0.5 0.1", "4 numbers, neither a box nor a polygon"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers, neither a box nor a polygon"),
        ("0 32 24 6 6", "coordinates outside 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "coordinates outside 0 to 1"),
        ("bolt 0.5 0.5 0.1 0.1", "not numbers"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_line(tmp_path, line, why):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    with (root / "labels/val/val_1.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    problem = f"1 label cannot be read: labels/val/val_1.txt line 4: {why}"
    assert problem in str(refused.value)
    assert refused.value.lacks == ("broken left out",)
    assert "\n" not in str(refused.value)
    data = dataset.read(root, skip_broken=True)
    assert f"left out: {problem}" in data.remarks[0]
    same(read(data), expected())


def test_an_image_whose_labels_are_all_broken_is_left_out_not_taken_for_empty(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    for name in ("val_0", "val_2"):
        (root / f"labels/val/{name}.txt").write_bytes(b"\x89PNG\0\n\xff")
    data = dataset.read(root, skip_broken=True)
    assert "left out: 4 labels cannot be read: labels/val/val_0.txt line 1" in data.remarks[0]
    said = "2 images without a readable label: labels/val/val_0.txt, labels/val/val_2.txt"
    assert said in data.remarks[0]
    train, val = expected()
    same(read(data), [train, [one for one in val if one[0] == "val_1.png"]])
    assert data.val.images == 1
    (root / "labels/val/val_1.txt").write_text("bolt\n")
    with pytest.raises(UserError, match="5 labels cannot be read") as refused:
        dataset.read(root, skip_broken=True)
    assert refused.value.lacks == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("train: images/train\nval: images/gone\nnames: [a, b]\n", "names images/gone, which is"),
        ("train: images/train\nnames: [a, b]\n", "names no val images"),
        ("train: images/train\nval: images/val\nnames: 3\n", "neither a list nor numbers"),
    ],
)
def test_a_yaml_file_that_leads_nowhere_is_named(tmp_path, content, why):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(content)
    with pytest.raises(UserError, match=why):
        dataset.read(root)


def test_nothing_in_a_yaml_file_is_run(tmp_path):
    root = yolo(tmp_path / "parts")
    bad = f"names: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n"
    (root / "data.yaml").write_text(bad)
    with pytest.raises(UserError, match=r"data\.yaml names no train images"):
        dataset.read(root / "data.yaml")
    assert not (tmp_path / "made").exists()


def test_yolo_is_divided_too(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text("train: images/train\nnames: [bolt, nut]\n")
    data = dataset.read(root, split=0.5)
    assert (data.train.images, data.val.images) == (3, 3)


def voc(root: Path, place: str = "Annotations", pictures: str = "JPEGImages") -> Path:
    images(root, pictures + "/{}" if "{}" not in pictures else pictures)
    for split, objects in zip(SPLITS, expected(), strict=True):
        if "{}" not in pictures:
            folder = root / pictures / split
            for path in list(folder.iterdir()):
                path.rename(root / pictures / path.name)
            folder.rmdir()
        files = sorted({name for name, _, _ in objects})
        for image in files:
            path = root / place.format(split) / f"{image[:-4]}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_xml(image, [(n, b) for i, n, b in objects if i == image]))
        if "{}" not in place:
            path = root / f"ImageSets/Main/{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name[:-4]}\n" for name in files))
    return root


def _xml(image: str, objects: list[tuple[str, tuple[float, ...]]]) -> str:
    listed = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin>"
        f"<ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for name, (x, y, w, h) in objects
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{image}</filename>{size}{listed}</annotation>"


@pytest.mark.parametrize(
    "write",
    [
        voc,
        lambda root: voc(root, "{}", "{}"),  # Roboflow's
        lambda root: voc(root / "VOCdevkit/VOC2012").parents[1],
    ],
)
def test_voc_gives_the_same_objects(tmp_path, write):
    data = dataset.read(write(tmp_path / "parts"))
    assert data.classes == ("bolt", "nut")
    same(read(data), expected())


def test_vocs_lists_can_be_named(tmp_path):
    root = voc(tmp_path / "parts")
    for old, new in (("train", "trainval"), ("val", "test")):
        (root / f"ImageSets/Main/{old}.txt").rename(root / f"ImageSets/Main/{new}.txt")
    with pytest.raises(UserError) as err:
        dataset.read(root)
    assert err.value.lacks == ("division or both files",)
    data = dataset.read(root, train="ImageSets/Main/trainval.txt", val="ImageSets/Main/test.txt")
    same(read(data), expected())


def test_voc_is_divided_too(tmp_path):
    root = voc(tmp_path / "parts")
    data = dataset.read(root, split=1 / 3)
    assert (data.train.images, data.val.images) == (6, 3)


def test_difficult_objects_are_counted_nowhere(tmp_path):
    root = voc(tmp_path / "parts")
    path = root / "Annotations/val_0.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    data = dataset.read(root)
    assert sum(data.val.objects.values()) == 5
    val = json.loads(data.files["annotations-val.json"])
    assert [a["iscrowd"] for a in val["annotations"]] == [1, 0, 0, 0, 0, 0]


BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "cut off": (lambda text: text[:-20], "not XML"),
    "a bomb": (
        lambda text: '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]>' + text,
        "it declares a document type",
    ),
    "no corner": (lambda text: text.replace("<xmin>4</xmin>", ""), "without four corners"),
    "no number": (lambda text: text.replace(">4<", ">four<"), "without four corners"),
    "no name": (lambda text: text.replace("<name>nut</name>", ""), "an object without a name"),
    "no box": (lambda text: text.replace("bndbox", "box"), "without a bndbox"),
}


@pytest.mark.parametrize("defect", BROKEN)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_broken_xml_file_is_named(tmp_path, defect, encoding):
    root = voc(tmp_path / "parts")
    change, why = BROKEN[defect]
    path = root / "Annotations/val_0.xml"
    path.write_bytes(change(path.read_text()).encode(encoding))
    with pytest.raises(UserError, match=why) as refused:
        dataset.read(root)
    assert "Annotations/val_0.xml" in str(refused.value)
    assert refused.value.lacks == ("broken left out",)
    assert "\n" not in str(refused.value)
    data = dataset.read(root, skip_broken=True)
    said = "left out with its image: 1 XML file cannot be read: Annotations/val_0.xml: "
    assert said in data.remarks[0]
    train, val = expected()
    same(read(data), [train, [one for one in val if one[0] != "val_0.png"]])
    assert data.val.images == 2


def test_a_folder_of_nothing_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has neither annotations/instances_train2017\.json nor .*or val$"
    ):
        dataset.read(tmp_path)
    content: dict[str, Any] = {}
    (tmp_path / "notes.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"\(it has notes\.json\)"):
        dataset.read(tmp_path)


def test_a_missing_image_of_a_list_never_takes_another_ones_file(tmp_path):
    root = yolo(tmp_path / "parts")
    names = sorted(path.name for path in (root / "images/val").iterdir())
    lines = [f"images/val/{name}" for name in names] + [f"images/more/{names[0]}"]
    (root / "val.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images/train\nval: val.txt\nnames: [bolt, nut]\n")
    with pytest.raises(UserError, match=r"lists 1 missing image: images/more/val_0"):
        dataset.read(root)


def test_a_missing_image_of_an_xml_file_never_takes_another_ones_file(tmp_path):
    root = voc(tmp_path / "parts")
    (root / "JPEGImages/val_1.png").unlink()
    path = root / "Annotations/val_1.xml"
    path.write_text(path.read_text().replace("val_1.png", "val_0.png"))
    with pytest.raises(UserError, match=r"1 image that .* lacks: JPEGImages/val_1"):
        dataset.read(root)


def test_what_a_yaml_file_names_is_looked_for_in_its_folder_first(tmp_path):
    yolo(tmp_path, "{}/images")  # the neighbour's
    (tmp_path / "train/images/train_0.png").unlink()
    root = yolo(tmp_path / "parts", "{}/images")
    content = "train: ../train/images\nval: ../val/images\nnames: [bolt, nut]\n"
    (root / "data.yaml").write_text(content)
    data = dataset.read(root)
    same(read(data), expected())
    assert "outside" not in "; ".join(data.remarks)
    shutil.rmtree(root / "train")
    data = dataset.read(root)
    assert data.train.images == 5
    said = "5 of 5 train images lie outside of the folder, in ../train/images"
    assert said in data.remarks[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (YAML["another machine's path"], "path: /home/somebody/datasets/parts is not followed"),
        (
            "train: C:\\data\\images\\train\nval: images/val\nnames: [bolt, nut]\n",
            "C:/data/images/train is not followed: images/train is taken",
        ),
    ],
)
def test_a_path_that_is_not_followed_is_said(tmp_path, content, said):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(content)
    assert said in dataset.read(root).remarks[0]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("[yes, no]", ("yes", "no")),
        ("[007, null]", ("007", "null")),
        ("{1: on, 0: 1.0}", ("1.0", "on")),
    ],
)
def test_class_names_are_what_a_yaml_file_says(tmp_path, names, classes):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    assert dataset.read(root).classes == classes


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("names: [bolt, nut\ntrain: images/train\n", r"data\.yaml is not YAML: line 2: "),
        ("train: images/train\nval: images/val\nnames: [a, b]\nnc: 3\n", "2 classes, but nc is 3"),
        ("train: images/train\nval: images/val\nnames: [bolt, '']\n", "no text for class 1"),
        ("train: images/train\nval: images/val\nnames: {0: a, 00: b}\n", "is there twice"),
    ],
)  # fmt: skip
def test_class_names_are_not_guessed(tmp_path, content, why):
    root = yolo(tmp_path / "parts")
    (root / "classes.txt").write_text("nut\nbolt\n")
    (root / "data.yaml").write_text(content)
    with pytest.raises(UserError, match=why):
        dataset.read(root)


def test_a_blank_line_among_class_names_is_refused(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "classes.txt").write_text("bolt\n\nnut\n")
    with pytest.raises(UserError, match=r"classes\.txt has no class in line 2"):
        dataset.read(root)
    (root / "classes.txt").write_text("bolt\nnut\n\n\n")
    same(read(dataset.read(root)), expected())


@pytest.mark.parametrize("write", [yolo, voc])
def test_options_of_cocos_json_are_refused_for_other_formats(tmp_path, write):
    root = write(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    if write is voc:
        (root / "data.yaml").unlink()
    with pytest.raises(UserError, match=r"^boxes xywh-fractions: .* for COCO's JSON alone"):
        dataset.read(root, boxes="xywh-fractions")
    with pytest.raises(UserError, match=r"val_images: .* for COCO's JSON alone"):
        dataset.read(root, val_images=next(root.iterdir()))


def test_voc_without_lists_is_named_with_the_option_that_divides_it(tmp_path):
    root = voc(tmp_path / "parts")
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(UserError) as refused:
        dataset.read(root)
    assert "has Pascal VOC's files (Annotations/train_0.xml)" in str(refused.value)
    assert refused.value.lacks == ("division or both files",)
    dataset.read(root, split=0.3)


def test_yolo_that_is_not_divided_is_named_with_the_option_that_divides_it(tmp_path):
    root = yolo(tmp_path / "parts")
    for kind in ("images", "labels"):
        for split in SPLITS:
            for path in (root / kind / split).iterdir():
                path.rename(root / kind / path.name)
            (root / kind / split).rmdir()
    (root / "classes.txt").write_text("bolt\nnut\n")
    with pytest.raises(UserError, match=r"has YOLO's labels \(labels/train_0\.txt\)") as err:
        dataset.read(root)
    assert err.value.lacks == ("division or both files",)
    dataset.read(root, split=0.3)


def test_a_broken_object_is_named_by_its_file(tmp_path):
    root = voc(tmp_path / "voc")
    path = root / "Annotations/val_1.xml"
    path.write_text(path.read_text().replace("<xmax>22</xmax>", "<xmax>2</xmax>"))
    with pytest.raises(UserError, match=r"negative size: Annotations/val_1\.xml object 1"):
        dataset.read(root)
    assert dataset.read(root, skip_broken=True).val.objects == {"bolt": 3, "nut": 2}
    root = yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text(YAML["a list of names"])
    with (root / "labels/val/val_1.txt").open("a") as file:
        file.write("0 0.5 0.5 0.1 -0.001\n")
    with pytest.raises(UserError, match=r"negative size: labels/val/val_1\.txt line 3"):
        dataset.read(root)


def test_nothing_is_said_of_what_every_file_of_a_format_lacks(tmp_path):
    root = voc(tmp_path / "voc")
    assert dataset.read(root).remarks == ()
    root = yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text(YAML["a list of names"])
    data = dataset.read(root)
    assert data.remarks == ()
    ids = [a["id"] for a in json.loads(data.files["annotations-train.json"])["annotations"]]
    assert ids == list(range(1, 13))


def test_corners_that_may_be_counted_from_1_are_said(tmp_path):
    root = voc(tmp_path / "parts")
    path = root / "Annotations/val_1.xml"
    path.write_text(path.read_text().replace("<xmin>4</xmin>", "<xmin>1</xmin>"))
    (said,) = dataset.read(root).remarks
    assert "pixels may be counted from 1" in said
    assert "pixels_from 1 moves" in said
    assert dataset.read(root, pixels_from=0).remarks == ()
    path.write_text(path.read_text().replace("<xmin>1</xmin>", "<xmin>0</xmin>"))
    assert dataset.read(root).remarks == ()


def test_corners_that_count_from_1_include_both_pixels(tmp_path):
    root = voc(tmp_path / "parts")
    data = dataset.read(root, pixels_from=1)
    right = [
        [(image, name, (x - 1, y - 1, w + 1, h + 1)) for image, name, (x, y, w, h) in objects]
        for objects in expected()
    ]
    same(read(data), right)
    assert data.remarks == ()
    same(read(dataset.read(root, pixels_from=0)), expected())


def test_a_corner_at_0_refutes_that_pixels_are_counted_from_1(tmp_path):
    root = voc(tmp_path / "parts")
    path = root / "Annotations/val_1.xml"
    path.write_text(path.read_text().replace("<xmin>4</xmin>", "<xmin>0</xmin>"))
    with pytest.raises(UserError) as refused:
        dataset.read(root, pixels_from=1)
    assert (
        "pixels_from 1, but 1 box begins below 1, so pixels are counted from 0: "
        "Annotations/val_1.xml object 1" in str(refused.value)
    )
    dataset.read(root, pixels_from=0)


def test_where_pixels_begin_is_asked_of_voc_alone(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    with pytest.raises(UserError, match=r"^pixels_from: .*data\.yaml is not in Pascal VOC's lay"):
        dataset.read(root, pixels_from=1)
    with pytest.raises(UserError, match=r"^pixels_from 2: expected 0 or 1"):
        dataset.read(root, pixels_from=2)


def test_images_without_any_label_file_say_where_it_is_looked_for(tmp_path):
    root = yolo(tmp_path / "parts")
    (root / "data.yaml").write_text(YAML["a list of names"])
    shutil.rmtree(root / "labels/val")
    with pytest.raises(UserError, match=r"none of its 3 .* looked for as labels/val/val_0\.txt"):
        dataset.read(root)
