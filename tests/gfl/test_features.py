"""Kept features are what the frozen backbone makes of the images, batch by batch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401  before mmdet

# isort: split
import numpy as np
import torch
from coco_folder import SPEC
from coco_folder import write as write_coco
from mmdet.models.backbones import MobileNetV2
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, DefaultSampler, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from experiments.profiles import PHOTOS
from gfl import config, frozen
from gfl.config.detector import PREPROCESSOR
from gfl.data import features, photos
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile

NETWORK = "mobilenet-v2"
HOSTS = ("atss", "fcos", "retinanet", "foveabox", "ssd512")
TINY = replace(
    PHOTOS,
    photos=SPEC,
    scale=(SPEC.size, SPEC.size),
    schedule=replace(PHOTOS.schedule, batch=2, epochs=1),
    eval_batch=2,
)


@pytest.fixture(scope="module")
def network() -> MobileNetV2:
    """mmdet's network with weights and statistics drawn at random."""
    torch.manual_seed(0)
    made = MobileNetV2(out_indices=(1, 2, 4, 6))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    made.eval()
    return made


@pytest.fixture(scope="module", autouse=True)
def weights(network: MobileNetV2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """These, in the file of the published ones, under their names."""
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save({f"features.{k}": v for k, v in network.state_dict().items()}, path)
    features._network.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "weights", lambda name: path)
        yield
    features._network.cache_clear()


