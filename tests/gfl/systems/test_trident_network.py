"""TridentNet's backbone is a plain ResNet whose last stage is run once a dilation."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.trident_resnet import TridentConv, TridentResNet
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet_models import build, parameters
from torch import Tensor, nn
from trident_made import full_size, images, plain, randomise, samples, small

from gfl.systems.trident_network import (
    BranchConv2d,
    BranchDeformConv2d,
    BranchNorm,
    RoIStage,
    ScaleAwareTridentResNet,
)

DILATIONS = (1, 2, 3)
PARAMETERS = 47_431_904  # of the plain detector with the same RPN and class-agnostic boxes
OFFSETS = 3 * 165_960  # three filters of 3 x 3 x 256 to 72 channels, with biases
NORMS = 135_168  # of two further branches in 22 units: 2 x 22 x 2 x (256 + 256 + 1024)

narrow = {"base_channels": 8, "norm_eval": True}


def made(depth: int, **settings: Any) -> ScaleAwareTridentResNet:
    network = ScaleAwareTridentResNet(depth, **{**narrow, **settings})
    randomise(network)
    network.eval()  # returns nothing
    return network


def resnet(depth: int, **settings: Any) -> ResNet:
    network = ResNet(
        depth, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,),
        **{**narrow, **settings},
    )  # fmt: skip
    network.eval()
    return network


@pytest.mark.parametrize(
    ("row", "more"), [("r101", 0), ("r101-dcn", OFFSETS + NORMS)], ids=["r101", "r101-dcn"]
)
def test_the_rows_have_the_plain_detectors_parameters_and_the_declared_ones(row, more):
    with torch.device("meta"):
        model = build(full_size(row))
    assert parameters(model) == PARAMETERS + more


def test_a_plain_r101_is_loaded_by_name_and_shape():
    with torch.device("meta"):
        ours, theirs = build(full_size("r101")), build(plain(full_size("r101")))
    shapes = {name: weight.shape for name, weight in theirs.state_dict().items()}
    assert {name: weight.shape for name, weight in ours.state_dict().items()} == shapes


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_branches_without_dilation_are_the_plain_resnets_conv4(depth):
    ours, theirs = made(depth, trident_dilations=(1, 1, 1)), resnet(depth)
    theirs.load_state_dict(ours.state_dict())
    pictures = images(2, 64)
    (expected,), (found,) = theirs(pictures), ours(pictures)
    assert found.shape == (6, *expected.shape[1:])
    for branch in found.chunk(3):
        assert torch.equal(branch, expected)


@torch.no_grad()
def test_branches_are_stacked_branch_major_and_see_their_own_image_alone():
    network, pictures = made(18), images(2, 64)
    (together,) = network(pictures)
    alone = [network(picture[None])[0] for picture in pictures]
    for branch in range(3):
        for image in range(2):
            torch.testing.assert_close(together[branch * 2 + image], alone[image][branch])


@torch.no_grad()
def test_a_branch_is_the_stage_with_its_dilation():
    """The reference is mmdet's ResNet with the units after the first dilated by hand."""
    ours = made(50)
    (found,) = ours(images(1, 64))
    for branch, dilation in enumerate(DILATIONS):
        theirs = resnet(50)
        theirs.load_state_dict(ours.state_dict())
        for unit in [*theirs.layer3][1:]:
            unit.conv2.dilation = unit.conv2.padding = (dilation, dilation)
        torch.testing.assert_close(found[branch : branch + 1], theirs(images(1, 64))[0])


