"""Without any network a row is trained, and all is made of the reference: nothing asks for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.queue.worker import ROOT

# In every process of a command: whoever looks up a name or connects to an address is written down,
# for an attempt that fails may be waited for and forgotten.
GUARD = """\
import os, sys
def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto") or (
        event == "socket.connect" and not isinstance(args[1], (str, bytes))  # a path is local
    ):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {args[1:] if event == 'socket.connect' else args}\\n")
        raise OSError(101, "Network is unreachable")
sys.addaudithook(watch)
"""
# Calls commands one after the other: importing what they need takes longer than most of them.
MAIN = """\
import sys
from pathlib import Path
from gfl.training import worker
worker.EMBEDDED = Path({0!r})
from cli.main import main
for words in {1!r}:
    print("$", *words, flush=True)
    if code := main(words):
        sys.exit(code)
"""


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a command begins with to run in a namespace without network, where that is allowed."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'guard'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("ATTEMPTS", str(tmp_path / "attempts"))
    for prefix in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    return []  # the guard alone


def call(offline: list[str], tmp_path: Path, *commands: list[str]) -> str:
    code = MAIN.format(str(tmp_path / "data"), commands)
    done = subprocess.run(
        [*offline, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    attempts = tmp_path / "attempts"
    assert not attempts.exists(), attempts.read_text()
    return done.stdout


def test_the_guard_sees_who_asks(offline: list[str], tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://example.org')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 1
    assert "example.org" in (tmp_path / "attempts").read_text()


def test_a_row_is_trained_and_its_table_printed(offline: list[str], tmp_path: Path) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    out = call(offline, tmp_path, ["run", "table-3/none", "--profile", "smoke", *folders])
    assert "finished" in out
    (record,) = (tmp_path / "runs/smoke").glob("*/record.json")
    assert '"finished"' in record.read_text()


def test_what_is_made_of_the_reference_asks_nobody(offline: list[str], tmp_path: Path) -> None:
    """What is written has the committed bytes, too."""
    commands = {
        ("figure", "2a"): "figures/laptop/fig2a.png",
        ("table", "3"): "tables/laptop/table-3.md",
        ("audit", "beta-2-best"): None,
        ("report", "--profile", "photos"): "report/photos.html",
    }
    called = []
    for words, written in commands.items():
        results = tmp_path / words[0] / "results"
        results.mkdir(parents=True)
        for part in (ROOT / "results").iterdir():
            if written is None or part.name != Path(written).parts[0]:
                (results / part.name).symlink_to(part)
        called.append([*words, "--runs", str(tmp_path / "runs"), "--results", str(results)])
    printed = call(offline, tmp_path, *called).split("\n$ ")
    assert len(printed) == len(commands)
    (audited,) = (part for part in printed if part.startswith("audit"))
    assert "beta" in audited.partition("\n")[2]
    for words, written in commands.items():
        if written is not None:
            made = tmp_path / words[0] / "results" / written
            assert made.read_bytes() == (ROOT / "results" / written).read_bytes(), words
