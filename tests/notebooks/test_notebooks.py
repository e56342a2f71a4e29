"""The notebooks: thin, whole as committed, and the same again in a fresh kernel."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.figures import FIGURES

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
READERS = ("01_losses", "02_tables", "03_figures")  # they read the committed results and no more
LARGEST = 3e6  # bytes of a notebook that the web still shows
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def cells(name: str, folder: Path = ROOT / "notebooks") -> list[dict[str, Any]]:
    text = (folder / f"{name}.ipynb").read_text(encoding="utf-8")
    return [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def outputs(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [output for cell in cells for output in cell["outputs"]]


def test_all_four_are_there() -> None:
    assert set(READERS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_defines_anything(name: str) -> None:
    for cell in cells(name):
        found = [n for n in ast.walk(ast.parse(source(cell))) if isinstance(n, DEFINITIONS)]
        assert found == [], source(cell)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_committed_as_one_execution_from_top_to_bottom(name: str) -> None:
    counts = [cell["execution_count"] for cell in cells(name)]
    assert counts == list(range(1, len(counts) + 1))
    found = outputs(cells(name))
    assert found
    assert [o for o in found if o["output_type"] == "error"] == []
    assert [o for o in found if o.get("name") == "stderr"] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_names_no_machine_and_fits_the_web(name: str) -> None:
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    # PNGs are base64, in which a slash may stand before anything.
    plain = re.sub(r'"image/png": ".*?"', "", text)
    for trace in ("Traceback", "Warning", "widget-view+json"):
        assert trace not in plain
    assert re.findall(r"[\"'\s(](?:/[\w.-]+){2,}|[A-Z]:\\\\", plain) == []
    assert set(json.loads(text)["metadata"]) == {"kernelspec", "language_info"}
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", READERS)
def test_a_fresh_kernel_makes_the_same_of_it(name: str, tmp_path: Path) -> None:
    """The committed outputs are those of the committed cells and results, bar the pictures' bits.

    Every cell is run, in order, in a kernel that knows nothing: a cell that needs what a deleted
    or later cell left behind fails here.
    """
    run(name, tmp_path)
    assert texts(cells(name, tmp_path)) == texts(cells(name))


def test_every_figure_is_shown_and_drawn() -> None:
    found = cells("03_figures")
    shown = re.findall(r'show\("(\w+)"', "\n".join(map(source, found)))
    assert sorted(shown) == sorted(FIGURES)
    assert "is not drawn" not in json.dumps(texts(found))
    pictures = [o for o in outputs(found) if "image/png" in o.get("data", {})]
    assert len(pictures) >= len(shown)


def test_the_tables_of_a_profile_without_runs_say_so(tmp_path: Path) -> None:
    run("02_tables", tmp_path, PROFILE="smoke")
    said = json.dumps(texts(cells("02_tables", tmp_path)), ensure_ascii=False)
    assert "Nothing to draw: no runs" in said
    assert "not run" in said
    assert "clear" not in said


def test_ones_own_data_are_drawn_trained_on_and_looked_at(tmp_path: Path) -> None:
    """At the smoke scale: seconds of training, after which little or nothing is found."""
    run("04_your_own_data", tmp_path, PROFILE="smoke")
    made = cells("04_your_own_data", tmp_path)
    assert [source(cell) for cell in made] == [source(cell) for cell in cells("04_your_own_data")]
    said = json.dumps(texts(made), ensure_ascii=False)
    for words in ("starry", "2 epochs, batch 8", "finished, AP", "AR100"):
        assert words in said
    assert sum("image/png" in output.get("data", {}) for output in outputs(made)) == 3


def run(name: str, out: Path, **variables: str) -> None:
    """Execute a notebook as ``make notebooks`` does."""
    command = [sys.executable, "tools/run_notebooks.py", f"notebooks/{name}.ipynb", "--out", out]
    kept = {k: v for k, v in os.environ.items() if k not in ("PROFILE", "STORE")}
    environment = {**kept, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def texts(cells: list[dict[str, Any]]) -> list[Any]:
    """What the outputs say, without pictures."""
    return [
        {kind: text for kind, text in output.get("data", {"": output.get("text")}).items()
         if kind != "image/png"}
        for output in outputs(cells)
    ]  # fmt: skip
