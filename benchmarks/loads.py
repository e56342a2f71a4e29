"""A detector of mmdet's registry with random weights and a prescribed load at inference.

What NMS and the second stage have to do depends on what a detector has learned. Here torch's own
initial weights get batch statistics of a picture and outputs of one spread, and then the score
threshold that makes the load the same for all: 1000 boxes into NMS for a dense detector, 300 pairs
of class and box for a two-stage one, whose RPN must fill its quota; a grid head gets as many
regions as there may be detections. Corner detectors find no pair with random weights, so that their
heads' outputs are replaced, after they were computed, by keypoints with 300 valid pairs.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmdet.models.layers.bbox_nms as suppression
import torch
from mmdet.models.dense_heads import CornerHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from analysis.speed.systems import Subject
from benchmarks.detectors import Picture, build
from benchmarks.keypoints import prepared
from gfl.records.record import digest

SEED = 0
CANDIDATES, PAIRS = 1000, 300  # of a dense detector; of a two-stage or corner one
MOST_PAIRS = 20_000  # tried for a grid head
SPREADING = 8  # times that an RPN's deltas are spread further
# Last layers, by the end of their names, and the spread of their outputs: scores are then distinct
# and below 1, boxes overlap and differ.
CLASSES, BOXES = 1.0, 0.5
SPREAD = {
    **dict.fromkeys(
        ("gfl_cls", "atss_cls", "retina_cls", "conv_cls", "reppoints_cls_out", "rpn_cls", "fc_cls",
         "TSD_fc_cls", "cls_convs"), CLASSES,
    ),
    **dict.fromkeys(
        ("gfl_reg", "atss_reg", "retina_reg", "conv_reg", "reppoints_pts_init_out",
         "reppoints_pts_refine_out", "rpn_reg", "fc_reg", "TSD_fc_reg", "reg_convs"), BOXES,
    ),
}  # fmt: skip

Config = Mapping[str, Any]
Kind = Literal["dense", "two-stage", "corners"]


@dataclass
class Loaded:
    """Detector with the pictures it is timed on, preprocessed, and its load."""

    model: Any
    batches: Sequence[dict[str, Any]]  # one picture each
    kind: Kind
    targets: dict[str, float] = field(default_factory=dict)
    thresholds: Sequence[float] = ()  # of the scores, a picture each; none: the model's own

    @torch.no_grad()
    def detect(self, picture: int) -> int:
        """Run from the padded image to the final detections; return their number."""
        picture %= len(self.batches)
        if self.thresholds:
            self.settings.score_thr = self.thresholds[picture]
        (found,) = self.model.predict(**self.batches[picture], rescale=False)
        return len(found.pred_instances)

    def detect_all(self) -> int:
        """Return the number of detections in all pictures."""
        return sum(self.detect(picture) for picture in range(len(self.batches)))

    @property
    def settings(self) -> Any:
        """Settings that have the score threshold."""
        two_stage = self.kind == "two-stage"
        return (self.model.roi_head if two_stage else self.model.bbox_head).test_cfg


def load(
    config: Config,
    pictures: Sequence[Picture],
    device: str = "cpu",
    candidates: int = CANDIDATES,
    pairs: int | None = PAIRS,
    weights: Mapping[str, Tensor] | None = None,
) -> tuple[Loaded, Subject]:
    """Build a detector of a model's settings, give it a load and count it.

    ``candidates`` is a dense detector's load, ``pairs`` another's; None leaves a two-stage
    detector its own threshold. With ``weights``, trained ones, nothing is calibrated. On a CPU the
    detector is in channels_last, as where this project trains.
    """
    torch.manual_seed(SEED)
    model = build(config).eval().to(device)
    if device == "cpu":
        model.to(memory_format=torch.channels_last)
    batches = [batch(model, picture) for picture in pictures]
    made = Loaded(model, batches, kind_of(model))
    if weights is not None:
        model.load_state_dict(weights)
    else:
        _calibrate(made, candidates, pairs)
    height, width = batches[0]["batch_inputs"].shape[-2:]
    counts, multiply_adds = counted(made)
    return made, Subject(
        config=digest_of(config),
        kind=made.kind,
        image=(height, width),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=multiply_adds,
        counts=counts,
        targets=made.targets,
    )


def digest_of(config: Config) -> str:
    """Return the digest of a model's settings."""
    return digest(_plain(config))


def is_of_corners(config: Config) -> bool:
    """Return whether a model's settings are of a corner detector, which has a size of its own."""
    head = config.get("bbox_head")
    with DefaultScope.overwrite_default_scope("mmdet"):
        found = MODELS.get(head["type"]) if head else None
    return found is not None and issubclass(found, CornerHead)


