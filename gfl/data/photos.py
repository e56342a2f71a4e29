"""Photographs: COCO 2017 val's images that show a person, downscaled once, on the local machine.

Rule: every image with an annotation of a person, crowds included, sorted by the SHA-256 of its
file name; the first ``VAL`` are for validation, the others for training. Neither the images, which
their photographers license, nor the annotations are part of this project: only the rule, its
counts and the digests of its results are.

A photograph is decoded by OpenCV, shrunk by ``INTER_AREA`` so that its long side is ``SIZE`` px,
never enlarged, and encoded as JPEG of quality ``QUALITY`` without chroma subsampling. Boxes stay in
pixels of the original, where detections are evaluated. ``area`` is the box's, not the mask's, so
that AP_S, AP_M and AP_L are of boxes under 32 x 32, up to 96 x 96, and larger.

Imports neither torch nor mmdet.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from gfl.data.annotations import read
from gfl.data.coco import annotation_file
from gfl.data.json_values import some
from gfl.data.photos_spec import PERSON, SIZE, SPLIT, TRAIN, VAL, PhotosSpec
from gfl.errors import UserError, disk_errors
from gfl.files import sha256, whole_folder

QUALITY = 95
MANIFEST = "manifest.json"

HELP = f"""\
This needs COCO 2017 val (1.1 GB to download, {TRAIN + VAL} of its images are used):
  http://images.cocodataset.org/zips/val2017.zip                               816 MB
  http://images.cocodataset.org/annotations/annotations_trainval2017.zip       253 MB
unpacked into one folder, DIR, so that there are
  DIR/val2017/000000000139.jpg and 4,999 more
  DIR/annotations/instances_val2017.json"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Prepared set on disk, and its differences from the reference's."""

    root: Path
    images: str  # digest of its images
    boxes: str

    def differences(self, spec: PhotosSpec) -> list[str]:
        """List the differences from the set that the reference runs saw."""
        found = []
        if self.images != spec.images:
            found.append(
                f"the prepared images are not the reference's to the byte (digest "
                f"{self.images[:8]}, not {spec.images[:8]}: another OpenCV or libjpeg, or other "
                "originals): results here may differ from the reference's by more than seeds do"
            )
        if self.boxes != spec.boxes:
            found.append(
                f"the boxes are not the reference's (digest {self.boxes[:8]}, not "
                f"{spec.boxes[:8]}): results here are not comparable with the reference's"
            )
        return found


def selected(dataset: Mapping[str, Any], spec: PhotosSpec) -> dict[str, list[dict[str, Any]]]:
    """Return the images of a COCO annotation that show a person, by split, in the rule's order.

    Raises:
        UserError: their number differs from COCO 2017 val's.
    """
    persons = {c["id"] for c in dataset["categories"] if c["name"] == PERSON}
    with_persons = {a["image_id"] for a in dataset["annotations"] if a["category_id"] in persons}
    images = sorted(
        (image for image in dataset["images"] if image["id"] in with_persons),
        key=lambda image: text_digest(image["file_name"]),
    )
    if len(images) != spec.train + spec.val:
        raise UserError(
            f"{len(images)} images show a person, not the {spec.train + spec.val} of COCO 2017 "
            "val: these are other annotations"
        )
    return {"train": images[spec.val :], "val": images[: spec.val]}


def prepared_size(width: int, height: int, size: int = SIZE) -> tuple[int, int]:
    """Return the width and height of a prepared photograph."""
    scale = min(1.0, size / max(width, height))
    return round(width * scale), round(height * scale)


def shrink(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Downscale an image to a long side of at most ``size`` px."""
    import cv2

    height, width = image.shape[:2]
    to = prepared_size(width, height, size)
    return image if to == (width, height) else cv2.resize(image, to, interpolation=cv2.INTER_AREA)


def prepare(path: Path, size: int = SIZE) -> bytes:
    """Encode a photograph as a prepared JPEG file.

    Raises:
        UserError: the file is not an image.
    """
    import cv2

    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f"{path}: missing, or not an image")
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, encoded = cv2.imencode(".jpg", shrink(image, size), settings)
    return encoded.tobytes()


def split_annotation(
    dataset: Mapping[str, Any], images: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Return a split's annotation file: the same bytes from any copy of COCO's boxes.

    Annotation ids begin at 1, in the order of images, categories and boxes.
    """
    ids = {category["name"]: category["id"] for category in dataset["categories"]}
    names = {ids[name]: name for name in classes}
    of_image: dict[int, list[tuple[int, list[float], int]]] = {i["id"]: [] for i in images}
    for one in dataset["annotations"]:
        if one["image_id"] in of_image and one["category_id"] in names:
            box = [round(float(x), 2) for x in one["bbox"]]
            of_image[one["image_id"]].append((one["category_id"], box, int(one["iscrowd"])))
    flat = [(image, *one) for image, several in of_image.items() for one in sorted(several)]
    return {
        "info": {"description": "COCO 2017 val, images that show a person; area is the box's"},
        "licenses": [],
        "categories": [{"id": id, "name": name} for id, name in names.items()],
        "images": [{k: i[k] for k in ("id", "file_name", "width", "height")} for i in images],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box,
             "area": round(box[2] * box[3], 4), "iscrowd": crowd}
            for number, (image, category, box, crowd) in enumerate(flat, start=1)
        ],
    }  # fmt: skip


def validation(dataset: dict[str, Any], spec: PhotosSpec | None) -> dict[str, Any]:
    """Return the evaluation's ground truth from an annotation file of COCO 2017 val.

    All of it without ``spec``. No image is needed.

    Raises:
        UserError: the number of images that show a person differs from the rule's.
    """
    if spec is None:
        return dataset
    return split_annotation(dataset, selected(dataset, spec)["val"], spec.classes)


