"""Outputs of a corner detector's head with a prescribed number of valid pairs.

Objects stand in groups, a class each: each of m top left corners is valid with each of m bottom
right ones, so that a group has m squared pairs. All have the same tag; CenterNet's centers confirm
all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

PEAK, NOTHING = 4.0, -12.0  # logits of a keypoint, and elsewhere
STEP = 2  # cells between keypoints of a group, so that each is the maximum of its neighbours


def prepared(outputs: tuple[Any, ...], test_cfg: Mapping[str, Any], pairs: int) -> tuple[Any, ...]:
    """Return outputs in place of a head's own, of the same shapes.

    Understands CornerNet's (6 lists), CentripetalNet's (8) and CenterNet's (3, of ``Keypoints``).
    """
    made = tuple([_like(level) for level in levels] for levels in outputs)
    keypoints = [levels[-1] for levels in made]
    named = hasattr(keypoints[0], "heat")
    tl, br = (one.heat if named else one for one in keypoints[:2])
    center = keypoints[2].heat if named else None
    tl_shift, br_shift = keypoints[6:8] if len(made) == 8 else (None, None)
    for heat in (tl, br, center):
        if heat is not None:
            heat.fill_(NOTHING)
    _, classes, height, width = tl.shape
    wanted = sizes(test_cfg["corner_topk"], pairs)
    if len(wanted) > classes:
        raise ValueError(f"{len(wanted)} groups of keypoints need as many classes, not {classes}")
    for label, (first, second) in enumerate(groups(wanted, height, width)):
        middle = torch.tensor(first + second).float().mean(0).tolist()
        for heat, shift, points in ((tl, tl_shift, first), (br, br_shift, second)):
            for i, (x, y) in enumerate(points):
                heat[:, label, y, x] = PEAK - 0.01 * (label + 0.1 * i)
                if shift is not None:  # a logarithm
                    shift[:, 0, y, x] = math.log(abs(middle[0] - x))
                    shift[:, 1, y, x] = math.log(abs(middle[1] - y))
        if center is not None:
            center[:, label, round(middle[1]), round(middle[0])] = PEAK
    return made


def sizes(keypoints: int, pairs: int) -> list[int]:
    """Return the groups' sizes, m or m + 1: their squares add up to ``pairs`` as nearly as may be.

    At most ``keypoints`` corners of a kind.
    """
    m = max(pairs // keypoints, 1)
    found = [
        (abs(pairs - few * m**2 - many * (m + 1) ** 2), -few - many, [m] * few + [m + 1] * many)
        for few in range(keypoints // m + 1)
        for many in range((keypoints - few * m) // (m + 1) + 1)
    ]
    return min(found)[2]


def groups(
    sizes: list[int], height: int, width: int
) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """Yield each group's top left and bottom right corners (x, y), cells.

    Corners of a kind fill a square, whose distance from the other's is most of the map's.
    """
    for number, m in enumerate(sizes):
        side = math.ceil(m**0.5)
        extent = STEP * (side - 1)
        room_x, room_y = width - 2 - extent, height - 2 - extent
        shift = number % 3  # boxes of different groups differ
        cells = [(STEP * (i % side), STEP * (i // side)) for i in range(m)]
        first = [(1 + x + shift, 1 + y) for x, y in cells]
        second = [(room_x + x, room_y + y - shift) for x, y in cells]
        yield first, second


def _like(level: Any) -> Any:
    """Return zeros of the shapes of a level's outputs, contiguous, which mmdet's decoding needs."""
    if isinstance(level, Tensor):
        return torch.zeros(level.shape, dtype=level.dtype, device=level.device)
    return type(level)(*(None if one is None else _like(one) for one in level))
