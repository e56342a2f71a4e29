"""Training session: mmengine's Runner with this project's hooks, from start to metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from filelock import FileLock
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner

import gfl.register  # noqa: F401  mmdet learns of what is ours
from gfl import hardware
from gfl.config import COCO
from gfl.records.lease import Hold
from gfl.training import loaders, pretrained, processes
from gfl.training.checkpoint import ExactCheckpointHook
from gfl.training.history import DivergedError, Emit, HistoryHook, beginning
from gfl.training.optim import computes_bfloat16

# FPS protocol of GF's tools/benchmark.py: batch 1, 5 images to warm up, 2000 to time, forward and
# NMS, loading excluded. Fewer on the embedded data: half a minute of a run of seven is too much.
FPS_WARMUP, FPS_IMAGES, FPS_IMAGES_EMBEDDED = 5, 2000, 300


@dataclass
class Outcome:
    """Results of a session for the run's record."""

    is_first: bool  # of several processes; the others return nothing
    problem: str  # reason of a failure; empty if it succeeded
    metrics: dict[str, float | None]
    detections: list[dict[str, Any]]
    fps: float | None
    started: str  # ISO 8601, UTC: the run's first session
    curve: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    seconds: float
    images_per_second: float | None
    hardware: dict[str, Any]


class SpeedHook(Hook):
    """Measures a trained model's speed, before the checkpoints are deleted.

    A run stopped here resumes from the last of them.
    """

    priority = "VERY_HIGH"

    def __init__(self, images: int, emit: Emit) -> None:
        self.images, self.emit = images, emit
        self.fps: float | None = None

    def after_train(self, runner: Runner) -> None:
        """Time the forward pass and NMS at batch 1, on the first device only."""
        if runner.rank != 0 or self.images == 0:
            return
        self.emit("phase", name="measuring speed")
        self.fps = _frames_per_second(runner, self.images)


def run(
    settings: dict[str, Any],
    run_dir: Path,
    emit: Emit,
    *,
    threads: int | None,
    capped: bool,
    gpus: int = 1,
    minutes: float | None = None,
    hold: Hold | None = None,
) -> Outcome:
    """Train, evaluate and time one run, resuming from its newest checkpoint.

    ``minutes`` and ``hold`` are ``ExactCheckpointHook``'s.

    Raises:
        UserError: the backbone's ImageNet weights are unavailable, the cap is invalid, or a loader
            process ended for a reason that the user can fix.
        RuntimeError: this is not one of ``gpus`` processes.
        Preempted, LostError: as ``ExactCheckpointHook``.
    """

    def message(text: str) -> None:
        emit("message", text=text)

    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    _prepare(settings["model"], run_dir, gpus, capped, message)
    loaders.prepare(settings, message, gpus)
    runner = _runner(settings, run_dir)
    history = beginning()
    batch = settings["train_dataloader"]["batch_size"] * gpus
    chronicle = HistoryHook(history, batch, emit)
    on_coco = settings["dataset"] == COCO
    # With stored features there is no backbone to be timed.
    kept = settings["model"]["backbone"]["type"] == "FrozenBackbone"
    images = 0 if kept else FPS_IMAGES if on_coco else FPS_IMAGES_EMBEDDED
    stopwatch = SpeedHook(images, emit)
    checkpoints = ExactCheckpointHook(run_dir, history, message, minutes=minutes, hold=hold)
    for hook in (checkpoints, chronicle, stopwatch):
        runner.register_hook(hook)
    problem = ""
    try:
        with loaders.explained():
            runner.train()
        chronicle.tick()
    except DivergedError as err:
        problem = str(err)
    processes.leave()
    return _outcome(runner, history, problem, stopwatch.fps, chronicle.speed())


def _runner(settings: dict[str, Any], run_dir: Path) -> Runner:
    runner = Runner.from_cfg(Config(settings | {"experiment_name": run_dir.name}))
    # Makes convolutions faster, on CPU and CUDA.
    runner.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return runner


def _outcome(
    runner: Runner, history: dict[str, Any], problem: str, fps: float | None, speed: float | None
) -> Outcome:
    last = dict(history["evals"][-1]) if history["evals"] and not problem else {}
    last.pop("epoch", None)
    return Outcome(
        is_first=runner.rank == 0,
        problem=problem,
        metrics=last,
        detections=runner.val_evaluator.metrics[0].detections if last else [],
        fps=fps,
        started=history["started"],
        curve=history["curve"],
        evals=history["evals"],
        seconds=history["seconds"],
        images_per_second=speed,
        hardware=_hardware(runner),
    )


def _prepare(
    model: dict[str, Any], run_dir: Path, gpus: int, capped: bool, report: Callable[[str], None]
) -> None:
    """Fetch the model's initial weights in one process, and join the others."""
    if gpus == 1:
        pretrained.fetch(model, capped, report)
        return
    with FileLock(run_dir / ".weights.lock"):
        is_fetched = pretrained.fetch(model, capped, report)
    processes.join(gpus)
    # A trial continues without them, in every process or in none.
    if not processes.from_first(is_fetched):
        pretrained.forget(model)


@torch.no_grad()
def _frames_per_second(runner: Runner, images: int) -> float:
    """Return images per second at batch 1, forward and NMS."""
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
    own = {"devices": runner.world_size, "bfloat16": computes_bfloat16(device)}
    return hardware.described(device) | own