@pytest.fixture(scope="module")
def root(weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set with its features."""
    folder = tmp_path_factory.mktemp("photos")
    prepared = photos.write(SPEC, write_coco(folder / "coco"), folder / "set")
    features.write(prepared.root, NETWORK, SPEC.size)
    return prepared.root


def settings(profile: Profile = TINY, **factors: Any) -> dict[str, Any]:
    return config.build(Experiment(**factors), profile, 0)


def dataset(root: Path, split: str, **changes: Any) -> Any:
    wanted = settings()[f"{split}_dataloader"]["dataset"] | {"data_root": str(root)} | changes
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(Config(wanted))


def always(flip: bool) -> list[dict[str, Any]]:
    """The pipeline of training, with every image flipped or none."""
    steps = settings()["train_dataloader"]["dataset"]["pipeline"]
    return [s | {"prob": float(flip)} if s["type"] == "RandomFlip" else s for s in steps]


def stock(path: str, boxes: np.ndarray, flip: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """An image as mmdet itself loads, flips and normalises it, and its boxes."""
    from mmdet.structures.bbox import HorizontalBoxes

    with DefaultScope.overwrite_default_scope("mmdet"):
        steps = Compose([
            {"type": "LoadImageFromFile"},
            {"type": "RandomFlip", "prob": float(flip)},
            {"type": "PackDetInputs", "meta_keys": ("img_shape",)},
        ])  # fmt: skip
        packed: Any = steps({"img_path": path, "gt_bboxes": HorizontalBoxes(boxes)})
        data = MODELS.build(PREPROCESSOR)(pseudo_collate([packed]))
    return data["inputs"], data["data_samples"][0].gt_instances.bboxes


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((240, 320), (256, 320)),
        ((256, 320), (256, 320)),
        ((257, 320), (320, 320)),
        ((320, 214), (320, 256)),
        ((320, 320), (320, 320)),
        ((200, 240), (256, 320)),
    ],
)
def test_a_canvas_holds_its_image_and_every_stride_divides_it(
    image: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert features.canvas(*image, 320) == expected


@pytest.mark.parametrize("flip", [False, True])
def test_kept_features_are_the_networks_of_the_image_as_mmdet_loads_flips_and_pads_it(
    root: Path, network: MobileNetV2, flip: bool
) -> None:
    data = dataset(root, "train", pipeline=always(flip))
    assert len(data) == SPEC.train
    shapes = set()
    for item in (data[i] for i in range(len(data))):
        meta = item["data_samples"].metainfo
        height, width = meta["batch_input_shape"]
        shapes.add((height, width))
        image, _ = stock(meta["img_path"], np.zeros((0, 4)), flip)
        assert image.shape[-2:] == meta["pad_shape"]
        canvas = torch.nn.functional.pad(
            image, (0, width - image.shape[-1], 0, height - image.shape[-2])
        )
        with torch.no_grad():
            expected = network(canvas)
        for kept, level, stride in zip(item["inputs"], expected, (4, 8, 16, 32), strict=True):
            assert kept.shape == (height // stride, width // stride, level.shape[1])
            torch.testing.assert_close(
                kept.float(), level[0].permute(1, 2, 0), rtol=2**-10, atol=1e-4
            )
    assert len(shapes) > 1


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_are_scaled_and_flipped_with_their_image(root: Path, flip: bool) -> None:
    data = dataset(root, "train", pipeline=always(flip))
    for index in range(len(data)):
        info, sample = data.get_data_info(index), data[index]["data_samples"]
        height, width = sample.img_shape
        assert (width, height) == photos.prepared_size(info["width"], info["height"], SPEC.size)
        scale = np.array([width / info["width"], height / info["height"]] * 2)
        real = [one["bbox"] for one in info["instances"] if not one["ignore_flag"]]
        boxes = np.array(real).reshape(-1, 4) * scale
        _, expected = stock(sample.img_path, boxes.clip(0, [width, height] * 2), flip)
        torch.testing.assert_close(sample.gt_instances.bboxes.tensor, expected.float())
        assert sample.get("flip") == flip


def test_detections_are_in_pixels_of_the_original(root: Path) -> None:
    data = dataset(root, "val")
    for index in range(len(data)):
        info, sample = data.get_data_info(index), data[index]["data_samples"]
        height, width = sample.img_shape
        assert sample.ori_shape == (info["height"], info["width"])
        np.testing.assert_allclose(
            np.array(sample.scale_factor) * [info["width"], info["height"]], [width, height]
        )
        real = [one["bbox"] for one in info["instances"] if not one["ignore_flag"]]
        np.testing.assert_allclose(
            sample.gt_instances.bboxes.tensor.numpy(), np.array(real).reshape(-1, 4), rtol=1e-6
        )


def test_a_batchs_images_share_a_canvas_and_each_comes_once(root: Path) -> None:
    from gfl.data.loading_features import CanvasBatchSampler

    data = dataset(root, "train")
    sampler = CanvasBatchSampler(DefaultSampler(data, shuffle=True, seed=1), 2, SPEC.size)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(data)))
    assert list(sampler) == batches
    for batch in batches:
        shapes = {data[i]["data_samples"].batch_input_shape for i in batch}
        assert len(shapes) == 1
        assert len(batch) <= 2


def test_a_loaders_batch_is_the_levels_of_its_images(root: Path) -> None:
    wanted = settings()["val_dataloader"] | {"num_workers": 0}
    wanted["dataset"]["data_root"] = str(root)
    with DefaultScope.overwrite_default_scope("mmdet"):
        batch: Any = next(iter(Runner.build_dataloader(wanted)))
        data = MODELS.build(settings()["model"]["data_preprocessor"])(batch)
    data_of = dataset(root, "val")
    at = {data_of[i]["data_samples"].img_id: data_of[i]["inputs"] for i in range(len(data_of))}
    for position, sample in enumerate(data["data_samples"]):
        for level, kept in zip(data["inputs"], at[sample.img_id], strict=True):
            assert level.dtype == torch.float32
            assert level.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(level[position], kept.permute(2, 0, 1).float())


def test_a_picture_is_seen_as_the_photograph_whose_features_are_kept(root: Path) -> None:
    """What detects in a person's own pictures computes what evaluation had read from the cache."""
    import cv2

    from gfl.config.data import of_pictures

    val = settings()["val_dataloader"]["dataset"]["pipeline"]
    item = dataset(root, "val")[0]
    meta = item["data_samples"].metainfo
    with DefaultScope.overwrite_default_scope("mmdet"):
        model: Any = MODELS.build(settings()["model"])
        image = cv2.imread(meta["img_path"])
        picture: Any = Compose(of_pictures(val))({
            "img": image, "img_id": 0, "img_path": "x", "img_shape": image.shape[:2],
            "ori_shape": image.shape[:2],
        })  # fmt: skip
    data = model.data_preprocessor(pseudo_collate([picture]))
    kept = model.data_preprocessor(pseudo_collate([item]))
    assert data["data_samples"][0].pad_shape == meta["pad_shape"]
    assert data["data_samples"][0].batch_input_shape == meta["batch_input_shape"]
    for one, other in zip(
        model.backbone(data["inputs"]), model.backbone(kept["inputs"]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_features_are_named_by_what_they_are_made_of(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = features.folder(root, NETWORK, SPEC.size)
    network = frozen.NETWORKS[NETWORK]
    monkeypatch.setitem(frozen.NETWORKS, NETWORK, replace(network, sha256="0" * 64))
    assert features.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    manifest = json.loads((root / photos.MANIFEST).read_text())
    monkeypatch.setattr(features.json, "loads", lambda text: manifest | {"images": "0" * 64})
    assert features.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    monkeypatch.setattr(features, "sha256", lambda path: "0" * 64)  # of the code
    assert features.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    assert features.folder(root, NETWORK, SPEC.size) == before


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_features_are_computed_again(root: Path, damage: str) -> None:
    path = features.write(root, NETWORK, SPEC.size) / features.VALUES
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] if damage == "cut" else whole[:-2] + b"\0\0")
    assert path.read_bytes() != whole
    features.write(root, NETWORK, SPEC.size)
    assert path.read_bytes() == whole


def test_features_of_other_code_make_room_for_todays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = features.write(root, NETWORK, SPEC.size)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0")
        other = features.write(root, NETWORK, SPEC.size)
        assert other != today
        assert (other / features.INDEX).exists()
        assert not today.exists()
    assert features.write(root, NETWORK, SPEC.size) == today
    assert not other.exists()


@pytest.mark.parametrize("quality", ["none", "joint"])
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_learns_from_the_same_features(root: Path, host: str, quality: str) -> None:
    """Neck and head learn; the backbone has nothing to learn, and nothing in a checkpoint."""
    wanted = settings(host=host, quality=quality)
    loader = wanted["train_dataloader"] | {"num_workers": 0}
    loader["dataset"]["data_root"] = str(root)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model: Any = MODELS.build(Config(wanted["model"]))
        model.init_weights()
        batches: Any = list(Runner.build_dataloader(loader))
    assert not [name for name in model.state_dict() if name.startswith("backbone")]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(6):
        summed = 0.0
        for batch in batches:
            data = model.data_preprocessor(batch, True)
            losses = model(**data, mode="loss")
            total, _ = model.parse_losses(losses)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            summed += total.item()
        totals.append(summed)
    assert all(parameter.grad is not None for parameter in model.neck.parameters())
    assert math.isfinite(totals[-1])
    if quality == "none":  # QFL's labels rise as boxes get better, and its loss with them
        assert totals[-1] < totals[0]


def test_the_configuration_names_weights_and_data_and_no_path() -> None:
    wanted = json.dumps(config.build(Experiment(), PHOTOS, 0))
    spec = PHOTOS.photos
    assert spec is not None
    for part in (frozen.NETWORKS[NETWORK].sha256, spec.images, spec.boxes, NETWORK):
        assert part in wanted
    assert ".pt" not in wanted
    assert "features-" not in wanted


def test_other_weights_than_a_configurations_are_refused() -> None:
    with pytest.raises(UserError, match="mobilenet-v2 with the weights abcdef01"):
        features.FrozenBackbone(NETWORK, "abcdef01" * 8)
