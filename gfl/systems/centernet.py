"""CenterNet, detection of keypoint triplets: corners in pairs, confirmed by a center between them.

Duan et al., "CenterNet: Keypoint Triplets for Object Detection" (ICCV 2019), after the released
configuration and code (Duankaiwen/CenterNet), cited by file; numbers of the paper's sections and
equations are recalled, not confirmed. mmdet's own ``CenterNet`` is another paper's ("Objects as
Points"). Differences from mmdet's ``CornerHead``, whose losses, settings and suppression this head
shares:

=======================  ================================  ========================================
item                     CornerHead                        TripletHead
=======================  ================================  ========================================
keypoints                two corners                       two corners and the center
corner pooling           one maximum a direction           cascade: also looks into the box
radius of a peak         IoU 0.3, mmdet's formula          IoU 0.7, released formula
sigma of a peak          diameter / 6                      / 6 for corners, / 5 for centers
predicted scores         as they are                       clamped to [1e-4, 1 - 1e-4] in the loss
two stacks               losses: grouping summed, others   all losses averaged over the stacks
                         halved a corner and summed
offset loss              once a cell                       once an object
candidates at test       100 corners of a kind             70, and 70 centers
=======================  ================================  ========================================

One difference from the released code: the push loss of an image with one object is 0, as in mmdet;
the released one is a constant of about 0.1 without gradient (``models/py_utils/kp_utils.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import CornerHead
from mmdet.models.dense_heads.corner_head import BiCornerPool
from mmdet.models.utils import get_local_maximum, get_topk_from_heatmap
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from gfl.systems import keypoints
from gfl.systems.keypoints import Keypoints, Peaks, Target
from gfl.systems.mirrored import Instances, MirroredCornerNet, suppressed, window

HEAT_BIAS = -2.19  # prior probability 0.1, as released
CLAMP = 1e-4  # of the scores in the heat map's loss
OUTSIDE = 5  # px by which a box may exceed the image (test/coco.py)
CORNER_SIGMA, CENTER_SIGMA = 6, 5  # a peak's diameter in sigmas (sample/coco.py)
THIRDS, FIFTHS = 3, 5  # central region of a small and of a large box (section 3.2)


class RowOrColumnMaximum(nn.Module):
    """Maximum of each row or column, at every location of it.

    Equal to corner pooling in one direction and then in the opposite one, which the released code
    does (``BottomPool`` of ``TopPool``), without two running maxima.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the maxima along ``dim``, 2 for columns and 3 for rows, broadcast."""
        return x.amax(self.dim, keepdim=True).expand_as(x)


class CenterPool(BiCornerPool):
    """Center pooling (section 3.3): column maximum plus row maximum, of two convolutions of x."""

    direction1_pool: Any
    direction2_pool: Any

    def __init__(self, channels: int, pool_channels: int) -> None:
        replaced: Any = ["top", "left"]
        super().__init__(channels, replaced, pool_channels, channels)
        self.direction1_pool = RowOrColumnMaximum(2)
        self.direction2_pool = RowOrColumnMaximum(3)


class CascadeCornerPool(BiCornerPool):
    """Cascade corner pooling (section 3.3): a corner sees what lies inside its object, too.

    Of each side through the corner, say the top one: the maximum is first taken into the box
    (downward, ``look``), added to the features, and then along the side (leftward). The convolution
    between has neither BatchNorm nor ReLU, as released.

    Args:
        channels: of input and output.
        directions: of the two maxima, ``("top", "left")`` or ``("bottom", "right")``.
        pool_channels: of the maxima.
    """

    direction1_pool: Any
    direction2_pool: Any

    def __init__(self, channels: int, directions: tuple[str, str], pool_channels: int) -> None:
        both: Any = directions  # declared as integers by mmdet
        super().__init__(channels, both, pool_channels, channels)
        norm = {"type": "BN", "requires_grad": True}

        def look() -> ConvModule:
            return ConvModule(channels, pool_channels, 3, padding=1, norm_cfg=norm)

        def along() -> nn.Conv2d:
            return nn.Conv2d(pool_channels, pool_channels, 3, padding=1, bias=False)

        self.direction1_look, self.direction2_look = look(), look()
        self.direction1_along, self.direction2_along = along(), along()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the features with both directions' maxima."""
        inside1 = self.direction2_pool(self.direction1_look(x))
        inside2 = self.direction1_pool(self.direction2_look(x))
        first = self.direction1_pool(self.direction1_along(self.direction1_conv(x) + inside1))
        second = self.direction2_pool(self.direction2_along(self.direction2_conv(x) + inside2))
        return self.conv2(self.relu(self.aftpool_conv(first + second) + self.conv1(x)))


