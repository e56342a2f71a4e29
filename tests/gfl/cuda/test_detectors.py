"""Every experiment and every system of Table 4 on CUDA, without a GPU: devices and transfers.

A transfer in a training step makes the host wait for the device, or the device for the host: it is
a defect, unless it is listed here with its reason. What mmdet's own heads transfer is listed in
``transfers.json``, for batches of ``packed``, as the fake device answers them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from fake_cuda import fake_device
from packed import SIZE, built, experiments, packed, systems
from torch import Tensor, nn

from experiments.profiles import COCO, LAPTOP, SMOKE
from gfl.experiment import ABLATED_HOSTS, AnyExperiment, Experiment

EXPERIMENTS, SYSTEMS = experiments(), systems()
# The number of positives is the length of the tensors of box losses.
OURS = {"read gfl.assign.assign_batch": 1}
RECORDED = Path(__file__).with_name("transfers.json")

pytestmark = [
    pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch is built without CUDA"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
]


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in losses, or in detections."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors([*value.values()])
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)


def is_on_cuda(value: Any) -> bool:
    devices = {one.device.type for one in tensors(value)}
    return devices == {"cuda"}


def try_on_cuda(model: nn.Module, images: int, size: tuple[int, int] = SIZE) -> dict[str, int]:
    """Train and predict on CUDA; return the transfers between the batch's arrival and the loss."""
    detector: Any = model
    with fake_device() as transfers:
        detector.to("cuda").train()
        assert is_on_cuda([*detector.parameters(), *detector.buffers()])
        batch = detector.data_preprocessor(packed(images, size), True)
        transfers.taken()
        losses = detector.loss(batch["inputs"], batch["data_samples"])
        found = transfers.taken()
        assert is_on_cuda(losses)
        detector.eval()
        with torch.no_grad():
            batch = detector.data_preprocessor(packed(1, size), False)
            (sample,) = detector.predict(batch["inputs"], batch["data_samples"], rescale=False)
        detections = sample.pred_instances
        assert is_on_cuda([detections.bboxes, detections.scores, detections.labels])
    return dict(sorted(found.items()))


def recorded(name: str, found: dict[str, int]) -> dict[str, int]:
    """Return the transfers listed for a detector; with GFL_RECORD=1 list those found first."""
    listed = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    if os.environ.get("GFL_RECORD") == "1":
        listed[name] = found
        text = json.dumps(dict(sorted(listed.items())), indent=1) + "\n"
        RECORDED.write_text(text, encoding="utf-8")
    return listed[name]


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_trains_and_predicts_on_cuda(experiment: Experiment) -> None:
    """With the published network; only the images are small."""
    size = (512, 512) if experiment.host == "ssd512" else SIZE
    found = try_on_cuda(built(experiment, COCO), images=2, size=size)
    ours = experiment.host in ABLATED_HOSTS
    assert found == (OURS if ours else recorded(experiment.slug, found))


@pytest.mark.parametrize(
    "experiment",
    [e for e in EXPERIMENTS.values() if e.host in ABLATED_HOSTS and e.n == 16 and e.beta == 2],
    ids=lambda e: e.slug,
)
def test_a_backward_pass_waits_for_nothing(experiment: Experiment) -> None:
    """On the device "meta", whose backward pass needs no GPU: same operations, no values."""
    detector: Any = built(experiment, SMOKE)
    with fake_device("meta") as transfers:
        detector.to("meta").train()
        batch = detector.data_preprocessor(packed(2), True)
        transfers.taken()
        total, _ = detector.parse_losses(detector.loss(**_named(batch)))
        assert transfers.taken() == OURS
        total.backward()
        assert transfers.taken() == {}
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)


def _named(batch: dict[str, Any]) -> dict[str, Any]:
    return {"batch_inputs": batch["inputs"], "batch_data_samples": batch["data_samples"]}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_trains_and_predicts_on_cuda(name: str) -> None:
    """With its small network: the same classes as the published one, in fewer layers.

    Of one image: what is answered for a mask does not add up over several.
    """
    system: AnyExperiment = SYSTEMS[name]
    found = try_on_cuda(built(system, LAPTOP), images=1)
    assert found == (OURS if isinstance(system, Experiment) else recorded(name, found))


def test_joint_heads_look_for_positives_once_a_level_or_image() -> None:
    """RetinaNet's once in each of five levels, SSD512's in each of two images, FoveaBox's once."""
    listed = json.loads(RECORDED.read_text(encoding="utf-8"))
    expected = {"retinanet": 5, "ssd512": 2, "foveabox": 1}
    for host, times in expected.items():
        ours = {k: n for k, n in listed[f"{host}-joint-dirac"].items() if " gfl." in k}
        assert ours == {"read gfl.joint._positive": times}


def test_a_value_that_decides_is_counted_and_a_mixed_operation_refused() -> None:
    """The tool itself: what it must notice."""
    with fake_device() as transfers:
        x = torch.zeros(5, 3).to("cuda")
        assert transfers.taken() == {"upload torch": 1}
        x[x > 0] = 1.0  # masked_fill: no transfer
        assert transfers.taken() == {}
        kept, where = x[x > 0], (x > 0).nonzero()
        assert (kept.shape, where.shape) == ((4,), (4, 2))
        bool(x.sum() > 0), x.tolist(), x.cpu(), x[:, [1, 0]]
        assert transfers.taken() == {"read torch": 5, "upload torch": 1}
        with pytest.raises(RuntimeError, match="two different devices"):
            x + torch.zeros(5, 3)
