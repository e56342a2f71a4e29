"""History of a run: its loss curve, evaluations and time, stored and reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

Emit = Callable[..., None]

CURVE_POINTS = 200  # of the loss, over a run
SECONDS_BETWEEN_EVENTS = 1.0


def beginning() -> dict[str, Any]:
    """Return the history of a new run; a resumed one replaces it by its own."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "curve": [],
        "evals": [],
        "seconds": 0.0,  # of all sessions, except what a killed one did after its last checkpoint
        "train_seconds": 0.0,
        "images": 0,
        "since_point": {"sums": {}, "count": 0},  # losses of this process, not yet in the curve
    }


class DivergedError(Exception):
    """Loss or weights that are no longer finite."""


class HistoryHook(Hook):
    """Records the loss curve, the evaluations and the time, and reports them as they come.

    Args:
        history: initial state; ``curve``, ``evals``, ``seconds`` of the whole run,
            ``train_seconds`` of its training alone, and ``images``. It is saved with the
            checkpoints.
        batch: images per step, over all devices.
        emit: receives events.
    """

    priority = "LOW"  # after the schedules have set the rate

    def __init__(self, history: dict[str, Any], batch: int, emit: Emit) -> None:
        self.history, self.batch, self.emit = history, batch, emit
        self._last_event = 0.0
        self._mark = self._iter_mark = time.monotonic()

    def tick(self) -> None:
        """Add the time since the last tick to the run's."""
        now = time.monotonic()
        self.history["seconds"] += now - self._mark
        self._mark = now

    def before_train(self, runner: Runner) -> None:
        """Report the total amount of work."""
        self.emit("start", iters=runner.max_iters, epochs=runner.max_epochs, resumed=runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the epoch's own points."""
        self._start_point()
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
        point = self.history["since_point"]
        for name, value in (outputs or {}).items():
            if "loss" in name:  # kept on the device: reading it would wait for the step
                point["sums"][name] = point["sums"].get(name, 0.0) + value.detach()
        point["count"] += 1
        self.tick()
        now = self._mark
        self.history["train_seconds"] += now - self._iter_mark
        self._iter_mark = now
        self.history["images"] += self.batch
        step = runner.iter + 1
        if now - self._last_event > SECONDS_BETWEEN_EVENTS:
            self._report(runner, step)
        if step % max(1, runner.max_iters // CURVE_POINTS) == 0:
            self._add_point(runner, step)

    def after_step(self, runner: Runner) -> None:
        """Exclude a checkpoint that was stored from the time of training."""
        self._iter_mark = time.monotonic()

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the state at the end of an epoch, and report its last loss."""
        self.before_checkpoint(runner)
        self._report(runner, runner.iter)

    def before_checkpoint(self, runner: Runner) -> None:
        """Check what a checkpoint would hold: a run could not go on from it.

        Raises:
            DivergedError: a loss since the curve's last point, or a weight, is NaN or infinite.
        """
        if self.history["since_point"]["count"]:
            self._means(runner, runner.iter)
        model: Any = runner.model
        # The same in every process: all take the same steps.
        if not torch.stack([weights.isfinite().all() for weights in model.parameters()]).all():
            raise DivergedError(f"the weights are not finite after iteration {runner.iter}")

    def _report(self, runner: Runner, step: int) -> None:
        """Report the mean loss since the curve's last point, or at that point."""
        point, curve = self.history["since_point"], self.history["curve"]
        if point["count"]:
            loss = float(point["sums"]["loss"]) / point["count"]
        else:
            loss = curve[-1]["loss"]
        self._last_event = self._mark
        self.emit(
            "train",
            iter=step,
            epoch=runner.epoch + 1,
            loss=loss,
            images_per_second=self.speed(),
        )

    def _start_point(self) -> None:
        self.history["since_point"] = {"sums": {}, "count": 0}

    def _means(self, runner: Runner, step: int) -> dict[str, float]:
        """Return the mean losses since the last point.

        Raises:
            DivergedError: one is NaN or infinite.
        """
        named, count = self.history["since_point"]["sums"], self.history["since_point"]["count"]
        sums = torch.stack([value.float() for value in named.values()])
        # Over all devices: the loss of the whole batch; if it diverged, every process knows.
        all_reduce(sums, op="mean")
        means = {
            name: round(value / count, 6) for name, value in zip(named, sums.tolist(), strict=True)
        }
        if not math.isfinite(means["loss"]):
            parts = ", ".join(f"{name} {value:g}" for name, value in means.items())
            raise DivergedError(
                f"the loss is not finite by iteration {step}: {parts}; "
                f"learning rate {_rate(runner):g}"
            )
        return means

    def _add_point(self, runner: Runner, step: int) -> None:
        means = self._means(runner, step)
        point = {"iter": step, "epoch": runner.epoch + 1, "lr": _rate(runner)}
        self.history["curve"].append(point | means)
        self._start_point()

    def before_val(self, runner: Runner) -> None:
        """Report that the validation set is being evaluated."""
        self.emit("phase", name="evaluating")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Record an evaluation."""
        self.tick()
        found = {"epoch": runner.epoch} | dict(metrics or {})
        self.history["evals"].append(found)
        self.emit("eval", **{k: found[k] for k in ("epoch", "AP", "AP50", "AP75")})

    def speed(self) -> float | None:
        """Images per second in training, excluding evaluation and checkpoints."""
        seconds = self.history["train_seconds"]
        return self.history["images"] / seconds if seconds else None


def _rate(runner: Runner) -> float:
    optimizer: Any = runner.optim_wrapper
    return optimizer.get_lr()["lr"][0]
