"""Grid R-CNN's RoI head as mmdet has it, but for a batch without objects."""

from __future__ import annotations

from typing import Any

from mmdet.models.roi_heads import GridRoIHead
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class CompleteGridRoIHead(GridRoIHead):
    """mmdet's GridRoIHead whose grid loss is 0, not absent, in a batch without positives.

    Data-parallel training waits for a gradient of every weight, and averages every loss.
    """

    def bbox_loss(
        self,
        x: tuple[Tensor, ...],
        sampling_results: list[Any],
        batch_img_metas: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Return mmdet's predictions and, as ``loss_bbox``, its losses."""
        results = super().bbox_loss(x, sampling_results, batch_img_metas)  # pyright: ignore[reportArgumentType]
        if "loss_grid" not in results["loss_bbox"]:
            weights = self.grid_head.parameters()
            results["loss_bbox"]["loss_grid"] = sum(0 * one.sum() for one in weights)
        return results
