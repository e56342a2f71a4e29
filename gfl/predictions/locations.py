"""Predictions of FCOS and ATSS at single locations: positives, a sample, confident background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from mmengine.structures import InstanceData
from torch import Tensor

from gfl.assign import Targets, assign_batch, pad_boxes
from gfl.boxes import Gaussian, General, distances
from gfl.geometry import iou
from gfl.head import AblationHead
from gfl.losses import at_least_float32
from gfl.predictions.schema import BACKGROUND_SCORE, CONFIDENT, PER_IMAGE, SIDES
from gfl.quality import centerness

Arrays = dict[str, np.ndarray]
Outs = tuple[list[Tensor], list[Tensor], list[Tensor] | None]  # of the head, over all levels


@dataclass(frozen=True)
class Batch:
    """Predictions of a batch, over all locations, and their assignment."""

    head: AblationHead
    logits: Float[Tensor, "B N C"]
    raw: Float[Tensor, "B N channels"]
    quality: Float[Tensor, "B N"] | None  # after the sigmoid
    priors: Float[Tensor, "N 4"]
    level: np.ndarray  # [N]
    objects: Sequence[Float[Tensor, "_ 4"]]  # of each image, xyxy px of the network's input
    targets: Targets
    images: Sequence[int]  # their ids

    @classmethod
    def of(cls, head: AblationHead, outs: Outs, samples: Sequence[Any]) -> Batch:
        """Assign a batch as the loss would; ``samples`` come from the validation pipeline."""
        outputs = head.outputs(*outs)
        sizes = [score.shape[-2:] for score in outs[0]]
        raw, quality = outputs.raw, outputs.quality
        levels = head.prior_generator.grid_priors(sizes, raw.dtype, raw.device)
        boxes = [_at_scale(sample) for sample in samples]
        labels = [sample.gt_instances.labels for sample in samples]
        objects = [InstanceData(bboxes=b, labels=n) for b, n in zip(boxes, labels, strict=True)]
        metas = [sample.metainfo for sample in samples]
        scores = None if quality is None else at_least_float32(quality).sigmoid()
        return cls(
            head,
            at_least_float32(outputs.logits),
            raw,
            scores,
            torch.cat(levels),
            np.repeat(np.arange(len(levels), dtype=np.int8), [len(level) for level in levels]),
            boxes,
            assign_batch(head.host, levels, outputs, objects, metas, head.train_cfg),
            [sample.img_id for sample in samples],
        )


def located(batch: Batch, seed: int, selected: Sequence[bool]) -> Arrays:
    """Return the columns of ``locations.parquet`` for a batch's images selected by ``selected``.

    ``category_id`` is a label and ``gt_id`` an object's index in its image (-1: none). Further
    columns: ``confident``, of which only the first over all batches are kept, and ``p``,
    [rows, 4, n + 1] in 1/255, of a General distribution.
    """
    positive, gt, label = _assigned(batch)
    eligible = batch.targets.valid & torch.tensor(selected, device=positive.device)[:, None]
    positive &= eligible
    drawn = _drawn(eligible, batch.images, seed)
    confident = _confident(batch, eligible & ~positive & ~_inside(batch))
    image, location = (positive | drawn | confident).nonzero(as_tuple=True)
    at = (image, location)
    logits = batch.logits[at]
    found = positive[at]
    label = label[at].where(found, logits.argmax(-1))
    class_score = logits.gather(1, label[:, None])[:, 0].sigmoid()
    quality = class_score.new_full(class_score.shape, torch.nan)
    if batch.quality is not None:
        quality = batch.quality[at]
    index = location.cpu().numpy()
    columns = {
        "image_id": np.array(batch.images, np.int32)[image.cpu().numpy()],
        "level": batch.level[index],
        "stride": batch.priors[location, 2].to(torch.int16),
        "x": batch.priors[location, 0],
        "y": batch.priors[location, 1],
        "positive": found,
        "sampled": drawn[at],
        "confident": confident[at],
        "category_id": label.to(torch.int16),
        "class_score": class_score,
        "quality_score": quality,
        "score": class_score if batch.quality is None else class_score * quality,
        "gt_id": gt[at].to(torch.int32),
    }
    columns |= _boxes(batch, at, found, gt[at])
    return {k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in columns.items()}


def chosen(batches: Sequence[Arrays]) -> Arrays:
    """Concatenate the batches, keeping only the first of all their confident locations."""
    every = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    confident = every.pop("confident")
    order = np.argsort(-every["quality_score"], kind="stable")
    first = order[confident[order]][:CONFIDENT]
    keep = every["positive"] | every["sampled"]
    keep[first] = True
    return {name: values[keep] for name, values in every.items()}


def _at_scale(sample: Any) -> Float[Tensor, "G 4"]:
    """Return an image's objects as in training: scaled and clipped to the image."""
    boxes = sample.gt_instances.bboxes
    height, width = sample.img_shape
    boxes = boxes * boxes.new_tensor([*sample.scale_factor, *sample.scale_factor])
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _assigned(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return a mask of positive locations [B, N], their object's index (-1: none) and label."""
    found = batch.targets.positives
    at = (found.image, found.location)
    gt = torch.full(batch.logits.shape[:2], -1, device=batch.logits.device)
    label = torch.zeros_like(gt)
    gt[at], label[at] = found.gt, found.labels
    return gt >= 0, gt, label


def _drawn(eligible: Bool[Tensor, "B N"], images: Sequence[int], seed: int) -> Bool[Tensor, "B N"]:
    """Draw the random sample, which depends only on the seed, the image and its locations."""
    drawn = np.zeros(eligible.shape, bool)
    for row, (image, able) in enumerate(zip(images, eligible.cpu().numpy(), strict=True)):
        where = able.nonzero()[0]
        count = min(PER_IMAGE, len(where))
        drawn[row, np.random.default_rng((seed, image)).choice(where, count, replace=False)] = True
    return torch.from_numpy(drawn).to(eligible.device)


def _inside(batch: Batch) -> Bool[Tensor, "B N"]:
    """Return a mask of locations in an object's box, whose predictions may be the object's."""
    boxes, there = pad_boxes(list(batch.objects))
    points = batch.priors[:, None, :2]
    within = ((points >= boxes[:, None, :, :2]) & (points <= boxes[:, None, :, 2:])).all(-1)
    return (within & there[:, None]).any(-1)


def _confident(batch: Batch, background: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
    """Return the batch's background with the highest predicted quality, if a branch predicts it."""
    if batch.quality is None:
        return torch.zeros_like(background)
    class_score = batch.logits.amax(-1).sigmoid()
    quality = batch.quality.where(background & (class_score < BACKGROUND_SCORE), -1.0).flatten()
    best = quality.argsort(descending=True, stable=True)[:CONFIDENT]
    chosen = torch.zeros_like(background).flatten()
    chosen[best] = quality[best] >= 0
    return chosen.view_as(background)


def _boxes(batch: Batch, at: tuple[Tensor, Tensor], found: Tensor, gt: Tensor) -> dict[str, Any]:
    """Return the columns about boxes: IoU, centerness, and the distances to the sides."""
    raw, priors = at_least_float32(batch.raw[at]), batch.priors[at[1]]
    representation = batch.head.representation
    decoded = representation.decode(raw, priors)
    objects, there = pad_boxes(list(batch.objects))
    nearby, there = objects[at[0]], there[at[0]]
    overlaps = iou(decoded[:, None].expand_as(nearby), nearby).where(there, 0.0)
    none = overlaps.new_zeros(len(overlaps), 1)  # for an image without objects
    own = nearby[found, gt[found]]
    overlap = torch.cat([overlaps, none], 1).amax(1)
    overlap[found] = iou(decoded[found], own)
    label, target = torch.full_like(overlap, torch.nan), torch.full_like(decoded, torch.nan)
    label[found] = centerness(priors[found, :2], own)
    target[found] = distances(priors[found], own)
    sigma = torch.full_like(decoded, torch.nan)
    if isinstance(representation, Gaussian):
        sigma = representation.moments(raw)[1].sqrt()
    columns: dict[str, Any] = {"iou": overlap, "centerness": label}
    sides = {"target": target, "mean": distances(priors, decoded), "sigma": sigma}
    for what, values in sides.items():
        columns |= {f"{what}_{side}": values[:, i] for i, side in enumerate(SIDES)}
    if isinstance(representation, General):
        columns["p"] = (representation.density(raw) * 255).round().to(torch.uint8)
    return columns
