"""Non-maximum suppression, hard and soft, with mmcv's signatures."""

import numpy as np
import torch
import torchvision
from jaxtyping import Float, Int64, Shaped
from torch import Tensor


def nms(
    boxes: Shaped[Tensor, "N 4"], scores: Shaped[Tensor, " N"], iou_threshold: float, offset: int
) -> Int64[Tensor, " K"]:
    """Return the indices of the boxes kept, best score first; ties keep the first box.

    `offset` = 1 measures boxes as whole pixels, x2 - x1 + 1.
    """
    # torchvision needs both in one dtype, and has no half-precision kernel on CPU.
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    boxes = boxes.to(dtype)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores.to(dtype), iou_threshold)


def softnms(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    dets: Float[Tensor, "N 5"],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Int64[Tensor, " K"]:
    """Apply Soft-NMS on CPU: write the K boxes kept, with decayed scores, to the head of `dets`.

    `method` is 0 naive, 1 linear, 2 gaussian (Bodla et al., Soft-NMS, section 3). A box whose score
    falls below `min_score` is dropped, except the very first; ties keep the first box.
    """
    decayed = scores.float().numpy().copy()
    x1, y1, x2, y2 = boxes.float().numpy().T.copy()  # columns that are contiguous in memory
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = np.ones(len(decayed), dtype=bool)
    kept, final = [], []
    while left.any():
        best = np.where(left, decayed, -np.inf).argmax()
        kept.append(best)
        final.append(decayed[best])
        width = np.minimum(x2[best], x2) - np.maximum(x1[best], x1) + offset
        height = np.minimum(y2[best], y2) - np.maximum(y1[best], y1) + offset
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        union = area[best] + area - inter
        iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        decayed *= _decay(iou, iou_threshold, sigma, method)
        left &= decayed >= min_score
        left[best] = False
    indices = torch.tensor(kept, dtype=torch.int64)
    dets[: len(kept), :4] = boxes[indices]
    dets[: len(kept), 4] = torch.tensor(final, dtype=torch.float32)
    return indices


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == 2:
        return np.exp(-(iou**2) / sigma)
    overlapping = 1 - iou if method == 1 else np.zeros_like(iou)
    return np.where(iou >= iou_threshold, overlapping, np.ones_like(iou))
