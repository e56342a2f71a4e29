"""Trained detectors, restored from a run's folder or built with third-party weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gfl.register  # noqa: F401  before mmdet: it quietens it and supplies mmcv's operators

# isort: split
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from gfl import config
from gfl.config import network
from gfl.data.weights import Checkpoint
from gfl.errors import UserError
from gfl.predictions import fitting
from gfl.records.record import RecordError, Request, run_id
from gfl.training import checkpoint


@dataclass(frozen=True)
class Trained:
    """A run's detector with its final weights."""

    run_dir: Path
    request: Request
    config: dict[str, Any]  # resolved, without paths: ``gfl.config.for_machine`` adds them
    model: nn.Module  # in evaluation mode, on its device

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """mmdet's transforms from image to tensor in the run's evaluation, in order."""
        return self.config["val_dataloader"]["dataset"]["pipeline"]

    @property
    def least_score(self) -> float:
        """Score above which the run's evaluation keeps a detection."""
        settings = self.config["model"]["test_cfg"]
        settings = settings.get("rcnn", settings)  # a second stage has the last word
        nms = settings.get("nms", {})
        least = settings["score_thr"]  # before NMS, of which soft-NMS lowers scores
        return min(least, nms.get("min_score", 1e-3)) if nms.get("type") == "soft_nms" else least

    @property
    def classes(self) -> tuple[str, ...]:
        """Category names, in label order."""
        meta = self.config["val_dataloader"]["dataset"].get("metainfo", CocoDataset.METAINFO)
        return tuple(meta["classes"])


def detector(
    run_dir: Path, device: Literal["cpu", "cuda"] = "cpu", head: str | None = None
) -> Trained:
    """Build the model of ``run_dir/request.json`` with the weights of ``run_dir/final.pth``.

    ``head`` substitutes another class for this project's head, where it has that, with the same
    weights. Nothing is downloaded, and nothing in the file is executed.

    Raises:
        UserError: the run has no trained weights here, they are damaged or another model's, or
            there is no CUDA device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: torch finds no CUDA device")
    request = requested(run_dir)
    state = weights(run_dir)
    settings = config.build(request.experiment, request.profile, request.seed)
    model = _built(settings, head)
    load(model, state, run_dir)
    return Trained(run_dir, request, settings, model.to(device).eval())


def of_others(
    checkpoint: Checkpoint,
    request: Request,
    run_dir: Path,
    device: Literal["cpu", "cuda"] = "cpu",
    *,
    classes: Sequence[str] | None = None,
    head: str | None = None,
) -> Trained:
    """Build a row's model with third-party weights and their class layout.

    ``classes`` are their names, if they differ from the row's; ``head`` is as in ``detector``.
    ``run_dir`` is the folder for the results.

    Raises:
        UserError: the weights do not fit the model, or there is no CUDA device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: torch finds no CUDA device")
    settings = config.build(request.experiment, request.profile, request.seed)
    if classes is not None:
        for part in network.parts(settings["model"]):
            if part.get("num_classes") == network.classes(request.profile):
                part["num_classes"] = len(classes)
        settings["val_dataloader"]["dataset"]["metainfo"] = {"classes": tuple(classes)}
    model = _built(settings, head)
    model.load_state_dict(fitting.fitted(checkpoint, model, request.experiment))
    return Trained(run_dir, request, settings, model.to(device).eval())


def _built(settings: dict[str, Any], head: str | None) -> nn.Module:
    wanted = Config(settings).model
    if head is not None and wanted.get("bbox_head", {}).get("type") == "AblationHead":
        wanted.bbox_head.type = head
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(wanted)  # and not ``init_weights``, which would fetch ImageNet's


def weights(run_dir: Path) -> dict[str, Any]:
    """Read the final weights of a run's training.

    Raises:
        UserError: they are missing or damaged.
    """
    path = run_dir / checkpoint.FINAL
    if not path.is_file():
        raise UserError(f"{path} is missing: the run is not finished locally")
    try:
        return checkpoint.load(path)["model"]
    except (checkpoint.DamagedError, KeyError) as err:
        what = "it holds no model" if isinstance(err, KeyError) else err
        raise UserError(f"{path}: {what}; delete the run's folder to train it anew") from err
    except OSError as err:
        raise UserError(f"{path}: it cannot be read now ({err.strerror or err})") from err


def load(model: nn.Module, state: dict[str, Any], run_dir: Path) -> None:
    """Load a run's weights into its model, in training's memory layout, for the same bits.

    Raises:
        UserError: they are another model's.
    """
    checkpoint.load_weights(model, state, run_dir)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def requested(run_dir: Path) -> Request:
    """Read a run's request.

    Raises:
        UserError: the folder is not a run's, or this code would train that run differently.
    """
    path = run_dir / "request.json"
    try:
        request = Request.load(run_dir)
    except FileNotFoundError as err:
        raise UserError(f"{path} is missing: {run_dir} is not the folder of a run") from err
    except (RecordError, OSError) as err:
        raise UserError(f"{path}: not a request of this code ({err})") from err
    now = run_id(request.experiment, request.profile, request.seed)
    if not request.id.endswith(now):  # a run on the user's own data has a prefix
        raise UserError(f"{path}: {request.id} was trained by other code; its id is now {now}")
    return request
