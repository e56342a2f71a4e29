"""Representations of a box's position at a location (section 3, Table 2a).

A representation defines how many channels the regression tower predicts at a location and how they
decode to a box. A prior is a location with its stride, ``(x, y, stride, stride)`` in px, as in
mmdet's point generators; ATSS's anchor is the square of side 8 strides around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gfl.losses import at_least_float32, distribution_focal_loss

ANCHOR_SIDE = 8  # strides; ATSS's octave_base_scale with its single anchor per location
# Targets stop this far below the last bin, so that both neighbours exist
# (GFocal, and mmdet's DistancePointBBoxCoder with eps = 0.1).
LAST_BIN_MARGIN = 0.1


class PriorGenerator:
    """Locations of predictions: one point in every cell of every level, with its stride.

    Args:
        strides: of the levels, px.
        offset: of the point from its cell's upper left corner, in strides.
    """

    def __init__(self, strides: Sequence[int], offset: float) -> None:
        self.strides, self.offset = tuple(strides), offset

    def grid_priors(
        self,
        featmap_sizes: Sequence[Sequence[int]],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> list[Float[Tensor, "_ 4"]]:
        """Return ``(x, y, stride, stride)`` in px of each level's locations, row by row."""
        if dtype in (torch.float16, torch.bfloat16):
            dtype = torch.float32  # bfloat16 has no odd numbers beyond 256
        priors = []
        for stride, (height, width) in zip(self.strides, featmap_sizes, strict=True):
            y = (torch.arange(height, dtype=dtype, device=device) + self.offset) * stride
            x = (torch.arange(width, dtype=dtype, device=device) + self.offset) * stride
            points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
            priors.append(torch.cat([points, torch.full_like(points, stride)], -1))
        return priors


def distances(priors: Float[Tensor, "*P 4"], boxes: Float[Tensor, "*P 4"]) -> Float[Tensor, "*P 4"]:
    """Return the distances from locations to the sides l, t, r, b of boxes, in strides."""
    points, strides = priors[..., :2], priors[..., 2:]
    return torch.cat([(points - boxes[..., :2]) / strides, (boxes[..., 2:] - points) / strides], -1)


def boxes_at(
    priors: Float[Tensor, "*P 4"], distances: Float[Tensor, "*P 4"]
) -> Float[Tensor, "*P 4"]:
    """Return the boxes (xyxy, px) whose sides lie l, t, r, b strides from the locations."""
    points, strides = priors[..., :2], priors[..., 2:]
    lower = points - distances[..., :2] * strides
    upper = points + distances[..., 2:] * strides
    return torch.cat([lower, upper], -1)


def anchors_at(priors: Float[Tensor, "*P 4"]) -> Float[Tensor, "*P 4"]:
    """Return ATSS's square anchors (xyxy, px) around the locations."""
    half = priors[..., 2:] * (ANCHOR_SIDE / 2)
    return torch.cat([priors[..., :2] - half, priors[..., :2] + half], -1)


