"""Small heads and batches for the tests of the head, as mmdet's detectors would hand them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.profiles import SMOKE
from gfl import config
from gfl.experiment import Experiment
from gfl.hosts import HostName

CLASSES, CHANNELS = 5, 16
STRIDES = (8, 16, 32, 64, 128)
# Height and width of images, and of the same padded each to a multiple of 32. A batch has the
# largest padded shape, so that two of these images have locations beyond their own padding.
IMAGE_SHAPES = ((150, 250), (192, 120), (180, 256))
PAD_SHAPES = ((160, 256), (192, 128), (192, 256))
BATCH_SHAPE = (192, 256)
# Of the images and data of Table 1(b)'s other hosts, which are built as at the smoke profile.
HOST_SIZE, HOST_CLASSES = 64, 8

MakeHead = Callable[..., nn.Module]
MakeBatch = Callable[..., tuple[tuple[Tensor, ...], list[Any]]]


@pytest.fixture(params=["retinanet", "foveabox", "ssd512"])
def host(request: pytest.FixtureRequest) -> HostName:
    """One of Table 1(b)'s hosts whose plain head is mmdet's."""
    return request.param


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


@pytest.fixture
def make_host_head() -> Callable[..., Any]:
    """Build a host's head, with weights that predict varied scores and boxes.

    ``type`` names another class for it. ``half`` is for a profile that trains in bfloat16.
    """
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmdet_models import build
    from mmengine.config import ConfigDict

    def make(
        host: HostName, quality: Any = "none", beta: float = 2.0, half: bool = False, type: str = ""
    ) -> Any:
        experiment = Experiment(host=host, quality=quality, beta=beta)
        model = ConfigDict(config.build(experiment, SMOKE, 0)["model"])
        settings = model.bbox_head | {"train_cfg": model.train_cfg, "test_cfg": model.test_cfg}
        if half and quality == "none" and host != "ssd512":
            settings["type"] = f"Float32{settings['type']}"
        if type:
            settings["type"] = type
        head = build(settings)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in head.parameters():
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 25
                parameter.copy_(torch.randn(parameter.shape, generator=random) / fan_in**0.5)
        return head

    return make


@pytest.fixture
def make_host_batch() -> Callable[..., tuple[tuple[Tensor, ...], list[Any]]]:
    """Draw features as a host's neck makes them, and images with that many objects each."""
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(host: HostName, counts: tuple[int, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        random = torch.Generator().manual_seed(1)
        samples, shape = [], (HOST_SIZE, HOST_SIZE)
        for count in counts:
            size = 10 + 40 * torch.rand(count, 2, generator=random)
            corner = torch.rand(count, 2, generator=random) * (HOST_SIZE - size)
            sample = DetDataSample(
                metainfo={"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape}
            )
            sample.gt_instances = InstanceData(
                bboxes=torch.cat([corner, corner + size], 1),
                labels=torch.randint(HOST_CLASSES, (count,), generator=random),
            )
            samples.append(sample)
        model = config.build(Experiment(host=host, quality="none"), SMOKE, 0)["model"]
        widths = model["bbox_head"]["in_channels"]
        widths = (widths,) * 3 if isinstance(widths, int) else widths
        features = tuple(
            torch.randn(len(counts), width, 8 >> i, 8 >> i, generator=random)
            for i, width in enumerate(widths)
        )
        return features, samples

    return make
