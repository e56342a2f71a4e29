"""One training session: mmengine's Runner with this project's hooks, from start to figures."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch
from filelock import FileLock
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import Runner

import gfl.register  # noqa: F401  mmdet learns of what is ours
from gfl import pretrained, processes
from gfl.checkpoint import ExactCheckpointHook
from gfl.config import COCO
from gfl.optim import computes_bfloat16

Tell = Callable[..., None]

PACKAGES = (
    "torch", "torchvision", "onedl-mmdetection", "onedl-mmengine", "onedl-mmcv", "numpy",
    "pycocotools",
)  # fmt: skip
CURVE_POINTS = 200  # of the loss, over a run
SECONDS_BETWEEN_EVENTS = 1.0
# FPS protocol of GF's tools/benchmark.py: batch 1, 5 images to warm up, 2000 to time, forward and
# NMS, loading excluded. On the embedded data fewer: half a minute of a run of seven is too much.
FPS_WARMUP, FPS_IMAGES, FPS_IMAGES_EMBEDDED = 5, 2000, 300


@dataclass
class Outcome:
    """What a session leaves for the run's record."""

    is_first: bool  # of several processes; the others leave nothing
    problem: str  # why it failed; empty: it did not
    metrics: dict[str, float | None]
    detections: list[dict[str, Any]]
    fps: float | None
    curve: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    seconds: float
    images_per_second: float | None
    versions: dict[str, str]
    hardware: dict[str, Any]


class DivergedError(Exception):
    """The loss is no longer a number."""


