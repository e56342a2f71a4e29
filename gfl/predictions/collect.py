"""Collection of a trained detector's predictions for its validation images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gfl.register  # noqa: F401  before mmdet: it quietens it and supplies mmcv's operators

# isort: split
import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from gfl import config
from gfl.boxes import General
from gfl.data.annotations import read
from gfl.geometry import iou
from gfl.head import AblationHead
from gfl.predictions import schema
from gfl.predictions.locations import Arrays, Batch, chosen, located
from gfl.predictions.schema import DETECTION_COLUMNS, IMAGES, LOCATION_COLUMNS, Predictions
from gfl.predictions.trained import Trained, detector
from gfl.training import loaders

Progress = Callable[[int, int], None]
Ids = Mapping[int, Sequence[int]]


def silent(done: int, total: int) -> None:
    """Ignore progress."""


def predict(
    run_dir: Path,
    data_root: Path,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
    progress: Progress = silent,
) -> dict[str, str]:
    """Write a finished run's predictions into its folder; return their SHA-256 by file name.

    ``progress(done, total)`` is called with numbers of images.

    Raises:
        UserError: the run's weights are missing, damaged or another model's.
    """
    trained = detector(run_dir, device)
    loader, ground_truth = evaluation(trained, data_root, workers)
    found = observe(trained, loader, ground_truth, progress)
    return schema.write(found, run_dir)


def evaluation(trained: Trained, data_root: Path, workers: int = 0) -> tuple[Any, Path]:
    """Return the loader of a run's evaluation, with its batches, and the annotation file."""
    here = config.for_machine(
        trained.config, data_root=data_root, work_dir=trained.run_dir, workers=workers
    )
    loaders.prepare(here, lambda text: None)
    settings = here["val_dataloader"]
    quiet = contextlib.redirect_stdout(io.StringIO())  # pycocotools prints its progress
    with DefaultScope.overwrite_default_scope("mmdet"), quiet:
        return Runner.build_dataloader(settings), data_root / settings["dataset"]["ann_file"]


@torch.no_grad()
@loaders.explained()
def observe(
    trained: Trained, loader: Any, ground_truth: Path, progress: Progress = silent
) -> Predictions:
    """Return a detector's predictions for the images of its evaluation, in their order.

    In float32, as in the evaluation: the same batches give the same detections.

    Raises:
        UserError: the machine had too little memory for a loader process, or an image cannot be
            read.
    """
    model: Any = trained.model
    head, dataset = getattr(model, "bbox_head", None), loader.dataset
    ids, selected = object_ids(dataset, ground_truth), spread(len(dataset))
    detections: list[Arrays] = []
    locations: list[Arrays] = []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        samples = data["data_samples"]
        if isinstance(head, AblationHead):
            outs = head(model.extract_feat(data["inputs"]))
            metas = [sample.metainfo for sample in samples]
            with _scores_kept(head):
                results = head.predict_by_feat(*outs, batch_img_metas=metas, rescale=True)
            here = [len(detections) + i in selected for i in range(len(samples))]
            locations.append(located(Batch.of(head, outs, samples), trained.request.seed, here))
        else:
            predicted = model.predict(data["inputs"], samples, rescale=True)
            results = [sample.pred_instances for sample in predicted]
        detections += [_detected(r, sample) for r, sample in zip(results, samples, strict=True)]
        progress(len(detections), len(dataset))
    return _predictions(trained, detections, locations, ids, np.array(dataset.cat_ids, np.int16))


def spread(images: int) -> frozenset[int]:
    """Return the positions of the images whose locations are stored."""
    count = min(images, IMAGES)
    return frozenset(i * images // count for i in range(count))


def object_ids(dataset: Any, ground_truth: Path) -> dict[int, list[int]]:
    """Return the annotation ids of each image's objects, in mmdet's order.

    mmdet forgets the ids and drops some annotations: each of its objects is the next one in the
    file with the same box and category.
    """
    listed: dict[int, list[Any]] = {}
    for one in read(ground_truth)["annotations"]:
        listed.setdefault(one["image_id"], []).append(one)
    ids: dict[int, list[int]] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        rest = iter(listed.get(info["img_id"], ()))
        found = []
        for instance in info["instances"]:
            label, box = instance["bbox_label"], list(instance["bbox"])
            same = (one for one in rest if _is(one, box, dataset.cat_ids[label]))
            id = next(same)["id"]
            if not instance["ignore_flag"]:
                found.append(id)
        ids[info["img_id"]] = found
    return ids


def _is(annotation: Mapping[str, Any], box: list[float], category: int) -> bool:
    x, y, width, height = annotation["bbox"]
    return annotation["category_id"] == category and [x, y, x + width, y + height] == box


@contextlib.contextmanager
def _scores_kept(head: AblationHead) -> Iterator[None]:
    """Make mmdet's prediction keep the two scores that it multiplies."""
    inherited = head._bbox_post_process

    def keeping(results: Any, *args: Any, **kwargs: Any) -> Any:
        results.class_scores = results.scores
        if "score_factors" in results:
            results.quality_scores = results.score_factors
        return inherited(results, *args, **kwargs)

    head._bbox_post_process = keeping  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head._bbox_post_process  # the instance's: the class has its own


def _detected(results: Any, sample: Any) -> Arrays:
    """Return an image's columns of ``detections.parquet``, with labels and indices for ids."""
    boxes, labels = results.bboxes, results.labels
    objects, theirs = sample.gt_instances.bboxes, sample.gt_instances.labels
    shape = (len(boxes), len(objects), 4)
    overlap = iou(boxes[:, None].expand(shape), objects.to(boxes)[None].expand(shape))
    overlap = overlap.where(labels[:, None] == theirs, 0.0)
    nothing = overlap.new_zeros(len(boxes), 1)
    best, index = torch.cat([nothing, overlap], 1).max(1)
    unknown = torch.full_like(results.scores, torch.nan)
    columns = {
        "score": results.scores,
        "class_score": results.get("class_scores", unknown),
        "quality_score": results.get("quality_scores", unknown),
        **{name: boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
        "iou": best,
        "gt_id": (index - 1).where(best > 0, -1).to(torch.int32),
        "category_id": labels.to(torch.int16),
    }
    found = {name: values.cpu().numpy() for name, values in columns.items()}
    return found | {"image_id": np.full(len(boxes), sample.img_id, np.int32)}


def _predictions(
    trained: Trained,
    detections: Sequence[Arrays],
    locations: Sequence[Arrays],
    ids: Ids,
    categories: np.ndarray,
) -> Predictions:
    every = {n: np.concatenate([one[n] for one in detections]) for n in DETECTION_COLUMNS}
    every = _named(every, ids, categories)
    request = trained.request
    if not locations:
        return Predictions(request.id, None, None, every)
    at = chosen(locations)
    representation = trained.model.bbox_head.representation  # type: ignore[union-attr]
    general = representation if isinstance(representation, General) else None
    return Predictions(
        request.id,
        general.n if general else None,
        general.delta if general else None,
        every,
        _named({name: at[name] for name in LOCATION_COLUMNS}, ids, categories),
        at.get("p"),
    )


def _named(columns: Arrays, ids: Ids, categories: np.ndarray) -> Arrays:
    """Replace labels and indices of objects in their images by COCO's ids."""
    at = zip(columns["image_id"].tolist(), columns["gt_id"].tolist(), strict=True)
    gt = [-1 if index < 0 else ids[image][index] for image, index in at]
    named = {"category_id": categories[columns["category_id"]], "gt_id": np.array(gt, np.int32)}
    return columns | named
