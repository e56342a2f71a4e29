"""A checkout whose path has spaces, quotes and another script, and which nobody may change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.queue.worker import ROOT
from gfl.records.record import RunRecord

ODD = 'it\'s "mine" $HOME {{ fileDirname }} 数据 =1+1'
CODE = ("gfl", "experiments", "analysis", "benchmarks", "cli")
READ_ONLY = """\
mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" &&
cd "$1" && shift && exec "$@"
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, with the results that are here."""
    root = tmp_path_factory.mktemp("odd") / ODD
    for name in CODE:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "results").symlink_to(ROOT / "results")
    return root


@pytest.fixture(scope="module")
def read_only(checkout: Path) -> list[str]:
    """What a command begins with to find the checkout on a read-only disk."""
    for unshare in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        prefix = [*unshare, "sh", "-c", READ_ONLY, "sh", str(checkout)]
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    pytest.skip("this system lets nobody mount a folder read-only")


def call(
    checkout: Path, prefix: list[str], cache: Path, *words: object
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "cli", *map(str, words)],
        cwd=checkout,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def test_a_row_is_trained_from_it_into_folders_of_ones_own(
    checkout: Path, read_only: list[str], tmp_path: Path
) -> None:
    runs, results = tmp_path / f"runs {ODD}", tmp_path / f"results {ODD}"
    done = call(
        checkout, read_only, tmp_path, "run", "table-3/QFL", "--profile", "smoke", "--runs", runs,
        "--results", results,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = runs.glob("smoke/*/record.json")
    assert RunRecord.load(record).state == "finished"
    assert (results / "tables/smoke/table-3.local.md").is_file()
    (drawn,) = (tmp_path / "gfl-reproduction").glob("shapes-*")
    assert drawn.is_dir()
    assert not (checkout / "data").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("run", "table-3/QFL", "--profile", "smoke"), "runs/smoke: cannot write there"),
        (("table", "3", "--no-write"), ""),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_would_be_written_into_it_is_refused_in_one_line(
    checkout: Path, read_only: list[str], tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = call(checkout, read_only, tmp_path, *words)
    if not complaint:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
