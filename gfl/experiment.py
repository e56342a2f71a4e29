"""Factors of an experiment, and the scale at which it is run.

Pure data, without torch or mmdet, so that ``status`` and ``--help`` answer at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from gfl.data.own.spec import OwnSpec
from gfl.data.photos_spec import PhotosSpec
from gfl.errors import UserError, did_you_mean
from gfl.hosts import ABLATED_HOSTS, HOSTS, HostName, Recipe
from gfl.shapes.embedded import ShapesSpec

Quality = Literal[
    "none", "centerness-branch", "iou-branch", "centerness-guided", "iou-guided", "joint"
]
Boxes = Literal["dirac", "gaussian", "general"]
Backbone = Literal["r50", "r101", "x101-32x4d", "r101-dcn", "x101-32x4d-dcn"]
Lasting = Literal["1x", "2x-ms"]


@dataclass(frozen=True)
class Experiment:
    """Values of all factors of the ablation study; the defaults are the ATSS baseline.

    Raises:
        UserError: a value is unknown or the combination is impossible.
    """

    host: HostName = "atss"  # source of anchors, assignment and base losses (section 4)
    quality: Quality = "centerness-branch"  # use of localization quality (Table 1a, Fig. 6)
    boxes: Boxes = "dirac"  # representation of a distance (Table 2a)
    dfl: bool = False  # Distribution Focal Loss on top of GIoU, Eq. 6 (Tables 2a and 3)
    y_n: float = 16.0  # a General distribution's last bin, strides (Table 2b)
    delta: float = 1.0  # the width of a bin, strides (Table 2c)
    beta: float = 2.0  # QFL's focusing parameter, Eq. 2 (Table 1c)
    # Weight of a Gaussian's loss (Table 2a). Inferred from DFL's, the other loss on the sides.
    likelihood_weight: float = 0.25
    backbone: Backbone = "r50"  # Table 4's; r50 is the profile's own network, whatever its depth
    lasting: Lasting = "1x"  # the profile's schedule, or twice that with multi-scale training

    def __post_init__(self) -> None:
        for name, choices in _choices().items():
            value = getattr(self, name)
            if choices and value not in choices:
                known = did_you_mean(str(value), choices)
                raise UserError(f"unknown {name} {value!r}{known}")
        self._check_host()
        if self.dfl and self.boxes != "general":
            raise UserError(
                f"dfl=True needs boxes='general': {self.boxes!r} has no bins to focus on"
            )
        if not (0 < self.delta < math.inf and 0 < self.y_n < math.inf):
            raise UserError(f"y_n={self.y_n}, delta={self.delta}: both are above 0 (Eq. 4)")
        if not (self.n >= 1 and math.isclose(self.n * self.delta, self.y_n, rel_tol=1e-9)):
            raise UserError(
                f"delta={self.delta:g} does not divide y_n={self.y_n:g}: "
                "the bins 0, delta, 2 delta, ... end at y_n (Eq. 4)"
            )
        if not 0 <= self.beta < math.inf:
            raise UserError(f"beta={self.beta}: QFL's focusing parameter is 0 or more (Eq. 2)")
        if not 0 < self.likelihood_weight < math.inf:
            raise UserError(f"likelihood_weight={self.likelihood_weight}: a weight is above 0")

    def out_of_effect(self) -> str:
        """Name a factor that is set but has no effect; empty if there is none."""
        for name, factor, needed in (
            ("beta", "quality", "joint"),
            ("y_n", "boxes", "general"),
            ("delta", "boxes", "general"),
            ("likelihood_weight", "boxes", "gaussian"),
        ):
            given, has = getattr(self, name), getattr(self, factor)
            if given != getattr(Experiment, name) and has != needed:
                why = f"with {has!r} it changes nothing"
                return f"{name}={given:g} needs {factor}={needed!r}: {why}"
        return ""

    def _check_host(self) -> None:
        """Restrict Table 4 to ATSS; and RetinaNet, FoveaBox and SSD512 to Table 1b."""
        if self.host != "atss" and (self.backbone, self.lasting) != ("r50", "1x"):
            raise UserError(
                f"backbone={self.backbone!r}, lasting={self.lasting!r} are GFL's in Table 4, which "
                f"is built on host='atss', not {self.host!r}"
            )
        if self.host in ABLATED_HOSTS:
            return
        if self.quality not in ("none", "joint"):
            raise UserError(
                f"host={self.host!r} has quality 'none' or 'joint' (Table 1b), not "
                f"{self.quality!r}: the other uses are of {' and '.join(ABLATED_HOSTS)} (Table 1a)"
            )
        if self.boxes != "dirac":
            raise UserError(
                f"host={self.host!r} has boxes 'dirac' (Table 1b), not {self.boxes!r}: "
                f"distributions are of {' and '.join(ABLATED_HOSTS)} (Table 2a)"
            )

    @property
    def n(self) -> int:
        """Number of bins less one of a General distribution, y_n / delta (Eq. 4)."""
        return round(self.y_n / self.delta)

    @property
    def slug(self) -> str:
        """Readable name of the factors in effect: ``atss-joint-general-dfl``."""
        parts = [self.host, self.quality, self.boxes]
        if self.boxes == "general":
            parts += ["dfl"] if self.dfl else []
            parts += [f"n{self.n}"] if self.n != 16 else []
            parts += [f"delta{self.delta:g}"] if self.delta != 1 else []
        if self.boxes == "gaussian" and self.likelihood_weight != 0.25:
            parts.append(f"weight{self.likelihood_weight:g}")
        if self.quality == "joint" and self.beta != 2:
            parts.append(f"beta{self.beta:g}")
        parts += [self.backbone] if self.backbone != "r50" else []
        parts += [self.lasting] if self.lasting != "1x" else []
        return "-".join(parts)


@cache  # evaluating annotations takes longer than all else that makes an experiment
def _choices() -> Mapping[str, tuple[Any, ...]]:
    """Return the values that each field may have, by its name; () where its type names none."""
    hints = get_type_hints(Experiment)
    return {field.name: get_args(hints[field.name]) for field in fields(Experiment)}


@dataclass(frozen=True)
class System:
    """Detector of Table 4 other than GFL; ``gfl.config.systems`` holds its settings."""

    method: str  # a key of ``gfl.config.systems.METHODS``
    backbone: str  # one of the method's rows: "r101-dcn", "hg104"
    rate: float | None = None  # learning rate at a small profile, in sweeps; None: the method's

    def out_of_effect(self) -> str:
        """Return the empty string: a system has no further factors."""
        return ""

    @property
    def slug(self) -> str:
        """Readable name: ``reppoints-r101-dcn``."""
        rate = "" if self.rate is None else f"-lr{self.rate:g}"
        return f"{self.method}-{self.backbone}{rate}"


AnyExperiment = Experiment | System


def at_scale(experiment: AnyExperiment, profile: Profile) -> AnyExperiment:
    """Return what a row of Table 4 trains at a profile.

    At a small profile every system sees the same images, however long its published schedule is.
    """
    if isinstance(experiment, System) or profile.has_published_network:
        return experiment
    return replace(experiment, lasting="1x")


@dataclass(frozen=True)
class Model:
    """Scale of the detector, shared by every experiment of a profile."""

    depth: int | None  # of the ResNet; None: ``frozen`` replaces it
    base_channels: int = 64  # of its first stage; 64 is the published network
    pretrained: str | None = None  # torchvision's ImageNet weights, or from scratch
    first_level: int = 3  # P3: the finest level has stride 2**3
    levels: int = 5
    channels: int = 256  # of the FPN and the towers
    stacked_convs: int = 4  # in each of the two towers
    frozen: str | None = None  # a key of frozen.NETWORKS: published weights, never trained


@dataclass(frozen=True)
class Schedule:
    """Length, batch and optimizer of training."""

    epochs: int
    batch: int  # images per step, over all devices
    lr: float
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    weight_decay: float = 1e-4
    warmup_iters: int = 500
    milestones: tuple[int, ...] = ()  # epochs at which the rate falls tenfold; (): cosine to 0
    clip_grad: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Profile:
    """Scale at which the declared matrix is run: data, model and schedule.

    Raises:
        UserError: it combines photographs with several devices.
    """

    name: str
    model: Model
    schedule: Schedule
    dataset: ShapesSpec | None  # None: COCO on disk, or a folder of one's own
    scale: tuple[int, int]  # long and short side to which images are resized, px
    eval_interval: int = 1  # epochs between evaluations; the last epoch is always evaluated
    eval_batch: int = 1
    gpus: int = 1
    device: Literal["cpu", "cuda"] = "cpu"  # intended device
    own: OwnSpec | None = None  # the user's data, in COCO's format; never part of a table
    photos: PhotosSpec | None = None  # part of COCO, prepared, with a frozen network's features

    def __post_init__(self) -> None:
        if self.photos is not None and self.gpus > 1:
            raise UserError(
                f"a run of the {self.name} profile uses one device, not {self.gpus}: its batches "
                "are of images that share a canvas, and are not shared out"
            )

    @property
    def is_small(self) -> bool:
        """Return True if a run takes one CPU core: on drawn images, and on stored features."""
        return self.dataset is not None or self.photos is not None

    @property
    def is_coco(self) -> bool:
        """Return True for COCO itself."""
        return not self.is_small and self.own is None

    @property
    def has_published_network(self) -> bool:
        """Return True for the published network with its weights; recipes are made for it."""
        return self.model.pretrained is not None


def recipe_of(experiment: Experiment, profile: Profile) -> Recipe:
    """Return the host's recipe if the profile has the published network, else ATSS's."""
    return HOSTS[experiment.host].recipe if profile.has_published_network else Recipe()