def images_digest(files: Mapping[str, str]) -> str:
    """Return the digest of a set of images, given the SHA-256 of each by name."""
    return text_digest("".join(f"{files[name]}  {name}\n" for name in sorted(files)))


def boxes_digest(paths: Sequence[Path]) -> str:
    """Return the digest of annotation files, in their order."""
    return text_digest("".join(f"{sha256(path)}\n" for path in paths))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def annotation_path(root: Path, split: str) -> Path:
    """Return the path of a prepared set's boxes; ``split`` is ``"train"`` or ``"val"``."""
    return root / "annotations" / f"instances_{split}2017.json"


def found(spec: PhotosSpec, root: Path) -> Prepared | None:
    """Return the set prepared at ``root``, if it is complete; opens no image."""
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        with os.scandir(root / SPLIT) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
        paths = [annotation_path(root, split) for split in ("train", "val")]
        # Other files there, such as pictures with boxes drawn beside the images, are ignored.
        if manifest["spec"] != _plain(spec) or not manifest["sizes"].items() <= sizes.items():
            return None
        if (boxes := boxes_digest(paths)) != manifest["boxes"]:
            return None
        return Prepared(root, manifest["images"], boxes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(
    spec: PhotosSpec,
    data: Path | None,
    root: Path,
    progress: Progress = lambda done, total: None,
) -> Prepared:
    """Prepare the photographs of a COCO folder, or of a prepared one, unless they are at ``root``.

    All or nothing. Processes that prepare the same set wait for one another.

    Raises:
        UserError: ``data`` is not given, or is neither COCO 2017 val nor prepared from it, or the
            disk is full or read-only.
    """
    if there := found(spec, root):
        return there  # without the lock, which a read-only folder does not allow
    if data is None:
        raise UserError(HELP, lacks="photographs")
    dataset, splits = _read(data, spec)
    with disk_errors(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            if there := found(spec, root):
                return there
            with whole_folder(root) as partial:
                _write(spec, data, partial, dataset, splits, progress)
    there = found(spec, root)
    assert there is not None
    return there


def _read(data: Path, spec: PhotosSpec) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Read COCO's annotation and apply the rule to it, or report what is missing."""
    path = annotation_file(data, SPLIT)
    there = {path: path.is_file(), data / SPLIT: (data / SPLIT).is_dir()}
    missing = [f"{p} is missing" for p, is_there in there.items() if not is_there]
    if missing:
        raise UserError("\n".join([*missing, HELP]), lacks="photographs")
    dataset = read(path)
    try:
        splits = selected(dataset, spec)
    except UserError as err:
        raise UserError(f"{path}: {err}") from None
    listed = set(os.listdir(data / SPLIT))
    names = [image["file_name"] for images in splits.values() for image in images]
    if lacking := [name for name in names if name not in listed]:
        count = f"{len(lacking)} of the {len(names)} images that show a person"
        raise UserError(f"{data / SPLIT}/ lacks {count}: {some(lacking)}")
    return dataset, splits


def _write(
    spec: PhotosSpec,
    data: Path,
    root: Path,
    dataset: Mapping[str, Any],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    progress: Progress,
) -> None:
    images = [image for split in splits.values() for image in split]
    already = _are_prepared(data, images, spec.size)
    (root / SPLIT).mkdir()
    (root / "annotations").mkdir()
    sizes, digests = {}, {}
    for done, image in enumerate(images):
        if done % 20 == 0:
            progress(done, len(images))
        name = image["file_name"]
        path = data / SPLIT / name
        content = path.read_bytes() if already else prepare(path, spec.size)
        _check_size(path, content, image, spec.size)
        (root / SPLIT / name).write_bytes(content)
        sizes[name], digests[name] = len(content), hashlib.sha256(content).hexdigest()
    for split, chosen in splits.items():
        text = json.dumps(split_annotation(dataset, chosen, spec.classes), separators=(",", ":"))
        annotation_path(root, split).write_text(text, encoding="utf-8")
    manifest = {
        "spec": _plain(spec),
        "images": images_digest(digests),
        "boxes": boxes_digest([annotation_path(root, split) for split in ("train", "val")]),
        "sizes": sizes,
    }
    (root / MANIFEST).write_text(json.dumps(manifest, sort_keys=True), encoding="utf-8")


def _are_prepared(data: Path, images: Sequence[Mapping[str, Any]], size: int) -> bool:
    """Return True if a folder holds prepared images, judged by the first one that shrinks."""
    first = next(i for i in images if max(i["width"], i["height"]) > size)
    path = data / SPLIT / first["file_name"]
    return _size(path, path) == prepared_size(first["width"], first["height"], size)


def _check_size(path: Path, content: bytes, image: Mapping[str, Any], long: int) -> None:
    """Check a prepared image's size against the annotated one.

    Raises:
        UserError: it is not an image, or its size differs.
    """
    expected = prepared_size(image["width"], image["height"], long)
    if (size := _size(io.BytesIO(content), path)) != expected:
        was = f"{image['width']} x {image['height']}"
        raise UserError(f"{path}: prepared it is {size}, not {expected}: it was not {was} pixels")


def _size(file: Path | io.BytesIO, path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, SyntaxError) as err:
        raise UserError(f"{path}: not an image") from err


def _plain(spec: PhotosSpec) -> dict[str, Any]:
    """Return a spec as it reads back from JSON."""
    return json.loads(json.dumps(asdict(spec)))
