"""Scales at which the declared tables are run; ``coco`` is the paper's protocol."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gfl.data.photos_spec import PhotosSpec
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Model, Profile, Schedule
from gfl.shapes.embedded import ShapesSpec

SMOKE = Profile(
    name="smoke",
    model=Model(depth=18, base_channels=8, first_level=3, levels=3, channels=16, stacked_convs=1),
    schedule=Schedule(epochs=2, batch=4, lr=1e-3, optimizer="adamw", warmup_iters=2),
    dataset=ShapesSpec(image_size=64, train=32, val=16),
    scale=(64, 64),
    eval_interval=2,
    eval_batch=16,
)

# What the profiles share that have a network of their own.
ADAMW = partial(Schedule, optimizer="adamw", warmup_iters=200, clip_grad=10.0, precision="bfloat16")

# Levels P2 to P4: anchors of 32, 64 and 128 px for objects of 12 to 118 px, so that distances in
# strides spread as they do on COCO. The rate comes from the sweep (results/tuning/laptop.md);
# levels, channels, batch and epochs are what fits fifteen minutes, set in trials of plain ATSS.
LAPTOP = Profile(
    name="laptop",
    model=Model(depth=18, base_channels=32, first_level=2, levels=3, channels=32, stacked_convs=2),
    schedule=ADAMW(epochs=3, batch=8, lr=8e-3),
    dataset=ShapesSpec(image_size=128, train=8000, val=1000),
    scale=(128, 128),
    eval_interval=3,
    eval_batch=16,
)

GPU = Profile(
    name="gpu",
    model=Model(depth=50, first_level=3, levels=5),
    schedule=ADAMW(epochs=12, batch=64, lr=1e-3),
    dataset=ShapesSpec(image_size=256, train=16000, val=2000),
    scale=(256, 256),
    eval_interval=6,
    eval_batch=16,
    device="cuda",
)

# Section 4 and arXiv v1, appendix D: 8 GPUs x 2 images, 90K iterations, lr x 0.1 at 60K and 80K.
COCO_GPUS = 8
COCO = Profile(
    name="coco",
    model=Model(depth=50, pretrained="torchvision://resnet50"),
    schedule=Schedule(epochs=12, batch=2 * COCO_GPUS, lr=0.01, milestones=(8, 11)),
    dataset=None,
    scale=(1333, 800),
    gpus=COCO_GPUS,
    device="cuda",
)

# Small photographs: neck and head are trained on a frozen network's features. One class, persons:
# the only one of COCO's 80 with at least 1,000 boxes in the 1,693 training images. Levels P2 to P5:
# with anchors of 32 to 256 px, distances in strides resemble COCO's (99 % under 9.7; centerness
# .61 ± .19, COCO's .64 ± .18). The sweep: results/tuning/photos.md.
PHOTOS = Profile(
    name="photos",
    model=Model(
        depth=None, frozen="yolox-nano", first_level=2, levels=4, channels=32, stacked_convs=2
    ),
    schedule=ADAMW(epochs=16, batch=8, lr=2e-3),
    dataset=None,
    photos=PhotosSpec(),
    scale=(320, 320),
    eval_interval=16,
    eval_batch=16,
)

# Number of seeds per table, or row, fixed before the first run; ``gfl register`` records them. Five
# for the paper's main factors: the difference of two rows is then known to about 0.3 AP (standard
# error, seeds and images together). In Table 4 the three best of the other rows get three, too.
SEEDS: dict[str, dict[str, int]] = {
    "laptop": {
        "table-4": 1, "table-4/GFL R-50": 3, "table-4/GFL R-101": 3, "table-4/ATSS R-101": 3,
    },
    "photos": {
        "table-1a": 5, "table-1b": 3, "table-1c": 3,
        "table-2a": 5, "table-2b": 3, "table-2c": 3,
        "table-3": 5,
    }
}  # fmt: skip

TUNING_SEED = 100  # of the sweeps behind these numbers (tuning.py); tables must not use it

PAPER_SCALE = COCO.name  # the only profile with the published network and images

PROFILES: dict[str, Profile] = {p.name: p for p in (SMOKE, LAPTOP, PHOTOS, GPU, COCO)}

REHEARSALS = (SMOKE.name,)  # check that everything runs; their records are no results
PREDICTING = (LAPTOP.name, PHOTOS.name, GPU.name)  # their runs store predictions when they end


def get(name: str, gpus: int | None = None) -> Profile:
    """Look up a profile, for ``gpus`` devices if given.

    ``coco`` on other than the paper's 8 has 2 images per device and a proportional learning rate;
    the others divide their batch.

    Raises:
        UserError: there is no such profile, or its batch cannot be divided.
    """
    if (profile := PROFILES.get(name)) is None:
        raise UserError(f"unknown profile {name!r}{did_you_mean(name, PROFILES)}")
    if gpus is None or gpus == profile.gpus:
        return profile
    schedule = profile.schedule
    if profile is COCO:
        lr = schedule.lr * gpus / COCO_GPUS
        schedule = replace(schedule, batch=2 * gpus, lr=lr)
    if gpus < 1 or schedule.batch % gpus:
        raise UserError(f"{gpus} GPUs cannot share a batch of {schedule.batch} images evenly")
    return replace(profile, gpus=gpus, schedule=schedule)
