"""A user whom the system does not know, as of ``docker run --user 12345``, can do everything."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import own_folder
import pytest

from experiments.queue.worker import ROOT
from gfl.records import account

# Raises as the system does for an id that it has no name for.
UNKNOWN = """\
import pwd
def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
"""
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's user has no name and no home; the folder where temporary files go."""

    def getpwuid(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_name_home_and_folders_are_given_where_they_lack(unknown: Path) -> None:
    account.complete()
    own = unknown / f"gfl-{os.getuid()}"
    assert os.environ["LOGNAME"] == f"uid-{os.getuid()}"
    assert os.environ["HOME"] == str(own)
    assert own.stat().st_mode & 0o777 == 0o700
    assert not set(account.FOLDERS) & set(os.environ)  # libraries have them in the home


def test_a_home_that_cannot_be_written_stays_and_folders_are_elsewhere(unknown: Path) -> None:
    kept = {"HOME": str(unknown / "nowhere"), "USER": "ada", "MPLCONFIGDIR": "theirs"}
    os.environ.update(kept)
    account.complete()
    assert {name: os.environ[name] for name in kept} == kept
    assert "LOGNAME" not in os.environ
    for name in set(account.FOLDERS) - set(kept):
        assert Path(os.environ[name]).is_dir()
        assert Path(os.environ[name]).is_relative_to(unknown / f"gfl-{os.getuid()}")


def test_nothing_is_given_to_a_user_who_has_it_all(unknown: Path) -> None:
    os.environ.update(HOME=str(unknown), USER="ada")
    before = dict(os.environ)
    account.complete()
    assert os.environ == before
    assert list(unknown.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "open to all", "file"])
def test_a_folder_that_others_may_have_made_is_not_taken(unknown: Path, kind: str) -> None:
    own, elsewhere = unknown / f"gfl-{os.getuid()}", unknown / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        own.symlink_to(elsewhere)
    elif kind == "file":
        own.touch()
    else:
        own.mkdir()
        own.chmod(0o777)
    account.complete()
    home = Path(os.environ["HOME"])
    assert home.is_dir()
    assert home not in (own, elsewhere)
    assert home.parent == unknown


def test_a_system_where_nothing_can_be_written_is_left_as_it_is(
    unknown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    account.complete()
    assert "HOME" not in os.environ


def call(command: Sequence[object], home: str, prefix: Sequence[str] = ()) -> str:
    """Run a Python command of the project without a name and, but for its home, without folders.

    Returns what it says on stderr.
    """
    kept = {k: v for k, v in os.environ.items() if k not in (*NAMES, *account.FOLDERS)}
    environment = {**kept, "HOME": home, "OMP_NUM_THREADS": "1"}
    words = [*prefix, sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "command", [["-c", "import gfl.register"], ["-m", "cli", "figure", "5a", "--out", "OUT"]]
)
def test_commands_run_without_a_name_and_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(UNKNOWN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    (tmp_path / "home").touch()  # in which not even root can make a folder
    assert call(words, str(tmp_path / "home")) == ""  # as matplotlib would, without its folder


# As such a user, who may read all files (so that the interpreter may lie in root's home) and write
# none but their own.
NOBODY = [
    "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]  # fmt: skip


def test_own_data_are_trained_on_and_drawn_as_a_user_whom_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("setpriv") is None or subprocess.run([*NOBODY, "true"]).returncode:
        pytest.skip("setpriv cannot become another user: it takes root's rights")
    data, out = own_folder.write(tmp_path / "parts"), tmp_path / "theirs"
    out.mkdir()
    os.chown(out, 12345, 12345)
    monkeypatch.setenv("TMPDIR", str(out))
    train = ("--out", out / "run", "--device", "cpu", "--epochs", 1, "--size", 64, "--batch", 3)
    call(["-m", "cli", "own", data, *train], "/", NOBODY)
    picture = data / "val2017" / "val_0.png"
    drawn = ("--run", out / "run", picture, "--out", out / "drawn")
    call(["-m", "cli", "detect", *drawn], "/", NOBODY)
    assert (out / "drawn" / "val_0.boxes.png").is_file()
