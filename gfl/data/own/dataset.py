"""Data sets of one's own: found, read in any format, checked, and identified by content.

Imports neither torch nor mmdet. ``gfl.data.annotations`` interprets the annotations; this module
checks train and val against their images and against each other.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfl.data import annotations, bboxes, class_names
from gfl.data.identified import Normal, content
from gfl.data.json_values import Found, some
from gfl.data.own import finding, sources, splitting, voc, yolo
from gfl.data.own.image_files import image_files, measure, merge_images
from gfl.data.own.spec import OwnSpec, OwnSplit, normal_file
from gfl.data.own.split import Options, Split
from gfl.errors import Lack, UserError, did_you_mean
from gfl.escape import counted

if TYPE_CHECKING:
    from gfl.data.own.image_check import Progress

MOST_DETECTIONS = 100  # per image, the number that COCO's metrics consider


@dataclass(frozen=True)
class Contents:
    """Size of a split."""

    images: int
    objects: dict[str, int]  # per class, without crowds

    def __str__(self) -> str:
        objects = sum(self.objects.values())
        return f"{counted(self.images, 'image')}, {counted(objects, 'object')}"


@dataclass(frozen=True)
class OwnData:
    """Checked data set.

    Made by ``read``. ``remarks`` report interpretations and ``warnings`` doubtful values, a line
    each; ``files`` are the normal forms that a run's folder needs, by name.
    """

    root: Path
    spec: OwnSpec
    train: Contents
    val: Contents
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes

    @property
    def val_file(self) -> Path:
        return self.root / self.spec.val.annotations

    @property
    def val_images(self) -> Path:
        return self.root / self.spec.val.images


def read(
    root: str | Path,
    *,
    train: str | Path | None = None,
    val: str | Path | None = None,
    train_images: str | Path | None = None,
    val_images: str | Path | None = None,
    split: float | None = None,
    boxes: str | None = None,
    pixels_from: int | None = None,
    skip_broken: bool = False,
    progress: Progress = lambda done, total: None,
) -> OwnData:
    """Find and check a data set for training and validation in COCO's, YOLO's or VOC's format.

    The four paths are relative to ``root`` or the current folder; those not given are looked for
    under the names that tools use. ``split`` is the fraction of one file's images for validation,
    ``boxes`` one of ``gfl.data.bboxes.LAYOUTS``, ``pixels_from`` the number, 0 or 1, of the first
    pixel in VOC's files; ``skip_broken`` drops annotations and images that cannot be read. Every
    image not yet checked is decoded once: ``progress(done, total)`` is called with numbers of
    images.

    Raises:
        UserError: lists every problem, in one line.
    """
    if not os.fspath(root):
        raise UserError("the data's folder is an empty name")
    folder, described = _folder(Path(root).expanduser().resolve())
    if boxes is not None and boxes not in bboxes.LAYOUTS:
        raise UserError(f"unknown layout of boxes {boxes!r}{did_you_mean(boxes, bboxes.LAYOUTS)}")
    if split is not None and (val or val_images or not 0 < split < 1):
        raise UserError(
            f"split {split:g}: expected a part between 0 and 1 of one file, and no val file"
        )
    given = {"train": (train or described, train_images), "val": (val or described, val_images)}
    if pixels_from not in (None, 0, 1):
        raise UserError(f"pixels_from {pixels_from}: expected 0 or 1")
    options = Options(pixels_from, skip_broken)
    if split is not None:
        del given["val"]
    parts = _sources(folder, given, split is not None, options)
    if fixed := [part for part in parts if boxes and part.layout not in (None, boxes)]:
        raise UserError(
            f"boxes {boxes}: {fixed[0].path} has a format that says what its boxes are; that is "
            "for COCO's JSON alone"
        )
    if pixels_from is not None and (others := [p for p in parts if p.layout != voc.LAYOUT]):
        raise UserError(f"pixels_from: {others[0].path} is not in Pascal VOC's layout")
    _normalise(folder, parts, boxes, skip_broken, progress)
    training, validation = _divided(parts[0], split) if split is not None else parts
    _agree(training, validation)
    return _checked(folder, training, validation)


def _checked(root: Path, training: Split, validation: Split) -> OwnData:
    both = (training, validation)
    train, val = map(_contents, both)
    counts = (sum(one.objects.values()) for one in (train, val))
    if without := [split.path for split, n in zip(both, counts, strict=True) if not n]:
        raise UserError("; ".join(f"{path} has no object that is not a crowd" for path in without))
    files = {normal_file(split.name): content(split.dataset) for split in both if split.changed}
    specs = [_spec(split, root, files) for split in both]
    said = [
        f"{split.path.name} ({split.name}): {'; '.join(split.remarks)}"
        for split in both
        if split.remarks
    ]
    warnings = _warnings(training, validation)
    spec = OwnSpec(tuple(train.objects), specs[0], specs[1])
    return OwnData(root, spec, train, val, tuple(warnings), tuple(said), files)


def _contents(split: Split) -> Contents:
    names = {category["id"]: category["name"] for category in split.dataset["categories"]}
    boxes = (a for a in split.dataset["annotations"] if not a["iscrowd"])
    found = Counter(names[a["category_id"]] for a in boxes)
    return Contents(len(split.dataset["images"]), {name: found[name] for name in names.values()})


def _spec(split: Split, root: Path, files: Mapping[str, bytes]) -> OwnSplit:
    path, folder = (os.path.relpath(path, root) for path in (split.path, split.folder))
    normal = files.get(normal_file(split.name))
    digest = hashlib.sha256(normal).hexdigest() if normal else None
    return OwnSplit(path, folder, split.sha256, digest)


def _folder(root: Path) -> tuple[Path, Path | None]:
    """Return the data's folder, and the YAML file if one was given in its place."""
    if root.is_dir():
        return root, None
    if not root.exists():
        raise UserError(f"{root} is missing")
    if root.suffix.lower() in yolo.YAML:
        return root.parent, root
    lacks: tuple[Lack, ...] = ("folder and train file",) if root.suffix.lower() == ".json" else ()
    raise UserError(f"{root} is not a folder", lacks)


