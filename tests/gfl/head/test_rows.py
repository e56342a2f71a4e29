"""Every run of Tables 1 to 3 builds, has gradients for all its weights, and predicts."""

from __future__ import annotations

from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet_models import build
from mmengine.structures import InstanceData

from experiments import matrix
from experiments.profiles import LAPTOP, SMOKE
from experiments.tables import table1, table2, table3
from gfl import config
from gfl.experiment import Experiment, Profile

SIZE = 64
BOXES = [[8.0, 6.0, 40.0, 37.0], [21.0, 24.0, 61.0, 60.0], [3.0, 44.0, 19.0, 58.0]]
EXPERIMENTS = [
    run.experiment for run in matrix.plan((*table1.PARTS, *table2.PARTS, table3.TABLE), SMOKE, [0])
]
CASES = [(experiment, SMOKE) for experiment in EXPERIMENTS]
# Of other widths, and with a level of stride 4.
CASES += [(row.experiment, LAPTOP) for row in table3.TABLE.rows if row.experiment]


def model_of(experiment: Experiment, profile: Profile) -> Any:
    torch.manual_seed(0)
    model = build(config.build(experiment, profile, 0)["model"])
    model.init_weights()
    return model


def batch() -> tuple[torch.Tensor, list[DetDataSample]]:
    """Two images: one of three objects and one of none."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    shapes = dict.fromkeys(("img_shape", "pad_shape", "batch_input_shape"), (SIZE, SIZE))
    samples = []
    for count in (len(BOXES), 0):
        sample = DetDataSample(metainfo=shapes | {"scale_factor": (1.0, 1.0)})
        boxes, labels = torch.tensor(BOXES)[:count], torch.arange(len(BOXES))[:count]
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    return images, samples


@pytest.mark.parametrize(
    ("experiment", "profile"), CASES, ids=[f"{p.name}-{e.slug}" for e, p in CASES]
)
def test_every_run_of_tables_1_to_3_builds_trains_and_predicts(experiment, profile):
    model = model_of(experiment, profile)
    images, samples = batch()
    losses = model.loss(images, samples)
    assert ("loss_quality" in losses) == experiment.quality.endswith("-branch")
    assert ("loss_dfl" in losses) == experiment.dfl
    model.parse_losses(losses)[0].backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    model.eval()
    # An untrained model is sure of nothing; a few of its boxes do.
    model.bbox_head.test_cfg.update(score_thr=0.0, nms_pre=20)
    with torch.no_grad():
        found = [sample.pred_instances for sample in model.predict(images, samples)]
    assert len(found) == 2
    for instances in found:
        assert len(instances) > 0
        assert instances.bboxes.isfinite().all()
        assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
