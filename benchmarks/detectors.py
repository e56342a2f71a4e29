"""Complete detectors for timing inference, and their size: parameters, multiply-adds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gfl import config
from gfl.experiment import Experiment, Profile
from gfl.predictions import trained
from gfl.records.record import Store, run_id
from gfl.shapes import embedded
from gfl.training import checkpoint

CANDIDATES = 1000  # scores that pass the threshold of random weights, averaged over pictures
SEED = 0
# The last layers for classes and for boxes, the first name found, and the target spread of random
# weights' outputs: scores distinct and below 1, boxes that overlap and differ.
OUTPUTS = (
    (("gfl_cls", "retina_cls", "conv_cls", "cls_convs"), 1.0),
    (("gfl_reg", "retina_reg", "conv_reg", "reg_convs"), 0.5),
)

Picture = np.ndarray  # uint8 [height, width, 3], RGB
Step = Callable[[int], int]  # detects in a picture by number; returns the number found


@dataclass(frozen=True)
class Detector:
    """Detector with the pictures it is timed on, preprocessed."""

    model: Any
    batches: tuple[dict[str, Any], ...]  # one picture each

    @torch.no_grad()
    def detect(self, picture: int) -> int:
        """Run forward pass, decoding and NMS; return the number of detections."""
        (found,) = self.model.predict(**self.batches[picture], rescale=False)
        return len(found.pred_instances)

    def detections(self) -> float:
        """Mean number of detections per picture."""
        return float(np.mean([self.detect(i) for i in range(len(self.batches))]))

    def candidates(self) -> float:
        """Mean number of boxes per picture that enter NMS."""
        with _before_nms(self.model.bbox_head) as seen:
            self.detections()
        return float(np.mean([len(scores) for scores in seen]))


@dataclass(frozen=True)
class Size:
    """Counts; multiply-adds are those of convolutions, next to which all others are negligible."""

    head_parameters: int
    parameters: int
    head_multiply_adds: int
    multiply_adds: int


def draw_pictures(profile: Profile, count: int, size: tuple[int, int]) -> list[Picture]:
    """Return the first images of the embedded validation set, or noise of height and width."""
    if profile.dataset is not None:
        spec = replace(profile.dataset, val=max(count, profile.dataset.val))
        return [embedded.render(spec, "val", index)[0] for index in range(count)]
    random = np.random.default_rng(SEED)
    return [random.integers(256, size=(*size, 3), dtype=np.uint8) for _ in range(count)]


def of_run(
    experiment: Experiment, profile: Profile, store: Store, pictures: Sequence[Picture]
) -> Detector | None:
    """Return the detector of the local run at seed 0; None without its weights."""
    folder = store.run_dir(profile.name, run_id(experiment, profile, 0))
    if not (Path(folder) / checkpoint.FINAL).is_file():
        return None
    model = trained.detector(folder).model
    return Detector(model, batches(model, pictures))


def at_random(experiment: Experiment, profile: Profile, pictures: Sequence[Picture]) -> Detector:
    """Return a detector with torch's initial weights and a normal number of detections.

    Batch normalisation has the first picture's statistics, and the outputs are scaled to a common
    spread. On average CANDIDATES scores per picture pass the score threshold, so that detectors
    differ in their network and not in what they have learned.
    """
    torch.manual_seed(SEED)
    model = _build(experiment, profile)
    model.to(memory_format=torch.channels_last).eval()
    made = Detector(model, batches(model, pictures))
    _normalise(model, made.batches[0]["batch_inputs"])
    _spread(model, made.batches[0]["batch_inputs"])
    test_cfg = copy.deepcopy(model.bbox_head.test_cfg)
    head = model.bbox_head
    head.test_cfg = Config(dict(test_cfg) | {"score_thr": 0.0, "nms_pre": 10**9})
    with _before_nms(head, stop=True) as seen:
        made.detections()
    head.test_cfg = test_cfg
    scores = torch.cat(seen).sort(descending=True).values
    last = min(CANDIDATES * len(pictures), len(scores) - 1)
    head.test_cfg.score_thr = float(scores[last])
    return made


@torch.no_grad()
def size(experiment: Experiment, profile: Profile, image: tuple[int, int]) -> Size:
    """Count a detector at an image of this height and width, without computing anything."""
    model = _build(experiment, profile).to("meta").eval()
    counted: dict[bool, int] = {True: 0, False: 0}
    in_head = set(model.bbox_head.modules())

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        height, width = module.kernel_size
        each = module.in_channels // module.groups * height * width
        counted[module in in_head] += output.numel() * each

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    model.bbox_head(model.extract_feat(torch.empty(1, 3, *_padded(model, image), device="meta")))
    return Size(
        _parameters(model.bbox_head), _parameters(model), counted[True], sum(counted.values())
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _padded(model: Any, image: tuple[int, int]) -> tuple[int, int]:
    divisor = model.data_preprocessor.pad_size_divisor
    height, width = (-(-side // divisor) * divisor for side in image)
    return height, width


def _build(experiment: Experiment, profile: Profile) -> Any:
    wanted = Config(config.build(experiment, profile, SEED)).model
    wanted.backbone.init_cfg = None  # nothing is downloaded
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(wanted)


def batches(model: Any, pictures: Sequence[Picture]) -> tuple[dict[str, Any], ...]:
    """Return the preprocessor's output for each picture, a batch of its own."""
    return tuple(_batch(model, picture) for picture in pictures)


def _batch(model: Any, picture: Picture) -> dict[str, Any]:
    """Return the preprocessor's output for a picture, in BGR as from mmdet's pipeline."""
    bgr = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)))
    shape = picture.shape[:2]
    sample = DetDataSample(
        metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1, 1)}
    )
    made = model.data_preprocessor({"inputs": [bgr], "data_samples": [sample]}, training=False)
    return {"batch_inputs": made["inputs"], "batch_data_samples": made["data_samples"]}


@torch.no_grad()
def _normalise(model: Any, inputs: Tensor) -> None:
    """Set batch normalisation to a picture's statistics, which keeps a random network's scale."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    model.extract_feat(inputs)
    for layer in layers:
        layer.eval()


@torch.no_grad()
def _spread(model: Any, inputs: Tensor) -> None:
    """Scale the last layers so that their outputs for a picture have the spread in OUTPUTS."""
    head = model.bbox_head
    found = head(model.extract_feat(inputs))
    for levels, (names, wanted) in zip(found, OUTPUTS, strict=False):
        last = next(getattr(head, name) for name in names if hasattr(head, name))
        layers = [module for module in last.modules() if isinstance(module, nn.Conv2d)]
        # One layer for all levels, or one per level.
        groups = [levels] if len(layers) == 1 else [[level] for level in levels]
        for layer, group in zip(layers, groups, strict=True):
            spread = torch.cat([level.flatten() for level in group]).std()
            for parameter in layer.parameters():
                parameter.mul_(wanted / spread)


@contextlib.contextmanager
def _before_nms(head: Any, stop: bool = False) -> Iterator[list[Tensor]]:
    """Collect the class scores of boxes that enter NMS, picture by picture; ``stop`` ends there."""
    seen: list[Tensor] = []
    inherited = head._bbox_post_process

    def post_process(results: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(results.scores.clone())
        return results[:0] if stop else inherited(results, *args, **kwargs)

    head._bbox_post_process = post_process
    try:
        yield seen
    finally:
        del head._bbox_post_process