@torch.no_grad()
@pytest.mark.parametrize(("depth", "convolutions"), [(50, 1), (18, 2)])
def test_an_impulse_reaches_as_far_as_the_dilation(depth, convolutions):
    unit = made(depth).layer3[1]
    for name, weight in unit.named_parameters():
        if name.endswith("weight"):
            weight.abs_()  # so that nothing cancels
        else:
            weight.zero_()
    channels = unit.conv1.in_channels
    impulse = torch.zeros(3, channels, 17, 17)
    impulse[:, :, 8, 8] = 1
    reached = unit(impulse).sum(1) > 0
    for branch, dilation in enumerate(DILATIONS):
        steps = dilation * convolutions
        expected = [8 + k for k in range(-steps, steps + 1, dilation)]
        assert reached[branch].any(0).nonzero().flatten().tolist() == expected
        assert reached[branch].any(1).nonzero().flatten().tolist() == expected


def test_the_first_unit_has_no_branches():
    first, *others = made(101, base_channels=4).layer3
    assert type(first.conv2) is nn.Conv2d
    assert len(others) == 22
    assert all(type(unit.conv2) is BranchConv2d for unit in others)


def deformable(seed: int = 0) -> tuple[BranchDeformConv2d, BranchConv2d]:
    torch.manual_seed(seed)
    ours = BranchDeformConv2d(8, 4, DILATIONS, deform_groups=4)
    rigid = BranchConv2d(8, 4, DILATIONS)
    rigid.weight = ours.weight
    return ours, rigid


def test_without_offsets_a_deformable_convolution_is_a_convolution():
    ours, rigid = deformable()
    features = torch.randn(6, 8, 9, 11, requires_grad=True)
    torch.testing.assert_close(ours(features), rigid(features), rtol=1e-5, atol=1e-5)
    ours(features).square().sum().backward()
    assert ours.conv_offset.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_whole_offset_shifts_all_branches_alike_whatever_their_dilation():
    ours, rigid = deformable()
    ours.conv_offset.bias[0::2] = 1  # rows
    ours.conv_offset.bias[1::2] = -2  # columns
    features = torch.randn(3, 8, 20, 20)
    shifted = rigid(features.roll((-1, 2), (2, 3)))
    inside = (..., slice(4, -5), slice(6, -4))
    torch.testing.assert_close(ours(features)[inside], shifted[inside], rtol=1e-5, atol=1e-5)


def test_only_the_last_units_are_deformable():
    units = [*made(101, base_channels=4, deform_units=3).layer3][1:]
    found = [isinstance(unit.conv2, BranchDeformConv2d) for unit in units]
    assert found == [False] * 19 + [True] * 3
    with pytest.raises(ValueError, match="deform_units=6: the stage has 5 such units"):
        made(50, deform_units=6)


def made_new(depth: int, **settings: Any) -> ScaleAwareTridentResNet:
    network = ScaleAwareTridentResNet(depth, base_channels=8, **settings)
    network.init_weights()
    return network


def test_a_new_network_has_drawn_weights_and_no_offsets():
    network = ScaleAwareTridentResNet(26, base_channels=8, deform_units=1)
    before = network.layer3[1].conv2.weight.clone()
    network.layer3[1].conv2.conv_offset.weight.data.fill_(1)
    network.init_weights()
    conv = network.layer3[1].conv2
    assert not torch.equal(conv.weight, before)
    for drawn in (conv, made_new(18).layer3[1].conv1):
        deviation = (2 / (9 * drawn.out_channels)) ** 0.5  # Kaiming's, by the fan-out
        assert drawn.weight.std().item() == pytest.approx(deviation, rel=0.1)
    assert not conv.conv_offset.weight.any()
    assert not conv.conv_offset.bias.any()


def test_a_plain_resnets_normalisations_load_into_every_branch():
    theirs = resnet(50)
    randomise(theirs)
    theirs.layer3[1].bn2.running_mean.fill_(0.5)
    ours = made(50, branch_norm=True)
    ours.load_state_dict(theirs.state_dict())
    norms = ours.layer3[1].bn2
    assert len(norms) == 3
    for norm in norms:
        assert torch.equal(norm.weight, theirs.layer3[1].bn2.weight)
        assert torch.equal(norm.running_mean, theirs.layer3[1].bn2.running_mean)
    with torch.no_grad():
        shared = made(50)
        shared.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(images(1, 64)), shared(images(1, 64)))
    again = made(50, branch_norm=True)
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.layer3[1].bn2[2].weight, ours.layer3[1].bn2[2].weight)