def _sources(
    root: Path,
    given: Mapping[str, tuple[str | Path | None, str | Path | None]],
    whole: bool,
    options: Options,
) -> list[Split]:
    """Read every split, from the files given if any are; raise all their problems at once."""
    found: list[Split] = []
    problems: list[UserError] = []
    for name, (file, folder) in given.items():
        try:
            path = _given(root, file, name) if file else None
            images = _given(root, folder, f"{name}_images") if folder else None
            found.append(sources.read(root, name, path, images, whole, options))
        except UserError as error:
            problems.append(error)
    match problems:
        case [finding.MissingError() as train, finding.MissingError()]:
            raise train.with_val()
        case [_, *_]:
            lacks: dict[Lack, None] = {lack: None for p in problems for lack in p.lacks}
            raise UserError("; ".join(dict.fromkeys(map(str, problems))), tuple(lacks))
    return found


def _given(root: Path, path: str | Path, name: str) -> Path:
    """Resolve a path the user gave, relative to the data's folder or the current one."""
    path = Path(path).expanduser()
    for found in (root / path, Path(os.path.abspath(path))):
        if found.exists():
            return found
    raise UserError(f"{name} {path}: neither in {root} nor in {Path.cwd()}")


def _normalise(
    root: Path, parts: Sequence[Split], boxes: str | None, skip: bool, progress: Progress
) -> None:
    """Bring all splits into normal form, with their images found and measured."""
    # Imports numpy and Pillow, which no other command needs.
    from gfl.data.own.image_check import examine

    found: dict[str, Found] = {part.name: defaultdict(list) for part in parts}
    files = {part.name: image_files(part, found[part.name]) for part in parts}
    sizes = examine(root, [path for paths in files.values() for path in paths if path], progress)
    problems = []
    lacks: dict[Lack, None] = {}
    for part in parts:
        mine = found[part.name]
        names, lost = measure(part, files[part.name], sizes, mine)
        normal = annotations.normal(
            _placed(part),
            layout=part.layout or boxes,
            trainable=True,
            skip=skip,
            doubt=True,
            without=names,
        )
        _numbered(part, normal)
        merge_images(normal)
        wrong = [_of_images(what, which) for what, which in mine.items()]
        unread = _unread(part, lost, skip and normal.kept > 0)
        wrong += unread
        wrong += _exchanged(part, files[part.name], sizes)
        wrong += normal.problems
        if (normal.broken or unread) and normal.kept and not skip:
            lacks["broken left out"] = None
        lacks.update(dict.fromkeys(normal.lacks))
        problems += [f"{part.path}: {'; '.join(wrong)}"] if wrong else []
        part.change(normal.dataset, normal.remarks)
        part.changed |= normal.changed
    if problems:
        raise UserError("; ".join(problems), tuple(lacks))


def _of_images(what: str, which: Sequence[object]) -> str:
    """Return a clause on a problem of images, "image that train/ lacks", with the first few."""
    return f"{counted(len(which), 'image')}{what.removeprefix('image')}: {some(which)}"


def _unread(part: Split, lost: Found, skip: bool) -> list[str]:
    """Report unreadable images, as a remark if they are dropped."""
    said = [_of_images(what, which) for what, which in lost.items()]
    if skip:
        part.remarks += [f"left out: {clause}" for clause in said]
        return []
    return said


def _exchanged(part: Split, files: Sequence[Path | None], sizes: Mapping[Path, Any]) -> list[str]:
    """Report a file in which the width and height of every image are swapped."""
    said = [(one.get("height"), one.get("width")) for one in part.dataset["images"]]
    found = [sizes.get(path) if path else None for path in files]
    if not said or said != found or all(h == w for h, w in said):
        return []
    return [
        "every width is the image's height and every height its width: exchange the two in the "
        "file, or take both out, and they are read from the images"
    ]


