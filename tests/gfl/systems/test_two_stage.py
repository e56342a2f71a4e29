"""What holds of every two-stage system and of RepPoints, small and at full size."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from mmdet_models import build
from torch import Tensor
from two_stage_made import (
    ROWS,
    detect,
    detecting,
    full_size,
    images,
    losses,
    made,
    small,
    sure,
)

methods = pytest.mark.parametrize("method", ROWS)


def assert_same(ours: Any, expected: Any, atol: float = 0.0) -> None:
    """Compare two images' detections."""
    assert len(ours) == len(expected) > 0
    for name in ("bboxes", "scores", "labels"):
        torch.testing.assert_close(ours[name], expected[name], rtol=0, atol=atol)


@methods
def test_a_sample_in_is_a_sample_out_whatever_the_batch(method: str) -> None:
    """A batch of two also equals two batches of one."""
    model = sure(made(small(method)))
    pictures, samples = images((3, 1))
    together = detect(model, (pictures, samples))
    assert len(together) == 2
    for i, sample in enumerate(together):
        alone = detect(model, (pictures[i : i + 1], samples[i : i + 1]))
        assert len(alone) == 1
        assert_same(sample.pred_instances, alone[0].pred_instances, atol=1e-3)


@methods
def test_weights_survive_a_round_trip(method: str) -> None:
    model = sure(made(small(method)))
    other = detecting(made(small(method), seed=1), 0.0)
    other.load_state_dict(model.state_dict(), strict=True)
    batch = images((2,))
    expected = detect(model, batch)[0].pred_instances
    assert_same(detect(other, batch)[0].pred_instances, expected)


@methods
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bf16 autocast"])
def test_every_loss_is_float32_and_every_weight_has_a_gradient(method: str, bfloat16: bool) -> None:
    model = made(small(method)).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = losses(model, images((3, 2)))
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert all(value.isfinite() for value in found.values())
    assert_gradients(model, found)


def assert_gradients(model: Any, found: dict[str, Tensor]) -> None:
    torch.stack(list(found.values())).sum().backward()
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            assert weights.grad is not None, name
            assert weights.grad.isfinite().all(), name


@methods
def test_images_without_objects_have_finite_losses_and_gradients(method: str) -> None:
    """Also in a batch without any object: every weight has a gradient, if only zeros."""
    for objects in ((0, 2), (0, 0)):
        model = made(small(method)).train()
        found = losses(model, images(objects))
        assert all(value.isfinite() for value in found.values())
        assert_gradients(model, found)


@methods
def test_an_image_of_nothing_is_predicted(method: str) -> None:
    model = made(small(method))  # scores all about 1 / classes, or 0.01
    pictures, samples = images((0,))
    for threshold, most in ((0.0, 100), (1.0, 0)):
        detecting(model, threshold)
        found = detect(model, ([0 * pictures[0]], samples))[0].pred_instances
        assert found.bboxes.isfinite().all()
        assert len(found) <= most


@methods
def test_a_model_trains_on_after_it_has_predicted(method: str) -> None:
    model = sure(made(small(method)))
    detect(model, images((2,)))
    assert all(value.isfinite() for value in losses(model.train(), images((2,))).values())


def with_mmdets_classes(config: Any) -> Any:
    """Replace the classes that compute in float32 by mmdet's own."""
    if isinstance(config, dict):
        return {key: with_mmdets_classes(value) for key, value in config.items()}
    if isinstance(config, list):
        return [with_mmdets_classes(value) for value in config]
    if isinstance(config, str):
        return (
            config.replace("Float32BBoxHead", "Shared2FCBBoxHead")
            .replace("Float32RoIExtractor", "SingleRoIExtractor")
            .replace("Float32", "")
        )
    return config


@pytest.mark.parametrize("method", ["faster-rcnn", "cascade-rcnn", "reppoints"])
def test_in_float32_losses_are_bit_equal_to_mmdets(method: str) -> None:
    """And mmdet's own names of weights are kept."""
    config = small(method)
    stock = with_mmdets_classes(config)
    assert stock != config
    ours, theirs = made(config), made(stock, seed=1)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    found = []
    for model in (ours, theirs):
        torch.manual_seed(2)
        found.append(losses(model.train(), images((3, 2))))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_small_reppoints_have_the_first_version_of_deformable_convolution() -> None:
    """As published, whatever the profile's own small backbones have."""
    model = made(small("reppoints", "r101-dcn")).train()
    kinds = {type(layer) for layer in model.backbone.modules()}
    assert DeformConv2dPack in kinds
    assert ModulatedDeformConv2dPack not in kinds
    assert_gradients(model, losses(model, images((2, 1))))


@pytest.mark.parametrize(
    ("method", "part"),
    [("faster-rcnn", "rpn_head"), ("faster-rcnn", "bbox_head"), ("reppoints", "")],
)
def test_predictions_are_float32_under_autocast(method: str, part: str) -> None:
    """mmdet's are bfloat16, and their boxes and losses are of rounded numbers."""
    config = small(method)
    part_of = config if part == "rpn_head" else config.get("roi_head", config)
    ours = build(part_of[part or "bbox_head"])
    theirs = build(with_mmdets_classes(part_of[part or "bbox_head"]))
    x = torch.randn(2, 32, 7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        for head, dtype in ((ours, torch.float32), (theirs, torch.bfloat16)):
            out = head(x) if part == "bbox_head" else head.forward_single(x)
            assert {tensor.dtype for tensor in out} == {dtype}


def test_without_objects_mmdet_leaves_out_the_grid_loss() -> None:
    ours, theirs = small("grid-rcnn"), small("grid-rcnn")
    theirs["roi_head"]["type"] = "GridRoIHead"
    found, lacking = (losses(made(config).train(), images((0, 0))) for config in (ours, theirs))
    assert found.keys() - lacking.keys() == {"loss_grid"}
    assert found["loss_grid"] == 0


def test_regions_are_not_rounded_under_autocast() -> None:
    """mmdet's extractor gives them the features' dtype: 301 px becomes 300 in bfloat16."""
    config = small("faster-rcnn")["roi_head"]["bbox_roi_extractor"]
    ours, theirs = build(config), build(config | {"type": "SingleRoIExtractor"})
    random = torch.Generator().manual_seed(0)
    features = [torch.randn(1, 32, 512 // s, 512 // s, generator=random) for s in (4, 8, 16)]
    halves = tuple(level.bfloat16() for level in features)
    rois = torch.tensor([[0.0, 301, 303, 331, 333]])
    expected = theirs(tuple(level.float() for level in halves), rois)
    assert torch.equal(ours(halves, rois), expected)
    assert (theirs(halves, rois).float() - expected).abs().max() > 0.1


def with_few_regions(config: Any, most: int = 32) -> Any:
    """Limit what the second stage takes, which costs most at full width."""
    if isinstance(config, dict):
        return {
            key: min(value, most) if key in ("num", "max_per_img") else with_few_regions(value)
            for key, value in config.items()
        }
    return [with_few_regions(value) for value in config] if isinstance(config, list) else config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "row"), [(method, row) for method in ROWS for row in ROWS[method]], ids=str
)
def test_full_size_trains_and_predicts(method: str, row: str) -> None:
    model = made(with_few_regions(full_size(method, row)))
    batch = images((2,), classes=80)
    found = losses(model.train(), batch)
    assert all(value.isfinite() for value in found.values())
    assert_gradients(model, found)
    detections = detect(sure(model), batch)[0].pred_instances
    assert len(detections) > 0
    assert detections.bboxes.isfinite().all()
