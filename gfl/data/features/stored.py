"""A frozen network's features of the photographs: computed once, for both flips, and kept.

Every photograph stands at the left top of a canvas, the rest of which is padded as the network was
trained to see it; it is flipped before it is put there. Canvases have sides that every stride
divides and one of three shapes, wide, high and square; a batch's images share a canvas, so that
nothing depends on what else is in the batch. Features are rounded to float16, for images too that
are not kept here: what a detector is trained on is what it sees afterwards.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import mmdet
import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Float32
from mmdet.registry import MODELS
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from gfl.data import photos, weights
from gfl.data.features import frozen
from gfl.errors import UserError, disk_errors
from gfl.files import sha256, whole_folder
from gfl.syntax import meaning

DIVISOR = 32  # of a canvas's sides
SHORT = 0.8  # of a canvas's long side: 256 px of 320, which holds pictures of 4:3
INDEX, VALUES = "index.json", "features.f16"
FLIPS = (False, True)
ROUNDING = 1e-6  # relative, of a sum over all weights
ANEW = "delete it, and run the command again"
PREPARE = "prepare them: gfl photos COCO"
# Digests of the meaning of the code that makes features, as this process has loaded it.
CODE = tuple(
    hashlib.sha256(meaning(Path(path).read_text(encoding="utf-8")).encode()).hexdigest()
    for path in (__file__, frozen.__file__)
)

Features = tuple[Float[Tensor, "B C _ _"], ...]  # of each level
Progress = Callable[[int, int], None]
Reporter = Callable[[str], None]


def canvas(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the height and width of the canvas on which an image of at most ``size`` px stands."""
    long = divisible(size)
    short = divisible(math.floor(SHORT * size))
    if height <= short:
        return short, long
    return (long, short) if width <= short else (long, long)


