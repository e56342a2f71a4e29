"""What mmdet gets wrong on the way to Table 4: its fault, and the subclass without."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gfl.register  # noqa: F401  before mmdet

# isort: split
from mmdet.models.backbones import HourglassNet, ResNet, ResNeXt
from mmdet.models.dense_heads import ATSSHead, CentripetalHead, CornerHead
from mmdet.models.roi_heads.mask_heads import GridHead
from mmdet.models.task_modules import AssignResult
from mmdet.models.task_modules.samplers import InstanceBalancedPosSampler
from mmdet.structures import DetDataSample
from mmdet_models import build, parameters
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from gfl.systems.stock import (
    BLOCKS,
    DeformableATSSHead,
    StockCentripetalHead,
    StockCornerHead,
    StockGridHead,
    StockHourglassNet,
    StockInstanceBalancedPosSampler,
    StockResNet,
    StockResNeXt,
)

CLASSES, SIZE, STRIDE = 8, 64, 4
NORM = {"type": "BN", "requires_grad": True}
HEAT = {"type": "GaussianFocalLoss", "alpha": 2.0, "gamma": 4.0, "loss_weight": 1}
SMOOTH = {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1}
LOSSES = {
    "corner": {
        "loss_heatmap": HEAT,
        "loss_embedding": {
            "type": "AssociativeEmbeddingLoss", "pull_weight": 0.1, "push_weight": 0.1,
        },
        "loss_offset": SMOOTH,
    },
    "centripetal": {
        "loss_heatmap": HEAT,
        "loss_offset": SMOOTH,
        "loss_guiding_shift": SMOOTH | {"loss_weight": 0.05},
        "loss_centripetal_shift": SMOOTH,
        "corner_emb_channels": 0,
    },
}  # fmt: skip
MMDETS = {"corner": CornerHead, "centripetal": CentripetalHead}
OURS = {"corner": StockCornerHead, "centripetal": StockCentripetalHead}
NARROW = {"feat_channels": 32, "pool_channels": 32}

corner_heads = pytest.mark.parametrize("method", list(MMDETS))


def corner_head(head: type, method: str, channels: int = 32, **settings: Any) -> Any:
    torch.manual_seed(0)
    test_cfg = {
        "corner_topk": settings.pop("corner_topk", 40),
        "local_maximum_kernel": 3,
        "distance_threshold": 1e9,
        "max_per_img": 100,
        "nms": {"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian"},
    }
    with DefaultScope.overwrite_default_scope("mmdet"):
        built = head(
            num_classes=settings.pop("num_classes", CLASSES),
            in_channels=channels,
            num_feat_levels=1,
            test_cfg=ConfigDict(test_cfg),
            **LOSSES[method],
            **settings,
        )
        built.init_weights()
    return built


def batch(counts: tuple[int, ...] = (3, 0), channels: int = 32) -> tuple[tuple[Tensor], list[Any]]:
    """Features of an hourglass's only stack, and images with that many objects each."""
    random = torch.Generator().manual_seed(1)
    samples = []
    for count in counts:
        size = 12 + 30 * torch.rand(count, 2, generator=random)
        corner = torch.rand(count, 2, generator=random) * (SIZE - size)
        sample = DetDataSample(
            metainfo={"img_shape": (SIZE, SIZE), "batch_input_shape": (SIZE, SIZE)}
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1),
            labels=torch.randint(CLASSES, (count,), generator=random),
        )
        samples.append(sample)
    side = SIZE // STRIDE
    return (torch.randn(len(counts), channels, side, side, generator=random),), samples


def last(module: Any) -> Any:
    return module.to(memory_format=torch.channels_last)


