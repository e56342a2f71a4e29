"""GFL on a data set of one's own: planning, folder, and training.

In Python, with the same defaults as ``gfl own``:

    from experiments import own
    data = own.read("path/to/folder")
    result = own.train(own.plan(data, own.Settings(epochs=24)), "runs/own/mine")
    result.record.metrics["AP"], result.folder

The same calls resume interrupted training, and return the result at once when it is finished.
Such a run is not a row of any table: its profile is not a declared one, and its id says ``own``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from experiments import matrix, profiles
from experiments.diff import differences
from experiments.matrix import Run
from experiments.named import GFL
from experiments.profiles import COCO, LAPTOP
from experiments.queue.machine import CHECKPOINT_MINUTES, Machine, visible_gpus
from experiments.queue.running import run_missing
from experiments.queue.worker import ROOT, TRAIN
from gfl import escape, terminal
from gfl.data.own.dataset import OwnData, read
from gfl.data.own.spec import normal_file
from gfl.errors import UserError, did_you_mean
from gfl.experiment import ABLATED_HOSTS, Experiment, Model, Profile, Schedule
from gfl.records.record import RecordError, Request, RunRecord, Store, run_id

__all__ = ["Result", "Settings", "default_folder", "plan", "read", "train"]

Scale = Literal["laptop", "coco"]

PROFILE = "own"
FOLDER = ROOT / "runs" / PROFILE
LAPTOP_SIZE = 256  # px: photographs at the laptop profile's 128 px show little
# Half the laptop profile's batch: own data are few, and in a trial on 400 embedded images doubling
# the number of steps gained 10 AP.
LAPTOP_BATCH, LAPTOP_LR = 4, 5e-3
IMAGES_PER_GPU = 4
# Images seen in training by default: a quarter of an hour on a laptop's core, half of COCO's first
# epoch on a GPU. Inferred, like the limits in epochs.
IMAGES_SEEN: dict[Scale, int] = {"laptop": 12_000, "coco": 60_000}
EPOCHS: dict[Scale, tuple[int, int]] = {"laptop": (3, 100), "coco": (12, 72)}
LARGEST_SEED = (1 << 32) - 1  # limit of numpy
EVALUATIONS = 6  # during a run, and one at its end


@dataclass(frozen=True)
class Settings:
    """The settings of a run on one's own data.

    Args:
        experiment: a table's row, such as table-3/none
        scale: laptop: a small network from scratch, for CPUs; coco: ResNet-50 at 800 x 1333 px
            (default: coco with a CUDA device, else laptop)
        epochs: passes over the images (default: by their number)
        batch: images per step (default: by the scale)
        lr: the learning rate (default: by the scale; at coco by the batch, too)
        size: the long and the short side that images are scaled to in pixels, or one number for
            both (default: by the scale)
        pretrained: start from ImageNet's weights, or from random ones (default: at coco from
            ImageNet's)
        seed: of all that is random
        gpus: of the run
        device: to train on

    Raises:
        UserError: a number is out of its range.
    """

    experiment: str | Experiment = GFL
    scale: Scale | None = None
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    size: int | Sequence[int] | None = None
    pretrained: bool | None = None
    seed: int = 0
    gpus: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "gpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} {value}: expected 1 or more")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"seed {self.seed}: expected 0 to {LARGEST_SEED}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise UserError(f"lr {self.lr}: expected a number above 0")


class FolderStore(Store):
    """Store of a single run, at a folder of its own."""

    def run_dir(self, profile: str, id: str, max_iters: int | None = None) -> Path:
        """Return the folder itself."""
        return self.runs


@dataclass(frozen=True)
class Plan:
    """Run on the user's data, with the machine's settings for it."""

    run: Run
    data: OwnData
    machine: Machine

    @property
    def profile(self) -> Profile:
        return self.run.profile

    def __str__(self) -> str:
        profile, model, schedule = self.profile, self.profile.model, self.profile.schedule
        weights = "pretrained on ImageNet" if model.pretrained else "from scratch"
        width = "" if model.base_channels == 64 else f" of {model.base_channels} channels"
        long, short = profile.scale
        size = f"{long} px" if long == short else f"{long} x {short} px"
        return (
            f"{self.run.experiment.slug} on ResNet-{model.depth}{width} {weights}, images of {size}"
            f", {escape.counted(schedule.epochs, 'epoch')}, batch {schedule.batch}, learning rate "
            f"{schedule.lr:g}"
        )


@dataclass(frozen=True)
class Result:
    """Finished run on the user's data: its folder and record."""

    folder: Path
    record: RunRecord
    data: OwnData

    @property
    def detections(self) -> Path:
        """File of all detections on the validation images, under ``detections``."""
        return self.folder / "predictions.json"

    def of_each_class(self) -> dict[str, dict[str, float | None]]:
        """Return COCO's metrics, in percent, of each class alone.

        Raises:
            UserError: the run's detections, or the boxes, can no longer be read.
        """
        from gfl.data.json_values import read_json
        from gfl.training.evaluate import class_metrics

        repaired = self.folder / normal_file("val")
        boxes = repaired if self.data.spec.val.normal else self.data.val_file
        return class_metrics(boxes, read_json(self.detections)["detections"])