class HistoryHook(Hook):
    """Keeps the loss curve, the evaluations and the time, and tells them as they come.

    Args:
        history: ``curve``, ``evals``, ``seconds`` of the whole run, ``train_seconds`` of its
            training alone, and ``images``; it travels with the checkpoints.
        batch: images a step, over all devices.
        tell: where events go.
    """

    priority = "LOW"  # after the schedules have set the rate

    def __init__(self, history: dict[str, Any], batch: int, tell: Tell) -> None:
        self.history, self.batch, self.tell = history, batch, tell
        self._sums: dict[str, Any] = {}
        self._count = 0
        self._last_event = 0.0
        self._mark = self._iter_mark = time.monotonic()

    def tick(self) -> None:
        """Add the time since the last tick to the run's."""
        now = time.monotonic()
        self.history["seconds"] += now - self._mark
        self._mark = now

    def before_train(self, runner: Runner) -> None:
        """Say how much there is to do."""
        self.tell("start", iters=runner.max_iters, epochs=runner.max_epochs, resumed=runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin the epoch's own points: one that spans two would not survive a resumption."""
        self._sums, self._count = {}, 0
        self._iter_mark = time.monotonic()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Add a step to the curve.

        Raises:
            DivergedError: the loss is NaN or infinite.
        """
        for name, value in (outputs or {}).items():
            if "loss" in name:  # kept on the device: reading it would wait for the step
                self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._count += 1
        self.tick()
        now = self._mark
        self.history["train_seconds"] += now - self._iter_mark
        self._iter_mark = now
        self.history["images"] += self.batch
        step = runner.iter + 1
        if now - self._last_event > SECONDS_BETWEEN_EVENTS:
            self._last_event = now
            self.tell(
                "train",
                iter=step,
                epoch=runner.epoch + 1,
                loss=float(self._sums["loss"]) / self._count,
                images_per_second=self.speed(),
            )
        if step % max(1, runner.max_iters // CURVE_POINTS) == 0:
            self._add_point(runner, step)

    def _add_point(self, runner: Runner, step: int) -> None:
        sums = torch.stack([value.float() for value in self._sums.values()])
        # Over all devices: the loss of the whole batch, and if it diverged, all of them know.
        all_reduce(sums, op="mean")
        means = {
            name: round(value / self._count, 6)
            for name, value in zip(self._sums, sums.tolist(), strict=True)
        }
        if not math.isfinite(means["loss"]):
            raise DivergedError(f"the loss is {means['loss']} by iteration {step}")
        optimizer: Any = runner.optim_wrapper
        rate = optimizer.get_lr()["lr"][0]
        point = {"iter": step, "epoch": runner.epoch + 1, "lr": rate}
        self.history["curve"].append(point | means)
        self._sums, self._count = {}, 0

    def before_val(self, runner: Runner) -> None:
        """Say that the validation set is being evaluated."""
        self.tell("phase", name="evaluating")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Keep an evaluation."""
        self.tick()
        found = {"epoch": runner.epoch} | dict(metrics or {})
        self.history["evals"].append(found)
        self.tell("eval", **{k: found[k] for k in ("epoch", "AP", "AP50", "AP75")})

    def speed(self) -> float | None:
        """Images a second while training, evaluation and checkpoints excluded."""
        seconds = self.history["train_seconds"]
        return self.history["images"] / seconds if seconds else None


class SpeedHook(Hook):
    """Measures a trained model's speed, before the checkpoints are given up.

    A run that is stopped here goes on from the last of them.
    """

    priority = "VERY_HIGH"

    def __init__(self, images: int, tell: Tell) -> None:
        self.images, self.tell = images, tell
        self.fps: float | None = None

    def after_train(self, runner: Runner) -> None:
        """Time the forward pass and NMS at batch 1, on the first device alone."""
        if runner.rank != 0:
            return
        self.tell("phase", name="measuring speed")
        self.fps = _frames_per_second(runner, self.images)


def run(
    settings: dict[str, Any],
    run_dir: Path,
    tell: Tell,
    *,
    threads: int | None,
    capped: bool,
    gpus: int = 1,
) -> Outcome:
    """Train, evaluate and time one run, going on from its newest checkpoint.

    Raises:
        UserError: the backbone's ImageNet weights cannot be had, or the cap is none.
        RuntimeError: this is not one of ``gpus`` processes.
    """

    def message(text: str) -> None:
        tell("message", text=text)

    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    history: dict[str, Any] = {
        "curve": [], "evals": [], "seconds": 0.0, "train_seconds": 0.0, "images": 0,
    }  # fmt: skip
    _prepare(settings["model"]["backbone"], run_dir, gpus, capped, message)
    runner = Runner.from_cfg(Config(settings | {"experiment_name": run_dir.name}))
    if runner.world_size != gpus:
        raise RuntimeError(f"{gpus} devices asked for, but {runner.world_size} take part")
    # Faster convolutions, on CPU and CUDA.
    runner.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    batch = settings["train_dataloader"]["batch_size"] * gpus
    chronicle = HistoryHook(history, batch, tell)
    runner.register_hook(ExactCheckpointHook(run_dir, history, message))
    runner.register_hook(chronicle)
    on_coco = settings["dataset"] == COCO
    stopwatch = SpeedHook(FPS_IMAGES if on_coco else FPS_IMAGES_EMBEDDED, tell)
    runner.register_hook(stopwatch)
    problem = ""
    try:
        runner.train()
        chronicle.tick()
    except DivergedError as err:
        problem = str(err)
    last = dict(history["evals"][-1]) if history["evals"] and not problem else {}
    last.pop("epoch", None)
    processes.leave()
    return Outcome(
        is_first=runner.rank == 0,
        problem=problem,
        metrics=last,
        detections=runner.val_evaluator.metrics[0].detections if last else [],
        fps=stopwatch.fps,
        curve=history["curve"],
        evals=history["evals"],
        seconds=history["seconds"],
        images_per_second=chronicle.speed(),
        versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        hardware=_hardware(runner),
    )


def _prepare(
    backbone: dict[str, Any], run_dir: Path, gpus: int, capped: bool, tell: Callable[[str], None]
) -> None:
    """Have the backbone's weights here, downloaded by one process, and meet the others."""
    if gpus == 1:
        pretrained.fetch(backbone, capped, tell)
        return
    with FileLock(run_dir / ".weights.lock"):
        pretrained.fetch(backbone, capped, tell)
    processes.join(gpus)
    start = [backbone["init_cfg"]]  # a trial goes on without them, in every process or in none
    broadcast_object_list(start)
    backbone["init_cfg"] = start[0]


@torch.no_grad()
def _frames_per_second(runner: Runner, images: int) -> float:
    """Return images a second at batch 1, forward and NMS."""
    model: Any = runner.model
    dataset: Any = runner.val_dataloader.dataset
    model.eval()
    count = min(images, len(dataset))
    for index in range(min(FPS_WARMUP, count)):
        model.test_step(pseudo_collate([dataset[index]]))
    seconds = 0.0
    for index in range(count):
        data = pseudo_collate([dataset[index]])
        start = _now()
        model.test_step(data)
        seconds += _now() - start
    return count / seconds


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _hardware(runner: Runner) -> dict[str, Any]:
    device = next(runner.model.parameters()).device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "devices": runner.world_size,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": computes_bfloat16(device),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):  # not Linux
        return platform.processor() or platform.machine()
