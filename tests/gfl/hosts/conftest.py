"""Small heads and batches of Table 1(b)'s other hosts, at the smoke profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.profiles import SMOKE
from gfl import config
from gfl.experiment import Experiment, Host

SIZE, CLASSES = 64, 8

MakeHead = Callable[..., Any]
MakeBatch = Callable[..., tuple[tuple[Tensor, ...], list[Any]]]


@pytest.fixture(params=["retinanet", "foveabox", "ssd512"])
def host(request: pytest.FixtureRequest) -> Host:
    return request.param


@pytest.fixture
def make_host_head() -> MakeHead:
    """Build a host's head, with weights that predict varied scores and boxes.

    ``type`` names another class for it. ``half`` is for a profile that trains in bfloat16.
    """
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    def make(
        host: Host, quality: Any = "none", beta: float = 2.0, half: bool = False, type: str = ""
    ) -> Any:
        experiment = Experiment(host=host, quality=quality, beta=beta)
        model = ConfigDict(config.build(experiment, SMOKE, 0)["model"])
        settings = model.bbox_head | {"train_cfg": model.train_cfg, "test_cfg": model.test_cfg}
        if half and quality == "none" and host != "ssd512":
            settings["type"] = f"Float32{settings['type']}"
        if type:
            settings["type"] = type
        with DefaultScope.overwrite_default_scope("mmdet"):
            head = MODELS.build(settings)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in head.parameters():
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 25
                parameter.copy_(torch.randn(parameter.shape, generator=random) / fan_in**0.5)
        return head

    return make


@pytest.fixture
def make_host_batch() -> MakeBatch:
    """Draw features as a host's neck makes them, and images with that many objects each."""
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(host: Host, counts: tuple[int, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        random = torch.Generator().manual_seed(1)
        samples, shape = [], (SIZE, SIZE)
        for count in counts:
            size = 10 + 40 * torch.rand(count, 2, generator=random)
            corner = torch.rand(count, 2, generator=random) * (SIZE - size)
            sample = DetDataSample(
                metainfo={"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape}
            )
            sample.gt_instances = InstanceData(
                bboxes=torch.cat([corner, corner + size], 1),
                labels=torch.randint(CLASSES, (count,), generator=random),
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
