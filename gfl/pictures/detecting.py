"""Detection in a picture by a trained detector, with the distributions behind its boxes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gfl.register  # noqa: F401  before mmdet: it quietens it and supplies mmcv's operators

# isort: split
import mmcv
import numpy as np
import torch
from jaxtyping import Float
from mmdet.registry import MODELS
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor

from gfl.boxes import BoxDecoder, Gaussian, General
from gfl.config.data import loads_floats, of_pictures
from gfl.data.images import Picture, named
from gfl.data.photos import prepared_size
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.head import AblationHead
from gfl.predictions import trained
from gfl.predictions.trained import Trained

SIDES = ("left", "top", "right", "bottom")
AWAY = (-1, -1, 1, 1)  # direction in which a side's distance grows, along its axis


@dataclass(frozen=True, eq=False)
class Distributions:
    """Distributions of a detection's four sides: distances, in strides, from its location.

    A General distribution has ``bins`` and ``p``, a Gaussian ``mean`` and ``sigma``.
    """

    location: tuple[float, float]  # x, y of the upright picture, px
    stride: tuple[float, float]  # along x and along y, px of the upright picture
    bins: np.ndarray | None = None  # [n + 1] strides
    p: np.ndarray | None = None  # [4, n + 1], the sides in the order of SIDES
    mean: np.ndarray | None = None  # [4] strides
    sigma: np.ndarray | None = None  # [4] strides

    def position(self, side: int, distance: Any) -> Any:
        """Return the coordinate along x or y, px, of a side at a distance in strides."""
        axis = side % 2
        return self.location[axis] + AWAY[side] * distance * self.stride[axis]

    def content(self) -> dict[str, Any]:
        """Return the content for JSON."""
        if self.p is not None and self.bins is not None:
            sides: dict[str, Any] = {"kind": "general", "bins": self.bins.tolist()}
            sides |= {side: self.p[i].tolist() for i, side in enumerate(SIDES)}
        else:
            assert self.mean is not None
            assert self.sigma is not None
            normal = zip(SIDES, self.mean.tolist(), self.sigma.tolist(), strict=True)
            sides = {"kind": "gaussian"}
            sides |= {side: {"mean": mean, "sigma": sigma} for side, mean, sigma in normal}
        return {"location": self.location, "stride": self.stride, **sides}


@dataclass(frozen=True, eq=False)
class Detection:
    """Detected object."""

    category: str
    label: int  # of the category
    score: float
    box: tuple[float, float, float, float]  # xyxy, px of the upright picture
    distributions: Distributions | None  # None: a side is a single number


@MODELS.register_module()
class TracedHead(AblationHead):
    """AblationHead whose detections carry the raw predictions that their boxes are decoded from.

    ``raw`` (N, channels) and ``priors`` (N, 4) accompany ``bboxes`` in the instances, so that
    every filter, non-maximum suppression included, keeps them together.
    """

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor],
        mlvl_priors: list[Tensor],
        img_meta: dict[str, Any],
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> Any:
        # Called once for all candidates, just before mmdet filters the decoded boxes.
        self.bbox_coder = _Remembering(self.representation)
        return super()._predict_by_feat_single(
            cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors, img_meta, cfg,
            rescale, with_nms,
        )  # fmt: skip

    def _bbox_post_process(
        self,
        results: Any,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict[str, Any] | None = None,
    ) -> Any:
        results.priors, results.raw = self.bbox_coder.asked
        return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)


TRACED = TracedHead.__name__


class _Remembering(BoxDecoder):
    """Decoder that remembers its last input."""

    asked: tuple[Tensor, Tensor]

    def decode(
        self,
        priors: Float[Tensor, "P 4"],
        raw: Float[Tensor, "P channels"],
        max_shape: Sequence[int] | None = None,
    ) -> Float[Tensor, "P 4"]:
        self.asked = priors, raw
        return super().decode(priors, raw, max_shape)


def detector(run_dir: Path, device: Literal["cpu", "cuda"] = "cpu") -> Trained:
    """Return a run's trained detector, with a head that exposes its distributions, if any.

    Raises:
        UserError: as ``gfl.predictions.trained.detector`` does.
    """
    return trained.detector(run_dir, device, TRACED)


def has_distributions(run: Trained) -> bool:
    """Return True if a run's boxes come from General or Gaussian distributions."""
    experiment = run.request.experiment
    return isinstance(experiment, Experiment) and experiment.boxes != "dirac"


