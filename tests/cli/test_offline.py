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
DRAWN = "from gfl.training import worker; from pathlib import Path; worker.EMBEDDED = Path({0!r})"
MAIN = "import sys; {0}; from cli.main import main; sys.exit(main({1!r}))"


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


def call(offline: list[str], tmp_path: Path, *words: str) -> str:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    code = MAIN.format(DRAWN.format(str(tmp_path / "data")), [*words, *folders])
    command = [*offline, sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
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
    assert "finished" in call(offline, tmp_path, "run", "table-3/none", "--profile", "smoke")
    (record,) = (tmp_path / "runs/smoke").glob("*/record.json")
    assert '"finished"' in record.read_text()


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (("figure", "2a"), "figures/laptop/fig2a.png"),
        (("table", "3"), "tables/laptop/table-3.md"),
        (("audit", "beta-2-best"), None),
        (("report", "--profile", "photos"), "report/photos.html"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_made_of_the_reference_asks_nobody(
    offline: list[str], tmp_path: Path, words: tuple[str, ...], written: str | None
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for part in (ROOT / "results").iterdir():
        if written is None or part.name != Path(written).parts[0]:
            (results / part.name).symlink_to(part)
    out = call(offline, tmp_path, *words)
    if written is None:
        assert "beta" in out
    else:
        assert (results / written).read_bytes() == (ROOT / "results" / written).read_bytes()
