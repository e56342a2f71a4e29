"""A COCO-format folder of one's own: found, checked before training, and named by its content.

Imports neither torch nor mmdet. What the annotation files must be is ``gfl.data.coco``'s to say;
here is what a person's own files get wrong besides: boxes outside of their image, images that are
no longer as the file says, train and val that do not belong together.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfl.data.coco import PARTS, Found, dataset_problems, read_json, some
from gfl.errors import UserError
from gfl.files import sha256

if TYPE_CHECKING:
    from gfl.data.image_check import Progress, Size
    from gfl.data.images import ImageError

# Where COCO, and the tools that write its format, keep a split's boxes below the folder.
ANNOTATIONS = (
    "annotations/instances_{}2017.json",
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}.json",
    "{}/_annotations.coco.json",
)
IMAGES = ("{}2017", "{}", "images/{}2017", "images/{}", "images", ".")
SPELLINGS = {"train": ("train",), "val": ("val", "valid", "validation")}

SMALLEST_IMAGE = 32  # px; mmdet leaves smaller ones out of training
SMALLEST_BOX = 1  # px; and smaller boxes
TOLERANCE = 1  # px by which a box may stick out of its image and nobody needs to know


@dataclass(frozen=True)
class OwnSplit:
    """One of the two parts of a data set, as it stands in a run's configuration."""

    annotations: str  # path below the data's folder
    images: str
    sha256: str  # of the annotation file


@dataclass(frozen=True)
class OwnSpec:
    """What a run's result owes to its data: the classes, in the labels' order, and the boxes."""

    classes: tuple[str, ...]
    train: OwnSplit
    val: OwnSplit


@dataclass(frozen=True)
class Contents:
    """How much there is in a split."""

    images: int
    objects: dict[str, int]  # of each class; no crowds

    def __str__(self) -> str:
        return f"{self.images} images, {sum(self.objects.values())} objects"


@dataclass(frozen=True)
class OwnData:
    """A checked COCO-format folder.

    Made by ``read``; ``warnings`` are what may be meant so, a line each.
    """

    root: Path
    spec: OwnSpec
    train: Contents
    val: Contents
    warnings: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes

    @property
    def val_file(self) -> Path:
        return self.root / self.spec.val.annotations

    @property
    def val_images(self) -> Path:
        return self.root / self.spec.val.images


@dataclass(frozen=True)
class _Split:
    """A split's files, read."""

    name: str
    path: Path
    folder: Path
    dataset: dict[str, Any]

    @property
    def files(self) -> list[Path]:
        """Each image's path, in the file's order."""
        return [self.folder / image["file_name"] for image in self.dataset["images"]]

    @property
    def labels(self) -> list[tuple[int, str]]:
        return [(category["id"], category["name"]) for category in self.dataset["categories"]]

    def contents(self) -> Contents:
        names = dict(self.labels)
        boxes = (a for a in self.dataset["annotations"] if not a["iscrowd"])
        found = Counter(names[a["category_id"]] for a in boxes)
        return Contents(len(self.dataset["images"]), {name: found[name] for name in names.values()})

    def spec(self, root: Path) -> OwnSplit:
        below = (os.path.relpath(path, root) for path in (self.path, self.folder))
        return OwnSplit(*below, sha256=sha256(self.path))


def read(
    root: str | Path,
    *,
    train: str | Path | None = None,
    val: str | Path | None = None,
    train_images: str | Path | None = None,
    val_images: str | Path | None = None,
    progress: Progress = lambda done, total: None,
) -> OwnData:
    """Find and check a data set: boxes in COCO's JSON and images, for training and validation.

    The four paths are below ``root`` or the current folder; what is not given is looked for under
    the names that COCO and the tools of its format use. Every image is decoded once, unless it was
    before: ``progress(done, total)`` is called with numbers of images.

    Raises:
        UserError: all that is wrong, in one line.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise UserError(f"{root} is not a folder" if root.exists() else f"{root} is missing")
    training = _read_split(root, "train", train, train_images)
    validation = _read_split(root, "val", val, val_images)
    from gfl.data.image_check import examine  # numpy and Pillow, which no other command waits for

    sizes = examine(root, [*training.files, *validation.files], progress)
    problems = [*_problems(training, sizes), *_problems(validation, sizes)]
    problems = problems or _differences(training, validation)
    if problems:
        raise UserError("; ".join(problems))
    classes = tuple(name for _, name in training.labels)
    return OwnData(
        root,
        OwnSpec(classes, training.spec(root), validation.spec(root)),
        training.contents(),
        validation.contents(),
        tuple(_warnings(training, validation)),
    )


def _read_split(
    root: Path, name: str, given: str | Path | None, given_images: str | Path | None
) -> _Split:
    path = _given(root, given, f"--{name}") if given else _annotation_file(root, name)
    dataset = read_json(path)
    problems = dataset_problems(dataset)
    if not problems:
        problems = [f"has no {part}" for part in PARTS if not dataset[part]]
    if problems:
        raise UserError(f"{path} {'; '.join(problems)}")
    first = dataset["images"][0]["file_name"]
    if given_images:
        folder = _given(root, given_images, f"--{name}-images")
    else:
        folder = _image_folder(root, path, name, first)
    return _Split(name, path, folder, dataset)


def _given(root: Path, path: str | Path, option: str) -> Path:
    """A path that a person gave, below the data's folder or the current one."""
    for found in (root / path, Path(os.path.abspath(path))):
        if found.exists():
            return found
    raise UserError(f"{option} {path}: neither in {root} nor in {Path.cwd()}")