def _placed(part: Split) -> dict[str, Any]:
    """Return a split whose annotation ids are their places in files, for use in messages."""
    boxes = [a | {"number": a["id"], "id": part.where[a["id"]]}
             for a in part.dataset["annotations"] if part.where]  # fmt: skip
    return part.dataset | {"annotations": boxes} if boxes else part.dataset


def _numbered(part: Split, normal: Normal) -> None:
    """Renumber the annotations, and drop remarks that apply to every file of the format."""
    if not part.where or normal.problems:
        return
    boxes = [a | {"id": a["number"]} for a in normal.dataset["annotations"]]
    normal.dataset = normal.dataset | {"annotations": boxes}
    usual = ("areas taken from the boxes", "annotations numbered from 1")
    normal.remarks = [said for said in normal.remarks if not said.startswith(usual)]


def _divided(whole: Split, part: float) -> tuple[Split, Split]:
    train, val = splitting.divide(whole.dataset, part, whole.folder)
    said = (
        f"divided, {part:g} of it for val: {counted(len(train['images']), 'image')} to train on, "
        f"{len(val['images'])} to evaluate on, by the hash of their names"
    )
    return (
        replace(whole, dataset=train, changed=True, remarks=[*whole.remarks, said]),
        replace(whole, name="val", dataset=val, changed=True, remarks=[], where={}),
    )


def _agree(train: Split, val: Split) -> None:
    """Give train and val the same classes, or report why they cannot agree."""
    listed = train.dataset["categories"]
    used = {a["category_id"] for a in train.dataset["annotations"]}
    names = {category["id"]: category["name"] for category in val.dataset["categories"]}
    used_in_val = {names[a["category_id"]] for a in val.dataset["annotations"]}
    group = listed[0]
    if (
        group["id"] not in used
        and group["name"] not in used_in_val
        and class_names.is_group(group, listed)
    ):
        said = [f"category {group['name']!r} left out: it has no objects and only names the group"]
        train.change(train.dataset | {"categories": listed[1:]}, said)
        kept = [one for one in val.dataset["categories"] if one["name"] != group["name"]]
        if len(kept) < len(val.dataset["categories"]):
            val.change(val.dataset | {"categories": kept})
    dataset, said, problems = class_names.agree(train.dataset, val.dataset)
    if problems:
        raise UserError(
            f"the categories of {train.path} and {val.path} differ: {'; '.join(problems)}"
        )
    val.change(dataset, [one for one in said if not (val.where and "matched" in one)])


def _warnings(train: Split, val: Split) -> list[str]:
    warnings = []
    for split in (train, val):
        objects = _contents(split).objects
        if without := [name for name, count in objects.items() if not count]:
            warnings.append(f"no object in {split.name} of: {some(without)}")
        if over := _sticking_out(split):
            cut = counted(
                len(over),
                f"box in {split.name} sticks out of its image and is",
                f"boxes in {split.name} stick out of their image and are",
            )
            warnings.append(f"{cut} cut at its border in training: annotations {some(over)}")
    annotated = {annotation["image_id"] for annotation in train.dataset["annotations"]}
    if empty := len(train.dataset["images"]) - len(annotated):
        images = counted(
            empty,
            "image in train has no objects: it is",
            "images in train have no objects: they are",
        )
        warnings.append(f"{images} not trained on")
    if both := sorted(_paths(train) & _paths(val)):
        images = counted(len(both), "image is", "images are")
        warnings.append(f"{images} in train and in val: {some(both)}")
    if full := _crowded(val):
        images = counted(len(full), "image in val has", "images in val have")
        warnings.append(
            f"{images} more than {MOST_DETECTIONS} objects, and AP covers at most "
            f"{MOST_DETECTIONS} detections an image: {some(full)}"
        )
    return warnings


def _crowded(split: Split) -> list[str]:
    """Report images with more objects than the evaluation counts detections."""
    objects = Counter(a["image_id"] for a in split.dataset["annotations"] if not a["iscrowd"])
    names = {image["id"]: image["file_name"] for image in split.dataset["images"]}
    return [f"{names[id]} ({n})" for id, n in objects.items() if n > MOST_DETECTIONS]


def _sticking_out(split: Split) -> Sequence[int]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in split.dataset["images"]}

    def is_over(annotation: dict[str, Any]) -> bool:
        x, y, w, h = annotation["bbox"]
        width, height = sizes[annotation["image_id"]]
        most = bboxes.TOLERANCE
        return min(x, y) < -most or x + w > width + most or y + h > height + most

    return [a["id"] for a in split.dataset["annotations"] if is_over(a)]


def _paths(split: Split) -> set[str]:
    folder = split.folder.resolve()
    return {os.path.normpath(folder / image["file_name"]) for image in split.dataset["images"]}