def kind_of(model: Any) -> Kind:
    if hasattr(model, "roi_head"):
        return "two-stage"
    return "corners" if isinstance(model.bbox_head, CornerHead) else "dense"


def counted(made: Loaded) -> tuple[dict[str, float], int]:
    """Return the mean counts of ``Subject`` over the pictures, and multiply-adds of the first.

    Multiply-adds are those of convolutions and matrix products, deformable ones included.
    """
    with _observed(made) as seen:
        totals = {"detections": made.detect_all()}
    totals |= {name: sum(len(one) for one in values) for name, values in seen.items()}
    convolve = torch.ops.torchvision.deform_conv2d
    with FlopCounterMode(display=False, custom_mapping={convolve: _deformable}) as flops:
        made.detect(0)
    return {k: v / len(made.batches) for k, v in totals.items()}, flops.get_total_flops() // 2


def _deformable(
    x: Any, weight: Any, *_: Any, out_shape: Sequence[int] | None = None, **__: Any
) -> int:
    """Return twice the multiply-adds of a deformable convolution, as torch counts others."""
    assert out_shape is not None
    batch, channels, height, width = out_shape
    inputs, *kernel = weight[1:]
    return 2 * batch * channels * height * width * inputs * kernel[0] * kernel[1]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def batch(model: Any, picture: Picture) -> dict[str, Any]:
    """Return the preprocessor's output for a picture, in BGR as from mmdet's pipeline."""
    bgr = torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())
    shape = picture.shape[:2]
    sample = DetDataSample(
        metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
    )
    made = model.data_preprocessor({"inputs": [bgr], "data_samples": [sample]}, training=False)
    return {"batch_inputs": made["inputs"], "batch_data_samples": made["data_samples"]}


def _calibrate(made: Loaded, candidates: int, pairs: int | None) -> None:
    if made.kind == "corners":
        _load_corners(made, pairs or PAIRS)  # whatever its network computes
    _normalise(made)
    _spread(made)
    if made.kind == "dense":
        _load_dense(made, candidates)
    elif made.kind == "two-stage":
        _load_two_stage(made, pairs)


