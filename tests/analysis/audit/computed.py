"""Prints numbers that sums, products and exponentials of many terms lead to, as JSON.

Run by ``test_rounding.py`` as on other processors: of each way in which results are computed, one.
"""

from __future__ import annotations

import json

import numpy as np

from analysis.claims.identities import IDENTITIES
from analysis.figures.simulation import TARGETS, methods, simulate
from analysis.measures.densities import Atoms, wasserstein
from analysis.measures.distributions import widths
from analysis.measures.one_mean import one_mean
from analysis.stats import uncertainty
from analysis.stats.resampling import Replicates, replicate
from analysis.stats.statistics import rank_correlation
from gfl.predictions.matching import match

IMAGES, OBJECTS = 40, 4


def run(rng: np.random.Generator) -> Replicates:
    """Objects and detections that are moved at random, evaluated on resampled images."""
    images = [{"id": i, "file_name": "", "width": 300, "height": 300} for i in range(IMAGES)]
    boxes = rng.uniform(40, 150, (IMAGES * OBJECTS, 4))
    objects = [
        {"id": i + 1, "image_id": i // OBJECTS, "category_id": 1, "bbox": box.tolist(),
         "area": float(box[2] * box[3]), "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]  # fmt: skip
    detections = [
        {"image_id": one["image_id"], "category_id": 1, "score": float(rng.random()),
         "bbox": (np.array(one["bbox"]) + rng.normal(0, 6, 4)).tolist()}
        for one in objects
    ]  # fmt: skip
    dataset = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    return replicate(match(dataset, detections), np.random.default_rng(0), 50)


def main() -> None:
    rng = np.random.default_rng(0)
    runs = [{seed: run(rng) for seed in range(2)} for _ in range(2)]
    terms = [{s: (r.metrics[0], r.resampled[:, 0]) for s, r in one.items()} for one in runs]
    estimate = uncertainty.contrast([1.0, -1.0], terms)
    assert estimate is not None
    x, y = rng.random((2, 5000))
    p = rng.dirichlet(np.ones(17), 400)
    sharp = rng.dirichlet(np.full(17, 0.01), 4000)  # of many all mass is on one bin
    bins = np.broadcast_to(np.arange(17.0), p.shape)
    found = {
        "simulation": np.stack(
            [simulate(m, TARGETS)[["error_strides", "worst_strides"]] for m in methods()]
        ),
        "identities": [compute() for compute in IDENTITIES.values()],
        "distributions": np.stack(list(one_mean().values())),
        "resampled": np.stack([r.resampled for one in runs for r in one.values()]),
        "estimate": [estimate.value, *estimate.interval, estimate.p_above(0.5)],
        "correlations": [
            rank_correlation(x, y)(w) for w in (np.ones(len(x), int), rng.poisson(1, len(x)))
        ],
        "widths": rank_correlation(widths(sharp, 0.3), sharp[:, 0])(np.ones(len(sharp))),
        "wasserstein": wasserstein(Atoms(bins, p), Atoms(bins, p[::-1])),
    }
    print(json.dumps({name: np.asarray(values).tolist() for name, values in found.items()}))


if __name__ == "__main__":
    main()
