"""TridentNet's network: a ResNet whose last stage has branches, and conv5 as the RoI head's trunk.

Li et al., ICCV 2019, section 3.2; details from TuSimple/simpledet (``models/tridentnet``), the
authors' code. ``gfl.systems.trident`` is the detector, and says how branches are stacked.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from mmcv.ops import deform_conv2d
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.models.layers import ResLayer
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gfl.systems.stock import StockResNet

Config = dict[str, Any]

BLOCKS: dict[str, Any] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class BranchConv2d(nn.Conv2d):
    """3x3 convolution of all branches: one weight, one dilation (and padding) a branch."""

    def __init__(self, channels_in: int, channels_out: int, dilations: Sequence[int]) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)
        self.dilations = tuple(dilations)

    def forward(self, x: Float[Tensor, "BrB C H W"]) -> Float[Tensor, "BrB D H W"]:
        parts = zip(x.chunk(len(self.dilations)), self.dilations, strict=True)
        return torch.cat([F.conv2d(part, self.weight, None, 1, d, d) for part, d in parts])


class BranchDeformConv2d(nn.Conv2d):  # directly: mmengine's initialisation looks one class up
    """Deformable convolution, version 1, of all branches: shared weights and shared offset filters.

    Only the sampling grid is dilated; the convolution that predicts the offsets is not. Offsets
    start at zero: with them this is ``BranchConv2d``. Source: simpledet's ``resnet_v1b``.
    """

    def __init__(
        self, channels_in: int, channels_out: int, dilations: Sequence[int], deform_groups: int
    ) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)
        self.dilations = tuple(dilations)
        self.deform_groups = deform_groups
        self.conv_offset = nn.Conv2d(channels_in, deform_groups * 2 * 9, 3, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Float[Tensor, "BrB C H W"]) -> Float[Tensor, "BrB D H W"]:
        n = len(self.dilations)
        parts = zip(x.chunk(n), self.conv_offset(x).chunk(n), self.dilations, strict=True)
        convolved: list[Tensor] = [
            deform_conv2d(part, offset, self.weight, 1, d, d, 1, self.deform_groups)  # type: ignore[misc]
            for part, offset, d in parts
        ]
        return torch.cat(convolved)


class BranchNorm(nn.ModuleList):
    """Batch normalisation with statistics and affine weights of its own for each branch.

    A state dict with one normalisation, such as a pretrained ResNet's, loads into all branches.
    """

    def __init__(self, norm: nn.Module, branches: int) -> None:
        super().__init__(copy.deepcopy(norm) for _ in range(branches))
        self.register_load_state_dict_pre_hook(_share_norm)

    def forward(self, x: Float[Tensor, "BrB C H W"]) -> Float[Tensor, "BrB C H W"]:
        return torch.cat([norm(part) for norm, part in zip(self, x.chunk(len(self)), strict=True)])


def _share_norm(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Copy the entries of one normalisation to every branch's names, in place."""
    assert isinstance(module, BranchNorm)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        if (value := state_dict.pop(prefix + name, None)) is not None:
            for branch in range(len(module)):
                state_dict[f"{prefix}{branch}.{name}"] = value


