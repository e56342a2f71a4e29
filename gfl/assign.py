"""Which locations are positive, and for which object: all images, levels and boxes at once.

Ground truth is padded to the same number of boxes in every image, the levels are flattened
once. Needs torch and jaxtyping alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gfl.geometry import iou


def pad_boxes(
    boxes: Sequence[Float[Tensor, "_ 4"]],
) -> tuple[Float[Tensor, "B G 4"], Bool[Tensor, "B G"]]:
    """Batch the images' boxes, padded with zeros to the most any has, and say which are real."""
    padded = pad_sequence(list(boxes), batch_first=True)
    counts = torch.tensor([len(image) for image in boxes], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]


@torch.no_grad()
def atss(
    anchors: Float[Tensor, "N 4"],
    level_sizes: Sequence[int],
    valid: Bool[Tensor, "B N"],
    gt_boxes: Float[Tensor, "B G 4"],
    gt_valid: Bool[Tensor, "B G"],
    topk: int = 9,
) -> Int[Tensor, "B N"]:
    """Assign locations to objects by ATSS (Zhang et al. 2020, Algorithm 1), as mmdet does.

    Every object's candidates are the `topk` locations of each level that are nearest to its
    centre; positive are those whose anchor's IoU reaches the mean plus the standard deviation
    of all the candidates' IoUs and whose centre lies in the object. A location positive for
    several objects goes to that of the highest IoU.

    Of equally distant locations the lower is nearer, of equal IoUs the lower object's is higher,
    so the result depends neither on the device nor on the other images of the batch.

    Args:
        anchors: xyxy px, all levels flattened, one to a location; in each level they lie on
            a regular grid, row by row.
        level_sizes: locations of each level.
        valid: locations inside the image, a rectangle from the first location of each level;
            the others are never candidates.
        gt_boxes: xyxy px, padded.
        gt_valid: False where padded.
        topk: candidates an object has in each level (all, where the level has fewer).

    Returns:
        The index of each location's object, -1 where it is negative.

    Source: mmdet `ATSSAssigner` behind `ATSSHead`, and equal to it except where its outcome is
    an accident: the order of equal distances, which `topk` leaves open, and objects all of
    whose candidates have one IoU. That IoU is then the threshold, and here they reach it; in
    mmdet the rounding of the mean decides, which varies with the number of objects.
    """
    grid = _grid(anchors, level_sizes, valid)
    location, exists = _candidates(_centres(anchors), grid, _centres(gt_boxes), topk)
    candidates = anchors[location]  # (B, G, L topk, 4)
    objects = gt_boxes[:, :, None].expand_as(candidates)
    overlap = iou(candidates, objects)
    positive = (overlap >= _threshold(overlap, exists)[..., None]) & exists & gt_valid[..., None]
    positive &= _contains(objects, _centres(candidates))
    return _best(overlap, positive, location, len(anchors))


class _Grid(NamedTuple):
    """Where each level's locations are; the last axis of a pair is (x, y)."""

    first: Int[Tensor, " L"]  # index of the level's first location
    columns: Int[Tensor, " L"]
    origin: Float[Tensor, "L 2"]  # centre of the first location, px
    pitch: Float[Tensor, "L 2"]  # px from one location to the next, 1 where there is none
    extent: Int[Tensor, "B L 2"]  # columns and rows inside each image


def _grid(
    anchors: Float[Tensor, "N 4"], level_sizes: Sequence[int], valid: Bool[Tensor, "B N"]
) -> _Grid:
    sizes = torch.tensor(level_sizes, device=anchors.device)
    first = sizes.cumsum(0) - sizes
    level = torch.arange(len(sizes), device=anchors.device).repeat_interleave(
        sizes, output_size=len(anchors)
    )
    # The first row counts the columns, the first column counts the rows.
    edge = anchors[:, [1, 0]] == anchors[first][level][:, [1, 0]]
    shape = first.new_zeros(len(sizes), 2).index_add_(0, level, edge.long())
    extent = first.new_zeros(len(valid), len(sizes), 2)
    extent.index_add_(1, level, (edge & valid[..., None]).long())
    centres = _centres(anchors)
    origin = centres[first]
    pitch = (centres[first + sizes - 1] - origin) / (shape - 1).clamp(min=1)
    return _Grid(first, shape[:, 0], origin, pitch.where(shape > 1, 1), extent)


