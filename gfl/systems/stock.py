"""mmdet's detectors of Table 4 where mmdet gets them wrong: each fault mended in a subclass.

Weights have mmdet's names, and in float32 without channels_last the results are mmdet's to the bit.
A batch is in channels_last (``gfl.training.session``) because convolutions are faster in it; under
autocast a head's outputs are bfloat16, whose 8 bits neither a logarithm of a score nor a
coordinate can be computed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from mmcv.cnn import build_conv_layer
from mmdet.models.backbones import HourglassNet, ResNet, ResNeXt
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.backbones.resnext import Bottleneck as GroupedBottleneck
from mmdet.models.dense_heads import ATSSHead, CentripetalHead, CornerHead
from mmdet.models.dense_heads.corner_head import BiCornerPool
from mmdet.models.roi_heads.mask_heads import GridHead
from mmdet.models.task_modules import AssignResult
from mmdet.models.task_modules.samplers import InstanceBalancedPosSampler
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import BaseModule
from torch import Tensor, nn

from gfl.losses import at_least_float32

Config = dict[str, Any]

POOL_CHANNELS = 128  # of mmdet's corner pooling, which no setting reaches
# Bottlenecks of each stage by depth: three layers each, with the stem and the classifier. As R-101
# is R-50 with a c4 of 23 blocks, not 6, 44 is 26 with a c4 of 8, not 2.
BLOCKS = {26: (2, 2, 2, 2), 44: (2, 2, 8, 2)}


@MODELS.register_module()
class StockGridHead(GridHead):
    """mmdet's GridHead, able to predict from features in channels_last; its loss in float32.

    Grid R-CNN Plus, arXiv 1906.05688; mmdet's prediction views heat maps as rows in memory.
    """

    def forward(self, x: Float[Tensor, "R C S S"]) -> dict[str, Float[Tensor, "R points S2 S2"]]:
        """Return the heat maps of each region's grid points, fused and unfused."""
        return {kind: _plain(maps) for kind, maps in super().forward(x).items()}


