import math

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, soft_nms
from torch import Tensor


def overlap(a: list[float], b: list[float], offset: int) -> float:
    def area(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(x2 - x1 + offset, 0) * max(y2 - y1 + offset, 0)

    inter = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = area(*a) + area(*b) - inter
    return inter / union if union > 0 else 0.0


def greedy(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> list[int]:
    rows = boxes.double().tolist()
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -scores[i].item()):
        if all(overlap(rows[i], rows[k], offset) <= iou_threshold for k in kept):
            kept.append(i)
    return kept


def soft(
    boxes: Tensor, scores: Tensor, method: str, offset: int, min_score: float
) -> tuple[list[int], list[float]]:
    """Soft-NMS by lists, with mmcv's defaults: threshold 0.3, sigma 0.5."""
    left = list(enumerate(zip(boxes.double().tolist(), scores.double().tolist(), strict=True)))
    kept, kept_scores = [], []
    while left:
        best = max(left, key=lambda item: item[1][1])
        left.remove(best)
        index, (box, score) = best
        kept.append(index)
        kept_scores.append(score)
        decayed = []
        for other, (other_box, other_score) in left:
            iou = overlap(box, other_box, offset)
            factor = {
                "naive": 0.0 if iou >= 0.3 else 1.0,
                "linear": 1 - iou if iou >= 0.3 else 1.0,
                "gaussian": math.exp(-(iou**2) / 0.5),
            }[method]
            if other_score * factor >= min_score:
                decayed.append((other, (other_box, other_score * factor)))
        left = decayed
    return kept, kept_scores


def crowd(n: int, seed: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Boxes of which many overlap, and scores no two of which are the same."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * 20], dim=1)
    scores = (torch.randperm(n, generator=generator) + 1) / (n + 1)
    return boxes.to(device), scores.to(device)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("n", "iou_threshold"), [(1, 0.5), (60, 0.1), (60, 0.5), (200, 0.7)])
def test_nms_is_greedy_suppression(n: int, iou_threshold: float, offset: int, device: torch.device):
    boxes, scores = crowd(n, seed=n, device=device)
    dets, kept = nms(boxes, scores, iou_threshold, offset=offset)
    assert kept.tolist() == greedy(boxes, scores, iou_threshold, offset)
    assert isinstance(dets, Tensor)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_of_equal_scores_the_first_box_wins(device: torch.device):
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3 + [[20.0, 0, 30, 10]] * 2, device=device)
    _, kept = nms(boxes, torch.full((5,), 0.5, device=device), 0.5)
    assert kept.tolist() == [0, 3]


def test_an_overlap_of_exactly_the_threshold_is_kept(device: torch.device):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]], device=device)
    assert nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)[1].tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.49)[1].tolist() == [0]


def test_the_offset_counts_the_last_pixel():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 10, 9, 14]])  # 10 x 10 and 10 x 5, one pixel apart
    overlapping = torch.tensor([[0.0, 0, 9, 9], [0, 9, 9, 13]])  # they share a row of ten pixels
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes, scores, 0.0, offset=1)[1]) == 2
    assert len(nms(overlapping, scores, 0.0, offset=1)[1]) == 1
    assert len(nms(overlapping, scores, 0.0, offset=0)[1]) == 2


def test_no_boxes(device: torch.device):
    boxes, scores = torch.zeros(0, 4, device=device), torch.zeros(0, device=device)
    for dets, kept in (nms(boxes, scores, 0.5), soft_nms(boxes, scores)):
        assert dets.shape == (0, 5)
        assert kept.shape == (0,)
        assert kept.dtype == torch.int64


def test_score_threshold_and_max_num_point_into_the_input(device: torch.device):
    boxes, scores = crowd(50, seed=3, device=device)
    everything = greedy(boxes, scores, 0.5, 0)
    _, kept = nms(boxes, scores, 0.5, score_threshold=0.3, max_num=4)
    assert kept.tolist() == [i for i in everything if scores[i] > 0.3][:4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scores_too", [False, True])
def test_any_floating_dtype(dtype: torch.dtype, scores_too: bool, device: torch.device):
    boxes, scores = crowd(40, seed=5, device=device)
    boxes = boxes.to(dtype)
    scores = scores.to(dtype) if scores_too else scores
    assert nms(boxes, scores, 0.5)[1].tolist() == greedy(boxes, scores, 0.5, 0)


@pytest.mark.parametrize("split_thr", [10_000, 10])
def test_batched_nms_suppresses_within_a_class_only(split_thr: int, device: torch.device):
    boxes, scores = crowd(80, seed=7, device=device)
    classes = torch.arange(80, device=device) % 3
    dets, kept = batched_nms(
        boxes, scores, classes, {"type": "nms", "iou_threshold": 0.4, "split_thr": split_thr}
    )
    expected = []
    for c in range(3):
        own = (classes == c).nonzero()[:, 0]
        expected += [own[i].item() for i in greedy(boxes[own], scores[own], 0.4, 0)]
    expected.sort(key=lambda i: -scores[i].item())
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_batched_nms_over_all_classes(device: torch.device):
    boxes, scores = crowd(80, seed=8, device=device)
    classes = torch.arange(80, device=device) % 3
    config = {"type": "nms", "iou_threshold": 0.4, "class_agnostic": True}
    assert batched_nms(boxes, scores, classes, config)[1].tolist() == greedy(boxes, scores, 0.4, 0)


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("min_score", [1e-3, 0.2])
def test_soft_nms_is_the_plain_loop(
    method: str, offset: int, min_score: float, device: torch.device
):
    boxes, scores = crowd(60, seed=11, device=device)
    dets, kept = soft_nms(boxes, scores, method=method, offset=offset, min_score=min_score)
    expected, expected_scores = soft(boxes, scores, method, offset, min_score)
    assert isinstance(dets, Tensor)
    assert kept.tolist() == expected
    torch.testing.assert_close(dets[:, 4].cpu(), torch.tensor(expected_scores))
    assert torch.equal(dets[:, :4], boxes[kept])


def test_soft_nms_leaves_its_input_alone_and_takes_arrays():
    boxes, scores = (t.numpy() for t in crowd(20, seed=13))
    before = boxes.copy(), scores.copy()
    dets, kept = soft_nms(boxes, scores)
    assert isinstance(dets, np.ndarray)
    assert len(dets) == len(kept)
    assert np.array_equal(boxes, before[0])
    assert np.array_equal(scores, before[1])


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_of_boxes_without_area_is_finite(method: str):
    boxes = torch.tensor([[3.0, 1, 3, 1]] * 3)
    dets, kept = soft_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), method=method)
    assert kept.tolist() == [1, 2, 0]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_nms_in_half_precision(dtype: torch.dtype):
    boxes, scores = crowd(30, seed=17)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    dets, kept = soft_nms(boxes, scores, method="gaussian")
    assert dets.dtype == dtype
    assert kept.tolist() == soft(boxes, scores, "gaussian", 0, 1e-3)[0]