@torch.no_grad()
def _normalise(made: Loaded) -> None:
    """Set batch normalisation to the pictures' statistics, which keeps a random network's scale."""
    layers = [module for module in made.model.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    made.model.predict(
        torch.cat([batch["batch_inputs"] for batch in made.batches]),
        [sample for batch in made.batches for sample in batch["batch_data_samples"]],
        rescale=False,
    )
    for layer in layers:
        layer.eval()


@torch.no_grad()
def _spread(made: Loaded) -> None:
    """Scale the last layers so that their outputs for a picture have the spread in ``SPREAD``."""
    outputs: dict[nn.Module, list[Tensor]] = {}
    hooks = []
    wanted = {}
    for name, module in made.model.named_modules():
        last = next((part for part in reversed(name.split(".")) if not part.isdigit()), "")
        if last in SPREAD and isinstance(module, (nn.Conv2d, nn.Linear)):
            wanted[module], outputs[module] = SPREAD[last], []
            hooks.append(
                module.register_forward_hook(
                    lambda m, _, y: outputs[m].append(y.detach().flatten())
                )
            )
    made.detect(0)
    for hook in hooks:
        hook.remove()
    for module, found in outputs.items():
        if found and (spread := torch.cat(found).float().std()) > 0:
            for parameter in module.parameters():
                parameter.mul_(wanted[module] / spread)


def _load_dense(made: Loaded, candidates: int) -> None:
    """Let a number of each picture's scores pass the threshold."""
    head = made.model.bbox_head
    test_cfg = copy.deepcopy(head.test_cfg)
    head.test_cfg = ConfigDict(dict(test_cfg) | {"score_thr": 0.0, "nms_pre": 10**9})
    with _observed(made, stop=True) as seen:
        made.detect_all()
    head.test_cfg = test_cfg
    made.thresholds = _thresholds(seen["candidates"], candidates)
    made.targets = {"candidates": candidates}


def _load_two_stage(made: Loaded, pairs: int | None) -> None:
    """Fill the RPN's quota and let a number of pairs pass; more, until they fill a grid head."""
    settings, pictures = made.settings, len(made.batches)
    own, settings.score_thr = settings.score_thr, 0.0
    seen = _filled(made)
    settings.score_thr = own
    items = len(seen["proposals"]) // pictures  # TridentNet has three a picture
    made.targets = {"proposals": made.model.test_cfg.rpn.max_per_img * items}
    if pairs is None:
        return
    made.thresholds = _thresholds(seen["candidates"], pairs)
    if not hasattr(made.model.roi_head, "grid_head"):
        made.targets["candidates"] = pairs
        return
    made.targets["regions"] = settings.max_per_img
    while pairs < MOST_PAIRS:
        with _observed(made) as found:
            made.detect_all()
        if sum(len(one) for one in found["regions"]) >= settings.max_per_img * pictures:
            return
        pairs = pairs * 3 // 2
        made.thresholds = _thresholds(seen["candidates"], pairs)


def _filled(made: Loaded) -> dict[str, list[Tensor]]:
    """Return what a two-stage detector was observed to do, its proposals spread to fill the quota.

    The wider the deltas are spread, the fewer proposals suppress each other.
    """
    for _ in range(SPREADING):
        with _observed(made, stop=True) as seen:
            made.detect_all()
        quota = made.model.test_cfg.rpn.max_per_img * len(seen["proposals"])
        if sum(len(one) for one in seen["proposals"]) > 0.97 * quota:
            break
        with torch.no_grad():
            for parameter in made.model.rpn_head.rpn_reg.parameters():
                parameter.mul_(1.3)
    return seen


def _load_corners(made: Loaded, pairs: int) -> None:
    """Replace the head's outputs by keypoints with valid pairs in each view of a picture."""
    head = made.model.bbox_head
    compute = head.forward
    made_of: dict[tuple[int, ...], Any] = {}

    def forward(features: Any) -> Any:
        outputs = compute(features)
        shape = tuple(features[-1].shape)
        if shape not in made_of:
            made_of[shape] = prepared(outputs, head.test_cfg, pairs)
        return made_of[shape]

    head.forward = forward
    views = 2 if getattr(made.model, "mirrored", False) else 1
    made.targets = {"candidates": pairs * views}


def _thresholds(scores: Sequence[Tensor], passing: int) -> list[float]:
    """Return the score that a number of each picture's scores exceed."""
    ordered = [one.float().sort(descending=True).values for one in scores]
    return [float(one[min(passing, len(one) - 1)]) for one in ordered]


@contextlib.contextmanager
def _observed(made: Loaded, stop: bool = False) -> Iterator[dict[str, list[Tensor]]]:
    """Collect scores of proposals and of what enters the last NMS, call by call.

    ``stop`` lets nothing pass the last NMS.
    """
    seen: dict[str, list[Tensor]] = {"candidates": []}
    model = made.model
    with contextlib.ExitStack() as stack:
        if made.kind == "two-stage":
            seen["proposals"] = []
            _observe_two_stage(model, seen, stop, stack)
        elif made.kind == "corners":
            inherited = model.bbox_head._bboxes_nms

            def corners_nms(boxes: Tensor, labels: Tensor, cfg: Any) -> Any:
                seen["candidates"].append(boxes[:, -1].clone())
                return inherited(boxes, labels, cfg)

            stack.enter_context(_replaced(model.bbox_head, "_bboxes_nms", corners_nms))
        else:
            process = model.bbox_head._bbox_post_process

            def post_process(results: Any, *args: Any, **kwargs: Any) -> Any:
                seen["candidates"].append(results.scores.clone())
                return results[:0] if stop else process(results, *args, **kwargs)

            stack.enter_context(_replaced(model.bbox_head, "_bbox_post_process", post_process))
        yield seen


def _observe_two_stage(
    model: Any, seen: dict[str, list[Tensor]], stop: bool, stack: contextlib.ExitStack
) -> None:
    propose, suppress = model.rpn_head.predict, suppression.batched_nms

    def predict(*args: Any, **kwargs: Any) -> Any:
        found = propose(*args, **kwargs)
        seen["proposals"] += [one.scores.clone() for one in found]
        return found

    def nms(boxes: Tensor, scores: Tensor, labels: Tensor, cfg: Any) -> Any:
        seen["candidates"].append(scores.clone())
        if stop:
            return boxes.new_zeros(0, 5), labels[:0]
        return suppress(boxes, scores, labels, cfg)

    stack.enter_context(_replaced(model.rpn_head, "predict", predict))
    stack.enter_context(_replaced(suppression, "batched_nms", nms))
    if hasattr(model.roi_head, "grid_head"):
        seen["regions"] = []
        hook = model.roi_head.grid_head.register_forward_pre_hook(
            lambda _, inputs: seen["regions"].append(inputs[0])
        )
        stack.callback(hook.remove)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
