"""What counts as a change of the code that trains, on a copy of that code."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfl.records import digests
from gfl.records.digests import ROOT, changed, merged, of_source

FILES = [path for path in sorted((ROOT / "gfl").rglob("*.py")) if path.read_bytes()]
LOSSES = ROOT / "gfl/losses.py"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which counts as the code that is here."""
    shutil.copytree(ROOT / "gfl", tmp_path / "gfl", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    return tmp_path / "gfl"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_comments_docstrings_and_layout_are_no_change(path: Path) -> None:
    source = path.read_bytes()
    before = of_source(source)
    tree = ast.parse(source)
    assert of_source(ast.unparse(tree).encode()) == before  # no comment, another layout
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body.insert(0, ast.Expr(ast.Constant("Another docstring.")))
    assert of_source(ast.unparse(ast.fix_missing_locations(tree)).encode()) == before
    remarked = source.replace(b"\n", b"\r\n") + b"\n\n# remark\n"
    assert of_source(remarked) == before


def test_every_number_operator_and_attribute_is_a_change() -> None:
    source = LOSSES.read_bytes()
    found = [of_source(source), *(of_source(text.encode()) for text in _variants(source))]
    assert len(found) > 50
    assert len(set(found)) == len(found)


def _variants(source: bytes) -> Iterator[str]:
    """The source with one thing altered, for each number, operator and attribute in it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            name, other = "value", node.value + 1000
        elif isinstance(node, ast.BinOp):
            name, other = "op", ast.MatMult()
        elif isinstance(node, ast.Attribute):
            name, other = "attr", node.attr + "_"
        else:
            continue
        before = getattr(node, name)
        setattr(node, name, other)
        yield ast.unparse(tree)
        setattr(node, name, before)


def test_the_file_whose_formula_changed_is_named(copy: Path) -> None:
    before = digests.code()
    edit(copy / "losses.py", '"""', '"""A remark. ')
    edit(copy / "losses.py", "\nimport torch\n", "\n\n# a remark\nimport torch\n")
    assert changed(before, digests.code()) == []
    edit(copy / "losses.py", "logits.sigmoid() - quality", "quality - logits.tanh()")
    assert changed(before, digests.code()) == ["gfl/losses.py"]


def test_a_new_and_a_deleted_file_are_changes_and_a_moved_one_is_none(copy: Path) -> None:
    before = digests.code()
    (copy / "hooks").mkdir()
    (copy / "hooks/__init__.py").write_text('"""Hooks."""\n')
    (copy / "training/optim.py").rename(copy / "hooks/optim.py")
    (copy / "training/history.py").rename(copy / "hooks/history.py")
    assert changed(before, digests.code()) == []
    (copy / "mine.py").write_text("x = 1\n")
    (copy / "quality.py").unlink()
    assert changed(before, digests.code()) == ["gfl/mine.py", "gfl/quality.py"]
    edit(copy / "hooks/optim.py", "import", "import os\nimport")
    assert set(changed(before, digests.code())) == {
        "gfl/mine.py", "gfl/quality.py", "gfl/training/optim.py", "gfl/hooks/optim.py"
    }  # fmt: skip


def test_of_two_files_alike_one_that_is_gone_is_missed() -> None:
    assert changed({"gfl/a.py": "1", "gfl/b.py": "1"}, {"gfl/c.py": "1"}) == ["gfl/b.py"]
    assert changed({}, {"gfl/a.py": "1", "gfl/b.py": digests.EMPTY}) == ["gfl/a.py"]


def test_what_is_no_python_is_digested_as_it_is() -> None:
    broken = b"def f(:\n"
    assert of_source(broken) == of_source(bytes(broken)) != of_source(b"def f(:  # remark\n")
    assert of_source(b"\0") != of_source(b"")


def test_what_trains_nothing_does_not_count(copy: Path) -> None:
    before = digests.code()
    assert {"gfl/losses.py", "gfl/training/worker.py", "gfl/config/machine.py"} <= before.keys()
    for path in digests.OUTSIDE:
        assert (ROOT / path).exists()
        assert not any(name.startswith(path) for name in before.keys() - set(digests.INSIDE))
    edit(copy / "pictures/drawing.py", "import", "import os\nimport")
    (copy / "notes.txt").write_text("a remark")
    (copy / "losses.py.orig").write_text("x = 1")
    assert digests.code() == before


def test_nothing_but_python_lies_in_the_package() -> None:
    """Another kind of file could change a training too, and would not count."""
    listed = subprocess.run(["git", "ls-files", "gfl"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert [name for name in listed.stdout.split() if not name.endswith(".py")] == []


def test_what_trains_uses_nothing_of_what_looks_at_it() -> None:
    """But the worker itself, which stores predictions when the training is over."""
    seen = ("pictures", "predictions")
    for name in digests.code().keys() - {"gfl/training/worker.py"}:
        for node in ast.walk(ast.parse((ROOT / name).read_bytes())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            assert not any(m.startswith(f"gfl.{each}") for m in modules for each in seen), name


def test_what_two_versions_trained_is_equal_to_neither() -> None:
    a, b = {"gfl/x.py": "1", "gfl/y.py": "1"}, {"gfl/x.py": "2", "gfl/y.py": "1", "gfl/z.py": "3"}
    both = merged(a, b)
    assert both == {"gfl/x.py": "1 then 2", "gfl/y.py": "1", "gfl/z.py": "nothing then 3"}
    assert changed(both, a) == changed(both, b) == ["gfl/x.py", "gfl/z.py"]
    assert merged(both, b) == both
    assert merged(both, a)["gfl/x.py"] == "1 then 2 then 1"
    assert merged(a, a) == a


def test_digests_cost_neither_torch_nor_git() -> None:
    program = (
        "import sys; from gfl.records import digests; "
        "assert digests.code(); assert digests.versions(); "
        "print([name for name in ('torch', 'mmengine', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


def test_editors_locks_and_copies_are_no_code() -> None:
    """Emacs' lock is a link that leads nowhere, there while a file is edited."""
    assert not digests.counts("gfl/.#losses.py")
    assert not digests.counts("gfl/.ipynb_checkpoints/losses-checkpoint.py")
    assert digests.counts("gfl/losses.py")


def test_readers_of_ones_own_data_are_no_code_of_the_tables() -> None:
    """What they read is in the run's id."""
    assert not digests.counts("gfl/data/own/yolo.py")
    assert digests.counts("gfl/data/loading.py")