class AnchorDelta(nn.Module):
    """ATSS's Dirac delta: one number per side, as offset and log scale of the anchor (Eq. 3).

    The encoding is R-CNN's with ATSS's standard deviations, as in mmdet's ``DeltaXYWHBBoxCoder``.
    """

    channels = 4
    deviations = (0.1, 0.2)  # of the centre, and of the log sizes
    max_log_scale = abs(math.log(16 / 1000))  # R-CNN's clip: no box grows beyond 1000/16 anchors

    def decode(
        self, raw: Float[Tensor, "*P 4"], priors: Float[Tensor, "*P 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return boxes, xyxy in px."""
        of_centre, of_size = self.deviations
        side = priors[..., 2:] * ANCHOR_SIDE
        centre = priors[..., :2] + side * (raw[..., :2] * of_centre)
        log_scale = raw[..., 2:] * of_size
        scale = log_scale.clamp(-self.max_log_scale, self.max_log_scale).exp()
        half = side * scale * 0.5
        return torch.cat([centre - half, centre + half], -1)


class Distance(nn.Module):
    """FCOS's Dirac delta: the four distances themselves, in strides (Eq. 3).

    A negative prediction is a distance of 0, as in mmdet's ``FCOSHead`` with ``norm_on_bbox``.
    """

    channels = 4

    def decode(
        self, raw: Float[Tensor, "*P 4"], priors: Float[Tensor, "*P 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return boxes, xyxy in px."""
        return boxes_at(priors, raw.clamp(min=0))


class Gaussian(nn.Module):
    """Normal distribution of each distance, in strides: four means and four log variances.

    Trained by likelihood of the sides instead of GIoU; detections use the mean (the paper's first
    arXiv version, appendix, after He et al. 2019 and Choi et al. 2019).
    """

    channels = 8
    bound = 10.0  # of the log variance: 1/150 of a stride to 150; no training comes near it

    def moments(
        self, raw: Float[Tensor, "*P 8"]
    ) -> tuple[Float[Tensor, "*P 4"], Float[Tensor, "*P 4"]]:
        """Return mean (strides) and variance (strides squared) of the sides l, t, r, b."""
        mean, log_variance = self._split(raw)
        return mean, log_variance.exp()

    def decode(
        self, raw: Float[Tensor, "*P 8"], priors: Float[Tensor, "*P 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return boxes, xyxy in px, whose sides are the means; none lies beyond the location."""
        return boxes_at(priors, self._split(raw)[0].clamp(min=0))

    def likelihood_loss(
        self,
        raw: Float[Tensor, "*P 8"],
        priors: Float[Tensor, "*P 4"],
        targets: Float[Tensor, "*P 4"],
    ) -> Float[Tensor, "*P"]:
        """Return the negative log likelihood without its constant, averaged over the four sides.

        ``targets`` are boxes, xyxy in px. (x - y)^2 / (2 sigma^2) + log(sigma^2) / 2.
        """
        mean, log_variance = self._split(raw)
        error = distances(priors, targets) - mean
        return 0.5 * (error.square() * torch.exp(-log_variance) + log_variance).mean(-1)

    def _split(
        self, raw: Float[Tensor, "*P 8"]
    ) -> tuple[Float[Tensor, "*P 4"], Float[Tensor, "*P 4"]]:
        mean, log_variance = at_least_float32(raw).chunk(2, -1)
        return mean, log_variance.clamp(-self.bound, self.bound)


class General(nn.Module):
    """The paper's General distribution: a softmax over n + 1 bins per side (Eq. 4 and 5).

    Bin i stands for a distance of ``i * delta`` strides, so that y_n = n * delta.
    """

    bins: Tensor  # (n + 1,) strides

    def __init__(self, n: int, delta: float) -> None:
        super().__init__()
        self.n, self.delta = n, delta
        self.channels = 4 * (n + 1)
        self.register_buffer("bins", torch.arange(n + 1) * float(delta), persistent=False)

    def density(self, raw: Float[Tensor, "*P channels"]) -> Float[Tensor, "*P 4 bins"]:
        """Return P(y_i), the probability of each bin for the sides l, t, r, b."""
        return self._logits(at_least_float32(raw)).softmax(-1)

    def decode(
        self, raw: Float[Tensor, "*P channels"], priors: Float[Tensor, "*P 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return boxes, xyxy in px, whose sides are the distributions' means (Eq. 5)."""
        # Not a matrix product, which autocast would compute in bfloat16, with 3 digits.
        return boxes_at(priors, (self.density(raw) * self.bins).sum(-1))

    def dfl(
        self,
        raw: Float[Tensor, "*P channels"],
        priors: Float[Tensor, "*P 4"],
        targets: Float[Tensor, "*P 4"],
    ) -> Float[Tensor, "*P"]:
        """Return DFL (Eq. 6), the mean over the four sides; ``targets`` are boxes, xyxy in px."""
        # Position in units of bins: Eq. 6's weights then sum to 1 for every delta.
        position = (distances(priors, targets) / self.delta).clamp(0, self.n - LAST_BIN_MARGIN)
        return distribution_focal_loss(self._logits(raw), position).mean(-1)

    def _logits(self, raw: Float[Tensor, "*P channels"]) -> Float[Tensor, "*P 4 bins"]:
        return raw.unflatten(-1, (4, self.n + 1))


Representation = AnchorDelta | Distance | Gaussian | General

# The Dirac deltas that hosts were published with, by the name in a host's record.
DIRACS: dict[str, type[AnchorDelta] | type[Distance]] = {
    "anchor-delta": AnchorDelta,
    "distance": Distance,
}


def representation(
    boxes: str, dirac: type[AnchorDelta] | type[Distance], n: int | None, delta: float | None
) -> Representation:
    """Return the representation of the given name.

    ``dirac`` is the detector's published one; ``n`` and ``delta`` belong to the General
    distribution. Raises ValueError for an unknown name and for a General distribution without
    the two.
    """
    if boxes == "dirac":
        return dirac()
    if boxes == "gaussian":
        return Gaussian()
    if boxes != "general":
        raise ValueError(f"unknown boxes {boxes!r}; known: dirac, gaussian, general")
    if n is None or delta is None:
        raise ValueError(f"n = {n}, delta = {delta}: a General distribution needs both")
    return General(n, delta)


class BoxDecoder:
    """Adapter of a representation to the interface by which mmdet's heads decode predictions."""

    def __init__(self, representation: Representation) -> None:
        self.representation = representation
        self.encode_size = representation.channels

    def decode(
        self,
        priors: Float[Tensor, "P 4"],
        raw: Float[Tensor, "P channels"],
        max_shape: Sequence[int] | None = None,
    ) -> Float[Tensor, "P 4"]:
        """Return boxes, xyxy in px, clipped to an image of ``max_shape`` (height, width)."""
        boxes = self.representation.decode(at_least_float32(raw), priors)
        if max_shape is None:
            return boxes
        height, width = max_shape[:2]
        x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
        return torch.stack([x, y], -1).flatten(-2)
