"""Kept features are what the frozen backbone makes of the images, batch by batch."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from frozen_network import digest, drawn, published
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose, DefaultSampler, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from experiments.profiles import PHOTOS
from experiments.queue import estimates
from gfl import config
from gfl.data import photos
from gfl.data.features import frozen, stored
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile
from gfl.syntax import meaning

NETWORK = PHOTOS.model.frozen or ""
OF_YOLOX = frozen.NETWORKS["yolox-nano"]  # with the digest of the real weights
HOSTS = ("atss", "fcos", "retinanet", "foveabox", "ssd512")
TINY = replace(
    PHOTOS,
    photos=SPEC,
    scale=(SPEC.size, SPEC.size),
    schedule=replace(PHOTOS.schedule, batch=2, epochs=1),
    eval_batch=2,
)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """The profile's network of mmdet's, with weights drawn at random."""
    return drawn(NETWORK)


@pytest.fixture(scope="module", autouse=True)
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """These, in the file of the published ones, as that is laid out."""
    with published(NETWORK, network, tmp_path_factory.mktemp("weights")):
        yield


@pytest.fixture(scope="module")
def root(weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set with its features."""
    folder = tmp_path_factory.mktemp("photos")
    prepared = photos.write(SPEC, write_coco(folder / "coco"), folder / "set")
    stored.write(prepared.root, NETWORK, SPEC.size)
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


def stock_preprocessor(network: str) -> Any:
    """mmdet's own, as its configurations for this network have it."""
    wants = frozen.NETWORKS[network]
    return MODELS.build({
        "type": "mmdet.DetDataPreprocessor", "mean": wants.mean, "std": wants.std,
        "bgr_to_rgb": wants.rgb, "pad_size_divisor": 32, "pad_value": wants.padding,
    })  # fmt: skip


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
        data = stock_preprocessor(NETWORK)(pseudo_collate([packed]))
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
    assert stored.canvas(*image, 320) == expected


@pytest.mark.parametrize("flip", [False, True])
def test_kept_features_are_the_networks_of_the_image_as_mmdet_loads_flips_and_pads_it(
    root: Path, network: torch.nn.Module, flip: bool
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
            image,
            (0, width - image.shape[-1], 0, height - image.shape[-2]),
            value=frozen.NETWORKS[NETWORK].padding,
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
    from gfl.data.features.loading import CanvasBatchSampler

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
    before = stored.folder(root, NETWORK, SPEC.size)
    network = frozen.NETWORKS[NETWORK]
    monkeypatch.setitem(frozen.NETWORKS, NETWORK, replace(network, sha256="0" * 64))
    assert stored.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    manifest = json.loads((root / photos.MANIFEST).read_text())
    monkeypatch.setattr(stored.json, "loads", lambda text: manifest | {"images": "0" * 64})
    assert stored.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    monkeypatch.setattr(stored, "CODE", ("0" * 64,))
    assert stored.folder(root, NETWORK, SPEC.size) != before
    monkeypatch.undo()
    assert stored.folder(root, NETWORK, SPEC.size) == before


def test_a_remark_in_the_code_leaves_kept_features_valid() -> None:
    for path, digest_of_code in zip((stored.__file__, frozen.__file__), stored.CODE, strict=True):
        source = Path(path).read_text(encoding="utf-8") + "# a remark\n"
        assert hashlib.sha256(meaning(source).encode()).hexdigest() == digest_of_code


def test_the_disk_that_features_take_is_known_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = stored.write(root, NETWORK, SPEC.size)
    monkeypatch.setattr(estimates, "photos_root", lambda spec: root)
    assert estimates.data_bytes(TINY) == 0
    size = (into / stored.VALUES).stat().st_size
    shutil.rmtree(into)
    assert estimates.data_bytes(TINY) == pytest.approx(size, rel=0.2)
    stored.write(root, NETWORK, SPEC.size)
    monkeypatch.setattr(estimates, "photos_root", lambda spec: root / "none")
    prepared = estimates.PHOTOGRAPH * (SPEC.train + SPEC.val)
    assert estimates.data_bytes(TINY) == pytest.approx(size + prepared, rel=0.2)


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_features_are_computed_again(root: Path, damage: str) -> None:
    path = stored.write(root, NETWORK, SPEC.size) / stored.VALUES
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] if damage == "cut" else whole[:-2] + b"\0\0")
    assert path.read_bytes() != whole
    stored.write(root, NETWORK, SPEC.size)
    assert path.read_bytes() == whole