@torch.no_grad()
def detect(run: Trained, picture: Picture, threshold: float = 0.0) -> list[Detection]:
    """Return what scores at least ``threshold``, best first, at most what evaluation keeps.

    The picture passes through the run's own evaluation pipeline: resized, normalised and padded.

    Raises:
        UserError: resizing leaves nothing of the picture.
    """
    item = _prepared(run, picture)
    model: Any = run.model
    with warnings.catch_warnings():  # mmdet's point generator triggers it
        warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
        (sample,) = model.test_step(pseudo_collate([item]))
    found = sample.pred_instances
    found = found[found.scores >= threshold]
    limits = [picture.width, picture.height] * 2
    # A corner detector's pipeline pads without resizing.
    distributions = _distributions(run, found, sample.metainfo.get("scale_factor", (1.0, 1.0)))
    return [
        Detection(
            run.classes[label],
            label,
            score,
            tuple(min(max(x, 0.0), limit) for x, limit in zip(box, limits, strict=True)),
            sides,
        )
        for label, score, box, sides in zip(
            found.labels.tolist(),
            found.scores.tolist(),
            found.bboxes.tolist(),
            distributions,
            strict=True,
        )
    ]


def _prepared(run: Trained, picture: Picture) -> dict[str, Any]:
    """Return the picture as the run's evaluation would pass it to the model."""
    steps = of_pictures(run.pipeline)
    size = (picture.width, picture.height)
    for step in steps:
        if min(_resized(size, step)) < 1:
            scale = run.request.profile.scale
            raise UserError(
                f"{named(picture.path)}: {size[0]} x {size[1]} pixels, too narrow: nothing is left "
                f"of it at the run's scale, {' x '.join(map(str, scale))}"
            )
    with DefaultScope.overwrite_default_scope("mmdet"):
        transform = Compose(steps)
    shape = picture.rgb.shape[:2]
    item = transform({
        "img": picture.bgr.astype(np.float32) if loads_floats(run.pipeline) else picture.bgr,
        "img_id": 0,
        "img_path": str(picture.path),
        "img_shape": shape,
        "ori_shape": shape,
    })  # fmt: skip
    assert item is not None
    return item


def _resized(size: tuple[int, int], step: dict[str, Any]) -> tuple[int, int]:
    """Return a picture's width and height after a step of the evaluation pipeline."""
    if step["type"] == "ShrinkPicture":
        return prepared_size(*size, step["size"])
    return mmcv.rescale_size(size, step["scale"]) if step.get("keep_ratio") else size


def _distributions(
    run: Trained, found: Any, scale: tuple[float, float]
) -> Sequence[Distributions | None]:
    """Return each detection's distributions; ``scale`` is network input px per picture px."""
    if not has_distributions(run) or "raw" not in found:
        return [None] * len(found)
    head: Any = run.model.bbox_head
    representation = head.representation
    priors = found.priors / found.priors.new_tensor([*scale, *scale])
    places = [((x, y), (sx, sy)) for x, y, sx, sy in priors.tolist()]
    if isinstance(representation, General):
        bins, densities = _numpy(representation.bins), _numpy(representation.density(found.raw))
        return [
            Distributions(*place, bins=bins, p=p)
            for place, p in zip(places, densities, strict=True)
        ]
    assert isinstance(representation, Gaussian)
    means, variances = map(_numpy, representation.moments(found.raw))
    return [
        Distributions(*place, mean=mean, sigma=np.sqrt(variance))
        for place, mean, variance in zip(places, means, variances, strict=True)
    ]


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
