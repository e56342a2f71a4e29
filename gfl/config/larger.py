"""Table 4's GFL: larger backbones, deformable convolution, twice the schedule at many scales."""

from __future__ import annotations

from typing import Any

from gfl.config.schedule import param_scheduler
from gfl.errors import UserError
from gfl.experiment import PAPER_SCALE, Backbone, Experiment, Profile, schedule_of

Config = dict[str, Any]

SHORTEST_SIDE = 480  # of multi-scale training; the longest is the profile's (arXiv v1, appendix D)

RESNET_101: Config = {
    "depth": 101,
    "init_cfg": {"type": "Pretrained", "checkpoint": "torchvision://resnet101"},
}
RESNEXT_101: Config = {
    "type": "ResNeXt",
    "depth": 101,
    "groups": 32,
    "base_width": 4,
    "init_cfg": {"type": "Pretrained", "checkpoint": "open-mmlab://resnext101_32x4d"},
}
# Version 2 in stages c3 to c5, as the authors' code has it; mmdet's own configurations have
# version 1, and with ResNeXt not in c3.
DEFORMABLE: Config = {
    "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False},
    "stage_with_dcn": (False, True, True, True),
}
BACKBONES: dict[Backbone, Config] = {
    "r50": {},
    "r101": RESNET_101,
    "x101-32x4d": RESNEXT_101,
    "r101-dcn": RESNET_101 | DEFORMABLE,
    "x101-32x4d-dcn": RESNEXT_101 | DEFORMABLE,
}


def enlarge(config: Config, experiment: Experiment, profile: Profile) -> None:
    """Give a resolved configuration the experiment's backbone and schedule, in place.

    Raises:
        UserError: the profile's network and schedule are not those that Table 4's are built on.
    """
    usual = Experiment()
    if (experiment.backbone, experiment.lasting) == (usual.backbone, usual.lasting):
        return
    if profile.name != PAPER_SCALE:
        raise UserError(
            f"{experiment.slug} (Table 4) has the published network and schedule at COCO's image "
            f"size: the {profile.name} profile has neither; use --profile {PAPER_SCALE}"
        )
    config["model"]["backbone"] |= BACKBONES[experiment.backbone]
    if experiment.lasting == "2x-ms":
        schedule = schedule_of(experiment, profile)
        config["train_cfg"]["max_epochs"] = schedule.epochs
        config["param_scheduler"] = param_scheduler(schedule)
        dataset = config["train_dataloader"]["dataset"]
        dataset["pipeline"] = [_many_scales(step) for step in dataset["pipeline"]]


def _many_scales(step: Config) -> Config:
    if step["type"] != "Resize":
        return step
    long, short = step["scale"]
    scales = ((long, SHORTEST_SIDE), (long, short))
    return {"type": "RandomResize", "scale": scales, "keep_ratio": step["keep_ratio"]}
