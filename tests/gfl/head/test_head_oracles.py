"""mmdet's GFLHead, ATSSHead and FCOSHead as oracles: same weights and batch, same of everything."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet_models import build
from mmengine.config import Config, ConfigDict
from mmengine.runner import load_checkpoint, save_checkpoint
from torch import Tensor, nn

from gfl import config
from gfl.experiment import Experiment, Model, Profile, Schedule

CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
STOCK = {
    "gfl": "gfl/gfl_r50_fpn_1x_coco.py",
    "atss": "atss/atss_r50_fpn_1x_coco.py",
    "fcos": "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
}
OURS: dict[str, dict[str, Any]] = {
    "gfl": {"quality": "joint", "boxes": "general", "dfl": True},
    "atss": {"quality": "centerness-branch", "boxes": "dirac", "dfl": False},
    "fcos": {"quality": "centerness-branch", "boxes": "dirac", "dfl": False, "host": "fcos"},
}
OUR_NAMES = {"loss_centerness": "loss_quality"}
CLASSES, CHANNELS = 5, 16


def stock_model(kind: str, classes: int = CLASSES, channels: int = CHANNELS) -> ConfigDict:
    """mmdet's own configuration of the published detector, with fewer channels and classes."""
    model = Config.fromfile(CONFIGS / STOCK[kind]).model
    model.bbox_head.update(
        num_classes=classes,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        norm_cfg={"type": "GN", "num_groups": channels // 8, "requires_grad": True},
    )
    return model


def stock_head(kind: str) -> nn.Module:
    model = stock_model(kind)
    return MODELS.build(
        model.bbox_head | {"train_cfg": model.get("train_cfg"), "test_cfg": model.test_cfg}
    )


@pytest.fixture(params=STOCK)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def heads(kind: str, make_head: Any) -> tuple[nn.Module, nn.Module]:
    """Our head with random weights and the stock one it copied them from."""
    ours, stock = make_head(**OURS[kind]), stock_head(kind)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stock.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            fan_in = max(1, parameter[0].numel()) if parameter.dim() else 1
            parameter.add_(noise / fan_in**0.5 if parameter.dim() > 1 else 0.2 * noise)
    # strict: every weight has its place here, and none is missing
    ours.load_state_dict(stock.state_dict(), strict=True)
    return ours, stock


@pytest.fixture
def float64(heads: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take both heads to float64, and the oracle's arithmetic too.

    mmdet calls ``.float()`` on predictions and targets to leave half precision, which rounds
    float64 to 7 digits; its anchors and label weights, and the targets that it allocates like
    them, are always float32. It adds float32's epsilon to the number by which it divides sums.
    """
    ours, stock = heads
    ours.double()
    stock.double()
    to_float32 = Tensor.float
    monkeypatch.setattr(Tensor, "float", lambda x: x if x.dtype == torch.float64 else to_float32(x))
    generator: Any = stock.prior_generator
    anchors = functools.partial(generator.grid_priors, dtype=torch.float64)
    monkeypatch.setattr(generator, "grid_priors", anchors)
    targets: Any = stock._get_targets_single

    def targets_in_float64(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        found = targets(*args, **kwargs)
        return tuple(
            x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in found
        )

    monkeypatch.setattr(stock, "_get_targets_single", targets_in_float64)
    no_epsilon = SimpleNamespace(float32=None, finfo=lambda _: SimpleNamespace(eps=0.0))
    monkeypatch.setattr("mmdet.models.losses.utils.torch", no_epsilon)


def our_name(stock_name: str) -> str:
    for theirs in ("atss", "conv"):
        stock_name = stock_name.replace(f"{theirs}_centerness", "gfl_quality")
        for output in ("cls", "reg"):
            stock_name = stock_name.replace(f"{theirs}_{output}", f"gfl_{output}")
    return stock_name


def assert_same(name: str, ours: Tensor | None, theirs: Tensor | None, relative: float) -> None:
    """Compare within a fraction of the largest entry; no gradient is a gradient of zero."""
    if ours is None or theirs is None:
        assert all(x is None or not x.any() for x in (ours, theirs)), name
        return
    largest = theirs.abs().max().item()
    torch.testing.assert_close(
        ours, theirs, rtol=0, atol=relative * largest, msg=lambda text: f"{name}: {text}"
    )


def assert_same_losses_and_gradients(
    heads: tuple[nn.Module, nn.Module], batch: Any, relative: float
) -> None:
    features, samples = batch
    ours, stock = heads
    losses = ours.loss(features, samples)
    per_level = {OUR_NAMES.get(k, k): v for k, v in stock.loss(features, samples).items()}
    assert losses.keys() == per_level.keys()
    parameters = dict(stock.named_parameters())
    renamed = {our_name(name): name for name in parameters}
    mine = dict(ours.named_parameters())
    assert mine.keys() == renamed.keys()
    for loss, value in losses.items():
        # mmdet's losses are a list over levels, of which its detectors train on the sum.
        levels = per_level[loss]
        theirs = sum(levels) if isinstance(levels, list) else levels
        assert_same(loss, value, theirs, relative)
        one = torch.autograd.grad(value, list(mine.values()), retain_graph=True, allow_unused=True)
        other = torch.autograd.grad(
            theirs, [parameters[renamed[name]] for name in mine],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
        for name, a, b in zip(mine, one, other, strict=True):
            assert_same(f"d {loss} / d {name}", a, b, relative)


BATCHES = {
    "objects": (4, 1, 7),
    "one image empty": (4, 0, 7),
    "a single object": (0, 1),
    "no objects": (0, 0, 0),
}


@pytest.mark.parametrize("counts", BATCHES.values(), ids=BATCHES)
def test_losses_and_gradients_in_float32(heads, make_batch, counts):
    assert_same_losses_and_gradients(heads, make_batch(counts), 1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("counts", BATCHES.values(), ids=BATCHES)
def test_losses_and_gradients_in_float64(heads, make_batch, counts):
    assert_same_losses_and_gradients(heads, make_batch(counts, torch.float64), 1e-9)


def test_the_batch_puts_the_oracles_to_the_test(kind, heads, make_batch):
    """Positives on several levels, and images whose own padding leaves locations out."""
    _, stock = heads
    if kind == "fcos":  # its losses are sums over the levels, and padding counts
        features, samples = make_batch((4, 0, 7))
        sizes = [feature.shape[-2:] for feature in features]
        objects = [sample.gt_instances for sample in samples]
        points = stock.prior_generator.grid_priors(sizes, device="cpu")
        labels, _ = stock.get_targets(points, objects)
        assert sum(bool((level < CLASSES).any()) for level in labels) >= 2
        return
    features, samples = make_batch((4, 0, 7))
    losses = stock.loss(features, samples)
    assert sum(bool(value > 0) for value in losses["loss_bbox"]) >= 2
    for sample in samples:
        sample.set_metainfo({"pad_shape": sample.batch_input_shape})
    everywhere = stock.loss(features, samples)
    assert sum(everywhere["loss_cls"]) > 1.05 * sum(losses["loss_cls"])


@pytest.mark.parametrize("rescale", [False, True])
def test_detections_in_float32(heads, make_batch, rescale):
    assert_same_detections(heads, make_batch((4, 0, 7)), rescale, 1e-5)


@pytest.mark.usefixtures("float64")
def test_detections_in_float64(heads, make_batch):
    assert_same_detections(heads, make_batch((4, 0, 7), torch.float64), True, 1e-9)


@torch.no_grad()
def assert_same_detections(
    heads: tuple[nn.Module, nn.Module], batch: Any, rescale: bool, relative: float
) -> None:
    found = [head.eval().predict(*batch, rescale=rescale) for head in heads]
    for ours, theirs in zip(*found, strict=True):
        assert len(theirs) > 20
        assert torch.equal(ours.labels, theirs.labels)
        assert_same("scores", ours.scores, theirs.scores, relative)
        assert_same("boxes", ours.bboxes, theirs.bboxes, relative)


def test_a_checkpoint_of_a_stock_detector_loads_whole(kind, make_batch, tmp_path):
    """As the model zoo publishes them: ``bbox_head.gfl_cls``, ``bbox_head.integral.project``, …"""
    profile = Profile(
        name="tiny",
        model=Model(depth=18, base_channels=8, channels=32, stacked_convs=2),
        schedule=Schedule(epochs=1, batch=1, lr=0.1),
        dataset=None,
        scale=(64, 64),
    )
    model = stock_model(kind, classes=80, channels=32)
    model.backbone = ConfigDict(
        type="ResNet", depth=18, base_channels=8, stem_channels=8, init_cfg=None
    )
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    ours = build(config.build(Experiment(**OURS[kind]), profile, 0)["model"])
    stock = build(model)
    stock.init_weights()
    save_checkpoint({"meta": {}, "state_dict": stock.state_dict()}, str(tmp_path / "zoo.pth"))
    load_checkpoint(ours, str(tmp_path / "zoo.pth"), map_location="cpu", strict=True)
    images = torch.randn(2, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    _, samples = make_batch((3, 2))
    ours.eval()
    stock.eval()
    stock.bbox_head.train()  # FCOSHead's boxes are in pixels when it isn't, and its loss with them
    losses, by_level = ours.loss(images, samples), stock.loss(images, samples)
    for name, values in by_level.items():
        theirs = sum(values) if isinstance(values, list) else values
        assert_same(name, losses[OUR_NAMES.get(name, name)], theirs, 1e-4)


def test_loading_leaves_the_callers_weights_as_they_are(heads):
    ours, stock = heads
    weights = stock.state_dict()
    names = list(weights)
    ours.load_state_dict(weights)
    assert list(weights) == names


def test_a_new_head_starts_as_the_stock_one_does(kind, make_head):
    """Normal weights of deviation .01, biases 0 but for the classes' prior of .01, scales 1."""
    ours, stock = make_head(**OURS[kind], seed=None), stock_head(kind)
    ours.init_weights()
    stock.init_weights()
    theirs = {our_name(name): parameter for name, parameter in stock.named_parameters()}
    for name, parameter in ours.named_parameters():
        if parameter.dim() > 1:
            assert parameter.shape == theirs[name].shape
            assert parameter.std().item() == pytest.approx(0.01, rel=0.15), name
        else:
            assert torch.equal(parameter, theirs[name]), name
