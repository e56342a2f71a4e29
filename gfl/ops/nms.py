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
    xyxy = boxes.float().numpy()
    decayed = scores.float().numpy().copy()
    sides = xyxy[:, 2:] - xyxy[:, :2] + offset
    area = sides[:, 0] * sides[:, 1]
    left = np.arange(len(xyxy))
    kept = []
    while left.size:
        place = decayed[left].argmax()
        best, left = left[place], np.delete(left, place)
        kept.append(best)
        low = np.maximum(xyxy[best, :2], xyxy[left, :2])
        high = np.minimum(xyxy[best, 2:], xyxy[left, 2:])
        inter = np.clip(high - low + offset, 0, None).prod(axis=1)
        union = area[best] + area[left] - inter
        iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        decayed[left] *= _decay(iou, iou_threshold, sigma, method)
        left = left[decayed[left] >= min_score]
    indices = torch.tensor(kept, dtype=torch.int64)
    dets[: len(kept), :4] = boxes[indices]
    dets[: len(kept), 4] = torch.from_numpy(decayed)[indices]
    return indices


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == 2:
        return np.exp(-(iou**2) / sigma)
    overlapping = 1 - iou if method == 1 else np.zeros_like(iou)
    return np.where(iou >= iou_threshold, overlapping, np.ones_like(iou))
