"""Comparison of a data set's images with their annotations."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfl.data.identified import Normal, file_name
from gfl.data.json_values import Found, number, some
from gfl.data.own import finding
from gfl.data.own.split import Split
from gfl.escape import counted

if TYPE_CHECKING:
    from gfl.data.images import ImageError
    from gfl.data.own.image_check import Size

SMALLEST_IMAGE = 32  # px; mmdet excludes smaller ones from training


def image_files(part: Split, found: Found) -> list[Path | None]:
    """Return each image's file; replaces the names in the annotations by those of the files."""
    images = finding.Images(part.folder)
    files: list[Path | None] = []
    other: dict[str, str] = {}
    listed = []
    hits = images.find_all(part.names)
    for image, name, at in zip(part.dataset["images"], part.names, hits, strict=True):
        if name and at is None and name not in images.ambiguous:
            found[f"image that {part.folder}/ lacks"].append(name)
        if name and at and at != name:
            if other.setdefault(at, name) != name:
                found["image whose file fits several names"].append(at)
            image = image | {"file_name": at}
        listed.append(image)
        files.append(part.folder / at if at else None)
    for name, fits in images.ambiguous.items():
        found["image whose name fits several files"].append(f"{name} ({some(fits, 3)})")
    if other:
        name, at = next(iter((name, at) for at, name in other.items()))
        first = f"{some([name])} is {some([at])}"
        renamed = f"{counted(len(other), 'image')} found under another name ({first})"
        part.change(part.dataset | {"images": listed}, [renamed])
    return files


def measure(
    part: Split,
    files: Sequence[Path | None],
    sizes: Mapping[Path, Size | ImageError],
    found: Found,
) -> tuple[frozenset[str], Found]:
    """Check the images against the sizes in the annotations, or fill in missing sizes.

    Returns the names of unreadable images, and these images, each with its decoder's message,
    grouped by reason.
    """
    names: set[str] = set()
    unread: Found = defaultdict(list)
    listed, completed = [], 0
    for image, path in zip(part.dataset["images"], files, strict=True):
        listed.append(image)
        if path is None:
            continue
        size, name = sizes[path], str(file_name(image))
        said = tuple(number(image.get(side)) for side in ("width", "height"))
        if not isinstance(size, tuple):
            if path.exists():
                names.add(name)
                detail = f" ({size.detail})" if size.detail else ""
                unread[f"image cannot be read ({size.reason})"].append(name + detail)
            else:
                found[f"image that {path.parent}/ lacks"].append(name)
        elif any(said) and size != said:
            described = f"{name} ({size[0]} x {size[1]}, not {said[0]} x {said[1]})"
            found["image of another size than the file says"].append(described)
        else:
            if not any(said):
                completed += 1
                listed[-1] = image | {"width": size[0], "height": size[1]}
            if part.name == "train" and min(size) < SMALLEST_IMAGE:
                what = f"image under {SMALLEST_IMAGE} px, too small to train on"
                found[what].append(f"{name} ({size[0]} x {size[1]})")
    if completed:
        said = f"sizes read from the images ({completed} of {len(listed)})"
        part.change(part.dataset | {"images": listed}, [said] if part.layout is None else [])
    return frozenset(names), unread


def merge_images(normal: Normal) -> None:
    """Merge the objects of an image that is listed under several ids."""
    first: dict[str, Any] = {}
    into: dict[Any, Any] = {}
    for image in normal.dataset.get("images", ()) if not normal.problems else ():
        name = os.path.normpath(image["file_name"])
        if (same := first.setdefault(name, image["id"])) != image["id"]:
            into[image["id"]] = same
    if not into:
        return
    boxes: dict[Any, dict[str, Any]] = {}
    for one in normal.dataset["annotations"]:
        one = one | {"image_id": into.get(one["image_id"], one["image_id"])}
        boxes.setdefault((one["image_id"], one["category_id"], *one["bbox"]), one)
    images = [image for image in normal.dataset["images"] if image["id"] not in into]
    normal.dataset = normal.dataset | {"images": images, "annotations": [*boxes.values()]}
    normal.changed = True
    images = counted(len(into), "image")
    normal.remarks.append(f"{images} listed again under another id, put together")
