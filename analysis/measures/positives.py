"""Training targets from boxes alone: positives under ATSS, their distances and centerness.

No image is read and no model needed. Images of a COCO annotation file have the sizes given there,
resized as by the coco profile, with that profile's strides. For data that are not embedded, a run's
stored positives give the same without the annotations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.measures.best_positives import of_sides
from gfl.assign import atss, pad_boxes
from gfl.boxes import PriorGenerator, anchors_at, distances
from gfl.config.data import SIZE_DIVISOR
from gfl.config.network import strides
from gfl.data import annotations
from gfl.errors import UserError
from gfl.escape import counted
from gfl.experiment import Profile
from gfl.hosts import dense
from gfl.predictions.error_kinds import Objects
from gfl.quality import centerness

ATSS = dense("atss")
BATCH = 16  # images assigned at once; does not affect the result


@dataclass(frozen=True)
class Boxes:
    """An image's ground truth as the network sees it: size and boxes (xyxy) in px of its input."""

    width: int
    height: int
    boxes: np.ndarray  # [G, 4] float32


@dataclass(frozen=True)
class Positives:
    """All positives of a set of images."""

    images: int  # with an object
    objects: int
    unmatched: int  # objects without a positive: no anchor's IoU reaches their threshold
    targets: np.ndarray  # [P, 4] distances to l, t, r, b, strides
    centerness: np.ndarray  # [P]

    def __str__(self) -> str:
        images = counted(self.images, "image", form=",")
        objects = counted(self.objects, "object", form=",")
        without = f"({self.unmatched:,} without a positive)"
        return f"{images}, {objects} {without}, {len(self.targets):,} positives"


def of_annotations(files: Sequence[Path], profile: Profile) -> Positives:
    """Assign the boxes of COCO annotation files, taken together, at the scale of a profile.

    Raises:
        UserError: a file is missing or not COCO's, or none has a box.
    """
    return _assigned((image for path in files for image in _coco(path, profile)), profile)


def of_ground_truth(frame: pd.DataFrame, profile: Profile) -> Positives:
    """Assign the boxes of a profile's embedded images: ``image_id`` and x1, y1, x2, y2 in px."""
    assert profile.dataset is not None
    side = profile.dataset.image_size
    images = (
        Boxes(*_resized(side, side, boxes[["x1", "y1", "x2", "y2"]].to_numpy(float), profile))
        for _, boxes in frame.groupby("image_id", sort=True)
    )
    return _assigned(images, profile)


def of_stored(frame: pd.DataFrame, objects: Objects) -> Positives:
    """Return a run's stored positives, of the images with stored locations.

    ``frame`` is its locations, ``objects`` the objects of its evaluation. Targets are rounded as
    in ``gfl.predictions``, by at most a part in 4096.

    Raises:
        UserError: no location is positive.
    """
    positive = frame.loc[frame.positive]
    if positive.empty:
        raise UserError("no stored location is positive")
    stored = np.isin(objects.image, frame.image_id.unique()) & (objects.count > 0)
    counts = objects.count[stored]
    targets = of_sides(positive, "target").astype(np.float32)
    return Positives(
        images=len(np.unique(objects.image[stored])),
        objects=int(counts.sum()),
        unmatched=int(counts.sum()) - positive.gt_id.nunique(),
        targets=targets,
        centerness=positive.centerness.to_numpy(np.float32),
    )


def _coco(path: Path, profile: Profile) -> Iterator[Boxes]:
    dataset = annotations.read(path)
    boxes: dict[int, list[list[float]]] = defaultdict(list)
    images = {image["id"]: image for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        if _is_trained_on(annotation, images[annotation["image_id"]]):
            x, y, w, h = annotation["bbox"]
            boxes[annotation["image_id"]].append([x, y, x + w, y + h])
    for id, found in sorted(boxes.items()):
        width, height = images[id]["width"], images[id]["height"]
        yield Boxes(*_resized(width, height, np.array(found), profile))


def _is_trained_on(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> bool:
    """Return True if mmdet's CocoDataset (``parse_data_info``) keeps it as an object."""
    x, y, w, h = annotation["bbox"]
    inside_w = min(x + w, image["width"]) - max(x, 0)
    inside_h = min(y + h, image["height"]) - max(y, 0)
    is_seen = inside_w > 0 and inside_h > 0 and annotation["area"] > 0 and w >= 1 and h >= 1
    return is_seen and not annotation.get("ignore") and not annotation["iscrowd"]


def _resized(
    width: float, height: float, boxes: np.ndarray, profile: Profile
) -> tuple[int, int, np.ndarray]:
    """Return size and boxes after mmdet's ``Resize`` with ``keep_ratio``: rounded, then clipped."""
    long, short = max(profile.scale), min(profile.scale)
    scale = min(long / max(width, height), short / min(width, height))
    new = int(width * scale + 0.5), int(height * scale + 0.5)
    factor = np.array([new[0] / width, new[1] / height] * 2)
    clipped = np.clip(boxes * factor, 0, np.array([*new, *new], float))
    return *new, clipped.astype(np.float32)


def _assigned(images: Iterable[Boxes], profile: Profile) -> Positives:
    """Assign images by padded size, in batches; this also orders the positives."""
    alike: dict[tuple[int, int], list[Boxes]] = defaultdict(list)
    for image in images:
        alike[_padded(image.height), _padded(image.width)].append(image)
    if not alike:
        raise UserError("the annotations contain no usable box")
    found = [
        _batch(size, alike[size][start : start + BATCH], strides(profile.model))
        for size in sorted(alike)
        for start in range(0, len(alike[size]), BATCH)
    ]
    targets = torch.cat([part[0] for part in found]).numpy()
    centers = torch.cat([part[1] for part in found]).numpy()
    if not len(targets):
        raise UserError("no location is positive: every object is too small for its image")
    everything = [image for several in alike.values() for image in several]
    objects = sum(len(image.boxes) for image in everything)
    unmatched = objects - sum(part[2] for part in found)
    return Positives(len(everything), objects, unmatched, targets, centers)


def _batch(
    size: tuple[int, int], batch: Sequence[Boxes], levels: Sequence[int]
) -> tuple[Tensor, Tensor, int]:
    """Return targets [P, 4] in strides, centerness [P], and the number of matched objects."""
    cells = [[-(-side // stride) for side in size] for stride in levels]
    priors = torch.cat(PriorGenerator(levels, ATSS.offset).grid_priors(cells))
    valid = (priors[:, :2] < torch.tensor(size[::-1])).all(-1).expand(len(batch), -1)
    boxes, real = pad_boxes([torch.from_numpy(image.boxes) for image in batch])
    sizes = [height * width for height, width in cells]
    topk = ATSS.assignment["topk"]
    matched = atss(anchors_at(priors), sizes, valid, boxes, real, topk)
    image, location = (matched >= 0).nonzero(as_tuple=True)
    index = matched[image, location]
    own, at = boxes[image, index], priors[location]
    objects = len(torch.unique(torch.stack((image, index), 1), dim=0))
    return distances(at, own), centerness(at[:, :2], own), objects


def _padded(side: int) -> int:
    return -(-side // SIZE_DIVISOR) * SIZE_DIVISOR
