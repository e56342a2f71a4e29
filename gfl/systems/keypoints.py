"""Keypoints on a map of cells: predictions, their peaks, Gaussian targets, central regions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gfl.losses import at_least_float32


class Keypoints(NamedTuple):
    """Predictions for one kind of keypoint at all cells of one stack's map."""

    heat: Float[Tensor, "B C H W"]  # logits of a keypoint of each class
    offset: Float[Tensor, "B 2 H W"]  # of the keypoint in its cell, x then y, cells
    tag: Float[Tensor, "B 1 H W"] | None  # alike at the corners of one object; None for centers

    def exact(self) -> Keypoints:
        """Return all in at least float32, for losses and coordinates."""
        tag = None if self.tag is None else at_least_float32(self.tag)
        return Keypoints(at_least_float32(self.heat), at_least_float32(self.offset), tag)

    def of_image(self, index: int) -> Keypoints:
        """Return one image's predictions, as a batch of one."""
        one = slice(index, index + 1)
        tag = None if self.tag is None else self.tag[one]
        return Keypoints(self.heat[one], self.offset[one], tag)


class Target(NamedTuple):
    """Ground truth for one kind of keypoint."""

    heat: Float[Tensor, "B C H W"]  # 1 at keypoints, falling off as a Gaussian around them
    image: Int[Tensor, "G"]  # of each object
    cell: Int[Tensor, "G 2"]  # x, y
    offset: Float[Tensor, "G 2"]  # x, y, cells


class Peaks(NamedTuple):
    """Best keypoints of one kind in one image."""

    point: Float[Tensor, "K 2"]  # px of the canvas
    score: Float[Tensor, "K"]
    label: Int[Tensor, "K"]
    tag: Float[Tensor, "K"] | None


def peak_radius(size: Float[Tensor, "G 2"], min_overlap: float) -> Float[Tensor, "G"]:
    """Return the radius of objects' peaks, cells, of their width and height in cells.

    The released ``gaussian_radius`` (``sample/utils.py``) solves CornerNet's three quadratic
    equations without dividing by their leading coefficients. The third root is then always the
    least, and 4 * min_overlap times the true one: 2.8 times at 0.7. The published models were
    trained with it; mmdet's ``gaussian_radius`` has the true roots.
    """
    width, height = size.ceil().unbind(-1)
    half = min_overlap * (width + height)
    area = min_overlap * (1 - min_overlap) * width * height
    return ((half**2 + 4 * area).sqrt() - half).clamp(min=0).floor()


def gaussian_peaks(
    cell: Float[Tensor, "G 2"], radius: Float[Tensor, "G"], sigmas: int, height: int, width: int
) -> Float[Tensor, "G {height} {width}"]:
    """Return a Gaussian of 1 at each cell, cut off beyond its radius."""
    dx = torch.arange(width, device=cell.device) - cell[:, :1]
    dy = torch.arange(height, device=cell.device) - cell[:, 1:]
    sigma = (2 * radius + 1) / sigmas
    square = (dx**2)[:, None] + (dy**2)[..., None]
    reach = radius[:, None]
    within = (dx.abs() <= reach)[:, None] & (dy.abs() <= reach)[..., None]
    return torch.exp(-square / (2 * sigma**2)[:, None, None]) * within


def central_region(boxes: Float[Tensor, "N 4"], parts: Int[Tensor, "N"]) -> Float[Tensor, "N 4"]:
    """Return the middle one of ``parts`` equal parts of a box both ways (Eq. 1, recalled)."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / (2 * parts[:, None])
    return torch.cat([center - half, center + half], -1)


def is_inside(points: Float[Tensor, "K 2"], boxes: Float[Tensor, "N 4"]) -> Bool[Tensor, "N K"]:
    """Return True where a point lies strictly inside a box."""
    after = points[None] > boxes[:, None, :2]
    before = points[None] < boxes[:, None, 2:]
    return (after & before).all(-1)


def matches(top_left: Target, bottom_right: Target) -> list[list[list[list[int]]]]:
    """Return the cells of each image's pairs of corners, y before x, as mmdet's loss takes them."""
    images = top_left.heat.shape[0]
    matches: list[list[list[list[int]]]] = [[] for _ in range(images)]
    cells = torch.stack((top_left.cell.flip(-1), bottom_right.cell.flip(-1)), 1)
    for image, pair in zip(top_left.image.tolist(), cells.tolist(), strict=True):
        matches[image].append(pair)
    return matches