def assert_same_detections(actual: list[Any], expected: list[Any]) -> None:
    """Compare what another order of additions may change in the last bits."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert len(one) == len(other) > 0
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.bboxes, other.bboxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)


@corner_heads
def test_a_corner_head_of_mmdet_s_widths_is_mmdet_s_to_the_bit(method: str):
    theirs = corner_head(MMDETS[method], method, 64)
    ours = corner_head(OURS[method], method, 64)
    weights = ours.state_dict()
    assert weights.keys() == theirs.state_dict().keys()
    assert all(torch.equal(weights[name], x) for name, x in theirs.state_dict().items())
    features, samples = batch(channels=64)
    one, other = (head.loss(features, samples) for head in (ours, theirs))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name][0], other[name][0]) for name in one)
    sum(x[0] for x in one.values()).backward()
    sum(x[0] for x in other.values()).backward()
    for (name, a), (_, e) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (a.grad is None and e.grad is None) or torch.equal(a.grad, e.grad), name


def test_a_narrow_corner_head_is_narrow_throughout():
    """A pool: 4 convolutions of 3x3 and one of 1x1, normalized; a branch: 3x3, then 1x1."""
    pool = 4 * (9 * 32 * 32 + 2 * 32) + 32 * 32 + 2 * 32
    branch = 9 * 32 * 32 + 32
    heat, offset, tag = (branch + 33 * outputs for outputs in (CLASSES, 2, 1))
    corner = corner_head(StockCornerHead, "corner", **NARROW)
    assert parameters(corner) == 2 * (pool + heat + offset + tag) == 132_630
    shift, adaption, offsets = branch + 33 * 2, 9 * 32 * 32, 2 * 18
    centripetal = corner_head(StockCentripetalHead, "centripetal", **NARROW)
    expected = 2 * (pool + heat + offset + 2 * shift + adaption + offsets)
    assert parameters(centripetal) == expected == 169_828
    assert parameters(corner_head(CornerHead, "corner")) == 692_630  # mmdet's, of 32 channels


@corner_heads
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_every_weight_of_a_narrow_corner_head_has_a_gradient(method: str, counts: tuple[int, ...]):
    head = corner_head(OURS[method], method, **NARROW)
    features, samples = batch(counts)
    losses = head.loss(features, samples)
    sum(x[0] for x in losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_batch_without_objects_has_a_gradient_for_the_tags_of_both_corners():
    """mmdet's zero is the top left ones' sum: data-parallel training waits for the others'."""
    features, samples = batch((0, 0))
    theirs, ours = (corner_head(head, "corner") for head in (CornerHead, StockCornerHead))
    one, other = (head.loss(features, samples) for head in (ours, theirs))
    for name in one:
        assert torch.equal(one[name][0], other[name][0])
    for losses in (one, other):
        sum(x[0] for x in losses.values()).backward()
    assert all(x.grad is None for x in theirs.br_emb.parameters())
    assert all(not x.grad.any() for x in ours.br_emb.parameters())


@torch.no_grad()
@corner_heads
def test_a_corner_head_predicts_in_channels_last(method: str):
    settings = {"num_classes": 2}
    theirs = corner_head(MMDETS[method], method, **settings).eval()
    ours = last(corner_head(OURS[method], method, **settings).eval())
    features, samples = batch((1, 1))
    expected = theirs.predict(features, samples, rescale=False)
    strided = tuple(x.contiguous(memory_format=torch.channels_last) for x in features)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        last(copy.deepcopy(theirs)).predict(strided, samples, rescale=False)
    assert_same_detections(ours.predict(strided, samples, rescale=False), expected)


@torch.no_grad()
def test_a_corner_head_takes_fewer_pairs_than_mmdet_s_thousand():
    settings = {"num_classes": 1, "corner_topk": 20}
    theirs = corner_head(CornerHead, "corner", **settings).eval()
    ours = corner_head(StockCornerHead, "corner", **settings).eval()
    features, samples = batch((1,))
    with pytest.raises(RuntimeError, match="index k out of range"):
        theirs.predict(features, samples)
    (found,) = ours.predict(features, samples, rescale=False)
    assert 0 < len(found) <= 100


@corner_heads
def test_a_corner_head_s_losses_are_float32_under_autocast(method: str):
    """bfloat16's sigmoid is 1 from a logit of 6 on, and a background's loss then log(1e-12)."""
    theirs, ours = (corner_head(heads[method], method) for heads in (MMDETS, OURS))
    for head in (theirs, ours):
        nn.init.constant_(head.tl_heat[0][-1].conv.bias, 8.0)
    features, samples = batch()
    objects, metas = ([x.gt_instances for x in samples], [x.metainfo for x in samples])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = theirs.loss(features, samples)
        losses = ours.loss(features, samples)
        outputs = theirs(features)
    raised = [[x.float() for x in maps] for maps in outputs]
    expected = theirs.loss_by_feat(*raised, objects, metas)
    assert rounded["det_loss"][0] > 2 * expected["det_loss"][0]
    for name, (value,) in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name][0])


def grid_head(head: type) -> Any:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        built = head(num_convs=2, in_channels=8, point_feat_channels=8)
        built.init_weights()
    return built


