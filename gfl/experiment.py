"""What may vary between runs: the factors of an experiment and the scale it is run at.

Pure data: importing this module costs neither torch nor mmdet, so that ``status`` and
``--help`` answer at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from gfl.data.shapes import ShapesSpec
from gfl.errors import UserError, did_you_mean

Host = Literal["atss"]
Quality = Literal["centerness-branch", "joint"]
Boxes = Literal["dirac", "general"]


@dataclass(frozen=True)
class Experiment:
    """One value of every factor of the ablation study; the defaults are the ATSS baseline.

    Raises:
        UserError: a value is unknown or the combination is impossible.
    """

    host: Host = "atss"  # whose anchors, assignment and base losses (section 4)
    quality: Quality = "centerness-branch"  # how localization quality is used (Table 1a, Fig. 6)
    boxes: Boxes = "dirac"  # what a distance is represented by (Table 2a)
    dfl: bool = False  # Distribution Focal Loss on top of GIoU, Eq. 6 (Tables 2a and 3)
    n: int = 16  # a General distribution has n + 1 bins (Table 2b)
    delta: float = 1.0  # the width of a bin in strides; y_n = n * delta (Table 2c)
    beta: float = 2.0  # QFL's focusing parameter, Eq. 2 (Table 1c)

    def __post_init__(self) -> None:
        hints = get_type_hints(Experiment)
        for field in fields(self):
            choices, value = get_args(hints[field.name]), getattr(self, field.name)
            if choices and value not in choices:
                known = did_you_mean(str(value), choices)
                raise UserError(f"unknown {field.name} {value!r}{known}")
        if self.dfl and self.boxes != "general":
            raise UserError(
                f"dfl=True needs boxes='general': {self.boxes!r} has no bins to focus on"
            )
        if not (isinstance(self.n, int) and self.n >= 1 and 0 < self.delta < math.inf):
            raise UserError(
                f"n={self.n}, delta={self.delta}: a distribution needs a whole n >= 1 and delta > 0"
            )
        if not 0 <= self.beta < math.inf:
            raise UserError(f"beta={self.beta}: QFL's focusing parameter is 0 or more (Eq. 2)")

    @property
    def slug(self) -> str:
        """The factors in effect, readable: ``atss-joint-general-dfl``."""
        parts = [self.host, self.quality, self.boxes]
        if self.boxes == "general":
            parts += ["dfl"] if self.dfl else []
            parts += [f"n{self.n}"] if self.n != 16 else []
            parts += [f"delta{self.delta:g}"] if self.delta != 1 else []
        if self.quality == "joint" and self.beta != 2:
            parts.append(f"beta{self.beta:g}")
        return "-".join(parts)


@dataclass(frozen=True)
class Model:
    """The scale of the detector that every experiment of a profile shares."""

    depth: int  # of the ResNet
    base_channels: int = 64  # of its first stage; 64 is the published network
    pretrained: str | None = None  # torchvision's ImageNet weights, or from scratch
    first_level: int = 3  # P3: the finest level has stride 2**3
    levels: int = 5
    channels: int = 256  # of the FPN and the towers
    stacked_convs: int = 4  # in each of the two towers


@dataclass(frozen=True)
class Schedule:
    """How long and with what a run is trained."""

    epochs: int
    batch: int  # images a step, over all devices
    lr: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 1e-4
    warmup_iters: int = 500
    milestones: tuple[int, ...] = ()  # epochs at which the rate falls tenfold; none: cosine to 0
    clip_grad: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Profile:
    """A scale at which the declared matrix is run: data, model and schedule."""

    name: str
    model: Model
    schedule: Schedule
    dataset: ShapesSpec | None  # None: COCO on disk
    scale: tuple[int, int]  # long and short side to which images are resized, px
    eval_interval: int = 1  # epochs between evaluations; the last epoch is always evaluated
    eval_batch: int = 1
    gpus: int = 1
    device: Literal["cpu", "cuda"] = "cpu"  # where the profile is meant to run
