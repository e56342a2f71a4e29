"""Text in and out of the project: encodings are named, and one function prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gfl", "experiments", "analysis", "benchmarks", "cli", "tools")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
RUNS = ("run", "Popen", "check_output", "check_call", "call")  # of subprocess


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            yield node.lineno, name, node


def names_no_encoding(name: str, call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the locale has."""
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if name in RUNS:
        return bool(keywords & {"text", "universal_newlines"})
    is_method = isinstance(call.func, ast.Attribute)
    if name in ("read_text", "write_text"):  # ``gfl.files.write_text`` takes a path and UTF-8
        return is_method and len(call.args) < (1 if name == "read_text" else 2)
    if name == "open" and (not is_method or isinstance(call.func.value, ast.Name | ast.BinOp)):  # type: ignore[union-attr]
        if is_method and getattr(call.func.value, "id", "") in ("os", "Image"):  # type: ignore[union-attr]
            return False
        modes = [
            *call.args[0 if is_method else 1 :],
            *(k.value for k in call.keywords if k.arg == "mode"),
        ]
        mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r"
        return "b" not in str(mode)
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_read_and_written_in_a_named_encoding(path: Path) -> None:
    found = [f"{line}: {name}" for line, name, call in calls(path) if names_no_encoding(name, call)]
    assert not found


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("write_text(path, text)", False),
        ("open(name)", True),
        ("open(name, 'rb')", False),
        ("path.open('w')", True),
        ("path.open('ab')", False),
        ("(folder / name).open()", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, text=True, encoding='utf-8')", False),
        ("subprocess.run(command)", False),
        ("os.open(name, flags)", False),
    ],
)
def test_what_names_no_encoding_is_found(source: str, is_found: bool) -> None:
    (statement,) = ast.parse(source).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    call = statement.value
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    assert names_no_encoding(name, call) == is_found