def _candidates(
    centres: Float[Tensor, "N 2"], grid: _Grid, targets: Float[Tensor, "B G 2"], topk: int
) -> tuple[Int[Tensor, "B G K"], Bool[Tensor, "B G K"]]:
    """Find the topk nearest locations of each level, nearest first, and which of them exist.

    Only a window of k + 2 columns and rows around the object's centre is searched, moved to
    stay on the grid. It has them all: of a location in any other column, at least k locations
    of the same row are nearer, each by a column or more, and likewise for rows. Rounding
    reverses none of this, because subtraction, square, sum and root are monotone, and makes
    equal only the distances of objects over a thousand strides away.
    """
    half = topk // 2 + 1
    span = torch.arange(2 * half + 1, device=centres.device)
    extent = grid.extent[:, None]
    nearest = ((targets[:, :, None] - grid.origin) / grid.pitch).round()
    nearest = nearest.clamp(min=0).minimum(extent).long()
    start = (nearest - half).minimum(extent - len(span)).clamp(min=0)
    step = start[..., None] + span  # (B, G, L, 2, S), columns and rows of the window
    on_grid = step < extent[..., None]
    step = step.where(on_grid, 0)
    column, row = step.unbind(-2)
    row = row * grid.columns[:, None]
    first = grid.first[:, None]
    dx = centres[first + column, 0] - targets[:, :, None, None, 0]
    dy = centres[first + row, 1] - targets[:, :, None, None, 1]
    distance = (dx.pow(2)[..., None, :] + dy.pow(2)[..., :, None]).sqrt()
    both = on_grid[..., 0, :][..., None, :] & on_grid[..., 1, :][..., :, None]
    distance = distance.where(both, torch.inf).flatten(-2)
    location = (first[..., None] + row[..., :, None] + column[..., None, :]).flatten(-2)
    # Not topk: its choice among equal distances is undefined. The window is in the order of
    # the locations, so a stable sort takes the lower of two.
    distance, order = distance.sort(dim=-1, stable=True)
    location = location.gather(-1, order[..., :topk]).flatten(-2)
    return location, distance[..., :topk].isfinite().flatten(-2)


def _threshold(
    overlap: Float[Tensor, "B G K"], exists: Bool[Tensor, "B G K"]
) -> Float[Tensor, "B G"]:
    """Mean plus unbiased standard deviation of the IoUs that exist, NaN if there is but one.

    NaN makes a sole candidate negative, as in mmdet. In float64, because the last bit of a
    float32 sum depends on its order; then rounded and added as mmdet's are.
    """
    values, count = overlap.double(), exists.sum(-1)
    mean = values.where(exists, 0).sum(-1) / count
    deviation = (values - mean[..., None]).where(exists, 0)
    std = (deviation.pow(2).sum(-1) / (count - 1)).sqrt()
    return mean.to(overlap.dtype) + std.to(overlap.dtype)


def _best(
    overlap: Float[Tensor, "B G K"],
    positive: Bool[Tensor, "B G K"],
    location: Int[Tensor, "B G K"],
    locations: int,
) -> Int[Tensor, "B {locations}"]:
    """Give each location the object of the highest IoU, the first of equals, or -1."""
    batch, objects, _ = overlap.shape
    where, score = location.flatten(1), overlap.where(positive, -1).flatten(1)
    best = score.new_full((batch, locations), -1).scatter_reduce(1, where, score, "amax")
    wins = positive.flatten(1) & (score == best.gather(1, where))
    index = torch.arange(objects, device=overlap.device)[:, None].expand_as(overlap).flatten(1)
    matched = index.new_full((batch, locations), objects)
    matched = matched.scatter_reduce(1, where, index.where(wins, objects), "amin")
    return matched.where(matched < objects, -1)


def _centres(boxes: Float[Tensor, "*S 4"]) -> Float[Tensor, "*S 2"]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _contains(boxes: Float[Tensor, "*S 4"], points: Float[Tensor, "*S 2"]) -> Bool[Tensor, "*S"]:
    """Tell which points lie more than 0.01 px (mmdet's margin) inside their box."""
    sides = torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)
    return sides.amin(-1) > 0.01