@TASK_UTILS.register_module()
class StockInstanceBalancedPosSampler(InstanceBalancedPosSampler):
    """Libra R-CNN's sampler of positives, the same in every run of one seed.

    If the objects' equal shares are fewer than expected, mmdet fills up from the difference of two
    sets of tensors, which are compared and ordered by their addresses: positives may be drawn
    twice, and others in every run.

    Source: Pang et al., "Libra R-CNN", CVPR 2019, section 3.1.
    """

    def _sample_pos(
        self, assign_result: AssignResult, num_expected: int, **_: Any
    ) -> Int[Tensor, " sampled"]:
        """Return indices of positives, the same number of each object as far as it has them."""
        positives = (assign_result.gt_inds > 0).nonzero().squeeze(1)
        if len(positives) <= num_expected:
            return positives
        of_object = assign_result.gt_inds[positives]
        objects = of_object.unique()
        share = round(num_expected / len(objects)) + 1
        sampled = torch.cat([self._at_most(share, positives[of_object == i]) for i in objects])
        if (lacking := num_expected - len(sampled)) <= 0:
            return self._at_most(num_expected, sampled)
        left = positives[~torch.isin(positives, sampled)]
        return torch.cat([sampled, self._at_most(lacking, left)])

    def _at_most(self, count: int, indices: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        return self.random_choice(indices, count) if len(indices) > count else indices  # pyright: ignore[reportReturnType]


class _Corners(CornerHead):
    """What CornerHead and CentripetalHead get wrong alike: layout, dtype, widths, few corners."""

    feat_channels: int
    pool_channels: int

    def forward(
        self, feats: Sequence[Float[Tensor, "B C H W"]]
    ) -> tuple[list[Float[Tensor, "B _ H W"] | None], ...]:
        """Return each kind of map, such as heat or offsets, of all stacks."""
        head: Any = super()  # mmdet's
        kinds = head.forward(feats)
        return tuple([None if x is None else _plain(x) for x in maps] for maps in kinds)

    def _make_layers(
        self, out_channels: int, in_channels: int = 256, feat_channels: int = 256
    ) -> nn.Sequential:
        # No caller of mmdet's gives a width, so that its own are 256 whatever the features'.
        return super()._make_layers(out_channels, in_channels, self.feat_channels)

    def _init_corner_kpt_layers(self) -> None:
        super()._init_corner_kpt_layers()
        if self.pool_channels == POOL_CHANNELS:
            return
        corners: Any = (self.tl_pool, ["top", "left"]), (self.br_pool, ["bottom", "right"])
        for pools, directions in corners:
            for stack in range(self.num_feat_levels):
                pools[stack] = BiCornerPool(
                    self.in_channels, directions, self.pool_channels, self.in_channels
                )

    def _decode_heatmap(
        self, *, k: int = 100, num_dets: int = 1000, **maps: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        # mmdet takes the best 1000 of k² pairs, and fails where there are fewer.
        return super()._decode_heatmap(k=k, num_dets=min(num_dets, k * k), **maps)


@MODELS.register_module()
class StockCornerHead(_Corners):
    """mmdet's CornerHead in any width and memory format, with its losses in float32.

    CornerNet, arXiv 1808.01244.

    Args:
        feat_channels: of the convolution before each prediction; mmdet's is 256.
        pool_channels: of the pooled maxima; mmdet's is 128.
        num_classes, in_channels, num_feat_levels, corner_emb_channels, loss_heatmap,
        loss_embedding, loss_offset, train_cfg, test_cfg: CornerHead's.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        loss_heatmap: Config,
        loss_embedding: Config,
        loss_offset: Config,
        num_feat_levels: int = 2,
        corner_emb_channels: int = 1,
        feat_channels: int = 256,
        pool_channels: int = POOL_CHANNELS,
        train_cfg: Config | None = None,
        test_cfg: Config | None = None,
    ) -> None:
        self.feat_channels, self.pool_channels = feat_channels, pool_channels
        super().__init__(
            num_classes,
            in_channels,
            num_feat_levels=num_feat_levels,
            corner_emb_channels=corner_emb_channels,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            loss_heatmap=loss_heatmap,
            loss_embedding=loss_embedding,
            loss_offset=loss_offset,
        )

    def loss_by_feat_single(
        self,
        tl_hmp: Float[Tensor, "B C H W"],
        br_hmp: Float[Tensor, "B C H W"],
        tl_emb: Float[Tensor, "B E H W"] | None,
        br_emb: Float[Tensor, "B E H W"] | None,
        tl_off: Float[Tensor, "B 2 H W"],
        br_off: Float[Tensor, "B 2 H W"],
        targets: Config,
    ) -> tuple[Float[Tensor, ""], Any, Any, Float[Tensor, ""]]:
        """Return one stack's losses: of heat, of tags alike and apart, of offsets."""
        heat, alike, apart, offsets = super().loss_by_feat_single(
            tl_hmp, br_hmp, tl_emb, br_emb, tl_off, br_off, targets
        )
        # Without any object mmdet's zero has no gradient for the bottom right corners' tags, for
        # which data-parallel training waits.
        if br_emb is not None and not any(targets["corner_embedding"]):
            alike = alike + 0 * br_emb.sum()
        return heat, alike, apart, offsets


@MODELS.register_module()
class StockCentripetalHead(_Corners, CentripetalHead):
    """mmdet's CentripetalHead in any width and memory format, with its losses in float32.

    CentripetalNet, arXiv 2003.09119.

    Args:
        feat_channels: of the convolution before each prediction; mmdet's is 256.
        pool_channels: of the pooled maxima; mmdet's is 128.
        num_classes, in_channels, num_feat_levels, corner_emb_channels, loss_heatmap, loss_offset,
        loss_guiding_shift, loss_centripetal_shift, train_cfg, test_cfg: CentripetalHead's.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        loss_heatmap: Config,
        loss_offset: Config,
        loss_guiding_shift: Config,
        loss_centripetal_shift: Config,
        num_feat_levels: int = 2,
        corner_emb_channels: int = 0,
        feat_channels: int = 256,
        pool_channels: int = POOL_CHANNELS,
        train_cfg: Config | None = None,
        test_cfg: Config | None = None,
    ) -> None:
        self.feat_channels, self.pool_channels = feat_channels, pool_channels
        super().__init__(
            num_classes,
            in_channels,
            num_feat_levels=num_feat_levels,
            corner_emb_channels=corner_emb_channels,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            loss_heatmap=loss_heatmap,
            loss_offset=loss_offset,
            loss_guiding_shift=loss_guiding_shift,
            loss_centripetal_shift=loss_centripetal_shift,
        )


@MODELS.register_module()
class StockHourglassNet(HourglassNet):
    """mmdet's HourglassNet without the block between stacks where there is one stack.

    Newell et al., arXiv 1603.06937, as CornerNet stacks it. mmdet's list of such blocks has at
    least one: with one stack it is never run, and its weights never get a gradient.

    Args:
        downsample_times, num_stacks, stage_channels, stage_blocks, feat_channel, norm_cfg:
            HourglassNet's.
    """

    def __init__(
        self,
        downsample_times: int,
        num_stacks: int,
        stage_channels: Sequence[int],
        stage_blocks: Sequence[int],
        norm_cfg: Config,
        feat_channel: int = 256,
    ) -> None:
        super().__init__(
            downsample_times, num_stacks, stage_channels, stage_blocks, feat_channel, norm_cfg
        )
        if num_stacks == 1:
            self.inters = nn.Sequential()


class _StartsUndeformed(BaseModule):
    """Starts training with offsets and masks of all deformable convolutions at 0.

    Dai et al., 2017, section 3.2, and mmcv's own ``init_weights``, which mmdet's initialisation of
    a network from scratch overwrites: Kaiming's in a backbone, a normal one in a head.
    """

    def init_weights(self) -> None:
        """Initialise as mmdet does, but for offsets."""
        super().init_weights()
        for inner in self.modules():
            if isinstance(offsets := getattr(inner, "conv_offset", None), nn.Conv2d):
                nn.init.zeros_(offsets.weight)
                assert offsets.bias is not None
                nn.init.zeros_(offsets.bias)


@MODELS.register_module()
class DeformableATSSHead(_StartsUndeformed, ATSSHead):
    """mmdet's ATSSHead whose towers end in a deformable convolution, version 2.

    ``USE_DCN_IN_TOWER`` of sfzhang15/ATSS, with which its models with DCN were trained (README,
    note 4). As there, group normalization and ReLU follow it. Like mmdet's other tower
    convolutions it has no bias; all those of the authors have one.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        for tower in (self.cls_convs, self.reg_convs):
            last: Any = tower[-1]
            plain = last.conv
            last.conv = build_conv_layer(
                {"type": "DCNv2"},
                plain.in_channels,
                plain.out_channels,
                plain.kernel_size,
                padding=plain.padding,
                bias=plain.bias is not None,
            )

    def forward_single(
        self, x: Float[Tensor, "B C H W"], scale: Any
    ) -> tuple[Float[Tensor, "B AC H W"], Float[Tensor, "B A4 H W"], Float[Tensor, "B A H W"]]:
        """Return one level's class logits, boxes and centerness."""
        scores, boxes, centerness = super().forward_single(x, scale)
        return at_least_float32(scores), boxes, at_least_float32(centerness)


@MODELS.register_module()
class StockResNet(_StartsUndeformed, ResNet):
    """mmdet's ResNet with depths of 26 and 44, too: few bottlenecks, which DCN needs.

    From scratch, its deformable convolutions start undeformed.
    """

    arch_settings = ResNet.arch_settings | {
        depth: (Bottleneck, blocks) for depth, blocks in BLOCKS.items()
    }


@MODELS.register_module()
class StockResNeXt(_StartsUndeformed, ResNeXt):
    """mmdet's ResNeXt with depths of 26 and 44, too; its residuals start at 0 as ResNet's do.

    From scratch, its deformable convolutions start undeformed, as ``StockResNet``'s do.
    mmdet's ``zero_init_residual`` compares the block with ResNet's own, and so has no effect on
    ResNeXt's. It concerns networks from scratch alone.
    """

    arch_settings = ResNeXt.arch_settings | {
        depth: (GroupedBottleneck, blocks) for depth, blocks in BLOCKS.items()
    }

    def make_res_layer(self, **settings: Any) -> nn.Sequential:
        """Return one stage."""
        if self.zero_init_residual:
            last = {"type": "Constant", "val": 0, "override": {"name": "norm3"}}
            settings["init_cfg"] = last
        return super().make_res_layer(**settings)


def _plain(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return a tensor in at least float32, its rows in memory."""
    return at_least_float32(x).contiguous()
