"""A training step and the inference of whole detectors, beside stock mmdet with the same weights.

Ours is what this project trains: its head, channels_last and, where the device computes it, the
profile's bfloat16. Stock is the same network with mmdet's own head in torch's default layout, in
float32 and, on CUDA, under mmengine's automatic mixed precision in float16. All take turns.

A training step begins with a batch as the loader leaves it and ends with the optimizer's step, at a
rate of 0: the weights stay. Inference is of one picture, from the padded image to its detections,
in float32 in both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor

from analysis.speed import page
from analysis.speed.record import Step, Steps
from benchmarks import cases, detectors, measure
from benchmarks.loads import batch as batch_of
from benchmarks.loss import write
from benchmarks.overhead import compare, loaded
from experiments import profiles
from experiments.named import GFL, PLAIN
from gfl import config
from gfl.experiment import Experiment, Profile
from gfl.head import STOCK_CONSTANTS, STOCK_NAMES
from gfl.terminal import say
from gfl.training.optim import AutocastOptimWrapper, computes_bfloat16

EXPERIMENTS = {"GFL": GFL, "ATSS": PLAIN, "FCOS": Experiment(host="fcos")}
HEADS = {"GFL": "GFLHead", "ATSS": "ATSSHead", "FCOS": "FCOSHead"}
OBJECTS = 7  # an image: COCO's mean
PICTURES = 8  # of inference
CLOSE = 1e-3  # relative difference of the losses, in float32, up to which the two agree
SEED = 0

Turn = Callable[[int], object]  # one step; its number chooses the picture


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    profile: Profile
    image: tuple[int, int]  # height and width, px
    batch: int
    rounds: int
    threads: int
    device: str = "cpu"
    precision: str = "bfloat16"  # of our training step, where the device computes it


def measure_all(names: Sequence[str], wanted: Plan, out: Path) -> None:
    """Time the detectors, write the record and its page into a folder, and print the page."""
    cases.quiet()
    torch.set_num_threads(wanted.threads)
    machine = measure.machine(wanted.device, wanted.threads)
    found = []
    for name in names:
        for step in timed(name, wanted):
            found.append(step)
            say(f"{name} {step.phase}, {step.stock_precision}: {page.ratio(step)}", error=True)
    steps = Steps(machine, wanted.profile.name, wanted.image, wanted.batch, OBJECTS, tuple(found))
    write(steps, out)


def plan(
    profile: str,
    *,
    image: tuple[int, int] | None,
    batch: int | None,
    rounds: int,
    threads: int,
    device: str,
    precision: str | None,
) -> Plan:
    """Return the plan of a profile, at its own size, batch a device and precision if not given."""
    chosen = profiles.get(profile)
    width, height = chosen.scale
    return Plan(
        chosen,
        image or (height, width),
        batch or chosen.schedule.batch // chosen.gpus,
        rounds,
        threads,
        device,
        precision or chosen.schedule.precision,
    )


def timed(name: str, wanted: Plan) -> Iterator[Step]:
    """Yield a detector's times, after comparing the losses of the two.

    Raises:
        AssertionError: the losses of ours and stock differ.
    """
    ours, stock = pair(name, wanted)
    half = computes_bfloat16(torch.device(wanted.device)) and wanted.precision == "bfloat16"
    mine = "bfloat16" if half else "float32"
    # First, because training changes the batch statistics that the detections depend on.
    turns = {
        "ours": _inference(ours, _pictures(ours, wanted)),
        "float32": _inference(stock, _pictures(stock, wanted)),
    }
    yield from _steps(name, "inference", "float32", turns, wanted)
    batch = drawn(wanted)
    check(ours, stock, batch)
    turns = {"ours": _training(ours, batch, wanted, mine)}
    others = ["float32"] + (["mixed"] if wanted.device == "cuda" else [])  # mmengine's is CUDA's
    turns |= {other: _training(stock, batch, wanted, other) for other in others}
    yield from _steps(name, "training", mine, turns, wanted)


def _steps(
    name: str, phase: str, precision: str, turns: Mapping[str, Turn], wanted: Plan
) -> Iterator[Step]:
    now = measure.clock(wanted.device, wanted.threads)
    seconds = measure.in_turns(turns, wanted.rounds, now)
    for other in list(turns)[1:]:
        found = compare(seconds[other], seconds["ours"])  # stock / ours
        images = wanted.batch if phase == "training" else 1
        yield Step(
            name, phase, precision, other, ours=found.base / images, stock=found.ours / images,
            ratio=found.ratio, low=found.low, high=found.high, rounds=found.rounds,
        )  # fmt: skip


def pair(name: str, wanted: Plan) -> tuple[Any, Any]:
    """Return our detector and stock mmdet's, with the same weights and calibrated scores."""
    experiment, profile = EXPERIMENTS[name], wanted.profile
    pictures = detectors.draw_pictures(profile, 1, wanted.image)
    made, _ = loaded(experiment, profile, pictures)
    ours = made.model
    stock = detectors.build(stock_settings(name, profile))
    stock.load_state_dict(stock_weights(ours.state_dict(), stock.state_dict()))
    for model in (ours, stock):
        model.bbox_head.test_cfg.score_thr = made.thresholds[0]
    ours.to(wanted.device, memory_format=torch.channels_last)
    return ours, stock.to(wanted.device)