def plan(data: OwnData, settings: Settings = Settings()) -> Plan:
    """Resolve the settings of a training run.

    Raises:
        UserError: a value is invalid for training a detector.
    """
    experiment, gpus, seed = _experiment(settings.experiment), settings.gpus, settings.seed
    scale = settings.scale
    if scale is None:
        scale = "coco" if settings.device != "cpu" and visible_gpus() else "laptop"
    if scale not in IMAGES_SEEN:
        raise UserError(f"unknown scale {scale!r}{did_you_mean(scale, IMAGES_SEEN)}")
    batch = settings.batch or (LAPTOP_BATCH if scale == "laptop" else IMAGES_PER_GPU * gpus)
    if batch % gpus:
        raise UserError(f"{gpus} GPUs cannot share a batch of {batch} images evenly")
    base = LAPTOP if scale == "laptop" else COCO
    sides = _sides(settings.size, base)
    least, most = EPOCHS[scale]
    by_images = max(least, min(most, math.ceil(IMAGES_SEEN[scale] / data.train.images)))
    epochs = settings.epochs or by_images
    profile = replace(
        base,
        name=PROFILE,
        model=_model(base.model, scale, sides[0], settings.pretrained),
        schedule=_schedule(base.schedule, scale, epochs, batch, settings.lr, data.train.images),
        dataset=None,
        own=data.spec,
        scale=sides,
        eval_interval=math.ceil(epochs / EVALUATIONS),
        gpus=gpus,
    )
    id = f"{PROFILE}-{run_id(experiment, profile, seed)}"
    rows = (f"{PROFILE}/{data.root.name}",)
    run = Run(id, experiment, profile, seed, rows, files=data.files)
    minutes = CHECKPOINT_MINUTES if scale == "coco" else None
    machine = Machine(str(data.root), settings.device, gpus, checkpoint_minutes=minutes)
    return Plan(run, data, machine)


def default_folder(data: OwnData) -> Path:
    """Return a run's default folder: ``runs/own/`` and the data's name."""
    return FOLDER / escape.file_name(data.root.name)


def train(
    plan: Plan,
    out: str | Path | None = None,
    *,
    worker: Sequence[str] = TRAIN,
    again: bool = False,
) -> Result:
    """Train into a folder, resuming from its newest checkpoint; if finished, read the result.

    Reports events as they happen. ``again`` retrains a run made by code or versions other than
    the current ones, and keeps the old one in a folder beside this one.

    Raises:
        UserError: the folder holds something else, or the user can fix what stopped the run.
        WorkerError: the training process ended before the run did; see its log.
    """
    from experiments.queue.display import Display

    folder = Path(out).expanduser() if out is not None else default_folder(plan.data)
    check_folder(plan, folder)
    matrix.check_writable(folder.parent)
    # In a notebook as in a log, a line at a time: live updates would each be kept.
    lines = terminal.console().is_jupyter
    screen = terminal.console(force_jupyter=False, force_terminal=False if lines else None)
    store = FolderStore(folder, ROOT / "results")
    failed = run_missing([plan.run], store, plan.machine, Display(screen), worker, again)
    record = store.local(PROFILE, plan.run.id)
    if failed or record is None:
        why = record.message if record else "it left no record"
        raise UserError(f"{folder}: training failed, {why}; its log: {folder / 'train.log'}")
    return Result(folder, record, plan.data)


def folder_of(id: str, runs: Path) -> Path | None:
    """Return the folder of a user's run, by its id, below the folder of all runs, if it exists."""
    for path in sorted((runs / PROFILE).glob("*/request.json")):
        try:
            found = Request.load(path.parent).id
        except (OSError, RecordError):
            continue
        if found == id:
            return path.parent
    return None


