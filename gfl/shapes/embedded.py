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

A split's images are one array on disk, which all processes that train on it map: memory holds it
once. ``export`` writes them as the PNG files that the annotations name.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
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
from gfl.shapes import drawing, placing
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


def coco(
    spec: ShapesSpec, split: str, annotations: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Return the content of the annotation file, given each image's annotations in order.

    Ids begin at 1, because pycocotools treats an id of 0 as none.
    """
    flat = [(image, one) for image, several in enumerate(annotations, 1) for one in several]
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
        "annotations": [
            {"id": number, "image_id": image, **one} for number, (image, one) in enumerate(flat, 1)
        ],
    }


def _annotation_path(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}2017.json"


def pixels_path(root: Path, split: str) -> Path:
    """Return the path of a split's images: uint8 [N, H, W, 3], BGR, as mmcv decodes image files."""
    return root / f"{split}2017.npy"


def is_complete(spec: ShapesSpec, root: Path) -> bool:
    """Return True if `root` holds this data set: manifest, annotations, and as many pixels.

    Cheap: the pixels are not read.
    """
    try:
        manifest = _manifest(root)
        if manifest["spec"] != asdict(spec):
            return False
        for split in SPLITS:
            if sha256(_annotation_path(root, split)) != manifest["sha256"][split]:
                return False
            pixels = np.load(pixels_path(root, split), mmap_mode="r")
            if pixels.shape != _shape(spec, split) or pixels.dtype != np.uint8:
                return False
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False
    return True


def _is_intact(spec: ShapesSpec, root: Path) -> bool:
    """Return True if `root` holds exactly this data set; reads all of it."""
    if not is_complete(spec, root):
        return False
    wanted = _manifest(root).get("pixels", {})
    return all(sha256(pixels_path(root, split)) == wanted.get(split) for split in SPLITS)


def _manifest(root: Path) -> dict[str, Any]:
    return json.loads((root / _MANIFEST).read_text(encoding="utf-8"))


def _shape(spec: ShapesSpec, split: str) -> tuple[int, int, int, int]:
    return (spec.count(split), spec.image_size, spec.image_size, 3)


def write(
    spec: ShapesSpec,
    root: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    report: Callable[[str], None] = lambda text: None,
    workers: int | None = None,
) -> None:
    """Write the data set, unless it exists intact; all or nothing.

    8000 images of 128 x 128 pixels take 0.4 GB. `progress(done, total)` is called with numbers of
    images; `report` is called with a line if what lies there is replaced. `workers` defaults
    to the number of processors and does not affect the bytes. Processes that write the same folder
    wait for one another. Raises UserError if `root` holds something else or cannot be written.
    """
    root = Path(root).absolute()
    if _is_intact(spec, root):
        return  # without the lock, which a read-only folder does not allow
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            if _is_intact(spec, root):
                return
            if root.exists() and not (root / _MANIFEST).exists() and any(root.iterdir()):
                raise UserError(
                    f"{root} holds something other than shapes: remove it, or choose another folder"
                )
            if root.exists():
                report(f"{root}: damaged, or of another version; drawing the data set again")
            with whole_folder(root) as partial:
                _write_all(spec, partial, progress, workers)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write the data set to {root}: {reason}") from error


def _write_all(
    spec: ShapesSpec, root: Path, progress: Callable[[int, int], None], workers: int | None
) -> None:
    (root / "annotations").mkdir()
    done, total, chunk = 0, spec.train + spec.val, 50
    progress(done, total)
    with _workers(workers, -(-total // chunk)) as run:
        for split in SPLITS:
            count, annotations = spec.count(split), []
            tasks = [(spec, split, range(i, min(i + chunk, count))) for i in range(0, count, chunk)]
            # Not through a memory map: on a full disk, writing into one kills the process.
            with pixels_path(root, split).open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": _shape(spec, split)}
                np.lib.format.write_array_header_1_0(file, header)
                for pixels, found in run(_draw, tasks):
                    file.write(pixels)
                    annotations += found
                    done += len(found)
                    progress(done, total)
            content = coco(spec, split, annotations)
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            _annotation_path(root, split).write_text(text, encoding="utf-8")
    manifest = {
        "spec": asdict(spec),
        "sha256": {split: sha256(_annotation_path(root, split)) for split in SPLITS},
        "pixels": {split: sha256(pixels_path(root, split)) for split in SPLITS},
    }
    (root / _MANIFEST).write_text(json.dumps(manifest, sort_keys=True, indent=1), encoding="utf-8")


def _draw(task: tuple[ShapesSpec, str, range]) -> tuple[bytes, list[list[dict[str, Any]]]]:
    """Draw the images of a range: their pixels and annotations. Runs in a worker process."""
    spec, split, indices = task
    drawn = [render(spec, split, index) for index in indices]
    return b"".join(image[..., ::-1].tobytes() for image, _ in drawn), [found for _, found in drawn]


def export(
    root: Path, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write the data set that lies at `root` in COCO's layout, each image a PNG file.

    Raises UserError if `folder` is not empty or cannot be written.
    """
    from PIL import Image  # not needed to train

    folder = Path(folder).absolute()
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        images = {split: np.load(pixels_path(root, split), mmap_mode="r") for split in SPLITS}
        done, total = 0, sum(map(len, images.values()))
        with whole_folder(folder) as partial:
            shutil.copytree(root / "annotations", partial / "annotations")
            for split, pixels in images.items():
                (partial / f"{split}2017").mkdir()
                for index, image in enumerate(pixels):
                    path = partial / f"{split}2017" / file_name(index)
                    Image.fromarray(image[..., ::-1]).save(path)
                    progress(done := done + 1, total)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error


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
