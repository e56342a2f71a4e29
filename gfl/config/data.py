"""Data sets and loaders of training and evaluation, and the pipelines from image to tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gfl.data import photos_spec
from gfl.data.own.spec import normal_file
from gfl.data.photos_spec import PhotosSpec
from gfl.experiment import Profile, Schedule
from gfl.shapes.embedded import CATEGORIES

Config = dict[str, Any]

COCO = "coco-2017"
COCO_CLASSES = 80
SIZE_DIVISOR = 32
META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")  # of an evaluation


@dataclass(frozen=True)
class Images:
    """Pipeline steps that resize images and, in training, augment them."""

    train: Sequence[Config]
    val: Sequence[Config]
    after_flip: Sequence[Config] = ()
    by_aspect_ratio: bool = True  # whether training batches group images of like shape


def resized(profile: Profile) -> Images:
    """Return images at the profile's scale."""
    step = {"type": "Resize", "scale": profile.scale, "keep_ratio": True}
    return Images([step], [step])


def dataloader(split: str, profile: Profile, schedule: Schedule, images: Images) -> Config:
    """Return the loader settings of a split."""
    train = split == "train"
    dataset: Config = {
        "type": "CocoDataset",
        "ann_file": annotation_file(split),
        "data_prefix": {"img": f"{split}2017/"},
        "pipeline": _pipeline(split, profile, images),
    }
    if profile.own:
        files = profile.own.train if train else profile.own.val
        boxes = normal_file(split) if files.normal else files.annotations
        dataset |= {"ann_file": boxes, "data_prefix": {"img": f"{files.images}/"}}
    if profile.photos:
        dataset["data_prefix"] = {"img": f"{photos_spec.SPLIT}/"}
    if names := class_names(profile):
        dataset["metainfo"] = {"classes": names}
    if train:
        dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": 32}
    else:
        dataset["test_mode"] = True
    return {
        # The validation batch size affects no result: images share padding, not statistics.
        "batch_size": schedule.batch // profile.gpus if train else profile.eval_batch,
        "sampler": _sampler(train, profile),
        "batch_sampler": _batch_sampler(train, profile, images),
        "dataset": dataset,
    }


def _sampler(train: bool, profile: Profile) -> Config:
    seeded = train and has_loaders(profile)
    return {"type": "SeededSampler" if seeded else "DefaultSampler", "shuffle": train}


def _batch_sampler(train: bool, profile: Profile, images: Images) -> Config | None:
    if profile.photos:
        return {"type": "CanvasBatchSampler", "size": profile.photos.size}
    by_aspect_ratio = train and images.by_aspect_ratio
    return {"type": "AspectRatioBatchSampler"} if by_aspect_ratio else None


def has_loaders(profile: Profile) -> bool:
    """Return whether loader processes may read the images; each image is then seeded.

    CPU profiles load in the training process, on a GPU too, and draw from that process's
    generators, which are saved in checkpoints.
    """
    return profile.device == "cuda"


def _pipeline(split: str, profile: Profile, images: Images) -> list[Config]:
    if profile.photos:
        return _photos_pipeline(split, profile.photos, profile.model.frozen)
    load = {"type": _loader(profile)}
    annotations = {"type": "LoadAnnotations", "with_bbox": True}
    if split == "train":
        flip = {"type": "RandomFlip", "prob": 0.5}
        seeding = [{"type": "SeedAugmentation"}] if has_loaders(profile) else []
        varied = [*images.train, flip, *images.after_flip]
        return [*seeding, load, annotations, *varied, {"type": "PackDetInputs"}]
    return [load, *images.val, annotations, {"type": "PackDetInputs", "meta_keys": META_KEYS}]


def _loader(profile: Profile) -> str:
    """Return the transform that reads an image: mmdet's for COCO, as in the published results."""
    if profile.own:
        return "LoadUprightImage"
    return "LoadImageFromMemory" if profile.dataset else "LoadImageFromFile"


def _photos_pipeline(split: str, spec: PhotosSpec, network: str | None) -> list[Config]:
    prepared = {"type": "LoadPrepared", "size": spec.size}
    annotations = {"type": "LoadAnnotations", "with_bbox": True}
    pack = {"type": "PackFeatures", "network": network, "size": spec.size}
    if split == "train":
        return [annotations, prepared, {"type": "RandomFlip", "prob": 0.5}, pack]
    return [prepared, annotations, pack]


def of_pictures(pipeline: Sequence[Config]) -> list[Config]:
    """Return the steps of an evaluation for a picture already loaded, without boxes."""
    steps: list[Config] = []
    for step in pipeline:
        if step["type"] == "PackFeatures":
            shrink = {"type": "ShrinkPicture", "size": step["size"]}
            steps += [shrink, {"type": "PackDetInputs", "meta_keys": META_KEYS}]
        elif not step["type"].startswith("Load"):
            steps.append(step)
    return steps


def loads_floats(pipeline: Sequence[Config]) -> bool:
    """Return whether an evaluation reads its images as float32, as corner detectors' does."""
    return any(step["type"].startswith("Load") and step.get("to_float32") for step in pipeline)


def class_names(profile: Profile) -> tuple[str, ...] | None:
    """Return the categories' names in label order; None for COCO's, which mmdet knows."""
    if spec := profile.own or profile.photos:
        return spec.classes
    return CATEGORIES if profile.dataset else None


def annotation_file(split: str) -> str:
    return f"annotations/instances_{split}2017.json"
