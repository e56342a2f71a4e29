"""What is kept is discarded where what it was made of changed, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis import cache
from analysis.measures.kept import QUANTITIES
from analysis.measures.scale import SCALE
from analysis.stats import resampling
from gfl.training import worker

SOURCES = {
    "pkg/__init__.py": '"""A package."""\n',
    "pkg/maker.py": (
        '"""Measures."""\nfrom __future__ import annotations\n'
        "from typing import TYPE_CHECKING\n"
        "from pkg import constants\nfrom pkg.inner.deep import scale\n"
        "if TYPE_CHECKING:\n    from pkg.shapes import Shape\n"
        "def make(shape: Shape) -> float:\n"
        '    """Scale a shape."""\n'
        "    from . import late\n"
        "    if shape is None:\n        raise ValueError('no shape')\n"
        "    return scale(constants.FACTOR) + late.MORE\n"
    ),
    "pkg/constants.py": "FACTOR = 2  # twice\n",
    "pkg/late.py": "MORE = 1\n",
    "pkg/inner/__init__.py": "LOADED = True\n",
    "pkg/inner/deep.py": "import numpy\n\ndef scale(x):\n    return numpy.sqrt(x)\n",
    "pkg/shapes.py": "class Shape:\n    pass\n",
    "pkg/unrelated.py": "import pkg.maker\nTEXT = 'a report'\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a module that makes something, what it imports, and what it does not."""
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def code(root: Path) -> str:
    for remembered in (cache.code, cache._meaning_of, cache._imports):
        remembered.cache_clear()
    return cache.code("pkg.maker", root=root)


def test_the_modules_that_a_maker_imports_are_found(root: Path) -> None:
    expected = {"pkg", "pkg.maker", "pkg.constants", "pkg.late", "pkg.inner", "pkg.inner.deep"}
    assert cache.modules_of("pkg.maker", root=root) == expected
    with pytest.raises(ModuleNotFoundError, match=r"no module pkg\.none"):
        cache.modules_of("pkg.none", root=root)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/maker.py", "Scale a shape.", "Scale what is given."),  # a docstring
        ("pkg/maker.py", "    return", "\n    # the sum\n    return"),
        ("pkg/maker.py", "'no shape'", "'a shape is needed'"),  # an exception's text
        ("pkg/constants.py", "# twice", "# two times"),
        ("pkg/inner/deep.py", "def scale(x):\n", 'def scale(x):\n    """The root."""\n'),
        ("pkg/unrelated.py", "a report", "another report"),
        ("pkg/shapes.py", "pass", "sides = 4"),  # imported for its type alone
    ],
)
def test_words_and_what_is_not_imported_discard_nothing(
    root: Path, file: str, old: str, new: str
) -> None:
    before = code(root)
    change(root / file, old, new)
    assert code(root) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pkg/maker.py", "+ late.MORE", "- late.MORE"),
        ("pkg/maker.py", "if shape is None", "if shape is not None"),
        ("pkg/constants.py", "FACTOR = 2", "FACTOR = 3"),
        ("pkg/late.py", "1", "2"),  # imported where it is needed
        ("pkg/inner/deep.py", "numpy.sqrt", "numpy.cbrt"),  # imported by name, in a package
        ("pkg/inner/__init__.py", "True", "False"),  # run on the way
    ],
)
def test_a_change_of_what_is_made_discards(root: Path, file: str, old: str, new: str) -> None:
    before = code(root)
    change(root / file, old, new)
    assert code(root) != before


def change(path: Path, old: str, new: str) -> None:
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))


def test_an_entry_is_of_its_inputs_and_its_kind(tmp_path: Path) -> None:
    def path(kind: str, inputs: object) -> Path:
        return cache.entry(f"{kind}.json", inputs, "analysis.text", folder=tmp_path).path

    assert path("it", [1, "a"]) == path("it", [1, "a"])
    assert len({path("it", [1, "a"]), path("it", [2, "a"]), path("other", [1, "a"])}) == 3


@pytest.mark.parametrize("content", [{"a": [1, None, 0.1]}, [1, 2], "text"])
def test_json_comes_back_and_a_damaged_file_does_not(content: object, tmp_path: Path) -> None:
    entry = cache.entry("it.json", 1, "analysis.text", folder=tmp_path / "cache")
    assert entry.json() is None
    entry.keep_json(content)
    assert entry.json() == content
    text = entry.path.read_text()
    for damage in (text[:-5], text.replace('"content":', '"content": 7, "rest":'), "{}", "[]", ""):
        assert damage != text
        entry.path.write_text(damage)
        assert entry.json() is None


def test_arrays_come_back_and_a_damaged_file_does_not(tmp_path: Path) -> None:
    entry = cache.entry("it.npz", 1, "analysis.text", folder=tmp_path / "cache")
    assert entry.arrays() is None
    entry.keep_arrays(values=np.arange(3), name="x")
    found = entry.arrays()
    assert found is not None
    np.testing.assert_array_equal(found["values"], [0, 1, 2])
    assert str(found["name"]) == "x"
    entry.path.write_bytes(entry.path.read_bytes()[:40])
    assert entry.arrays() is None


def test_a_checkout_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entry = cache.entry("it.json", 1, "analysis.text", folder=tmp_path / "file")
    entry.keep_json([1])
    cache.entry("it.npz", 1, "analysis.text", folder=tmp_path / "file").keep_arrays(x=1)
    assert entry.json() is None


def test_entries_lie_beside_the_embedded_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EMBEDDED", tmp_path)
    assert cache.entry("it.json", 1, "analysis.text").path.parent == tmp_path / "cache"


def test_measurements_are_of_the_code_that_makes_them_and_of_no_report() -> None:
    made_by = {one.module for one in QUANTITIES.values()}
    made_by |= {property.quantity.module for property in SCALE.values()}
    needed = {"analysis.stats.uncertainty", "analysis.stats.resampling", "gfl.predictions.schema"}
    for maker in made_by:
        modules = cache.modules_of(maker)
        assert needed <= modules
        rooms = {name.split(".")[1] for name in modules if name.startswith("analysis.")}
        assert rooms <= {
            "measures", "stats", "speed", "errors", "library", "photographs", "pool", "cache",
        }  # fmt: skip
        assert "analysis.speed.page" not in modules
        assert not any(name.startswith(("cli", "experiments.claims")) for name in modules)
    assert "gfl.predictions.matching" in cache.modules_of(resampling.__name__)


def test_what_is_not_followed_are_modules_that_there_are() -> None:
    for name in cache.OF_INPUTS:
        assert cache._file(name, cache.ROOT).is_file()