def test_two_processes_that_begin_at_once_compute_them_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds none, and one waits for the other; threads stand for processes."""
    into = stored.write(root, NETWORK, SPEC.size)
    whole = (into / stored.VALUES).read_bytes()
    (into / stored.INDEX).unlink()
    both = threading.Barrier(2)
    looked = threading.local()
    is_whole, write = stored._is_whole, stored._write
    began: list[Path] = []

    def first_together(path: Path) -> bool:
        found = is_whole(path)
        if not hasattr(looked, "once"):
            looked.once = both.wait(30)
        return found

    def counted(*given: Any) -> None:
        began.append(into)
        write(*given)

    monkeypatch.setattr(stored, "_is_whole", first_together)
    monkeypatch.setattr(stored, "_write", counted)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: stored.write(root, NETWORK, SPEC.size), range(2)))
    assert found == [into, into]
    assert len(began) == 1
    assert (into / stored.VALUES).read_bytes() == whole


def test_a_full_disk_is_said_and_leaves_nothing_half_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = stored.write(root, NETWORK, SPEC.size)
    (into / stored.INDEX).unlink()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(stored.os, "fsync", full)
        with pytest.raises(UserError, match=f"^{root}: the disk is full; free some space"):
            stored.write(root, NETWORK, SPEC.size)
    assert not list(root.glob("*features-*"))
    assert stored.write(root, NETWORK, SPEC.size) == into


def test_who_reads_features_that_are_not_there_computes_them(root: Path) -> None:
    """mmdet's own tools, which do not know that there is something to compute."""
    into = stored.write(root, NETWORK, SPEC.size)
    before = (into / stored.VALUES).read_bytes()
    stored.kept.cache_clear()
    (into / stored.INDEX).unlink()
    assert stored.kept(root, NETWORK, SPEC.size).values.tobytes() == before
    with pytest.raises(UserError, match="are not prepared; prepare them: gfl photos"):
        stored.kept(root / "nowhere", NETWORK, SPEC.size)


def test_features_of_other_code_make_room_for_todays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = stored.write(root, NETWORK, SPEC.size)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0")
        other = stored.write(root, NETWORK, SPEC.size)
        assert other != today
        assert (other / stored.INDEX).exists()
        assert not today.exists()
    assert stored.write(root, NETWORK, SPEC.size) == today
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
        assert part
        assert part in wanted
    assert ".pt" not in wanted
    assert "features-" not in wanted


@pytest.mark.parametrize("name", frozen.NETWORKS)
def test_a_canvas_is_what_mmdets_own_preprocessor_makes(name: str) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (90, 130, 3), dtype=np.uint8)
    found = stored.on_canvas(image, name, SPEC.size)
    height, width = stored.canvas(90, 130, SPEC.size)
    # Beside an image of the canvas's size, to which mmdet pads the other.
    images = [torch.from_numpy(image).permute(2, 0, 1), torch.zeros(3, height, width).byte()]
    samples = [DetDataSample(metainfo={"img_shape": each.shape[1:]}) for each in images]
    expected = stock_preprocessor(name)({"inputs": images, "data_samples": samples})["inputs"][:1]
    assert found.shape == (1, 3, height, width)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", frozen.NETWORKS)