class KeypointBranch(nn.Module):
    """Pooling of one kind of keypoint on one stack's features, and its predictions.

    Args:
        pool: of the features.
        channels: of the pooled features.
        feat_channels: of the convolution before each prediction.
        classes: C.
        tagged: predicts a tag, too.
    """

    def __init__(
        self, pool: nn.Module, channels: int, feat_channels: int, classes: int, tagged: bool
    ) -> None:
        super().__init__()

        def predictor(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                ConvModule(channels, feat_channels, 3, padding=1),
                nn.Conv2d(feat_channels, outputs, 1),
            )

        self.pool = pool
        self.heat, self.offset = predictor(classes), predictor(2)
        self.tag = predictor(1) if tagged else None

    def forward(self, x: Float[Tensor, "B D H W"]) -> Keypoints:
        """Return the predictions of one stack."""
        x = self.pool(x)
        return Keypoints(self.heat(x), self.offset(x), None if self.tag is None else self.tag(x))


@MODELS.register_module()
class TripletHead(CornerHead):
    """CenterNet's head: corners by cascade corner pooling, centers by center pooling.

    ``test_cfg`` has CornerHead's keys and ``large_area``, px of the original image: a box of a
    larger area is confirmed by a center in its middle fifth, else by one in its middle third
    (150 squared as released).

    Args:
        num_classes: C.
        in_channels: of the features of each stack.
        num_feat_levels: stacks, all of which are supervised; the last predicts.
        feat_channels: of the convolution before each prediction.
        pool_channels: of the pooled maxima.
        min_overlap: sets the radius of a keypoint's peak, ``keypoints.peak_radius``.
        loss_heatmap, loss_embedding, loss_offset: mmdet's, as CornerHead's.
        train_cfg: unused; set by mmdet's detectors.
        test_cfg: see above.
    """

    loss_heatmap: Any
    loss_embedding: Any
    loss_offset: Any
    test_cfg: Any

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_feat_levels: int,
        feat_channels: int,
        pool_channels: int,
        min_overlap: float,
        loss_heatmap: dict[str, Any],
        loss_embedding: dict[str, Any],
        loss_offset: dict[str, Any],
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Read by _init_layers, which mmdet's constructor calls.
        self.feat_channels, self.pool_channels = feat_channels, pool_channels
        super().__init__(
            num_classes,
            in_channels,
            num_feat_levels,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            loss_heatmap=loss_heatmap,
            loss_embedding=loss_embedding,
            loss_offset=loss_offset,
        )
        self.min_overlap = min_overlap

    def _init_layers(self) -> None:
        D, pooled = self.in_channels, self.pool_channels

        def branches(make_pool: Any, tagged: bool) -> nn.ModuleList:
            return nn.ModuleList(
                KeypointBranch(make_pool(), D, self.feat_channels, self.num_classes, tagged)
                for _ in range(self.num_feat_levels)
            )

        self.tl = branches(lambda: CascadeCornerPool(D, ("top", "left"), pooled), True)
        self.br = branches(lambda: CascadeCornerPool(D, ("bottom", "right"), pooled), True)
        self.ct = branches(lambda: CenterPool(D, pooled), False)

    def init_weights(self) -> None:
        """Initialize all convolutions as torch does, as released, and the heat maps' prior."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, KeypointBranch):
                prior: Any = module.heat[-1]
                nn.init.constant_(prior.bias, HEAT_BIAS)

    def forward(
        self, feats: list[Float[Tensor, "B D H W"]]
    ) -> tuple[list[Keypoints], list[Keypoints], list[Keypoints]]:
        """Return each stack's top left corners, bottom right corners and centers."""
        top_left, bottom_right, centers = (
            [branch(x) for branch, x in zip(branches, feats, strict=True)]
            for branches in (self.tl, self.br, self.ct)
        )
        return top_left, bottom_right, centers

    def loss_by_feat(
        self,
        top_left: list[Keypoints],
        bottom_right: list[Keypoints],
        centers: list[Keypoints],
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[Any] | None = None,
    ) -> dict[str, list[Float[Tensor, ""]]]:
        """Return each stack's losses, which sum to their mean over the stacks.

        The heat maps' loss is divided by their ones, the offsets' by the objects, of the batch; the
        tags' is a sum over the images, as released. Ignored ground truth has no effect.
        """
        size = batch_img_metas[0]["batch_input_shape"]
        targets = self.keypoint_targets(batch_gt_instances, top_left[-1].heat.shape, size)
        losses: dict[str, list[Tensor]] = {
            "det_loss": [], "off_loss": [], "pull_loss": [], "push_loss": []
        }  # fmt: skip
        for stack in zip(top_left, bottom_right, centers, strict=True):
            for name, loss in self._loss_of_stack(
                [kind.exact() for kind in stack], targets
            ).items():
                losses[name].append(loss / self.num_feat_levels)
        return losses

    def _loss_of_stack(
        self, predicted: list[Keypoints], targets: tuple[Target, Target, Target]
    ) -> dict[str, Float[Tensor, ""]]:
        total: dict[str, Any] = {"det_loss": 0.0, "off_loss": 0.0}
        for kind, target in zip(predicted, targets, strict=True):
            scores = kind.heat.sigmoid().clamp(CLAMP, 1 - CLAMP)
            ones = int(target.heat.eq(1).sum())
            total["det_loss"] += self.loss_heatmap(scores, target.heat, avg_factor=max(1, ones))
            (x, y), objects = target.cell.unbind(-1), len(target.cell)
            offset = kind.offset[target.image, :, y, x]
            total["off_loss"] += self.loss_offset(offset, target.offset, avg_factor=max(1, objects))
        tl, br = targets[:2]
        first, second = predicted[0].tag, predicted[1].tag
        assert second is not None
        pull, push = self.loss_embedding(first, second, keypoints.matches(tl, br))
        # mmdet's loss leaves out the second tags where no image has an object: a gradient of none,
        # which distributed training refuses.
        unused = 0.0 * second.sum()
        return total | {"pull_loss": pull + unused, "push_loss": push}

    def keypoint_targets(
        self,
        instances: list[Any],
        shape: tuple[int, ...] | torch.Size,
        size: tuple[int, int],
    ) -> tuple[Target, Target, Target]:
        """Return the targets of top left corners, bottom right corners and centers.

        ``shape`` is a heat map's [B, C, H, W], ``size`` height and width of the input, px.
        """
        B, C, H, W = shape
        boxes = torch.cat([one.bboxes for one in instances])
        labels = torch.cat([one.labels for one in instances])
        image = torch.cat([torch.full_like(one.labels, i) for i, one in enumerate(instances)])
        boxes = boxes * boxes.new_tensor([W / size[1], H / size[0]] * 2)
        radius = keypoints.peak_radius(boxes[:, 2:] - boxes[:, :2], self.min_overlap)
        last = boxes.new_tensor([W - 1, H - 1])

        def target(point: Float[Tensor, "G 2"], sigmas: int) -> Target:
            cell = torch.minimum(point.floor().clamp(min=0), last)
            heat = boxes.new_zeros(B * C, H, W)
            peaks = keypoints.gaussian_peaks(cell, radius, sigmas, H, W)
            which = (image * C + labels)[:, None, None].expand_as(peaks)
            heat.scatter_reduce_(0, which, peaks, "amax")
            return Target(heat.view(B, C, H, W), image, cell.long(), point - cell)

        return (
            target(boxes[:, :2], CORNER_SIGMA),
            target(boxes[:, 2:], CORNER_SIGMA),
            target((boxes[:, :2] + boxes[:, 2:]) / 2, CENTER_SIGMA),
        )

    def predict_by_feat(
        self,
        top_left: list[Keypoints],
        bottom_right: list[Keypoints],
        centers: list[Keypoints],
        batch_img_metas: list[dict[str, Any]],
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[Instances]:
        """Return each image's detections, or its candidates without ``with_nms``.

        Candidates are pairs of corners and, where ``centers`` is True, centers, as boxes without
        extent in descending order of their scores.
        """
        last = [kind[-1].exact() for kind in (top_left, bottom_right, centers)]
        results = []
        for i, meta in enumerate(batch_img_metas):
            one = [kind.of_image(i) for kind in last]
            found = self._candidates(one, meta)
            if rescale and "scale_factor" in meta:
                scale = found.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
                found.bboxes = found.bboxes / scale
            results.append(suppressed(self, self.confirmed(found)) if with_nms else found)
        return results

    def _candidates(self, predicted: list[Keypoints], meta: dict[str, Any]) -> Instances:
        """Return one image's candidates, px of the image before it was padded."""
        canvas = meta["batch_input_shape"]
        tl, br, ct = (self._peaks(kind, canvas) for kind in predicted)
        assert tl.tag is not None
        assert br.tag is not None
        point1, point2 = tl.point[:, None], br.point[None]
        valid = tl.label[:, None] == br.label[None]
        valid &= (tl.tag[:, None] - br.tag[None]).abs() <= self.test_cfg["distance_threshold"]
        valid &= (point2 > point1).all(-1)
        scores = ((tl.score[:, None] + br.score[None]) / 2).masked_fill(~valid, -1).flatten()
        scores, best = scores.topk(min(self.test_cfg.get("num_dets", 1000), len(scores)))
        best, scores = best[scores > -1], scores[scores > -1]
        first, second = best // len(br.score), best % len(br.score)
        pairs = torch.cat([tl.point[first], br.point[second]], -1)
        left, top, right, bottom = window(meta)
        origin = pairs.new_tensor([left, top])
        limit = pairs.new_tensor([right, bottom]) - origin
        pairs = pairs - origin.repeat(2)
        near = (pairs[:, :2] > -OUTSIDE).all(-1) & (pairs[:, 2:] < limit + OUTSIDE).all(-1)
        boxes = torch.cat([pairs[near], (ct.point - origin).repeat(1, 2)])
        return InstanceData(
            bboxes=torch.minimum(boxes.clamp(min=0), limit.repeat(2)),
            scores=torch.cat([scores[near], ct.score]),
            labels=torch.cat([tl.label[first][near], ct.label]),
            centers=torch.arange(len(boxes), device=boxes.device) >= int(near.sum()),
        )

    def _peaks(self, predicted: Keypoints, canvas: tuple[int, int]) -> Peaks:
        """Return one image's best keypoints of one kind, over all classes."""
        H, W = predicted.heat.shape[-2:]
        heat = predicted.heat.sigmoid().contiguous()
        heat = get_local_maximum(heat, self.test_cfg["local_maximum_kernel"])
        k = min(self.test_cfg["corner_topk"], heat.numel())
        score, cell, label, y, x = (found[0] for found in get_topk_from_heatmap(heat, k))
        offset = predicted.offset[0].flatten(1)[:, cell].T
        point = (torch.stack((x, y), -1) + offset) * offset.new_tensor(
            [canvas[1] / W, canvas[0] / H]
        )
        tag = None if predicted.tag is None else predicted.tag.flatten()[cell]
        return Peaks(point, score, label, tag)

    def confirmed(self, candidates: Instances) -> Instances:
        """Return the pairs with a center of their class in their middle, px of the original image.

        The triplet test (section 3.2): the score becomes a mean of the corners' and the first such
        center's, in the order of the candidates.
        """
        centers = candidates[candidates.centers]
        pairs = candidates[~candidates.centers]
        points = (centers.bboxes[:, :2] + centers.bboxes[:, 2:]) / 2
        size = pairs.bboxes[:, 2:] - pairs.bboxes[:, :2]
        parts = torch.where(size.prod(-1) > self.test_cfg["large_area"], FIFTHS, THIRDS)
        inside = keypoints.is_inside(points, keypoints.central_region(pairs.bboxes, parts))
        inside &= pairs.labels[:, None] == centers.labels[None]
        kept = inside.any(-1)
        result = pairs[kept]
        center = inside[kept].int().argmax(-1)  # the first of equal values
        result.scores = (2 * pairs.scores[kept] + centers.scores[center]) / 3
        return result


@MODELS.register_module()
class KeypointTriplets(MirroredCornerNet):
    """CenterNet: its triplet test is of the pairs and centers of both copies of an image together.

    Args: ``MirroredCornerNet``'s; ``bbox_head`` is a ``TripletHead``.
    """

    def _select(self, candidates: Instances) -> Instances:
        head: Any = self.bbox_head
        return head.confirmed(candidates)
