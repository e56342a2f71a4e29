"""Every command's terminal: any encoding, control characters, a pipe that is closed early."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gfl import terminal

ROOT = Path(__file__).parents[2]
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = "β=2 ±0.1 — ΔAP ✓ ü 螺 🔩"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], io.BytesIO]:
    """Give standard output an encoding; return the bytes that reach it."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def give(encoding: str) -> io.BytesIO:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        terminal.prepare()
        return raw

    return give


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "beta=2 +-0.1 - Delta AP yes \\xfc \\u87ba \\U0001f529"),
        ("latin-1", "beta=2 ±0.1 - Delta AP yes ü \\u87ba \\U0001f529"),
        ("utf-8", TEXT),
    ],
)
def test_what_an_encoding_lacks_is_legible(
    screen: Callable[[str], io.BytesIO], encoding: str, shown: str
) -> None:
    raw = screen(encoding)
    terminal.say(TEXT)
    assert raw.getvalue().decode(encoding) == shown + "\n"
    assert terminal.legible(TEXT) == shown


def test_all_that_tables_and_claims_print_is_legible_in_ascii(
    screen: Callable[[str], io.BytesIO],
) -> None:
    raw = screen("ascii")
    for path in sorted((ROOT / "results").rglob("*.md")):
        terminal.say("".join(sorted(set(path.read_text(encoding="utf-8")) - {"\\"})))
    assert b"\\" not in raw.getvalue().replace(b"\\n", b"")


def test_control_characters_are_spelt_and_lines_stay(screen: Callable[[str], io.BytesIO]) -> None:
    raw = screen("utf-8")
    terminal.say("a\x1b[2Jb\nc\rd", "\ud83d")
    assert raw.getvalue().decode() == "a\\x1b[2Jb\nc\\rd \\ud83d\n"


def test_a_console_takes_brackets_and_colons_for_text(screen: Callable[[str], io.BytesIO]) -> None:
    raw = screen("utf-8")
    terminal.console(width=80).print("[red]nut[/] :smile: 12")
    assert raw.getvalue().decode() == "[red]nut[/] :smile: 12\n"


def test_a_file_is_utf8_on_any_terminal(screen: Callable[[str], io.BytesIO]) -> None:
    raw = screen("latin-1")
    terminal.say("a")
    terminal.write_utf8("数 β\n")
    terminal.say("b")
    assert raw.getvalue() == b"a\n" + "数 β\n".encode() + b"b\n"


def run(program: str, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True)


def test_a_traceback_steers_no_terminal() -> None:
    done = run("from gfl import terminal\nterminal.prepare()\nraise ValueError('\\x1b[31mred')", {})
    assert done.returncode == 1
    assert b"ValueError: \\x1b[31mred" in done.stderr
    assert b"\x1b" not in done.stderr


def test_in_another_locale_the_command_starts_again_in_utf8(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom gfl import terminal\nterminal.as_utf8()\n"
        "print(ascii(sys.argv[1:]), sys.getfilesystemencoding(), sys.stdout.encoding)\n"
        "assert terminal.is_utf8()\nprint(open(sys.argv[2]).read() == '\\u87ba\\u6bcd')\n"
    )
    done = run("from gfl import terminal\nassert not terminal.is_utf8()", NOT_UTF8)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "name.txt"
    path.write_text("螺母", encoding="utf-8")
    done = run(program, NOT_UTF8, "--data=Schlüssel", str(path))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode().splitlines()
    assert first.startswith(f"['--data=Schl\\xfcssel', {str(path)!a}] utf-8 ")
    assert "utf" not in first.rpartition(" ")[2].lower()  # the terminal keeps its encoding
    assert second == "True"
    assert run("from gfl import terminal\nterminal.as_utf8()", {"PYTHONUTF8": "1"}).returncode == 0