def test_every_network_has_the_outputs_that_its_record_says(name: str) -> None:
    wants = frozen.NETWORKS[name]
    with torch.no_grad():
        levels = drawn(name)(torch.zeros(1, 3, 64, 96))
    strides = [2 ** (wants.first_level + i) for i in range(len(wants.channels))]
    assert [level.shape[1] for level in levels] == list(wants.channels)
    assert [level.shape[2:] for level in levels] == [(64 // s, 96 // s) for s in strides]


def test_a_frozen_backbone_computes_in_float32_whatever_is_around_it() -> None:
    backbone = stored.FrozenBackbone(NETWORK, frozen.NETWORKS[NETWORK].sha256)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = backbone(image)
    for one, other in zip(found, backbone(image), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_yolox_and_mmdet_name_the_same_tensors_and_other_ones_are_refused(tmp_path: Path) -> None:
    name = "yolox-nano"
    source = frozen.NETWORKS[name].source
    assert isinstance(source, frozen.Release)
    network = drawn(name)
    expected = stored.folded(list(network.state_dict().values()), source.eps)
    with published(name, network, tmp_path) as path:
        of_release = stored.published(name)
        torch.save({"state_dict": network.state_dict()}, path)  # the backbone alone
        of_backbone = stored.published(name)
        torch.save(dict(zip(network.state_dict(), expected, strict=True)), path)
        of_folded = stored.published(name)
        for found in (of_release, of_backbone, of_folded):
            assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        for other in (drawn(name, seed=1).state_dict(), {"weight": torch.ones(2, 3)}):
            torch.save(other, path)
            with pytest.raises(UserError) as told:
                stored.published(name)
            assert str(told.value).startswith(f"{path} is not yolox-nano's: the digest of its ")
            assert digest(name, other)[:8] in str(told.value)
            assert "\n" not in str(told.value)


def test_weights_that_are_rounded_otherwise_are_taken_and_named(tmp_path: Path) -> None:
    name, said = "yolox-nano", []
    network = drawn(name)
    with published(name, network, tmp_path) as path:
        state = network.state_dict()
        first = next(iter(state))
        state[first] = state[first].nextafter(torch.tensor(2.0))  # the last bit of each
        torch.save(state, path)
        found = stored.published(name, said.append)
    assert len(found) == len(state)
    (line,) = said
    assert digest(name, state)[:8] in line
    assert "rounded otherwise than the reference's" in line


def test_a_file_that_is_no_checkpoint_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with published(NETWORK, drawn(NETWORK), tmp_path) as path:
        path.write_text("<html>Sign in</html>")
        with pytest.raises(UserError, match=f"^{path}: not a PyTorch checkpoint.*; delete it"):
            stored.published(NETWORK)


def test_batch_norms_are_folded_as_torchs_exporter_folds_them() -> None:
    """To the bit, and a network that is folded stays as it is."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(12, 16, 3, bias=False),
        torch.nn.BatchNorm2d(16, eps=1e-3),
        torch.nn.Conv2d(16, 16, 3, groups=16, bias=False),
        torch.nn.BatchNorm2d(16, eps=1e-3),
    )
    for norm in (layers[1], layers[3]):
        assert isinstance(norm, torch.nn.BatchNorm2d)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.01, 50)
    layers.eval()
    found = stored.folded(list(layers.state_dict().values()), 1e-3)
    image = torch.randn(1, 12, 9, 9)
    exported_graph = getattr(torch.onnx.utils, "_model_to_graph", None)
    if exported_graph is None:
        pytest.skip("this torch has the exporter no more that YOLOX's weights were folded by")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, exported, _ = exported_graph(layers, (image,))
    assert len(exported) == 4
    for tensor in exported.values():
        assert any(torch.equal(tensor, each) for each in found)
    again = stored.folded(found, 1e-3)
    assert all(torch.equal(*pair) for pair in zip(found, again, strict=True))
    with torch.no_grad():
        expected = layers(image)
        layers.load_state_dict(dict(zip(layers.state_dict(), found, strict=True)))
        torch.testing.assert_close(layers(image), expected, rtol=1e-5, atol=1e-5)


def test_the_networks_weights_are_those_of_the_real_file(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared / "weights/yolox_nano_cspdarknet_mmdet.pth"
    if not path.is_file():
        pytest.skip(f"{path} is not there: YOLOX-nano's weights")
    monkeypatch.setattr(frozen, "weights", lambda name: path)
    monkeypatch.setitem(frozen.NETWORKS, "yolox-nano", OF_YOLOX)
    network: Any = MODELS.build(OF_YOLOX.backbone | {"_scope_": "mmdet"})
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert list(state) == list(network.state_dict())
    found = stored.published("yolox-nano")
    assert all(torch.equal(*pair) for pair in zip(found, state.values(), strict=True))


def test_other_weights_than_a_configurations_are_refused() -> None:
    with pytest.raises(UserError, match=f"{NETWORK}: the run was trained on weights abcdef01"):
        stored.FrozenBackbone(NETWORK, "abcdef01" * 8)
