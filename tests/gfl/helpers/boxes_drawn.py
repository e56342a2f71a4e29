"""Objects drawn for the tests of the assignment, and how many cases of them are tried."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

MOST = 100  # objects in an image


def random_boxes(seed: int, count: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Draw boxes of 1 to 500 px with centres inside and around an image."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.tensor([width, height], dtype=dtype)
    centre = (torch.rand(count, 2, generator=generator, dtype=dtype) * 2 - 0.5) * image
    size = 500 ** torch.rand(count, 2, generator=generator, dtype=dtype)
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def spoil(boxes: Tensor, seed: int) -> Tensor:
    """Move boxes to a coarse raster, which makes ties, and give every eighth no area."""
    generator = torch.Generator().manual_seed(seed)
    raster = torch.tensor([0.5, 1, 8])[torch.randint(3, (len(boxes), 1), generator=generator)]
    boxes = (boxes / raster).round() * raster
    flat = torch.randint(8, (len(boxes), 2), generator=generator) == 0
    return torch.cat((boxes[:, :2], boxes[:, 2:].where(~flat, boxes[:, :2])), dim=-1)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
