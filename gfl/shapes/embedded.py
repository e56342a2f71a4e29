"""The embedded data set: COCO-format images of shapes with known boundary ambiguity.

No real data set records where else an annotator might have drawn a side. Here every side's label is
drawn from a distribution given in the annotation, under the extra key `sides`:

| kind | appearance | distribution of the label |
|---|---|---|
| sharp | an edge | point: the edge |
| blurred | the edge fades | gaussian: around the middle of the fade, sigma a quarter of its width |
| shadow | a cast shadow | modes at [without, with]; a darker one is included more often |
| occluded | a plank in front | modes at [visible, whole]; less hidden is completed more often |

All coordinates are pixels of the image, and the sides of a box are drawn independently.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from gfl.errors import UserError
from gfl.files import sha256, whole_folder
from gfl.shapes import drawing, placing, png
from gfl.shapes.draws import Draws
from gfl.shapes.outlines import OUTLINES

CATEGORIES: tuple[str, ...] = tuple(OUTLINES)
SPLITS = ("train", "val")
VERSION = 1  # increment whenever the drawing changes
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ShapesSpec:
    """Parameters that determine the data set's bytes.

    Raises UserError for an image size, a count or a version that cannot be drawn.
    """

    image_size: int = 128
    train: int = 8000
    val: int = 1000
    seed: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.image_size < 64:
            raise UserError(f"image_size {self.image_size} is too small for shapes: at least 64")
        if min(self.train, self.val, self.seed) < 0:
            raise UserError(f"negative count or seed: {self}")
        if self.version != VERSION:
            raise UserError(f"shapes version {self.version}: this code draws {VERSION}")

    def count(self, split: str) -> int:
        return {"train": self.train, "val": self.val}[split]


def render(spec: ShapesSpec, split: str, index: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one image, uint8 [H, W, 3] RGB, and its annotations, without ids.

    A pure function of the seed, the image size, the split and the index: a larger set begins with
    a smaller one's images.
    """
    draws = Draws(spec.seed, SPLITS.index(split), index)
    base = drawing.muted(draws)
    canvas = drawing.background(spec.image_size, base, draws)
    drawing.clutter(canvas, draws)
    annotations = placing.populate(canvas, base, draws)
    return drawing.finish(canvas, draws), annotations


def file_name(index: int) -> str:
    return f"{index + 1:012d}.png"


def _draw_files(task: tuple[ShapesSpec, str, range, str]) -> list[list[dict[str, Any]]]:
    """Write the images of a range; return their annotations. Runs in a worker process."""
    spec, split, indices, folder = task
    found = []
    for index in indices:
        image, annotations = render(spec, split, index)
        Path(folder, file_name(index)).write_bytes(png.encode(image))
        found.append(annotations)
    return found


def coco(
    spec: ShapesSpec, split: str, annotations: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Return the content of the annotation file, given each image's annotations in order.

    Ids begin at 1, because pycocotools treats an id of 0 as none.
    """
    flat: list[dict[str, Any]] = [
        {"id": 0, "image_id": image + 1, **one}
        for image, several in enumerate(annotations)
        for one in several
    ]
    for number, one in enumerate(flat, start=1):
        one["id"] = number
    size = spec.image_size
    return {
        "info": {"description": f"shapes, {split}", "version": str(spec.version)},
        "licenses": [],
        "categories": [
            {"id": i, "name": name, "supercategory": "shape"}
            for i, name in enumerate(CATEGORIES, start=1)
        ],
        "images": [
            {"id": i + 1, "file_name": file_name(i), "width": size, "height": size}
            for i in range(spec.count(split))
        ],
        "annotations": flat,
    }


def _annotation_path(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}2017.json"


def _image_bytes(spec: ShapesSpec) -> int:
    """Return the size of every image file: nothing in it is compressed."""
    return len(png.encode(np.zeros((spec.image_size, spec.image_size, 3), np.uint8)))


def is_complete(spec: ShapesSpec, root: Path) -> bool:
    """Return True if `root` holds exactly this data set: manifest, annotations, and image sizes.

    Cheap: no image is opened.
    """
    try:
        manifest = json.loads((root / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["spec"] != asdict(spec):
            return False
        for split in SPLITS:
            if sha256(_annotation_path(root, split)) != manifest["sha256"][split]:
                return False
            with os.scandir(root / f"{split}2017") as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries}
            expected = dict.fromkeys(map(file_name, range(spec.count(split))), _image_bytes(spec))
            if sizes != expected:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def write(
    spec: ShapesSpec,
    root: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> None:
    """Write the data set in COCO's layout, unless it exists; all or nothing.

    `progress(done, total)` is called with numbers of images. `workers` defaults to the number of
    processors and does not affect the bytes. Processes that write the same folder wait for one
    another. Raises UserError if `root` holds something else or cannot be written.
    """
    root = Path(root).absolute()
    if is_complete(spec, root):
        return  # without the lock, which a read-only folder does not allow
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            if is_complete(spec, root):
                return
            if root.exists() and not (root / _MANIFEST).exists() and any(root.iterdir()):
                raise UserError(
                    f"{root} holds something other than shapes: remove it, or choose another folder"
                )
            with whole_folder(root) as partial:
                _write_all(spec, partial, progress or (lambda done, total: None), workers)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write the data set to {root}: {reason}") from error


def _write_all(
    spec: ShapesSpec, root: Path, progress: Callable[[int, int], None], workers: int | None
) -> None:
    (root / "annotations").mkdir()
    chunk = 50
    tasks = []
    for split in SPLITS:
        folder = root / f"{split}2017"
        folder.mkdir()
        count = spec.count(split)
        tasks += [
            (spec, split, range(i, min(i + chunk, count)), str(folder))
            for i in range(0, count, chunk)
        ]
    annotations: dict[str, list[list[dict[str, Any]]]] = {split: [] for split in SPLITS}
    done, total = 0, spec.train + spec.val
    progress(done, total)
    with _workers(workers, len(tasks)) as run:
        for (_, split, indices, _), found in zip(tasks, run(_draw_files, tasks), strict=True):
            annotations[split] += found
            done += len(indices)
            progress(done, total)
    for split in SPLITS:
        content = coco(spec, split, annotations[split])
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        _annotation_path(root, split).write_text(text, encoding="utf-8")
    manifest = {
        "spec": asdict(spec),
        "sha256": {split: sha256(_annotation_path(root, split)) for split in SPLITS},
    }
    (root / _MANIFEST).write_text(json.dumps(manifest, sort_keys=True, indent=1), encoding="utf-8")


@contextmanager
def _workers(count: int | None, most: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield an ordered `map` over as many processes as there is work for."""
    count = min(count or os.cpu_count() or 1, most)
    if count <= 1:
        yield map
        return
    # Spawned, not forked: the caller may have threads (torch has).
    pool = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        # The parent handles Ctrl-C.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
