"""Assignment of locations to objects, batched over images, levels and boxes.

Heads call ``assign_batch``. It pads ground truth to the same number of boxes in every image,
flattens the levels once, and calls the host's assigner, a function of ``ASSIGNERS``. Assigners
receive the head's predictions as well; ATSS and FCOS ignore them. Needs only torch and
jaxtyping.

On CUDA a training step waits for the device once: for the number of positives. What else is known
to Python becomes a tensor by filling (``torch.full``, comparison with a number): ``torch.tensor``,
a list as an index and assignment to an element are copies from the host, which wait as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gfl.boxes import Representation, anchors_at
from gfl.geometry import iou
from gfl.hosts import Dense
from gfl.losses import at_least_float32

REACH = 8  # strides: upper limit of the farthest side's distance, FCOS's 64 px at stride 8


class Scene(NamedTuple):
    """Locations and ground truth of a batch."""

    priors: Float[Tensor, "N 4"]  # (x, y, stride, stride) px, all levels flattened
    level_sizes: Sequence[int]  # locations of each level
    valid: Bool[Tensor, "B N"]  # which locations count at all
    boxes: Float[Tensor, "B G 4"]  # xyxy px, padded
    labels: Int[Tensor, "B G"]
    real: Bool[Tensor, "B G"]  # False where padded


class Outputs(NamedTuple):
    """Predictions of a batch, without gradient, for assigners that depend on them."""

    logits: Float[Tensor, "B N C"]
    raw: Float[Tensor, "B N channels"]  # output of the regression tower
    quality: Float[Tensor, "B N"] | None  # logits of the quality branch, if there is one
    representation: Representation

    def boxes(self, priors: Float[Tensor, "N 4"]) -> Float[Tensor, "B N 4"]:
        """Decode the boxes, xyxy in px."""
        raw = at_least_float32(self.raw)
        return self.representation.decode(raw, priors.expand(len(raw), -1, -1))


class Positives(NamedTuple):
    """Positive locations of a batch, with the targets of each."""

    image: Int[Tensor, "P"]
    location: Int[Tensor, "P"]
    priors: Float[Tensor, "P 4"]
    boxes: Float[Tensor, "P 4"]  # the matched ground truth, xyxy px
    labels: Int[Tensor, "P"]
    gt: Int[Tensor, "P"]  # its index among the image's objects


class Targets(NamedTuple):
    """Assignment of a batch."""

    positives: Positives
    valid: Bool[Tensor, "B N"]  # which locations count at all
    count: Float[Tensor, ""]  # N_pos of this device


def assign_batch(
    host: Dense,
    levels: Sequence[Float[Tensor, "_ 4"]],
    outputs: Outputs,
    batch_gt_instances: Sequence[Any],
    batch_img_metas: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
) -> Targets:
    """Find the positives among the priors of all levels, as the host does.

    ``settings`` overrides the host's own settings of its assigner.
    """
    scene = _scene(host, levels, batch_gt_instances, batch_img_metas)
    with torch.no_grad():
        matched = ASSIGNERS[host.assigner](scene, outputs, **{**host.assignment, **settings})
    positive = matched >= 0
    image, location = positive.nonzero(as_tuple=True)
    gt = (image, matched[image, location])
    positives = Positives(
        image, location, scene.priors[location], scene.boxes[gt], scene.labels[gt], gt[1]
    )
    counts = positive.sum(1)
    count = (counts.clamp(min=1) if host.one_per_image else counts).sum()
    return Targets(positives, scene.valid, count.to(scene.priors.dtype))


def _scene(
    host: Dense,
    levels: Sequence[Float[Tensor, "_ 4"]],
    batch_gt_instances: Sequence[Any],
    batch_img_metas: Sequence[dict[str, Any]],
) -> Scene:
    priors = torch.cat(list(levels))
    if host.padding_counts:
        valid = priors.new_ones(len(batch_img_metas), len(priors), dtype=torch.bool)
    else:
        # Exclude locations beyond an image's own padding to the size divisor, as mmdet's ATSS does.
        sizes = (meta["pad_shape"][:2] for meta in batch_img_metas)
        valid = torch.stack([(priors[:, 0] < w) & (priors[:, 1] < h) for h, w in sizes])
    boxes, real = pad_boxes([gt.bboxes.to(priors.dtype) for gt in batch_gt_instances])
    labels = pad_sequence([gt.labels for gt in batch_gt_instances], batch_first=True)
    return Scene(priors, [len(level) for level in levels], valid, boxes, labels, real)


def pad_boxes(
    boxes: Sequence[Float[Tensor, "_ 4"]],
) -> tuple[Float[Tensor, "B G 4"], Bool[Tensor, "B G"]]:
    """Pad the images' boxes with zeros to the largest count, and return a mask of real ones."""
    real = [image.new_ones(len(image), dtype=torch.bool) for image in boxes]
    return pad_sequence(list(boxes), batch_first=True), pad_sequence(real, batch_first=True)


