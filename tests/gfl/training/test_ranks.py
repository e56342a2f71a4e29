"""A batch gives the same losses and gradients in one process and in several that meet over gloo.

Where a layer's statistics are of the images of one device, as batch normalisation's are, this
cannot hold: backbones are tested as at full size, with the statistics fixed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from torch import distributed

PROCESSES = (1, 2, 4)
# mmdet's heads of Table 1(b)'s other hosts divide by each device's own number of positives.
HOSTS = ("atss", "fcos")

# The guided rows weight a positive by all those of its device, as the authors of their loss do: the
# losses are the same, the gradients are not.
GUIDED = "-guided-"

# Arguments: a folder, the hosts whose rows of Tables 1 to 3 are tried, the numbers of processes.
# Writes a file for each number: losses and gradients by experiment.
DRIVER = """
import os, signal, sys

counts = sorted(map(int, sys.argv[3].split()), reverse=True)
if len(sys.argv) == 4:  # a process for each rank; not by fork, which torch's threads do not survive
    children = [os.spawnv(os.P_NOWAIT, sys.executable, [*sys.orig_argv, str(rank)])
                for rank in range(counts[0])]
    while children:
        child, status = os.wait()
        children.remove(child)
        if status:
            for other in children:  # they wait for it
                os.kill(other, signal.SIGKILL)
            sys.exit(f"one of {counts[0]} processes ended with status {status}")
    sys.exit()

import gfl.register
import torch
from pathlib import Path
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import distributed, nn
from experiments.profiles import SMOKE
from experiments.tables import catalogue
from gfl import config
from gfl.training.processes import ChannelsLastDataParallel

IMAGES, SIZE = 4, 64
folder, hosts = Path(sys.argv[1]), sys.argv[2].split()
torch.set_num_threads(1)

def rows():
    found = {}
    for name in ("table-1a", "table-1b", "table-1c", "table-2a", "table-2b", "table-2c", "table-3"):
        for cell in catalogue.PAPERS[name].all_cells():
            if cell.experiment.host in hosts and cell.experiment.backbone == "r50":
                found[cell.experiment.slug] = cell.experiment
    return found

def built(experiment):
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(config.build(experiment, SMOKE, 0)["model"])).double()
    for parameter in model.bbox_head.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model

def batch():
    random = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=random, dtype=torch.float64)
    samples = []
    for count in (1, 5, 0, 2):  # unlike on the devices
        size = 10 + 40 * torch.rand(count, 2, generator=random)
        corner = torch.rand(count, 2, generator=random) * (SIZE - size)
        shape = (SIZE, SIZE)
        sample = DetDataSample(
            metainfo={"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape})
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1).double(),
            labels=torch.randint(8, (count,), generator=random))
        samples.append(sample)
    return images, samples

def step(experiment, images, samples, count):
    model = ChannelsLastDataParallel(built(experiment), device_ids=[0])
    losses = model(images, samples, mode="loss")
    flat = {f"{k}{i}": v for k, vs in losses.items()
            for i, v in enumerate(vs if isinstance(vs, list) else [vs]) if "loss" in k}
    sum(flat.values()).backward()
    means = {}
    for name, value in flat.items():
        value = value.detach() / count
        distributed.all_reduce(value)
        means[name] = value
    gradients = {name: p.grad for name, p in model.module.named_parameters()
                 if p.grad is not None}
    return {"losses": means, "gradients": gradients}

def train(rank, count):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet{count}",
                                   rank=rank, world_size=count)
    share = slice(rank * IMAGES // count, (rank + 1) * IMAGES // count)
    images, samples = batch()
    with DefaultScope.overwrite_default_scope("mmdet"):
        found = {slug: step(experiment, images[share], samples[share], count)
                 for slug, experiment in rows().items()}
    if rank == 0:
        torch.save(found, folder / f"of{count}")
    # Only once no model holds the group: it would end it with Python's lock held, for which gloo's
    # thread may wait.
    distributed.destroy_process_group()

rank = int(sys.argv[4])
for count in counts:  # the first of the processes are fewer, too
    if rank < count:
        train(rank, count)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What each number of processes found."""
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo, over which processes on a CPU meet")
    folder = tmp_path_factory.mktemp("ranks")
    counts = " ".join(map(str, PROCESSES))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, str(folder), " ".join(HOSTS), counts],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {count: torch.load(folder / f"of{count}") for count in PROCESSES}


@pytest.mark.parametrize("count", PROCESSES[1:])
@pytest.mark.parametrize("what", ["losses", "gradients"])
def test_several_processes_find_what_one_finds(found, count, what):
    one, several = found[1], found[count]
    assert one.keys() == several.keys()
    assert len(one) > 15
    for slug, expected in one.items():
        if what == "gradients" and GUIDED in slug:
            continue
        assert several[slug][what].keys() == expected[what].keys()
        assert all(value.isfinite().all() for value in expected[what].values())
        for name, value in expected[what].items():
            # Far below 1e-6: only sums in another order differ.
            torch.testing.assert_close(
                several[slug][what][name], value, rtol=1e-9, atol=1e-11,
                msg=lambda text, at=f"{slug}, {name}": f"{at}: {text}",
            )  # fmt: skip
    assert any(value.any() for value in one[slug][what].values())