def test_branches_have_statistics_of_their_own():
    norm = BranchNorm(nn.BatchNorm2d(2, momentum=1.0), 3)
    means = torch.tensor([1.0, 5.0, -2.0])
    norm(means.repeat_interleave(2).view(6, 1, 1, 1) + torch.zeros(6, 2, 3, 3))
    assert [float(one.running_mean[0]) for one in norm] == means.tolist()


def test_shared_statistics_are_those_of_all_branches():
    """Equal branches then train as the plain network on the batch repeated does."""
    ours, theirs = (
        made(18, trident_dilations=(1, 1, 1), norm_eval=False),
        resnet(18, norm_eval=False),
    )
    ours.train()
    theirs.train()
    theirs.load_state_dict(ours.state_dict())
    (found,), (expected,) = ours(images(2, 64)), theirs(images(2, 64).repeat(3, 1, 1, 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name in ("running_mean", "running_var"):
        mine, plains = (getattr(net.layer3[1].bn1, name) for net in (ours, theirs))
        torch.testing.assert_close(mine, plains, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_trunk_at_full_width_is_mmdets_without_its_stride():
    ours = RoIStage(style="caffe").eval()
    randomise(ours)
    stock = ResLayer(101, stage=3, stride=1, style="caffe")
    stock.eval()
    stock.load_state_dict(ours.state_dict())
    pooled = torch.randn(2, 1024, 7, 7)
    assert ours(pooled).shape == (2, 2048, 7, 7)
    assert torch.equal(ours(pooled), stock(pooled))


def test_frozen_statistics_stay_frozen_in_training():
    for network in (RoIStage("basic", 8, 8, 1), made(18)):
        network.train()
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training for norm in norms)
    assert RoIStage("basic", 8, 8, 1, norm_eval=False).train().layer4[0].bn1.training


class TestStock:
    """Faults of mmdet's TridentNet: where one of these fails, mmdet has been mended."""

    def network(self, **settings: Any) -> TridentResNet:
        return TridentResNet(
            50, num_branch=3, test_branch_idx=-1, trident_dilations=DILATIONS, num_stages=3,
            strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,), base_channels=4, **settings,
        )  # fmt: skip

    def test_its_branches_weights_are_never_initialised(self):
        network = self.network()
        conv: Tensor = network.layer3[1].conv2.weight
        conv.data.fill_(7.0)  # what memory happened to hold
        network.init_weights()
        assert (network.layer3[1].conv2.weight == 7.0).all()

    def test_its_deformable_convolution_is_silently_not_deformable(self):
        dcn = {"type": "DCN", "deform_groups": 1}
        network = self.network(dcn=dcn, stage_with_dcn=(False, False, True))
        assert network.layer3[1].with_dcn
        assert type(network.layer3[1].conv2) is TridentConv

    def test_its_first_unit_has_branches_too(self):
        assert type(self.network().layer3[0].conv2) is TridentConv

    @torch.no_grad()
    def test_it_returns_each_image_three_times(self):
        config = small(26)
        trunk = config["roi_head"] | {
            "type": "TridentRoIHead", "num_branch": 3, "test_branch_idx": -1,
        }  # fmt: skip
        config = plain(config | {"roi_head": trunk}) | {"type": "TridentFasterRCNN"}
        config["roi_head"]["type"] = "TridentRoIHead"
        config["backbone"] |= {
            "type": "TridentResNet", "depth": 50, "num_branch": 3, "test_branch_idx": -1,
            "trident_dilations": DILATIONS,
        }  # fmt: skip
        model = build(config).eval()
        randomise(model)
        assert len(model.predict(images(1), samples([[]]))) == 3