@torch.no_grad()
def atss(
    anchors: Float[Tensor, "N 4"],
    level_sizes: Sequence[int],
    valid: Bool[Tensor, "B N"],
    gt_boxes: Float[Tensor, "B G 4"],
    gt_valid: Bool[Tensor, "B G"],
    topk: int,
) -> Int[Tensor, "B N"]:
    """Assign locations to objects by ATSS (Zhang et al. 2020, Algorithm 1), as mmdet does.

    An object's candidates are the `topk` locations of each level nearest to its centre. Positive
    are those whose anchor's IoU reaches the mean plus the standard deviation of all its
    candidates' IoUs and whose centre lies in the object. A location positive for several objects
    goes to the one with the highest IoU.

    Ties go to the lower index, of locations at equal distance and of objects with equal IoU, so
    the result depends neither on the device nor on the other images of the batch.

    Args:
        anchors: xyxy px, all levels flattened, one to a location; in each level they lie on
            a regular grid, row by row.
        level_sizes: locations of each level.
        valid: locations inside the image, a rectangle from the first location of each level;
            the others are never candidates.
        gt_boxes: xyxy px, padded.
        gt_valid: False where padded.
        topk: candidates per object and level (all, where the level has fewer).

    Returns:
        Each location's object index, -1 if negative.

    Source: mmdet's `ATSSAssigner` behind `ATSSHead`. Equal to it except where its outcome is
    arbitrary: the order of equal distances, which `topk` leaves undefined, and objects whose
    candidates all have the same IoU. That IoU is then the threshold, and here they reach it; in
    mmdet it depends on the rounding of the mean, which varies with the number of objects.
    """
    centres = _centres(anchors)
    grid = _grid(centres, level_sizes, valid)
    location, exists = _nearest(centres, grid, _centres(gt_boxes), topk)
    candidates = anchors[location]  # (B, G, L topk, 4)
    objects = gt_boxes[:, :, None].expand_as(candidates)
    overlap = iou(candidates, objects)
    positive = (overlap >= _threshold(overlap, exists)[..., None]) & exists & gt_valid[..., None]
    positive &= _contains(objects, _centres(candidates))
    # If several objects match, the highest IoU wins.
    return _best(-overlap, positive, location, len(anchors))


@torch.no_grad()
def fcos(
    priors: Float[Tensor, "N 4"],
    level_sizes: Sequence[int],
    gt_boxes: Float[Tensor, "B G 4"],
    gt_valid: Bool[Tensor, "B G"],
    radius: float,
) -> Int[Tensor, "B N"]:
    """Assign locations to objects as FCOS with center sampling does (Tian et al. 2019).

    A location is positive for an object if it lies inside it, less than `radius` strides from
    its centre along both axes, with the farthest side at most 8 strides away and at least 8
    strides of the level below (the first level has no lower limit, the last no upper one). Of
    several objects a location goes to the smallest, and to the first of equals.

    Args:
        priors: (x, y, stride, stride) px of all levels flattened; in each level they lie on a
            regular grid, row by row.
        level_sizes: locations of each level.
        gt_boxes: xyxy px, padded.
        gt_valid: False where padded.
        radius: of center sampling, strides.

    Returns:
        Each location's object index, -1 if negative.

    Source: mmdet's `FCOSHead.get_targets` with `center_sampling`, and equal to it. mmdet compares
    every location with every object; but none is positive outside a window of five columns and
    rows around the object's centre.
    """
    everywhere = torch.ones(len(gt_boxes), len(priors), dtype=torch.bool, device=priors.device)
    grid = _grid(priors[:, :2], level_sizes, everywhere)
    window = _window(grid, _centres(gt_boxes), half=math.ceil(radius))
    location, exists = window.locations(grid)
    points, strides = priors[location, :2], priors[location, 2:]
    objects = gt_boxes[:, :, None, None].expand(*location.shape, 4)
    middle = _centres(objects)
    # The centre square, clipped to the object; in mmdet's order of operations, to round alike.
    lower = (middle - strides * radius).maximum(objects[..., :2])
    upper = (middle + strides * radius).minimum(objects[..., 2:])
    positive = torch.cat((points - lower, upper - points), -1).amin(-1) > 0
    farthest = torch.cat((points - objects[..., :2], objects[..., 2:] - points), -1).amax(-1)
    nearest, most = _ranges(priors[grid.first, 2])
    positive &= (farthest >= nearest[:, None]) & (farthest <= most[:, None])
    positive &= exists & gt_valid[..., None, None]
    width, height = (gt_boxes[..., 2:] - gt_boxes[..., :2]).unbind(-1)
    area = (width * height)[..., None].expand(location.flatten(2).shape)
    return _best(area, positive.flatten(2), location.flatten(2), len(priors))