def stock_settings(name: str, profile: Profile) -> ConfigDict:
    """Return the model's settings with mmdet's own head, of the network's size."""
    model = Config(config.build(EXPERIMENTS[name], profile, SEED)).model
    published = Config.fromfile(cases.CONFIGS / cases.STOCK[HEADS[name]]).model
    head, mine = copy.deepcopy(published.bbox_head), model.bbox_head
    sizes = ("num_classes", "in_channels", "feat_channels", "stacked_convs")
    head |= {key: mine[key] for key in sizes}
    # As in our towers: 32 groups of the published 256 channels.
    groups = mine.feat_channels // 8
    head.norm_cfg = {"type": "GN", "num_groups": groups, "requires_grad": True}
    if "anchor_generator" in head:
        head.anchor_generator.strides = mine.strides
    else:
        head.strides = mine.strides
        head.regress_ranges = _ranges(mine.strides)
    model.bbox_head, model.train_cfg = head, published.get("train_cfg")
    return model


def _ranges(strides: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """Return FCOS's range of the farthest side's distance on each level, px."""
    ends = [-1.0, *(8.0 * stride for stride in strides[:-1]), 1e8]
    return tuple(pairwise(ends))


def stock_weights(ours: Mapping[str, Tensor], stock: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our weights by stock's names; its constants are its own.

    Raises:
        KeyError: ours lacks a weight of stock's.
    """
    found = {}
    for name, own in stock.items():
        prefix, _, rest = name.rpartition("bbox_head.")
        layer, dot, kind = rest.partition(".")
        if prefix or not name.startswith("bbox_head.") or rest in STOCK_CONSTANTS:
            found[name] = own if rest in STOCK_CONSTANTS else ours[name]
        else:
            found[name] = ours[f"bbox_head.{STOCK_NAMES.get(layer, layer)}{dot}{kind}"]
    return found


def drawn(wanted: Plan) -> dict[str, Any]:
    """Draw a batch as a loader leaves it: images in bytes and their objects, on the host."""
    random = torch.Generator().manual_seed(SEED)
    height, width = wanted.image
    batch: dict[str, Any] = {"inputs": [], "data_samples": []}
    classes = config.build(EXPERIMENTS["GFL"], wanted.profile, SEED)["model"]["bbox_head"]
    for _ in range(wanted.batch):
        meta = {"img_shape": wanted.image, "ori_shape": wanted.image, "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = cases.draw_objects(
            OBJECTS, wanted.image, classes["num_classes"], random
        )
        batch["inputs"].append(
            torch.randint(256, (3, height, width), generator=random, dtype=torch.uint8)
        )
        batch["data_samples"].append(sample)
    return batch


def check(ours: Any, stock: Any, batch: dict[str, Any]) -> None:
    """Assert that the two detectors' losses agree in float32, but for names."""
    found = []
    for model in (ours, stock):
        model.train()
        with torch.no_grad():
            losses = model(**model.data_preprocessor(copy.deepcopy(batch), True), mode="loss")
        found.append(cases.summed(losses))
    cases.check(*found, rtol=CLOSE, atol=1e-5)


def _training(model: Any, batch: dict[str, Any], wanted: Plan, precision: str) -> Turn:
    """Return a training step: of ours ``precision`` is a dtype, of stock "mixed" or "float32"."""
    optimizer = config.build(EXPERIMENTS["GFL"], wanted.profile, SEED)["optim_wrapper"]
    settings = {k: v for k, v in optimizer["optimizer"].items() if k not in ("type", "lr")}
    kind = getattr(torch.optim, optimizer["optimizer"]["type"])
    made = kind(model.parameters(), lr=0.0, **settings)
    clip = optimizer.get("clip_grad")
    wrapper: OptimWrapper
    if precision == "mixed":
        wrapper = AmpOptimWrapper(optimizer=made, clip_grad=clip, dtype="float16")
    elif precision == "bfloat16":
        wrapper = AutocastOptimWrapper(made, precision, clip)
    else:
        wrapper = OptimWrapper(made, clip_grad=clip)

    def step(number: int) -> object:
        model.train()
        return model.train_step(copy.deepcopy(batch), wrapper)

    return step


def _pictures(model: Any, wanted: Plan) -> Sequence[dict[str, Any]]:
    pictures = detectors.draw_pictures(wanted.profile, PICTURES, wanted.image)
    return [batch_of(model, picture) for picture in pictures]


def _inference(model: Any, pictures: Sequence[dict[str, Any]]) -> Turn:
    @torch.no_grad()
    def detect(number: int) -> object:
        model.eval()
        return model.predict(**pictures[number % len(pictures)], rescale=False)

    return detect