def divisible(pixels: int) -> int:
    """Return the next multiple of every level's stride."""
    return -(-pixels // DIVISOR) * DIVISOR


@MODELS.register_module()
class FrozenBackbone(BaseModule):
    """A network of ``frozen`` as a detector's backbone: without weights in its checkpoints.

    Features that were kept pass through it as they are.

    Args:
        network: a key of ``frozen.NETWORKS``.
        weights: the SHA-256 of its weights, which stands in a run's configuration.
    """

    def __init__(self, network: str, weights: str, init_cfg: None = None) -> None:
        super().__init__(init_cfg)
        if weights != frozen.NETWORKS[network].sha256:
            expected = frozen.NETWORKS[network].sha256
            raise UserError(
                f"{network}: the run was trained on weights {weights[:8]}, and this code has "
                f"{expected[:8]}"
            )
        self.network = network

    def forward(self, inputs: Float[Tensor, "B 3 _ _"] | Features) -> Features:
        """Return features of images, or those that are given, in float32."""
        if not isinstance(inputs, Tensor):
            return tuple(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            return tuple(level.half().float() for level in features(self.network, inputs))


@torch.no_grad()
def features(network: str, images: Float32[Tensor, "B 3 _ _"]) -> Features:
    """Return a frozen network's features of normalised images, as they come."""
    return tuple(_network(network, str(images.device))(images))


@cache
def _network(name: str, device: str) -> nn.Module:
    """Build a frozen network of mmdet's and load its weights, strictly."""
    found = frozen.NETWORKS[name]
    network: Any = MODELS.build(found.backbone | {"_scope_": "mmdet"})
    names = network.state_dict().keys()
    network.load_state_dict(dict(zip(names, published(name), strict=True)))
    network.eval()  # mmdet's returns None
    network.requires_grad_(False)
    return network.to(device=device, memory_format=torch.channels_last)


def published(name: str, report: Reporter = lambda text: None) -> list[Tensor]:
    """Return the tensors of a network's published weights, in mmdet's order.

    Folding may round otherwise on another machine than on the reference's: that is said.

    Raises:
        UserError: they cannot be had, or the file has others.
    """
    path, network = frozen.weights(name), frozen.NETWORKS[name]
    try:
        state, source = weights.read(path).state, network.source
    except UserError as err:  # what a proxy answers, for one
        raise UserError(f"{err}; {ANEW}") from err
    tensors = list(state.values())
    if isinstance(source, frozen.Release):
        # The whole detector, or its backbone alone.
        own = [value for key, value in state.items() if key.startswith(source.prefix)]
        tensors = folded(own or tensors, source.eps)
    if (found := tensors_digest(tensors)) == network.sha256:
        return tensors
    if not math.isclose(magnitude(tensors), network.magnitude, rel_tol=ROUNDING):
        raise UserError(
            f"{path} is not {name}'s: the digest of its {len(tensors)} tensors is {found[:8]}, not "
            f"{network.sha256[:8]}; {ANEW}"
        )
    report(
        f"{path}: {name}'s weights, rounded otherwise than the reference's (digest {found[:8]}, "
        f"not {network.sha256[:8]}): results differ from the reference's as other seeds' do"
    )
    return tensors


def folded(tensors: list[Tensor], eps: float) -> list[Tensor]:
    """Return a network's tensors with every batch norm folded into the convolution before it.

    What is left of the norm adds a bias. Bit for bit as torch's ONNX exporter folds, so that the
    weights are the same from a checkpoint and from what was exported of it. Tensors that are folded
    already, or that are not of convolutions with their norms, stay as they are.
    """
    layers = list(zip(*[iter(tensors)] * 6, strict=False))
    if 6 * len(layers) != len(tensors) or any(
        layer[0].dim() != 4 or any(t.shape != layer[0].shape[:1] for t in layer[1:5])
        for layer in layers
    ):
        return tensors
    found = []
    for weight, gamma, beta, mean, variance, steps in layers:
        scale = gamma.float() / torch.sqrt(variance.float() + eps)
        found += [
            weight.float() * scale[:, None, None, None],
            torch.full_like(scale, math.sqrt(1 + eps)),
            beta.float() - mean.float() * scale,
            torch.zeros_like(scale),
            torch.ones_like(scale),
            torch.zeros_like(steps),
        ]
    return found


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 of tensors: of the type, the shape and the bytes of each, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def magnitude(tensors: Iterable[Tensor]) -> float:
    """Return the sum of the magnitudes of all numbers of tensors."""
    return math.fsum(float(tensor.double().abs().sum()) for tensor in tensors)


@dataclass(frozen=True)
class Kept:
    """The features of a prepared set, mapped: processes share what is in memory of them."""

    values: np.ndarray  # float16, all levels of all images one after the other
    places: dict[str, tuple[int, list[tuple[int, int, int]]]]  # of an image: where, and its levels

    def of(self, name: str, flipped: bool) -> list[np.ndarray]:
        """Return an image's features, float16 [H, W, C] of each level."""
        start, shapes = self.places[_key(name, flipped)]
        found = []
        for shape in shapes:
            end = start + math.prod(shape)
            found.append(self.values[start:end].reshape(shape))
            start = end
        return found


def _key(name: str, flipped: bool) -> str:
    return f"{name} flipped" if flipped else name


def folder(root: Path, network: str, size: int) -> Path:
    """Return where the features of a prepared set are: its name is that of what they are made of.

    That is the weights, the images, the code and what decodes and computes.
    """
    manifest = json.loads((root / photos.MANIFEST).read_text(encoding="utf-8"))
    made_of = [
        network,
        frozen.NETWORKS[network].sha256,
        manifest["images"],
        str(size),
        *CODE,
        *(module.__version__ for module in (cv2, mmdet, torch)),
    ]
    name = photos.text_digest("\n".join(made_of))
    return root / f"features-{network}-{name[:8]}"


def write(
    root: Path,
    network: str,
    size: int,
    progress: Progress = lambda done, total: None,
    report: Reporter = lambda text: None,
) -> Path:
    """Compute the features of a prepared set, unless they are there; return their folder.

    All of them or nothing, in the place of those of other code; one thread computes them, so that
    their bits depend on the processor alone. Images that validate are not flipped.

    Raises:
        UserError: a prepared image cannot be read, the weights cannot be had, or the disk is full
            or not to be written to.
    """
    into = folder(root, network, size)
    if _is_whole(into):
        return into
    with disk_errors(root), FileLock(root / ".features.lock"):
        if not _is_whole(into):
            # Its weights, before anything is written; one process fetches them.
            frozen.weights(network, report)
            made_of = tensors_digest(published(network, report))
            _network(network, "cpu")
            _clear(root, network)
            with whole_folder(into) as partial, _one_thread():
                _write(root, network, size, made_of, partial, progress)
    return into


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _is_whole(path: Path) -> bool:
    """Whether features are there and match their checksum, which takes a second or two."""
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        return sha256(path / VALUES) == index["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _clear(root: Path, network: str) -> None:
    """Delete features that other images, code or versions made, or a killed process half-made."""
    for pattern in (f"features-{network}-*", f".features-{network}-*.partial"):
        for path in root.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _write(
    root: Path, network: str, size: int, made_of: str, into: Path, progress: Progress
) -> None:
    tasks = []
    for split, flips in (("train", FLIPS), ("val", FLIPS[:1])):
        images = json.loads(photos.annotation_path(root, split).read_text(encoding="utf-8"))[
            "images"
        ]
        tasks += [(image["file_name"], flipped) for image in images for flipped in flips]
    places: dict[str, Any] = {}
    written, digest = 0, hashlib.sha256()
    with (into / VALUES).open("wb") as file:
        for done, (name, flipped) in enumerate(tasks):
            if done % 20 == 0:
                progress(done, len(tasks))
            levels = of_image(root / photos.SPLIT / name, network, size, flipped)
            places[_key(name, flipped)] = written, [level.shape for level in levels]
            for level in levels:
                file.write(content := level.tobytes())
                digest.update(content)
                written += level.size
        file.flush()
        os.fsync(file.fileno())
    index = {"sha256": digest.hexdigest(), "weights": made_of, "places": places}
    (into / INDEX).write_text(json.dumps(index), encoding="utf-8")


def of_image(path: Path, network: str, size: int, flipped: bool = False) -> list[np.ndarray]:
    """Return a prepared photograph's features, float16 [H, W, C] of each level.

    Raises:
        UserError: no image can be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f"{path}: not an image; delete {path.parents[1]} to prepare it anew")
    if flipped:
        image = image[:, ::-1]
    levels = features(network, on_canvas(image, network, size))
    return [level[0].half().permute(1, 2, 0).contiguous().numpy() for level in levels]


def on_canvas(image: np.ndarray, network: str, size: int) -> Float32[Tensor, "1 3 _ _"]:
    """Return an image (uint8 [H, W, 3], BGR) normalised, as a network wants it, on its canvas."""
    height, width = image.shape[:2]
    wants = frozen.NETWORKS[network]
    mean, std = (np.array(values, np.float32) for values in (wants.mean, wants.std))
    batch = np.full((1, *canvas(height, width, size), 3), wants.padding, np.float32)
    pixels = image[..., ::-1] if wants.rgb else image
    batch[0, :height, :width] = (pixels.astype(np.float32) - mean) / std
    return torch.from_numpy(batch).permute(0, 3, 1, 2)


def weights_of(root: Path, network: str, size: int) -> str:
    """Return the digest of the weights that a prepared set's features were computed with."""
    content = json.loads((folder(root, network, size) / INDEX).read_text(encoding="utf-8"))
    return content["weights"]


@cache
def kept(root: Path, network: str, size: int) -> Kept:
    """Map the features of a prepared set, computed if need be; once for each process.

    Raises:
        UserError: no set is prepared there, or its features cannot be computed.
    """
    try:
        path = folder(root, network, size)
    except FileNotFoundError as err:
        raise UserError(f"{root}: the photographs are not prepared; {PREPARE}") from err
    if not (path / INDEX).exists():  # mmdet's own tools do not ask for them before
        print_log("computing the backbone's features of the photographs, once", "current")
        write(root, network, size)
    places = json.loads((path / INDEX).read_text(encoding="utf-8"))["places"]
    values = np.memmap(path / VALUES, np.float16, "r")
    return Kept(values, {key: (start, shapes) for key, (start, shapes) in places.items()})