def _ranges(strides: Float[Tensor, " L"]) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """Return FCOS's range of the farthest side's distance on each level, px."""
    most = REACH * strides
    below, above = strides.new_full((1,), -1.0), strides.new_full((1,), torch.inf)
    return torch.cat([below, most[:-1]]), torch.cat([most[:-1], above])


class _Grid(NamedTuple):
    """Layout of each level's locations; the last axis of a pair is (x, y)."""

    first: Int[Tensor, " L"]  # index of the level's first location
    columns: Int[Tensor, " L"]
    origin: Float[Tensor, "L 2"]  # centre of the first location, px
    pitch: Float[Tensor, "L 2"]  # px between neighbouring locations, 1 if there is only one
    extent: Int[Tensor, "B L 2"]  # columns and rows inside each image


def _grid(
    centres: Float[Tensor, "N 2"], level_sizes: Sequence[int], valid: Bool[Tensor, "B N"]
) -> _Grid:
    device = centres.device
    sizes = torch.cat([torch.full((1,), size, device=device) for size in level_sizes])
    first = sizes.cumsum(0) - sizes
    level = torch.arange(len(sizes), device=device).repeat_interleave(
        sizes, output_size=len(centres)
    )
    # The first row gives the number of columns, the first column that of rows.
    edge = centres.flip(-1) == centres[first][level].flip(-1)
    shape = first.new_zeros(len(sizes), 2).index_add_(0, level, edge.long())
    extent = first.new_zeros(len(valid), len(sizes), 2)
    extent.index_add_(1, level, (edge & valid[..., None]).long())
    origin = centres[first]
    pitch = (centres[first + sizes - 1] - origin) / (shape - 1).clamp(min=1)
    return _Grid(first, shape[:, 0], origin, pitch.where(shape > 1, 1), extent)


class _Window(NamedTuple):
    """Columns and rows (S of each) around each object's centre, shifted to stay on the grid."""

    column: Int[Tensor, "B G L S"]
    row: Int[Tensor, "B G L S"]
    column_exists: Bool[Tensor, "B G L S"]
    row_exists: Bool[Tensor, "B G L S"]

    def locations(self, grid: _Grid) -> tuple[Int[Tensor, "B G L K"], Bool[Tensor, "B G L K"]]:
        """Return the window's locations, in their own order, and a mask of those that exist."""
        start = grid.first[:, None, None] + (self.row * grid.columns[:, None])[..., :, None]
        exists = self.row_exists[..., :, None] & self.column_exists[..., None, :]
        return (start + self.column[..., None, :]).flatten(-2), exists.flatten(-2)


def _window(grid: _Grid, targets: Float[Tensor, "B G 2"], half: int) -> _Window:
    span = torch.arange(2 * half + 1, device=targets.device)
    extent = grid.extent[:, None]
    nearest = ((targets[:, :, None] - grid.origin) / grid.pitch).round()
    nearest = nearest.clamp(min=0).minimum(extent).long()
    start = (nearest - half).minimum(extent - len(span)).clamp(min=0)
    step = start[..., None] + span  # (B, G, L, 2, S)
    on_grid = step < extent[..., None]
    column, row = step.where(on_grid, 0).unbind(-2)
    column_exists, row_exists = on_grid.unbind(-2)
    return _Window(column, row, column_exists, row_exists)