@MODELS.register_module()
class ScaleAwareTridentResNet(StockResNet):
    """ResNet without conv5 whose last stage, from its second unit on, has branches.

    The stage's first unit, which has the stride, is an ordinary one (simpledet's
    ``num_trident_block = num_block - 1``; mmdet makes it trident, too). The names and shapes of all
    weights are the plain ResNet's, unless ``branch_norm`` or ``deform_units`` adds some.

    Where normalisation is trained, shared statistics are those of all branches together, in
    training as in testing (inferred: the authors freeze them wherever they are shared). In basic
    blocks, which TridentNet was never built of, both 3x3 convolutions are dilated (inferred), so
    that receptive fields grow by the same ratio.

    Args:
        depth: of the whole ResNet, as ``StockResNet`` has it.
        trident_dilations: one a branch.
        deform_units: how many of the last units have a deformable (last) 3x3 convolution.
        deform_groups: of their offsets.
        branch_norm: gives each branch normalisations of its own in the trident units.
        num_stages: the last of them has the branches; its output is the only one.
    """

    def __init__(
        self,
        depth: int,
        trident_dilations: Sequence[int] = (1, 2, 3),
        deform_units: int = 0,
        deform_groups: int = 4,
        branch_norm: bool = False,
        base_channels: int = 64,
        stem_channels: int | None = None,
        num_stages: int = 3,
        strides: Sequence[int] = (1, 2, 2),
        style: str = "pytorch",
        frozen_stages: int = -1,
        norm_cfg: Config | None = None,
        norm_eval: bool = True,
        init_cfg: Config | None = None,
    ) -> None:
        super().__init__(
            depth,
            base_channels=base_channels,
            stem_channels=stem_channels,
            num_stages=num_stages,
            strides=strides,
            dilations=(1,) * num_stages,
            out_indices=(num_stages - 1,),
            style=style,
            frozen_stages=frozen_stages,
            norm_cfg=norm_cfg or {"type": "BN", "requires_grad": True},
            norm_eval=norm_eval,
            init_cfg=init_cfg,
        )
        self.trident_dilations = tuple(trident_dilations)
        units = list(getattr(self, self.res_layers[-1]))[1:]
        if not 0 <= deform_units <= len(units):
            raise ValueError(f"deform_units={deform_units}: the stage has {len(units)} such units")
        for i, unit in enumerate(units):
            deformable = i >= len(units) - deform_units
            self._branch(unit, deform_groups if deformable else None, branch_norm)

    def _branch(self, unit: nn.Module, deform_groups: int | None, branch_norm: bool) -> None:
        """Replace a unit's 3x3 convolutions and, if asked, its normalisations."""
        basic = isinstance(unit, BasicBlock)
        for name in ("conv1", "conv2") if basic else ("conv2",):
            conv = getattr(unit, name)
            sizes = (conv.in_channels, conv.out_channels, self.trident_dilations)
            if deform_groups is not None and name == "conv2":
                unit.conv2 = BranchDeformConv2d(*sizes, deform_groups)
            else:
                setattr(unit, name, BranchConv2d(*sizes))
        if branch_norm:
            for name, norm in [*unit.named_children()]:
                if isinstance(norm, _BatchNorm):
                    setattr(unit, name, BranchNorm(norm, len(self.trident_dilations)))

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "BrB C h w"]]:
        """Return C4 of all branches, branch-major."""
        x = self.maxpool(self.relu(self.norm1(self.conv1(x))))
        *layers, last = (getattr(self, name) for name in self.res_layers)
        for layer in layers:
            x = layer(x)
        first, *units = last
        x = torch.cat([first(x)] * len(self.trident_dilations))
        for unit in units:
            x = unit(x)
        return (x,)


@MODELS.register_module()
class RoIStage(BaseModule):
    """Last stage of a ResNet, without stride, as the RoI head's trunk.

    With three bottlenecks of 512 planes it is mmdet's shared head ``ResLayer``, whose widths are
    fixed. TridentNet pools 7x7 and drops conv5's stride; mmdet's C4 pools 14x14 and keeps it.

    Args:
        block: ``"bottleneck"`` or ``"basic"``.
        in_channels: of the pooled features.
        planes: of the units; a bottleneck's output has four times as many channels.
        num_blocks: units.
    """

    def __init__(
        self,
        block: Literal["basic", "bottleneck"] = "bottleneck",
        in_channels: int = 1024,
        planes: int = 512,
        num_blocks: int = 3,
        style: str = "pytorch",
        norm_cfg: Config | None = None,
        norm_eval: bool = True,
        init_cfg: Config | None = None,
    ) -> None:
        default = [
            {"type": "Kaiming", "layer": "Conv2d"},
            {"type": "Constant", "val": 1, "layer": ["_BatchNorm", "GroupNorm"]},
        ]
        super().__init__(init_cfg or default)
        self.norm_eval = norm_eval
        norm = norm_cfg or {"type": "BN", "requires_grad": True}
        styled: Config = {"style": style} if block == "bottleneck" else {}
        # Named as a ResNet names it: its pretrained weights load.
        self.layer4 = ResLayer(
            BLOCKS[block], in_channels, planes, num_blocks, norm_cfg=norm, **styled
        )

    def forward(self, x: Float[Tensor, "R C h w"]) -> Float[Tensor, "R D h w"]:
        return self.layer4(x)

    def train(self, mode: bool = True) -> RoIStage:
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
