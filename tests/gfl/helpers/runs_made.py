"""Folders of runs that nobody trained: a tiny model with random weights that finds something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet_models import build
from request_made import request_of
from torch import nn

from experiments.profiles import SMOKE
from gfl import config
from gfl.experiment import AnyExperiment, Experiment, Profile
from gfl.training import checkpoint


def make_run(run_dir: Path, experiment: AnyExperiment, profile: Profile = SMOKE) -> nn.Module:
    """Write the request and the weights that a run leaves; return the model."""
    torch.manual_seed(0)
    model = build(config.build(experiment, profile, 0)["model"])
    head: Any = getattr(model, "bbox_head", None)  # a two-stage detector has none
    with torch.no_grad():
        # Ours: many boxes of varied size and score.
        if isinstance(experiment, Experiment) and hasattr(head, "gfl_cls"):
            nn.init.kaiming_normal_(head.gfl_cls.weight)
            nn.init.constant_(head.gfl_cls.bias, -1.0)
            nn.init.kaiming_normal_(head.gfl_reg.weight)
            if experiment.boxes == "general":
                head.gfl_reg.bias.view(4, -1)[:, 1:3] = 3.0  # of one to two strides
            elif experiment.boxes == "gaussian":
                head.gfl_reg.bias.view(2, 4)[0] = 1.5
        for heat in ("tl_heat", "br_heat", "ct_heat"):  # a corner detector's: many peaks
            for branch in getattr(head, heat, ()):
                nn.init.constant_(branch[-1].conv.bias, 2.0)
    run_dir.mkdir(parents=True, exist_ok=True)
    request_of(experiment, profile).save(run_dir)
    checkpoint.save({"model": model.state_dict()}, run_dir / checkpoint.FINAL)
    return model.eval()
