"""Time and memory of the bootstrap at COCO's scale.

Draws a data set of the size of val2017 (5000 images, 80 classes, about 36 000 objects) and 100
detections per image, matches them with pycocotools, and evaluates 1000 resamples of the images in
two threads. The limit is 60 s and 4 GB for the resamples; the time of matching is printed, too.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gfl.escape import counted
from gfl.terminal import say

SIDE = 640.0  # px of an image
CROWDS = 0.01  # of the objects


@dataclass(frozen=True)
class Scale:
    """Size of the generated data set."""

    images: int = 5000
    classes: int = 80
    objects: int = 36_000
    detections: int = 100  # per image


def drawn(scale: Scale, rng: np.random.Generator) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw a COCO data set and results: each object found up to three times, the rest errors.

    The classes' shares fall as 1/rank: the most frequent has a fifth of all, like COCO's persons.
    """
    shares = 1 / np.arange(1, scale.classes + 1)
    shares /= shares.sum()
    images = rng.integers(scale.images, size=scale.objects) + 1
    labels = rng.choice(scale.classes, size=scale.objects, p=shares) + 1
    sizes = 8 * (0.8 * SIDE / 8) ** rng.random((scale.objects, 2))
    boxes = np.concatenate([rng.random((scale.objects, 2)) * (SIDE - sizes), sizes], axis=1)
    crowd = rng.random(scale.objects) < CROWDS
    dataset = {
        "images": [
            {"id": i + 1, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE}
            for i in range(scale.images)
        ],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(scale.classes)],
        "annotations": [
            {"id": i + 1, "image_id": image, "category_id": label, "bbox": box,
             "area": box[2] * box[3] * 0.7, "iscrowd": int(is_crowd)}
            for i, (image, label, box, is_crowd) in enumerate(
                zip(images.tolist(), labels.tolist(), boxes.tolist(), crowd, strict=True)
            )
        ],
    }  # fmt: skip
    return dataset, _detections(scale, images, labels, boxes, shares, rng)


def _detections(
    scale: Scale, images: np.ndarray, labels: np.ndarray, boxes: np.ndarray, shares: np.ndarray,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:  # fmt: skip
    seen = np.repeat(np.arange(len(images)), rng.integers(4, size=len(images)))
    sizes = np.tile(boxes[seen, 2:], 2)
    near = boxes[seen] + rng.normal(0, 0.08, (len(seen), 4)) * sizes
    wrong = scale.images * scale.detections - len(seen)
    sizes = 8 * (0.8 * SIDE / 8) ** rng.random((wrong, 2))
    far = np.concatenate([rng.random((wrong, 2)) * (SIDE - sizes), sizes], axis=1)
    columns = zip(
        [*images[seen].tolist(), *(rng.integers(scale.images, size=wrong) + 1).tolist()],
        [*labels[seen].tolist(), *(rng.choice(scale.classes, size=wrong, p=shares) + 1).tolist()],
        np.maximum(np.concatenate([near, far]), 0.0).tolist(),
        [*rng.beta(3, 2, len(seen)).tolist(), *rng.beta(1, 6, wrong).tolist()],
        strict=True,
    )
    return [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, label, box, score in columns
    ]


def measure(n: int, threads: int, images: int) -> None:
    """Evaluate ``n`` resamples of a data set of ``images`` images; print the time and memory."""
    from analysis.stats.resampling import evaluate, resamples
    from gfl.predictions.matching import match

    scale = Scale(images=images, objects=36_000 * images // 5000)
    rng = np.random.default_rng(0)
    dataset, detections = drawn(scale, rng)
    objects = counted(len(dataset["annotations"]), "object")
    say(f"{objects}, {counted(len(detections), 'detection')}", error=True)
    start = time.perf_counter()
    matches = match(dataset, detections)
    seconds = time.perf_counter() - start
    say(f"matched by pycocotools in {seconds:.1f} s, peak {_peak():.2f} GB", error=True)
    del dataset, detections
    weights = resamples(scale.images, n, rng)
    start, used = time.perf_counter(), time.process_time()
    metrics = evaluate(matches, weights, threads)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    ap = metrics[:, 0]
    say(f"AP {ap.mean():.2f}, standard error {ap.std(ddof=1):.2f}", error=True)
    say(f"{n} resamples: {seconds:.1f} s in {threads} threads")
    say(f"of the processor: {used:.1f} s")
    say(f"peak of the process: {_peak():.2f} GB")


def _peak() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e9