def check_folder(plan: Plan, folder: Path) -> None:
    """Reject a folder that is not this run's, so that nothing in it is lost.

    Raises:
        UserError: it holds another run, or anything else, or belongs to the tables' runs.
    """
    place = folder.resolve()
    kept = [ROOT / "results", ROOT / "data", *(ROOT / "runs" / name for name in profiles.PROFILES)]
    if any(place.is_relative_to(own) for own in kept):
        raise UserError(f"{folder} is the tables' place; a run of your own lies in {FOLDER}/NAME")
    if place == FOLDER:
        raise UserError(f"{folder} is the folder of all runs of your own: name one in it")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    try:
        before = Request.load(place)
    except (OSError, RecordError):
        raise UserError(
            f"{folder} holds something other than a run: name another folder with --out"
        ) from None
    if before.id != plan.run.id:
        raise UserError(
            f"{folder} holds a run with other settings ({_changed(before, plan.run)}): "
            "name another folder with --out, or delete this one"
        )


def check_devices(plan: Plan) -> None:
    """Reject what training would: CUDA requested or required, but too few devices in torch.

    Imports torch if the plan needs CUDA, which takes seconds.

    Raises:
        UserError: there are fewer devices than planned.
    """
    device, gpus = plan.machine.device, plan.machine.gpus
    wanted = plan.profile.device if device == "auto" else device
    if wanted == "cpu" and gpus == 1:
        return
    import torch

    found = 0 if device == "cpu" else torch.cuda.device_count()
    if found >= gpus:
        return
    needed = escape.counted(gpus, "CUDA device")
    there = "--device cpu uses none" if device == "cpu" else f"torch finds {found or 'none'} here"
    if gpus > 1:
        raise UserError(f"--gpus {gpus} needs {needed}, and {there}")
    asked = "--device cuda" if device == "cuda" else "--scale coco"
    raise UserError(f"{asked} needs {needed}, and {there}; --scale laptop --device cpu needs none")


def _changed(before: Request, run: Run) -> str:
    """Return the differences of two runs, as many as fit in a line."""
    then = {"": asdict(before.experiment), "seed": before.seed} | asdict(before.profile)
    now = {"": asdict(run.experiment), "seed": run.seed} | asdict(run.profile)
    found = [f"{d.path.strip('.')} {d.a}, now {d.b}" for d in differences(then, now)]
    return escape.some(found, 3, "; ") or "another version's"


def _experiment(named: str | Experiment) -> Experiment:
    experiment = matrix.single(named, LAPTOP, [0]).experiment if isinstance(named, str) else named
    if not isinstance(experiment, Experiment) or experiment.host not in ABLATED_HOSTS:
        raise UserError(
            f"{experiment.slug}: a data set of one's own trains {escape.either(ABLATED_HOSTS)} only"
        )
    if (experiment.backbone, experiment.lasting) != (GFL.backbone, GFL.lasting):
        raise UserError(
            f"{experiment.slug}: a data set of one's own trains its scale's network and schedule"
        )
    return experiment


def _sides(size: int | Sequence[int] | None, base: Profile) -> tuple[int, int]:
    """Return the long and short side to which images are scaled."""
    if size is None:
        return (LAPTOP_SIZE, LAPTOP_SIZE) if base is LAPTOP else base.scale
    sides = [size] if isinstance(size, int) else list(size)
    if len(sides) not in (1, 2) or not all(64 <= side <= 4096 for side in sides):
        given = " ".join(map(str, sides))
        raise UserError(f"size {given}: expected one or two numbers of pixels, from 64 to 4096")
    return max(sides), min(sides)


def _model(base: Model, scale: Scale, long: int, pretrained: bool | None) -> Model:
    if scale == "coco":
        return base if pretrained is not False else replace(base, pretrained=None)
    if pretrained:
        raise UserError(
            "the laptop scale's small network has no pretrained weights: leave --pretrained out, "
            "or take --scale coco"
        )
    # One more level for each doubling of the image size beyond the laptop profile's.
    more = max(0, math.ceil(math.log2(long / LAPTOP.scale[0])))
    return replace(base, levels=base.levels + more)


def _schedule(
    base: Schedule, scale: Scale, epochs: int, batch: int, lr: float | None, images: int
) -> Schedule:
    if lr is None:
        # On the published network in proportion to the batch, as in the paper's protocol.
        lr = LAPTOP_LR if scale == "laptop" else base.lr * batch / base.batch
    steps = epochs * math.ceil(images / batch)
    return replace(
        base,
        epochs=epochs,
        batch=batch,
        lr=lr,
        warmup_iters=max(1, min(base.warmup_iters, steps // 10)),
        milestones=tuple(
            dict.fromkeys(max(1, round(m * epochs / base.epochs)) for m in base.milestones)
        ),
    )
