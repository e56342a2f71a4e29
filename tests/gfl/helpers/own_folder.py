"""A COCO-format folder as a person might have it: two classes with ids of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = ({"id": 7, "name": "nut"}, {"id": 3, "name": "bolt"})
SIZE = (64, 48)  # of an image: width, height, px
SPLITS = {"train": 6, "val": 3}
Annotations = dict[str, Any]


def annotations(split: str) -> Annotations:
    """Two boxes an image, one of each class; ids from 1, images' from 100 on."""
    count = SPLITS[split]
    images = [
        {"id": 100 + i, "file_name": f"{split}_{i}.png", "width": SIZE[0], "height": SIZE[1]}
        for i in range(count)
    ]
    boxes = [
        {
            "id": 1 + 2 * i + j,
            "image_id": 100 + i,
            "category_id": category["id"],
            "bbox": [4 + 24 * j, 6 + i, 18, 20],
            "area": 360,
            "iscrowd": 0,
        }
        for i in range(count)
        for j, category in enumerate(CATEGORIES)
    ]
    return {"images": images, "categories": list(CATEGORIES), "annotations": boxes}


def write(root: Path) -> Path:
    """Write the folder with COCO's own names."""
    random = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        content = annotations(split)
        write_split(root, split, content)
        folder = root / f"{split}2017"
        folder.mkdir()
        for image in content["images"]:
            pixels = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            for box in (a for a in content["annotations"] if a["image_id"] == image["id"]):
                x, y, w, h = box["bbox"]
                pixels[y : y + h, x : x + w] = (
                    (255, 0, 0) if box["category_id"] == 7 else (0, 0, 255)
                )
            Image.fromarray(pixels).save(folder / image["file_name"])
    return root


def path(root: Path, split: str) -> Path:
    return root / f"annotations/instances_{split}2017.json"


def write_split(root: Path, split: str, content: Annotations) -> None:
    """Write a split's annotation file; NaN as other programs write it."""
    path(root, split).write_text(json.dumps(content))
