"""The committed numbers of the figures are what the committed records and predictions give."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.audit import artefacts
from analysis.figures import FIGURES
from analysis.figures.figure import DrawnFigure
from analysis.library import Library
from analysis.report import html
from analysis.tables import fill, render
from analysis.tables.layout import lay_out
from experiments import profiles
from experiments.queue.worker import ROOT
from experiments.tables import catalogue as declared
from gfl.records.record import Store

STORE = Store(ROOT / "runs", ROOT / "results", mend=False)
LIBRARY = Library(STORE, "reference")
OF_PREDICTIONS = ("2b", "3", "ambiguity", "calibration")


@functools.cache
def drawn(name: str) -> DrawnFigure:
    return FIGURES[name].drawn(LIBRARY, profiles.LAPTOP)


@pytest.mark.parametrize("name", list(FIGURES))
def test_numbers_drawn_are_those_committed(name):
    path = ROOT / f"results/figures/laptop/fig{name}.csv"
    assert list(artefacts.numbers(path, drawn(name))) == []


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "simulation"])
def test_a_last_digit_altered_is_found(name, tmp_path):
    """Of numbers with six digits; the others are found by a wider margin.

    Of a fit, which may differ by a tenth of the sixth digit, the fifth is sure to be.
    """
    text = drawn(name).csv
    numbers = {at[0]: at for at in re.finditer(r"(?<=,)0\.[1-9]\d{4}[0-8](?=[,\n])", text)}
    path = tmp_path / f"fig{name}.csv"
    for old, at in list(numbers.items())[:: 1 + len(numbers) // 3]:
        new = f"{old[:-1]}{int(old[-1]) + 1}"
        path.write_text(text[: at.start()] + new + text[at.end() :])
        found = list(artefacts.numbers(path, drawn(name)))
        assert [(f.committed, f.expected) for f in found] == [(new, old)]


@pytest.mark.parametrize("name", ["5c", "9"])
def test_numbers_of_real_annotations_are_those_committed(shared, name):
    files = sorted((shared / "data/coco-tiny/annotations").glob("instances_*.json"))
    path = ROOT / f"results/figures/coco-tiny/fig{name}.csv"
    assert list(artefacts.numbers(path, FIGURES[name].of_annotations(files))) == []


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_the_records_of_a_figures_runs_name_their_predictions(name):
    records = [LIBRARY.store.reference("laptop", id) for id in drawn(name).runs]
    assert records
    for record in records:
        assert record is not None
        assert record.predictions.keys() == {"detections.parquet", "locations.parquet"}


def made() -> dict[str, str]:
    """The SHA-256 of every file of the figures and tables, and of the report."""
    files: dict[str, bytes] = {}
    for name in FIGURES:
        files |= {f"fig{name}.{kind}": content for kind, content in drawn(name).files().items()}
    for table in declared.TABLES.values():
        filled = fill.fill(table, profiles.LAPTOP, STORE)
        laid_out = lay_out(table, profiles.LAPTOP, filled, False)
        files[f"{table.name}.md"] = render.markdown(laid_out, []).encode()
        files[f"{table.name}.csv"] = render.tidy_csv(table, filled, False).encode()
    files["report.html"] = html(profiles.LAPTOP, STORE, local=False).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_another_process_makes_the_same_bytes(tmp_path):
    """In which sets and dictionaries of strings hash, and so iterate, in another way.

    For another user, too: of other settings, elsewhere in the world and in the file system.
    """
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    (tmp_path / "matplotlibrc").write_text("font.size: 31\nlines.linewidth: 9\nsvg.hashsalt: x\n")
    others = {
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": str(ROOT),
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C.UTF-8",
        "MPLCONFIGDIR": str(tmp_path),
        "HOME": str(tmp_path),
        "COLUMNS": "33",
        "USER": "nobody",
    }
    command = [sys.executable, str(Path(__file__))]
    environment = {**os.environ, **others}
    other = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    here = made()
    assert json.loads(other.communicate()[0]) == here
    assert len(here) == 3 * len(FIGURES) + 2 * len(declared.TABLES) + 1


if __name__ == "__main__":
    declared.TABLES.update(declared.PAPERS)  # as the tests have them
    print(json.dumps(made()))
