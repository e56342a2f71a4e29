"""A folder as COCO 2017 val's, small: pictures of several shapes, some of which show a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gfl.data.photos_spec import PhotosSpec

SPEC = PhotosSpec(size=160, train=5, val=3)
SIZES = ((320, 240), (240, 320), (318, 213), (300, 275), (150, 100))  # width, height
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
COUNT = 10  # of which two show a car alone


def name(index: int) -> str:
    return f"{index + 1:012}.jpg"


def annotation() -> dict[str, Any]:
    """Images 1 and 6 show no person, image 2 a crowd alone."""
    images, boxes = [], []
    for index in range(COUNT):
        width, height = SIZES[index % len(SIZES)]
        images.append({"id": index + 1, "file_name": name(index), "width": width, "height": height})
        category = 3 if index % 5 == 1 and index < 7 else 1
        box = [4.25, 3.5, width / 2, height / 2 + index]
        crowd = int(index == 2)
        boxes.append({"id": 900 - index, "image_id": index + 1, "category_id": category,
                      "bbox": box, "area": 17.0, "iscrowd": crowd})  # fmt: skip
    return {"images": images, "categories": CATEGORIES, "annotations": boxes}


def write(root: Path) -> Path:
    """Write the annotation and the pictures, smooth enough that JPEG keeps what they show."""
    dataset = annotation()
    (root / "annotations").mkdir(parents=True)
    (root / "annotations/instances_val2017.json").write_text(json.dumps(dataset))
    (root / "val2017").mkdir()
    random = np.random.default_rng(0)
    for image in dataset["images"]:
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (image["width"], image["height"]))
        cv2.imwrite(str(root / "val2017" / image["file_name"]), pixels)
    return root
