"""Small heads and batches for the tests of the head, as mmdet's detectors would hand them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

CLASSES, CHANNELS = 5, 16
STRIDES = (8, 16, 32, 64, 128)
# Height and width of images, and of the same padded each to a multiple of 32. A batch has the
# largest padded shape, so that two of these images have locations beyond their own padding.
IMAGE_SHAPES = ((150, 250), (192, 120), (180, 256))
PAD_SHAPES = ((160, 256), (192, 128), (192, 256))
BATCH_SHAPE = (192, 256)

MakeHead = Callable[..., nn.Module]
MakeBatch = Callable[..., tuple[tuple[Tensor, ...], list[Any]]]


@pytest.fixture
def test_cfg() -> dict[str, Any]:
    """mmdet's test settings of ATSS and GFL."""
    return {
        "nms_pre": 1000,
        "min_bbox_size": 0,
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.6},
        "max_per_img": 100,
    }


@pytest.fixture
def make_head(test_cfg: dict[str, Any]) -> MakeHead:
    """Build an AblationHead of some factors, by default the ATSS baseline's."""
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmengine.config import ConfigDict

    from gfl.head import AblationHead

    def make(
        quality: str = "centerness-branch",
        boxes: str = "dirac",
        dfl: bool = False,
        n: int | None = 16,
        delta: float | None = 1.0,
        beta: float | None = 2.0,
        host: str = "atss",
        likelihood_weight: float | None = 0.25,
        strides: Sequence[int] = STRIDES,
        seed: int | None = 0,  # None: weights as the head is constructed
    ) -> AblationHead:
        head = AblationHead(
            CLASSES, CHANNELS, CHANNELS, 2, strides, quality, boxes, dfl, n, delta, beta, host,
            likelihood_weight,
            train_cfg={}, test_cfg=ConfigDict(test_cfg),
        )  # fmt: skip
        if seed is not None:
            randomise(head, seed)
        return head

    return make


def randomise(head: nn.Module, seed: int) -> None:
    """Give a head weights with which it predicts varied scores and boxes, reproducibly."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(head.named_parameters()):
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter)
            elif "scales" in name:
                nn.init.uniform_(parameter, 0.5, 1.5)
            else:
                nn.init.normal_(parameter, 1.0 if "gn" in name else 0.0, 0.2)


@pytest.fixture
def make_batch() -> MakeBatch:
    """Draw features and annotated images; an image for each number of objects asked for.

    Boxes have random corners, so that no two candidates of ATSS are equally distant: mmdet takes
    whichever of such two torch.topk gives it.
    """
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(
        counts: Sequence[int] = (4, 0, 7), dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> tuple[tuple[Tensor, ...], list[DetDataSample]]:
        random = torch.Generator().manual_seed(seed)
        samples = []
        for image, count in enumerate(counts):
            height, width = IMAGE_SHAPES[image % 3]
            size = torch.exp(torch.rand(count, 2, generator=random) * 2.6 + 2.7)  # 15 to 200 px
            size = size.minimum(torch.tensor([width - 1.0, height - 1.0]))
            space = torch.tensor([width, height]) - size
            corner = torch.rand(count, 2, generator=random) * space
            sample = DetDataSample(
                metainfo={
                    "img_shape": (height, width),
                    "pad_shape": PAD_SHAPES[image % 3],
                    "batch_input_shape": BATCH_SHAPE,
                    "scale_factor": (0.5, 0.625),
                }
            )
            sample.gt_instances = InstanceData(
                bboxes=torch.cat([corner, corner + size], -1).to(dtype),
                labels=torch.randint(CLASSES, (count,), generator=random),
            )
            samples.append(sample)
        features = tuple(
            torch.randn(
                len(counts), CHANNELS, -(-BATCH_SHAPE[0] // s), -(-BATCH_SHAPE[1] // s),
                generator=random,
            ).to(dtype)
            for s in STRIDES
        )  # fmt: skip
        return features, samples

    return make
