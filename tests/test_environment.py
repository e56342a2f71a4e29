"""The pins agree wherever they are written, and what they pin can be imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINS: dict[str, str] = dict(
    line.split("==") for line in CONSTRAINTS.splitlines() if not line.startswith("#")
)
FRAMEWORK = {"torch", "torchvision", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection"}


def requirements(*groups: str) -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for group in groups for line in extras[group])]
    return [r for r in map(Requirement, lines) if r.name != PROJECT["name"]]


def exact(requirement: Requirement) -> str | None:
    match = re.fullmatch(r"==([^,*]+)", str(requirement.specifier))
    return match and match[1]


def test_the_project_pins_the_framework_as_the_constraints_do():
    pinned = {r.name: exact(r) for r in requirements() if r.name in FRAMEWORK}
    assert pinned == {name: PINS[name] for name in FRAMEWORK}


def test_conda_installs_the_same_pins_through_pip():
    text = (ROOT / "environment.yml").read_text()
    listed = [line.strip(" -") for line in text.splitlines() if "==" in line and " - " in line]
    pinned = {r.name: exact(r) for r in map(Requirement, listed)}
    assert pinned == {name: PINS[name] for name in FRAMEWORK}
    assert "- -c constraints.txt" in text
    for name, version in re.findall(r"^#.* (\S+)==(\S+)$", text, re.MULTILINE):
        assert PINS[name] == version


def test_every_requirement_has_an_exact_pin_that_it_accepts():
    for requirement in requirements("test", "dev", "notebooks"):
        pin = PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), requirement


def test_the_constraints_are_exact_versions_without_addresses():
    for line in CONSTRAINTS.splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
        assert "//" not in line
    names = [line.split("==")[0] for line in CONSTRAINTS.splitlines() if line[0] != "#"]
    assert names == sorted(set(names))


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != ROOT / ".venv",
    reason="the tests run in another environment than .venv",
)
def test_what_set_up_installed_is_what_is_pinned():
    # Of the environment alone: setuptools, once imported, adds what it vendors to sys.path.
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    found = metadata.distributions(path=folders)
    ours = {str(canonicalize_name(d.name)): d.version for d in found}
    # torch pins the first three itself; pip comes with Python, the project by its path.
    others = re.compile(r"nvidia-|cuda-|triton$|pip$|gfl-reproduction$")
    unpinned = {n for n in ours if n not in PINS and not others.match(n)}
    assert not unpinned
    different = {n: v for n, v in ours.items() if n in PINS and v.split("+")[0] != PINS[n]}
    assert not different


def test_the_framework_imports_under_its_own_names():
    code = "import cv2, mmcv, mmdet, mmengine, pycocotools.mask, torch, torchvision"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_import_gfl_is_silent_and_loads_nothing_heavy():
    code = (
        "import sys, json, gfl, gfl.errors;"
        "print(json.dumps(sorted(sys.modules.keys() & {'torch', 'mmdet', 'mmcv', 'mmengine'})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert (json.loads(done.stdout), done.stderr) == ([], "")