def _nearest(
    centres: Float[Tensor, "N 2"], grid: _Grid, targets: Float[Tensor, "B G 2"], topk: int
) -> tuple[Int[Tensor, "B G K"], Bool[Tensor, "B G K"]]:
    """Find the topk nearest locations of each level, nearest first, with a mask of real ones.

    Only a window of k + 2 columns and rows around the object's centre is searched. It contains
    them all: for a location in any other column, at least k locations of the same row are nearer,
    each by a column or more, and likewise for rows. Rounding reverses none of this, because
    subtraction, square, sum and root are monotone, and makes equal only the distances of objects
    over a thousand strides away.
    """
    window = _window(grid, targets, half=topk // 2 + 1)
    first = grid.first[:, None]
    dx = centres[first + window.column, 0] - targets[:, :, None, None, 0]
    dy = centres[first + window.row * grid.columns[:, None], 1] - targets[:, :, None, None, 1]
    distance = (dx.pow(2)[..., None, :] + dy.pow(2)[..., :, None]).sqrt().flatten(-2)
    location, exists = window.locations(grid)
    # Not topk, whose choice among equal distances is undefined. The window is in the order of the
    # locations, so a stable sort prefers the lower one.
    distance, order = distance.where(exists, torch.inf).sort(dim=-1, stable=True)
    location = location.gather(-1, order[..., :topk]).flatten(-2)
    return location, distance[..., :topk].isfinite().flatten(-2)


def _threshold(
    overlap: Float[Tensor, "B G K"], exists: Bool[Tensor, "B G K"]
) -> Float[Tensor, "B G"]:
    """Return the mean plus unbiased standard deviation of the real IoUs, NaN if there is only one.

    NaN makes a sole candidate negative, as in mmdet. Computed in float64, because the last bit of
    a float32 sum depends on its order; then rounded and added in mmdet's order.
    """
    values, count = overlap.double(), exists.sum(-1)
    mean = values.where(exists, 0).sum(-1) / count
    deviation = (values - mean[..., None]).where(exists, 0)
    std = (deviation.pow(2).sum(-1) / (count - 1)).sqrt()
    return mean.to(overlap.dtype) + std.to(overlap.dtype)


def _best(
    cost: Float[Tensor, "B G K"],
    positive: Bool[Tensor, "B G K"],
    location: Int[Tensor, "B G K"],
    locations: int,
) -> Int[Tensor, "B {locations}"]:
    """Give each location the object of lowest cost, the first of equals, or -1."""
    batch, objects, _ = cost.shape
    where, cost = location.flatten(1), cost.where(positive, torch.inf).flatten(1)
    best = cost.new_full((batch, locations), torch.inf).scatter_reduce(1, where, cost, "amin")
    wins = positive.flatten(1) & (cost == best.gather(1, where))
    index = torch.arange(objects, device=cost.device)[:, None].expand_as(positive).flatten(1)
    matched = index.new_full((batch, locations), objects)
    matched = matched.scatter_reduce(1, where, index.where(wins, objects), "amin")
    return matched.where(matched < objects, -1)


def _centres(boxes: Float[Tensor, "*S 4"]) -> Float[Tensor, "*S 2"]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _contains(boxes: Float[Tensor, "*S 4"], points: Float[Tensor, "*S 2"]) -> Bool[Tensor, "*S"]:
    """Find the points that lie more than 0.01 px (mmdet's margin) inside their box."""
    sides = torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)
    return sides.amin(-1) > 0.01


def _assign_atss(scene: Scene, outputs: Outputs, topk: int) -> Int[Tensor, "B N"]:
    anchors = anchors_at(scene.priors)
    return atss(anchors, scene.level_sizes, scene.valid, scene.boxes, scene.real, topk)


def _assign_fcos(scene: Scene, outputs: Outputs, radius: float) -> Int[Tensor, "B N"]:
    return fcos(scene.priors, scene.level_sizes, scene.boxes, scene.real, radius)


# By the name in a host's record: functions of a batch, its predictions and the assigner's settings
# that return each location's object index, -1 if negative.
ASSIGNERS: dict[str, Callable[..., Int[Tensor, "B N"]]] = {
    "atss": _assign_atss,
    "fcos": _assign_fcos,
}