@torch.no_grad()
def test_a_grid_head_predicts_in_channels_last():
    theirs, ours = grid_head(GridHead).eval(), grid_head(StockGridHead).eval()
    nn.init.normal_(theirs.deconv2.weight)  # or every heat map is flat
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(5, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    strided = features.contiguous(memory_format=torch.channels_last)
    meta = [{"img_shape": (SIZE, SIZE)}]

    def refined(head: Any, x: Tensor) -> Tensor:
        box = torch.tensor([10.0, 12.0, 40.0, 50.0])
        found = InstanceData(bboxes=box.repeat(len(x), 1))
        return head.predict_by_feat(head(x), [found], meta)[0].bboxes

    expected = refined(theirs, features)
    assert not torch.equal(expected[0], expected[1])
    assert torch.equal(refined(ours, features), expected)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        refined(last(copy.deepcopy(theirs)), strided)
    torch.testing.assert_close(refined(last(ours), strided), expected)


def test_a_grid_head_s_heat_maps_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        features = torch.randn(2, 8, 14, 14)
        assert {x.dtype for x in grid_head(GridHead)(features).values()} == {torch.bfloat16}
        assert {x.dtype for x in grid_head(StockGridHead)(features).values()} == {torch.float32}


FULL = {
    "downsample_times": 5,
    "stage_channels": (256, 256, 384, 384, 384, 512),
    "stage_blocks": (2, 2, 2, 2, 2, 4),
    "norm_cfg": NORM,
}
SMALL = {
    "downsample_times": 3,
    "stage_channels": (32, 32, 48, 64),
    "stage_blocks": (1, 1, 1, 2),
    "feat_channel": 32,
    "norm_cfg": NORM,
}


@pytest.mark.parametrize(("stacks", "count"), [(1, 93_662_848), (2, 187_700_352)])
def test_an_hourglass_has_the_published_one_s_parameters(stacks: int, count: int):
    with torch.device("meta"):
        theirs = HourglassNet(num_stacks=stacks, **FULL)
        ours = StockHourglassNet(num_stacks=stacks, **FULL)
    assert parameters(ours) == count
    dead = 1_180_672 if stacks == 1 else 0  # two 3x3 of 256 channels, normalized
    assert parameters(theirs) == count + dead
    left_out = {name for name in theirs.state_dict() if name.startswith("inters.")}
    assert theirs.state_dict().keys() - ours.state_dict().keys() == (left_out if dead else set())


def without_gradient(network: nn.Module, image: Tensor) -> int:
    network.zero_grad()
    sum(x.sum() for x in network(image)).backward()
    return sum(p.numel() for p in network.parameters() if p.grad is None)


@pytest.mark.parametrize("stacks", [1, 2])
def test_an_hourglass_is_mmdet_s_but_for_what_is_never_run(stacks: int):
    torch.manual_seed(0)
    theirs = HourglassNet(num_stacks=stacks, **SMALL)
    ours = StockHourglassNet(num_stacks=stacks, **SMALL)
    kept = {name: x for name, x in theirs.state_dict().items() if name in ours.state_dict()}
    ours.load_state_dict(kept)
    image = torch.randn(2, 3, SIZE, SIZE)
    for one, other in zip(ours(image), theirs(image), strict=True):
        assert one.shape == (2, 32, SIZE // STRIDE, SIZE // STRIDE)
        assert torch.equal(one, other)
    assert without_gradient(ours, image) == 0
    dead = 2 * (9 * 32 * 32 + 2 * 32)
    assert without_gradient(theirs, image) == (dead if stacks == 1 else 0)


def atss_head(head: type, channels: int = 32) -> Any:
    settings = {
        "num_classes": CLASSES,
        "in_channels": channels,
        "feat_channels": channels,
        "stacked_convs": 2,
        "norm_cfg": {"type": "GN", "num_groups": 4, "requires_grad": True},
        "anchor_generator": {
            "type": "AnchorGenerator", "ratios": [1.0], "octave_base_scale": 8,
            "scales_per_octave": 1, "strides": [8, 16],
        },
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder"},
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "GIoULoss"},
    }  # fmt: skip
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        built = head(**settings)
        built.init_weights()
    return built


@pytest.mark.filterwarnings("ignore:.*num_anchors:UserWarning")
def test_towers_that_end_in_a_deformable_convolution_are_atss_s_where_it_is_not_deformed():
    theirs, ours = atss_head(ATSSHead), atss_head(DeformableATSSHead)
    weights = theirs.state_dict()
    added = ours.state_dict().keys() - weights.keys()
    towers = ("cls_convs.1.conv", "reg_convs.1.conv")
    assert added == {f"{x}.conv_offset.{kind}" for x in towers for kind in ("weight", "bias")}
    offsets = 3 * 9 * (9 * 32 + 1)  # y, x and mask of 9 taps, from a 3x3 with bias
    assert parameters(ours) == parameters(theirs) + 2 * offsets
    # An offset of zero, and a mask of sigmoid(0): half.
    for name in towers:
        weights[f"{name}.weight"] = 2 * weights[f"{name}.weight"]
    weights |= {name: torch.zeros_like(ours.state_dict()[name]) for name in added}
    ours.load_state_dict(weights)
    features = [torch.randn(2, 32, side, side) for side in (8, 4)]
    for one, other in zip(ours(features), theirs(features), strict=True):
        for a, e in zip(one, other, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*num_anchors:UserWarning")
def test_the_offsets_in_towers_are_trained_and_the_outputs_float32_under_autocast():
    head = atss_head(DeformableATSSHead)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head([torch.randn(2, 32, 8, 8), torch.randn(2, 32, 4, 4)])
    assert {x.dtype for kind in outputs for x in kind} == {torch.float32}
    sum(x.square().sum() for kind in outputs for x in kind).backward()
    for tower in (head.cls_convs, head.reg_convs):
        assert tower[-1].conv.conv_offset.weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:.*num_anchors:UserWarning")
@pytest.mark.parametrize(
    ("deformable", "head", "count"),
    [
        (False, "ATSSHead", 51_287_450),
        (True, "ATSSHead", 53_216_708),
        (True, "DeformableATSSHead", 53_341_178),
    ],
)
def test_atss_r_101_has_so_many_parameters(deformable: bool, head: str, count: int):
    from gfl.config.systems.method import bundled

    model = bundled("atss/atss_r101_fpn_1x_coco.py")["model"]
    model["backbone"]["init_cfg"] = None
    model["bbox_head"]["type"] = head
    if deformable:
        model["backbone"] |= {
            "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False},
            "stage_with_dcn": (False, True, True, True),
        }
    with torch.device("meta"):
        assert parameters(build(model)) == count


STAGES = {
    "depth": 26,
    "base_channels": 16,
    "stem_channels": 16,
    "num_stages": 3,
    "strides": (1, 2, 2),
    "dilations": (1, 1, 1),
    "out_indices": (0, 1, 2),
    "norm_eval": False,
}
DCN = {"dcn": {"type": "DCNv2", "deform_groups": 1}, "stage_with_dcn": (False, True, True)}


def small(network: type, **settings: Any) -> Any:
    torch.manual_seed(0)
    built = network(**STAGES, **copy.deepcopy(settings))
    built.init_weights()
    return built


def bottlenecks(network: Any) -> list[Any]:
    return [block for name in network.res_layers for block in getattr(network, name)]


def count_26(width: int, groups: int = 1) -> int:
    """Parameters of the stem and of three stages of two bottlenecks; ``width``: times planes."""
    total, inputs = 7 * 7 * 3 * 16 + 2 * 16, 16
    for planes in (16, 32, 64):
        inner, outputs = width * planes, 4 * planes
        total += inputs * outputs + 2 * outputs  # the shortcut of the first block
        for _ in range(2):
            total += inputs * inner + 9 * inner * inner // groups + inner * outputs
            total += 2 * (2 * inner + outputs)
            inputs = outputs
    return total


def test_a_resnet_of_depth_26_is_of_bottlenecks():
    with pytest.raises(KeyError, match="invalid depth 26"):
        ResNet(26)
    network = small(StockResNet)
    assert parameters(network) == count_26(1) == 219_728
    shapes = [tuple(x.shape) for x in network(torch.randn(1, 3, 64, 96))]
    assert shapes == [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6)]


@pytest.mark.parametrize("network", [StockResNet, StockResNeXt])
def test_a_small_backbone_s_depth_counts_its_layers(network: type):
    """Three a bottleneck, the stem's convolution and the classifier, which a detector has not."""
    for depth in BLOCKS:
        block, blocks = network.arch_settings[depth]
        assert block.expansion == 4
        assert 3 * sum(blocks) + 2 == depth


@pytest.mark.parametrize(("groups", "base_width", "width"), [(8, 4, 2), (16, 4, 4), (8, 8, 4)])
def test_a_resnext_of_depth_26_has_the_published_proportions(
    groups: int, base_width: int, width: int
):
    """32x4d, 64x4d and 32x8d, with base 64: inner channels 2, 4 and 4 times the planes."""
    network = small(StockResNeXt, groups=groups, base_width=base_width)
    assert parameters(network) == count_26(width, groups)
    with torch.device("meta"):
        published = ResNeXt(
            depth=50, groups=4 * groups, base_width=base_width
        )  # a fourth of its groups, and of its planes
    ours, theirs = (model.layer2[0].conv2 for model in (network, published))
    assert (4 * ours.groups, 4 * ours.in_channels) == (theirs.groups, theirs.in_channels)


@pytest.mark.parametrize("network", [StockResNet, StockResNeXt])
def test_a_small_backbone_is_deformable_in_its_last_two_stages(network: type):
    grouped = {"groups": 8, "base_width": 4} if network is StockResNeXt else {}
    plain, deformable = small(network, **grouped), small(network, **grouped, **DCN)
    found = [hasattr(block.conv2, "conv_offset") for block in bottlenecks(deformable)]
    assert found == [False, False, True, True, True, True]
    inner = [block.conv2.in_channels for block in bottlenecks(deformable)[2:]]
    offsets = sum(3 * 9 * (9 * channels + 1) for channels in inner)
    assert parameters(deformable) == parameters(plain) + offsets
    for block in bottlenecks(deformable)[2:]:
        assert not block.conv2.conv_offset.weight.any()  # it begins without deformation
    images = torch.randn(2, 3, 64, 64)
    sum(x.square().sum() for x in deformable(images)).backward()
    for name, parameter in deformable.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_resnext_from_scratch_begins_with_residuals_of_zero_as_a_resnet_does():
    grouped = {"groups": 8, "base_width": 4}
    stock = ResNeXt(depth=50, norm_eval=False, **grouped)
    stock.init_weights()
    assert stock.zero_init_residual
    assert stock.layer1[0].norm3.weight.all()
    for network in (small(StockResNet), small(StockResNeXt, **grouped)):
        assert all(not block.norm3.weight.any() for block in bottlenecks(network))
        assert all(block.norm2.weight.all() for block in bottlenecks(network))
    kept = small(StockResNeXt, zero_init_residual=False, **grouped)
    assert all(block.norm3.weight.all() for block in bottlenecks(kept))


def positives_of(sampler: type, counts: list[int], expected: int) -> list[int]:
    """Sampled positives, where object i is matched to ``counts[i]`` of the regions."""
    objects = torch.repeat_interleave(torch.arange(len(counts)) + 1, torch.tensor(counts))
    of_region = torch.cat([torch.zeros(5, dtype=torch.long), objects])
    matched = AssignResult(len(counts), of_region, (of_region > 0).float(), of_region)
    torch.manual_seed(0)
    return sampler(expected, 1.0)._sample_pos(matched, expected).tolist()


@pytest.mark.parametrize("counts", [[40, 2], [1, 30, 1, 1]])
def test_positives_that_fill_up_the_shares_are_drawn_once_and_by_the_seed_alone(counts: list[int]):
    ours, stock = [], []
    for other in range(20):
        elsewhere = [torch.empty(1) for _ in range(97 * other)]  # moves what is made next
        ours.append(positives_of(StockInstanceBalancedPosSampler, counts, 24))
        stock.append(positives_of(InstanceBalancedPosSampler, counts, 24))
        del elsewhere
    assert all(one == ours[0] for one in ours)
    assert len(set(ours[0])) == 24
    every = range(5, 5 + sum(counts))
    assert set(ours[0]) <= set(every)
    of_few = [i for i in every if i < 6 or i >= 35] if len(counts) == 4 else [45, 46]
    assert set(of_few) <= set(ours[0])  # all of the objects that have less than their share
    assert any(len(set(one)) < 24 for one in stock)  # mmdet's fault: some are drawn twice
    assert any(one != stock[0] for one in stock)  # and which, their addresses say


@pytest.mark.parametrize(("counts", "expected"), [([30, 40, 50], 24), ([3, 4], 8), ([9, 9], 12)])
def test_other_positives_are_mmdets(counts: list[int], expected: int):
    ours, stock = (
        positives_of(sampler, counts, expected)
        for sampler in (StockInstanceBalancedPosSampler, InstanceBalancedPosSampler)
    )
    assert ours == stock
    assert len(ours) == min(expected, sum(counts))