def _annotation_file(root: Path, name: str) -> Path:
    tried = [pattern.format(word) for word in SPELLINGS[name] for pattern in ANNOTATIONS]
    for path in tried:
        if (root / path).is_file():
            return root / path
    raise UserError(
        f"{root} has no {tried[0]}, nor any other name that is known for it: "
        f"name the {name} file with --{name} FILE"
    )


def _image_folder(root: Path, path: Path, name: str, first: str) -> Path:
    words = SPELLINGS[name]
    tried = [root / pattern.format(word) for pattern in IMAGES for word in words]
    for folder in dict.fromkeys([*tried, path.parent]):
        if (folder / first).is_file():
            return Path(os.path.normpath(folder))
    there = [folder for folder in tried if folder.is_dir() and folder != root]
    where = f"not in {there[0]}/" if there else f"in no folder of {root}"
    raise UserError(
        f"{path} names the image {first}, which is {where}: "
        f"name the folder of the images with --{name}-images DIR"
    )


def _problems(split: _Split, sizes: Mapping[Path, Size | ImageError]) -> list[str]:
    found: Found = defaultdict(list)
    for path, image in zip(split.files, split.dataset["images"], strict=True):
        _check_image(path, sizes[path], image, split.name, found)
    _check_boxes(split, found)
    if not any(split.contents().objects.values()):
        return [f"{split.path} has no object that is not a crowd"]
    return [f"{split.path}: {len(which)} {what}: {some(which)}" for what, which in found.items()]


def _check_image(
    path: Path, size: Size | ImageError, image: dict[str, Any], split: str, found: Found
) -> None:
    """Hold an image, as it was decoded, against what stands of it in the annotations."""
    name, said = image["file_name"], (image["width"], image["height"])
    if not isinstance(size, tuple):
        if path.exists():
            shown = f"{name} ({size.detail})" if size.detail else name
            found[f"images cannot be read ({size.reason})"].append(shown)
        else:
            found[f"images that {path.parent}/ lacks"].append(name)
    elif size != said:
        shown = f"{name} ({size[0]} x {size[1]}, not {said[0]} x {said[1]})"
        found["images of another size than the file says"].append(shown)
    elif split == "train" and min(size) < SMALLEST_IMAGE:
        what = f"images under {SMALLEST_IMAGE} px, too small to train on"
        found[what].append(f"{name} ({size[0]} x {size[1]})")


def _check_boxes(split: _Split, found: Found) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in split.dataset["images"]}
    for annotation in split.dataset["annotations"]:
        x, y, w, h = annotation["bbox"]
        width, height = sizes[annotation["image_id"]]
        if w < SMALLEST_BOX or h < SMALLEST_BOX or annotation["area"] <= 0:
            found["annotations with a box of no area"].append(annotation["id"])
        elif x >= width or y >= height or x + w <= 0 or y + h <= 0:
            found["annotations with a box outside of its image"].append(annotation["id"])


def _differences(train: _Split, val: _Split) -> list[str]:
    """mmdet numbers the classes in each file's order: a different order is a different label."""
    if train.labels == val.labels:
        return []
    files = f"{train.path} and {val.path}"
    only = [
        f"{name!r} is in {split.name} only"
        for split, other in ((train, val), (val, train))
        for name in dict(split.labels).values()
        if name not in dict(other.labels).values()
    ]
    how = some(only) if only else "they have other ids, or another order"
    return [f"the categories of {files} differ: {how}"]


def _warnings(train: _Split, val: _Split) -> list[str]:
    warnings = []
    for split in (train, val):
        objects = split.contents().objects
        if without := [name for name, count in objects.items() if not count]:
            warnings.append(f"no object in {split.name} of: {some(without)}")
        if over := _sticking_out(split):
            warnings.append(
                f"{len(over)} boxes in {split.name} stick out of their image and are cut at its "
                f"border in training: annotations {some(over)}"
            )
    annotated = {annotation["image_id"] for annotation in train.dataset["annotations"]}
    if empty := len(train.dataset["images"]) - len(annotated):
        warnings.append(f"{empty} images in train have no objects: they are not trained on")
    if both := sorted(_files(train) & _files(val)):
        warnings.append(f"{len(both)} images are in train and in val: {some(both)}")
    return warnings


def _sticking_out(split: _Split) -> Sequence[int]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in split.dataset["images"]}

    def is_over(annotation: dict[str, Any]) -> bool:
        x, y, w, h = annotation["bbox"]
        width, height = sizes[annotation["image_id"]]
        return min(x, y) < -TOLERANCE or x + w > width + TOLERANCE or y + h > height + TOLERANCE

    return [a["id"] for a in split.dataset["annotations"] if is_over(a)]


def _files(split: _Split) -> set[str]:
    folder = split.folder.resolve()
    return {os.path.normpath(folder / image["file_name"]) for image in split.dataset["images"]}
