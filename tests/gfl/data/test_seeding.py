"""Augmentation follows from seed, epoch and image: in any process, after any resumption."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import sampler as sampling
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from experiments.profiles import GPU, PROFILES
from gfl import config
from gfl.data.seeding import SeededIndex, SeededSampler
from gfl.experiment import Experiment
from gfl.shapes import embedded

SPEC = embedded.ShapesSpec(image_size=64, train=10, val=1)
PROFILE = replace(GPU, dataset=SPEC, scale=(64, 64), schedule=replace(GPU.schedule, batch=4))

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more than there are cores
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]

Sample = tuple[bytes, ...]


@TRANSFORMS.register_module()
class DrawInPython(BaseTransform):
    """A transform that draws from Python's generator, as some do."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        results["flip_direction"] = random.random()  # packed with the image
        return results


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    embedded.write(SPEC, folder, workers=1)
    return folder


@pytest.fixture
def make_loader(root: Path) -> Iterator[Callable[..., DataLoader]]:
    """Build the profile's own loader, with more augmentation than it has."""

    def make(workers: int, seed: int = 0, persistent: bool = False, batch: int = 4) -> DataLoader:
        built = config.build(Experiment(), PROFILE, seed)
        here = config.for_machine(built, data_root=root, work_dir=root, workers=workers)
        loader = copy.deepcopy(here["train_dataloader"])
        loader["batch_size"], loader["persistent_workers"] = batch, persistent
        pipeline = loader["dataset"]["pipeline"]
        scales = {"type": "RandomChoiceResize", "scales": [(64, 64), (96, 96), (128, 128)]}
        colours = {"type": "PhotoMetricDistortion"}
        place = [step["type"] for step in pipeline].index("RandomFlip")
        pipeline[place + 1 : place + 1] = [scales, colours, {"type": "DrawInPython"}]
        return Runner.build_dataloader(loader, seed=seed)

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield make
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def epoch(loader: DataLoader, number: int) -> dict[int, Sample]:
    """Everything random about each image of an epoch, by the image's id, in order."""
    DistSamplerSeedHook().before_train_epoch(
        SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader), epoch=number)
    )
    samples: dict[int, Sample] = {}
    for batch in loader:
        for image, target in zip(batch["inputs"], batch["data_samples"], strict=True):
            boxes = target.gt_instances.bboxes.tensor.numpy().tobytes()
            python = str(target.flip_direction).encode()
            samples[target.img_id] = (image.numpy().tobytes(), boxes, python)
    return samples


@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, True), (4, False)])
def test_the_same_samples_for_any_number_of_loader_processes(make_loader, workers, persistent):
    alone, several = make_loader(0), make_loader(workers, persistent=persistent)
    for number in (0, 1):
        expected, found = epoch(alone, number), epoch(several, number)
        assert list(found) == list(expected)  # in the same order
        assert found == expected
    assert len(expected) == SPEC.train


def test_an_epoch_does_not_depend_on_those_before_it(make_loader):
    """A resumed run begins with it."""
    whole = make_loader(2, persistent=True)
    before = [epoch(whole, number) for number in range(3)]
    np.random.rand(5)  # noqa: NPY002  whatever else was drawn
    random.random()
    assert epoch(make_loader(2, persistent=True), 2) == before[2]


def test_epochs_and_seeds_differ_in_every_image_and_transform(make_loader):
    first, second = make_loader(0), make_loader(0, seed=1)
    draws = [epoch(first, 0), epoch(first, 1), epoch(second, 0)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for image in draws[0]:
            assert draws[one][image][0] != draws[other][image][0]
            assert draws[one][image][2] != draws[other][image][2]


@pytest.mark.parametrize("devices", [2, 4])
def test_each_image_is_the_same_on_any_number_of_devices(make_loader, monkeypatch, devices):
    expected = epoch(make_loader(0), 3)
    found: dict[int, Sample] = {}
    for rank in range(devices):
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "get_dist_info", lambda rank=rank: (rank, devices))
            found |= epoch(make_loader(0, batch=2), 3)
    assert found == expected


def test_the_flips_are_fair_and_those_of_neighbours_unrelated():
    seeding = TRANSFORMS.build({"type": "SeedAugmentation"})

    def flips(seed: int, number: int) -> np.ndarray:
        sampler = SeededSampler(range(2000), shuffle=False, seed=seed)
        sampler.set_epoch(number)
        drawn = []
        for index in sampler:
            seeding({"sample_idx": index})  # as mmengine's data sets hand it over
            drawn.append(np.random.rand() < 0.5)  # noqa: NPY002
        return np.array(drawn)

    states = np.random.get_state(), random.getstate()  # noqa: NPY002
    one, other_epoch, other_seed = flips(0, 0), flips(0, 1), flips(1, 0)
    np.random.set_state(states[0])  # noqa: NPY002
    random.setstate(states[1])
    # Of 2000 fair coins the mean's deviation is 0.011: five of them.
    pairs = (one[1:] == one[:-1], one == other_epoch, one == other_seed, other_epoch == other_seed)
    for coin in (one, *pairs):
        assert abs(coin.mean() - 0.5) < 0.056


def order(seed: int, epoch: int, size: int = 1000) -> list[int]:
    sampler = SeededSampler(range(size), seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_order_is_of_its_seed_and_epoch_alone():
    assert order(3, 2) == order(3, 2)
    assert sorted(order(3, 2)) == list(range(1000))
    drawn = [order(seed, epoch) for seed in range(4) for epoch in range(4)]
    for one, other in itertools.combinations(drawn, 2):
        # Two random orders agree in one place on average, and in ten once in ten million times.
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 10


@pytest.mark.parametrize(("size", "devices"), [(10, 1), (10, 2), (10, 4), (3, 8)])
@pytest.mark.parametrize("round_up", [True, False])
def test_devices_share_an_epoch_as_mmengines_do(monkeypatch, size, devices, round_up):
    for rank in range(devices):
        monkeypatch.setattr(sampling, "get_dist_info", lambda rank=rank: (rank, devices))
        ours, stock = (
            sampler(range(size), shuffle=False, seed=0, round_up=round_up)
            for sampler in (SeededSampler, sampling.DefaultSampler)
        )
        assert list(ours) == list(stock)


def test_an_index_survives_the_way_to_a_process():
    sampler = SeededSampler(range(10), seed=7)
    sampler.set_epoch(4)
    index = pickle.loads(pickle.dumps(list(sampler)))[3]
    assert isinstance(index, SeededIndex)
    assert (index.seed, index.epoch) == (7, 4)


def test_an_index_from_elsewhere_leaves_the_generators_alone():
    seeding = TRANSFORMS.build({"type": "SeedAugmentation"})
    before = pickle.dumps(np.random.get_state()), random.getstate()  # noqa: NPY002
    assert seeding({"sample_idx": 3}) == {"sample_idx": 3}
    assert pickle.dumps(np.random.get_state()) == before[0]  # noqa: NPY002
    assert random.getstate() == before[1]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_with_loader_processes_seed_each_image_before_anything_draws(profile):
    loader = config.build(Experiment(), profile, 0)["train_dataloader"]
    steps = [step["type"] for step in loader["dataset"]["pipeline"]]
    seeded = profile.device == "cuda"
    assert (loader["sampler"]["type"] == "SeededSampler") == seeded
    assert ("SeedAugmentation" in steps) == (steps[0] == "SeedAugmentation") == seeded
